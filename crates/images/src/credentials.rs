//! Who pulls: nobody in particular, a user with a password, or the bearer of a token. Never shown in a message.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::ImageError;

/// What a registry is shown. Only ever sent to the registry of the reference and the token service that it names.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub enum Credentials {
    #[default]
    Anonymous,
    /// User and password (or what the registry calls a personal access token).
    Basic { user: String, password: String },
    /// Sent as it is with every request: `Authorization: Bearer …`.
    Bearer(String),
    /// A long-lived token that is exchanged for short-lived ones (`identitytoken` of a `config.json`).
    Identity(String),
}

/// Docker's `config.json`, the parts that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: std::collections::HashMap<String, Auth>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: std::collections::HashMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Auth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

// === impl Credentials ===

impl Credentials {
    /// What Docker's `config.json`, whose text is given, holds for `registry` (host and port, as in a reference);
    /// `Anonymous` if it knows nothing of it. Helper programs (`credsStore`, `credHelpers`) are not run: if the
    /// secret is theirs, this is an error that names them.
    pub fn from_docker_config(text: &str, registry: &str) -> Result<Self, ImageError> {
        let refuse = |why: String| ImageError::Credentials { registry: registry.to_owned(), why };
        // The text of the error could quote a secret: only where it is.
        let config: DockerConfig = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            refuse(format!("config.json is not as Docker writes it (line {line}, column {column})"))
        })?;
        let wanted = host(registry);
        let helper = config.cred_helpers.iter().find(|(key, _)| host(key) == wanted).map(|(_, helper)| helper);
        let entry = config.auths.into_iter().find(|(key, _)| host(key) == wanted).map(|(_, auth)| auth);
        let known = entry.is_some();
        if let Some(found) = entry.map(|auth| auth.credentials()).transpose().map_err(refuse)?.flatten() {
            return Ok(found);
        }
        let store = config.creds_store.as_ref().filter(|_| known);
        match helper.or(store).filter(|name| !name.is_empty()) {
            Some(name) => Err(refuse(format!(
                "config.json leaves them to the program `docker-credential-{name}`, which is not run here: give user \
                 and password instead"
            ))),
            None => Ok(Self::Anonymous),
        }
    }

    /// For a message: who, never the secret.
    pub(crate) fn who(&self) -> String {
        match self {
            Self::Anonymous => "anybody".into(),
            Self::Basic { user, .. } => format!("user {user}"),
            Self::Bearer(_) | Self::Identity(_) => "the bearer of this token".into(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { user, .. } => write!(f, "Basic({user}, …)"),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
            Self::Identity(_) => f.write_str("Identity(…)"),
        }
    }
}

// === impl Auth ===

impl Auth {
    fn credentials(self) -> Result<Option<Credentials>, String> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::Bearer(self.registrytoken)));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity(self.identitytoken)));
        }
        if !self.auth.is_empty() {
            let decoded = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            // Docker pads it with NULs in places.
            let pair = decoded.as_deref().map(|text| text.trim_end_matches('\0')).and_then(|text| text.split_once(':'));
            let (user, password) = pair.ok_or("its `auth` in config.json is not base64 of `user:password`")?;
            return Ok(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }));
        }
        match self.username.is_empty() {
            true => Ok(None),
            false => Ok(Some(Credentials::Basic { user: self.username, password: self.password })),
        }
    }
}

/// The host of a key as Docker writes them: with scheme and path or without; Docker Hub has several names.
fn host(key: &str) -> &str {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    match key.split('/').next().unwrap_or_default() {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_entry_of_the_registry() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6cGE6c3M="},
            "ghcr.io": {"auth": "", "identitytoken": "long"},
            "localhost:5000": {"username": "me", "password": "secret"}
        }, "HttpHeaders": {}}"#;
        let read = |registry| Credentials::from_docker_config(config, registry);
        let basic = |user: &str, password: &str| Credentials::Basic { user: user.into(), password: password.into() };
        assert_eq!(read("docker.io"), Ok(basic("me", "pa:ss")));
        assert_eq!(read("ghcr.io"), Ok(Credentials::Identity("long".into())));
        assert_eq!(read("localhost:5000"), Ok(basic("me", "secret")));
        assert_eq!(read("quay.io"), Ok(Credentials::Anonymous));
    }

    #[test]
    fn names_the_helper_that_it_does_not_run() {
        let config = r#"{"auths": {"ghcr.io": {}}, "credsStore": "desktop", "credHelpers": {"x.io": "gcloud"}}"#;
        let read = |registry| Credentials::from_docker_config(config, registry);
        assert!(read("ghcr.io").expect_err("a store").to_string().contains("docker-credential-desktop"));
        assert!(read("x.io").expect_err("a helper").to_string().contains("docker-credential-gcloud"));
        assert_eq!(read("quay.io"), Ok(Credentials::Anonymous));
    }

    #[test]
    fn no_message_holds_a_secret() {
        let secret = "c2VjcmV0"; // base64 without a colon in it
        let config = format!(r#"{{"auths": {{"a.io": {{"auth": "{secret}"}}}}}}"#);
        let error = Credentials::from_docker_config(&config, "a.io").expect_err("not a pair").to_string();
        assert!(!error.contains(secret) && !error.contains("secret"), "{error}");
        let error = Credentials::from_docker_config(r#"{"auths": "hunter2"}"#, "a.io").expect_err("no map").to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let basic = Credentials::Basic { user: "me".into(), password: "hunter2".into() };
        assert!(!format!("{basic:?}").contains("hunter2"));
    }
}
