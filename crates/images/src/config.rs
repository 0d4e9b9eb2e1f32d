//! What an image says about how it wants to be run.

use serde::{Deserialize, Serialize};

use crate::{Digest, ImageError};

/// The parts of an image's configuration that matter to whoever runs it; the rest is forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `ENTRYPOINT`; empty if there is none.
    pub entrypoint: Vec<String>,
    /// `CMD`; empty if there is none.
    pub cmd: Vec<String>,
    /// `NAME=value`, as written; later ones win. See [`crate::run::environment`].
    pub env: Vec<String>,
    /// `WORKDIR`; empty if there is none. See [`crate::run::work_dir`].
    pub work_dir: String,
    /// `USER`; empty if there is none. See [`crate::run::user`].
    pub user: String,
    /// `8080/tcp` and the like.
    pub exposed_ports: Vec<String>,
    /// As OCI names it: `amd64`, `arm64`. Empty if the image does not say.
    pub architecture: String,
}

/// The file as it is in the image.
#[derive(Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub config: Option<Inner>,
    #[serde(default)]
    pub rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inner {
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub env: Option<Vec<String>>,
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    #[serde(default)]
    pub working_dir: Option<String>,
    #[serde(default)]
    pub exposed_ports: Option<std::collections::BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize, Default)]
pub(crate) struct RootFs {
    /// Digests of the layers uncompressed, lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

// === impl ConfigFile ===

impl ConfigFile {
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|error| ImageError::NotAnImage {
            what: what.to_owned(),
            why: format!("its configuration cannot be read: {error}"),
        })
    }

    pub fn into_config(self) -> ImageConfig {
        let inner = self.config.unwrap_or_default();
        ImageConfig {
            entrypoint: inner.entrypoint.unwrap_or_default(),
            cmd: inner.cmd.unwrap_or_default(),
            env: inner.env.unwrap_or_default(),
            work_dir: inner.working_dir.unwrap_or_default(),
            user: inner.user.unwrap_or_default(),
            exposed_ports: inner.exposed_ports.unwrap_or_default().into_keys().collect(),
            architecture: self.architecture,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_builders_write() {
        let text = br#"{"architecture":"arm64","os":"linux","created":"2026-01-01T00:00:00Z","config":{
            "User":"app","Env":["PATH=/bin"],"Entrypoint":["/a"],"Cmd":null,"WorkingDir":"/w",
            "ExposedPorts":{"8080/tcp":{}},"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":[]},"history":[]}"#;
        let config = ConfigFile::parse(text, "it").expect("a configuration").into_config();
        let expected = ImageConfig {
            entrypoint: vec!["/a".into()],
            cmd: vec![],
            env: vec!["PATH=/bin".into()],
            work_dir: "/w".into(),
            user: "app".into(),
            exposed_ports: vec!["8080/tcp".into()],
            architecture: "arm64".into(),
        };
        assert_eq!(config, expected);
        assert_eq!(ConfigFile::parse(b"{}", "it").expect("nothing said").into_config(), ImageConfig::default());
    }
}
