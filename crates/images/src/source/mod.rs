//! Where images come from, and what each of them says an image is before a layer is read.

pub(crate) mod archive;
pub(crate) mod layout;
pub(crate) mod registry;

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use crate::config::ConfigFile;
use crate::manifest::{Descriptor, Manifest, Packing};
use crate::{Digest, ImageConfig, ImageError, Limits, Reference};

/// Where an image is to come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    Registry(Reference),
    /// A folder in the OCI layout (`oci-layout`, `index.json`, `blobs/`). `name` chooses one of several: the
    /// reference or tag that the layout gives it, or its digest.
    Layout {
        path: PathBuf,
        name: Option<String>,
    },
    /// An uncompressed tar: of an OCI layout, or what `docker save` writes.
    Archive {
        path: PathBuf,
        name: Option<String>,
    },
}

/// What an image will be, all but its layers verified.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Of the manifest.
    pub digest: Digest,
    pub config: ImageConfig,
    /// Lowest first.
    pub layers: Vec<PlannedLayer>,
    pub references: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct PlannedLayer {
    pub blob: Descriptor,
    pub diff_id: Digest,
    pub packing: Packing,
}

/// Yields the bytes of layers, as they come: whoever reads them holds them against digest and size.
pub(crate) trait Blobs: Send {
    /// Blocks.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read>, ImageError>;
}

/// What the image must be for.
pub(crate) struct Wanted<'a> {
    /// As OCI names it.
    pub architecture: &'a str,
    pub limits: &'a Limits,
}

// === impl Plan ===

impl Plan {
    /// Holds manifest and configuration against each other and against what is wanted.
    pub fn new(
        what: &str,
        digest: Digest,
        manifest: Manifest,
        config: &[u8],
        wanted: &Wanted<'_>,
    ) -> Result<Self, ImageError> {
        let config = ConfigFile::parse(config, what)?;
        let refuse = |why: String| ImageError::NotAnImage { what: what.to_owned(), why };
        if !["", "linux"].contains(&config.os.as_str()) || !["", wanted.architecture].contains(&&*config.architecture) {
            let show = |text: &str| text.chars().filter(|c| !c.is_control()).take(40).collect::<String>();
            return Err(ImageError::Platform {
                image: what.to_owned(),
                wanted: wanted.architecture.to_owned(),
                there: format!("{}/{}", show(&config.os), show(&config.architecture)),
            });
        }
        if manifest.layers.len() > wanted.limits.layers {
            return Err(ImageError::Limit { what: "layers", limit: wanted.limits.layers as u64 });
        }
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let (ids, layers) = (diff_ids.len(), manifest.layers.len());
            return Err(refuse(format!("its manifest has {layers} layers, its configuration {ids}")));
        }
        let layers = manifest.layers.into_iter().zip(diff_ids).enumerate().map(|(at, (blob, diff_id))| {
            let packing = blob.packing(at + 1)?;
            Ok(PlannedLayer { blob, diff_id: diff_id.clone(), packing })
        });
        let layers = layers.collect::<Result<Vec<_>, ImageError>>()?;
        let config = config.into_config();
        Ok(Self { digest, config, layers, references: vec![] })
    }

    /// Bytes of all layers as they are packed.
    pub fn packed(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.blob.size))
    }
}

/// Reads a small document whole and holds it against its descriptor.
pub(crate) fn read_document(blob: &Descriptor, limit: u64, what: &str, from: impl Read) -> Result<Vec<u8>, ImageError> {
    check_document(blob, limit, what)?;
    let mut bytes = Vec::new();
    let read = from.take(blob.size + 1).read_to_end(&mut bytes);
    read.map_err(|error| ImageError::io(format_args!("reading {what}"), &error))?;
    hold_document(blob, what, &bytes)?;
    Ok(bytes)
}

/// Refuses a document that says itself that it is too large, or that is in another algorithm's name.
pub(crate) fn check_document(blob: &Descriptor, limit: u64, what: &str) -> Result<(), ImageError> {
    match blob.size > limit {
        true => Err(ImageError::NotAnImage {
            what: what.to_owned(),
            why: format!("it says it has {} bytes, expected at most {limit}", blob.size),
        }),
        false => Ok(()),
    }
}

/// Holds a document against its descriptor.
pub(crate) fn hold_document(blob: &Descriptor, what: &str, bytes: &[u8]) -> Result<(), ImageError> {
    let size = bytes.len() as u64;
    if size != blob.size {
        let got = if size > blob.size { "more".into() } else { size.to_string() };
        return Err(ImageError::SizeMismatch { what: what.to_owned(), expected: blob.size, got });
    }
    let got = Digest::of(bytes);
    match got == blob.digest {
        true => Ok(()),
        false => Err(ImageError::DigestMismatch { what: what.to_owned(), expected: blob.digest.clone(), got }),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, name) = match self {
            Self::Registry(reference) => return reference.fmt(f),
            Self::Layout { path, name } | Self::Archive { path, name } => (path, name),
        };
        match name {
            Some(name) => write!(f, "{}:{name}", path.display()),
            None => path.display().fmt(f),
        }
    }
}
