//! What a registry or an archive says an image consists of, and which of several is for this machine.

use serde::{Deserialize, Serialize};

use crate::{Digest, ImageError};

/// Media types that are asked for, newest first.
pub(crate) const ACCEPTED: &[&str] = &[OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Bytes of a manifest or index; what registries take at most.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

/// Bytes of a configuration.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// A piece of content by its digest and size, both of which it is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing)]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing)]
    pub annotations: Option<std::collections::HashMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Manifest {
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
}

/// What came under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Tar,
    Gzip,
    Zstd,
}

/// This machine's architecture as OCI names it.
pub(crate) fn this_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

// === impl Document ===

impl Document {
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self, ImageError> {
        let refuse = |why: String| ImageError::NotAnImage { what: what.to_owned(), why };
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| refuse(format!("its manifest: {error}")))?;
        if raw.schema_version != 2 {
            return Err(refuse(format!(
                "its manifest has schema version {}, expected 2: push it again with a current tool",
                raw.schema_version
            )));
        }
        let media = raw.media_type.as_deref();
        let is = |kinds: [&str; 2]| media.is_none_or(|media| kinds.contains(&media));
        match (raw.manifests, raw.config, raw.layers) {
            (Some(manifests), None, None) if is([OCI_INDEX, DOCKER_LIST]) => Ok(Self::Index(manifests)),
            (None, Some(config), Some(layers)) if is([OCI_MANIFEST, DOCKER_MANIFEST]) => {
                if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
                    return Err(refuse(format!("it is an artifact of type {:?}", shorten(&config.media_type))));
                }
                Ok(Self::Manifest(Manifest { config, layers }))
            }
            _ => {
                Err(refuse(format!("its manifest is of no known kind ({})", shorten(media.unwrap_or("no media type")))))
            }
        }
    }
}

/// Which of an index is for linux on this architecture: the plainest variant, for that runs on every machine of it.
pub(crate) fn choose<'d>(
    index: &'d [Descriptor],
    architecture: &str,
    image: &str,
) -> Result<&'d Descriptor, ImageError> {
    // The rank of a variant: lower is plainer. An arm64 without one is v8.
    let rank = |platform: &Platform| match (architecture, platform.variant.as_deref().unwrap_or("")) {
        (_, "") | ("amd64", "v1") | ("arm64", "v8") => 0,
        (_, variant) => variant.trim_start_matches('v').parse().unwrap_or(u32::MAX),
    };
    let fits = |entry: &&Descriptor| {
        entry.platform.as_ref().is_some_and(|one| one.os == "linux" && one.architecture == architecture)
    };
    let chosen = index.iter().filter(fits).min_by_key(|entry| entry.platform.as_ref().map(rank));
    chosen.ok_or_else(|| {
        let mut there: Vec<String> = index.iter().filter_map(|entry| entry.platform.as_ref()).map(name).collect();
        // Attestations are listed as manifests of an unknown platform.
        there.retain(|platform| platform != "unknown/unknown");
        there.dedup();
        there.truncate(30);
        let there = if there.is_empty() { "nothing for any platform".into() } else { there.join(", ") };
        ImageError::Platform { image: image.to_owned(), wanted: architecture.to_owned(), there }
    })
}

fn name(platform: &Platform) -> String {
    let variant = platform.variant.as_deref().filter(|variant| !variant.is_empty());
    let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
    shorten(&format!("{}/{}{variant}", platform.os, platform.architecture))
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

// === impl Descriptor ===

impl Descriptor {
    /// How a layer of this type is packed; `layer` counts from one.
    pub fn packing(&self, layer: usize) -> Result<Packing, ImageError> {
        let kind = self.media_type.as_str();
        let known = [
            ("application/vnd.oci.image.layer.v1.tar", Packing::Tar),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Packing::Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Packing::Zstd),
            ("application/vnd.docker.image.rootfs.diff.tar", Packing::Tar),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Packing::Gzip),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", Packing::Zstd),
        ];
        known.iter().find(|(name, _)| *name == kind).map(|(_, packing)| *packing).ok_or_else(|| ImageError::BadLayer {
            layer,
            why: format!(
                "its type is {:?}, expected a tar, tar+gzip or tar+zstd that may be distributed",
                shorten(kind)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, variant: Option<&str>) -> Descriptor {
        let variant = variant.map(ToOwned::to_owned);
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(format!("{os}{architecture}{variant:?}").as_bytes()),
            size: 1,
            platform: Some(Platform { architecture: architecture.into(), os: os.into(), variant }),
            annotations: None,
        }
    }

    #[test]
    fn the_plainest_variant_of_this_architecture_is_chosen() {
        let index = [
            entry("unknown", "unknown", None),
            entry("windows", "amd64", None),
            entry("linux", "amd64", Some("v3")),
            entry("linux", "amd64", None),
            entry("linux", "arm", Some("v7")),
            entry("linux", "arm", Some("v6")),
        ];
        assert_eq!(choose(&index, "amd64", "it"), Ok(&index[3]));
        assert_eq!(choose(&index, "arm", "it"), Ok(&index[5]));
    }

    #[test]
    fn an_image_for_other_machines_says_for_which() {
        let index = [entry("linux", "s390x", None), entry("windows", "amd64", None), entry("unknown", "unknown", None)];
        let error = choose(&index, "amd64", "docker.io/a/b:c").expect_err("none fits").to_string();
        assert_eq!(error, "docker.io/a/b:c is not made for linux/amd64; there is: linux/s390x, windows/amd64");
    }

    #[test]
    fn what_is_no_image_is_refused_by_its_kind() {
        let parse = |text: &str| Document::parse(text.as_bytes(), "it").expect_err("refused").to_string();
        let digest = Digest::of(b"");
        let chart = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{digest}","size":2}},"layers":[]}}"#
        );
        assert!(parse(&chart).contains("artifact of type \"application/vnd.cncf.helm.config.v1+json\""));
        assert!(parse(r#"{"schemaVersion":1,"name":"a"}"#).contains("schema version 1, expected 2"));
        assert!(parse("[]").contains("not a container image"));
        // Both a list and a manifest: two readers could understand it in two ways.
        let both =
            format!(r#"{{"schemaVersion":2,"manifests":[],"config":{{"digest":"{digest}","size":2}},"layers":[]}}"#);
        assert!(parse(&both).contains("no known kind"));
    }
}
