//! What a function is given beside its code, as manifests and flags say it: secrets and folders of the host's.

use std::collections::BTreeMap;

use clap::Args;
use control::{FunctionView, FunctionWrite};
use model::{EnvValue, FunctionSpec, HttpRoute, InvalidMount, Mount, SecretName, SecretRef};
use serde::Deserialize;
use toml::Spanned;

/// `[[mount]]`, as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMount {
    /// The folder, by its absolute path on the host.
    host: Spanned<String>,
    /// Where the function sees it: `/mnt/NAME`.
    path: Spanned<String>,
    /// Whether nothing can be changed in it; the default.
    #[serde(rename = "read-only", default)]
    read_only: Option<bool>,
}

/// The flags for them.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// An environment variable that holds a secret; may be given many times
    #[arg(long, value_name = "NAME=SECRET", value_parser = reference)]
    secret: Vec<(String, SecretName)>,
    /// A file below /run/secrets that holds a secret; may be given many times
    #[arg(long, value_name = "PATH=SECRET", value_parser = reference)]
    secret_file: Vec<(String, SecretName)>,
    /// A folder of the host's to see at /mnt/NAME, to be read unless :rw is said; may be given many times
    #[arg(long, value_name = "HOST=/mnt/NAME[:rw]", value_parser = mount)]
    mount: Vec<Mount>,
    /// A route to answer, and what stands before it: 'POST /hooks/{name} auth=github:SECRET rate=10/s burst=20 max-body=1MB
    /// timeout=5s cors=https://…'; may be given many times
    #[arg(long, value_name = "METHOD HOST/PATH")]
    route: Vec<HttpRoute>,
}

// === impl AccessArgs ===

impl AccessArgs {
    /// A flag outranks the manifest.
    pub fn override_in(&self, write: &mut FunctionWrite) {
        if !self.secret.is_empty() {
            let env = write.env.get_or_insert_default();
            env.extend(self.secret.iter().map(|(name, secret)| (name.clone(), Some(secret.clone().into()))));
        }
        if !self.secret_file.is_empty() {
            let files = write.secrets.get_or_insert_default();
            files.extend(self.secret_file.iter().map(|(path, secret)| (path.clone(), Some(secret.clone()))));
        }
        if !self.route.is_empty() {
            // Beside the manifest's, in the place of the one that answers the same.
            let routes = write.routes.get_or_insert_default();
            routes.retain(|one| !self.route.iter().any(|said| said.route.collides(&one.route)));
            routes.extend(self.route.iter().cloned());
        }
        if !self.mount.is_empty() {
            // Beside the manifest's, in the place of the one at the same path.
            let mounts = write.mounts.get_or_insert_default();
            mounts.retain(|one| !self.mount.iter().any(|said| said.path == one.path));
            mounts.extend(self.mount.iter().cloned());
        }
    }
}

/// Adds what is said of these, for it to be checked.
pub fn complete(spec: &mut FunctionSpec, write: &FunctionWrite) {
    let files = write.secrets.iter().flatten().filter_map(|(path, secret)| Some((path.clone(), secret.clone()?)));
    spec.secrets.extend(files);
    spec.routes = write.routes.clone().unwrap_or_default();
    spec.mounts.extend(write.mounts.iter().flatten().cloned());
}

/// Reads a variable of `[env]`. The error has no place in the file yet.
pub fn variable(name: &str, value: toml::Value) -> Result<EnvValue, String> {
    match value {
        toml::Value::String(text) => Ok(text.into()),
        toml::Value::Table(table) if table.contains_key("secret") => {
            let of: SecretRef = table.try_into().map_err(|error: toml::de::Error| {
                format!("env.{name}: {}: expected {{ secret = \"NAME\" }}", error.message())
            })?;
            Ok(EnvValue::Secret(of))
        }
        other => {
            Err(format!("env.{name}: expected a text in quotes or {{ secret = \"NAME\" }}, got a {}", other.type_str()))
        }
    }
}

/// Reads `[secrets]`: a file below `/run/secrets`, and the secret that it holds. The error comes with its place.
pub fn files(raw: BTreeMap<String, Spanned<String>>) -> Result<BTreeMap<String, Option<SecretName>>, (usize, String)> {
    let one = |(path, secret): (String, Spanned<String>)| {
        let name =
            secret.get_ref().parse().map_err(|error| (secret.span().start, format!("secrets.{path}: {error}")))?;
        Ok((path, Some(name)))
    };
    raw.into_iter().map(one).collect()
}

/// Reads all `[[mount]]`. The error comes with its place.
pub fn mounts(raw: Vec<RawMount>) -> Result<Vec<Mount>, (usize, String)> {
    let at = |place: usize| move |error: InvalidMount| (place, format!("mount: {error}"));
    let one = |RawMount { host, path, read_only }: RawMount| {
        Ok(Mount {
            host: host.get_ref().parse().map_err(at(host.span().start))?,
            path: path.get_ref().parse().map_err(at(path.span().start))?,
            read_only: read_only.unwrap_or(true),
        })
    };
    raw.into_iter().map(one).collect()
}

/// Reads `--secret NAME=SECRET` and `--secret-file PATH=SECRET`.
pub fn reference(text: &str) -> Result<(String, SecretName), String> {
    let (name, secret) = super::env::pair(text).map_err(|_| "expected NAME=SECRET".to_owned())?;
    Ok((name, secret.parse().map_err(|error: model::InvalidId| error.to_string())?))
}

/// Reads `--mount HOST=/mnt/NAME`, with `:rw` at the end for one that may be written to.
pub fn mount(text: &str) -> Result<Mount, String> {
    let (text, read_only) = match text.strip_suffix(":rw") {
        Some(text) => (text, false),
        None => (text.strip_suffix(":ro").unwrap_or(text), true),
    };
    // The last =: a folder's name may have one, a mount's path may not.
    let (host, path) = text.rsplit_once('=').ok_or("expected HOST=/mnt/NAME, with :rw at the end to write to it")?;
    let wrong = |error: InvalidMount| error.to_string();
    Ok(Mount { host: host.parse().map_err(wrong)?, path: path.parse().map_err(wrong)?, read_only })
}

/// What an existing function keeps of these that was not said: for telling.
pub fn kept(before: &FunctionView, write: &FunctionWrite) -> Vec<String> {
    let said = |path: &&String| write.secrets.as_ref().is_some_and(|files| files.contains_key(*path));
    let files = before.secrets.keys().filter(|path| !said(path)).map(|path| format!("secret file {path}"));
    let mounts = before.mounts.iter().filter(|_| write.mounts.is_none());
    let routes = before.routes.iter().filter(|_| write.routes.is_none());
    let routes = routes.map(|one| format!("route {}", one.route));
    files.chain(mounts.map(|mount| format!("mount {}", mount.path))).chain(routes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_on_the_command_line_is_read_only_unless_it_says_rw() {
        let shown = |text| mount(text).map(|one| (one.host.to_string(), one.path.to_string(), one.read_only));
        assert_eq!(shown("/srv/a=b=/mnt/x"), Ok(("/srv/a=b".into(), "/mnt/x".into(), true)));
        assert_eq!(shown("/srv=/mnt/x:ro"), shown("/srv=/mnt/x"));
        assert!(!mount("/srv=/mnt/x:rw").unwrap().read_only);
        for (wrong, said) in [("/srv", "expected HOST="), ("srv=/mnt/x", "absolute"), ("/srv=/etc", "/mnt/NAME")] {
            assert!(shown(wrong).unwrap_err().contains(said), "{wrong}");
        }
    }
}
