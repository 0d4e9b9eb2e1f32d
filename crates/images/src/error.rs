//! Why an image could not be had, unpacked, kept or removed. Each message names its subject and what to do.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use crate::Digest;

/// Clones are shared with everybody who waits for the same pull.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("image reference {given:?} is not valid: {why}; expected `[registry/]name[:tag|@sha256:…]`")]
    BadReference { given: String, why: String },
    #[error("{0:?} is not a digest, expected `sha256:` and 64 lower-case hexadecimal digits")]
    BadDigest(String),
    /// 401, 403 and a token service that says no.
    #[error(
        "{registry} does not let {who} pull {image} ({status}): check that the image exists under this name, and give a \
         user and password, or a token, that may pull it{said}"
    )]
    Unauthorized { registry: String, image: String, who: String, status: String, said: String },
    #[error("{registry} has no {image}: check name, tag and spelling")]
    NotFound { registry: String, image: String },
    #[error("{registry} answers {image} with status {status}{said}")]
    Registry { registry: String, image: String, status: String, said: String },
    #[error("{registry} limits how often it may be asked (429): try again later, or log in, which often allows more")]
    TooManyRequests { registry: String },
    #[error("{registry} cannot be reached: {why}")]
    Unreachable { registry: String, why: String },
    #[error("{registry} does not speak the registry protocol: {why}")]
    Protocol { registry: String, why: String },
    #[error("{what} is not what it says: expected digest {expected}, got {got}")]
    DigestMismatch { what: String, expected: Digest, got: Digest },
    #[error("{what} is not what it says: expected {expected} bytes, got {got}")]
    SizeMismatch { what: String, expected: u64, got: String },
    #[error("{what} is not a container image: {why}")]
    NotAnImage { what: String, why: String },
    #[error("{image} is not made for linux/{wanted}; there is: {there}")]
    Platform { image: String, wanted: String, there: String },
    #[error("{place} holds several images; name one of: {there}")]
    Ambiguous { place: String, there: String },
    #[error("{place} holds no image named {name}; there is: {there}")]
    NoSuchName { place: String, name: String, there: String },
    #[error("layer {layer} is refused: {why}")]
    BadLayer { layer: usize, why: String },
    #[error("layer {layer}, entry {path}: {why}")]
    BadEntry { layer: usize, path: String, why: String },
    #[error("the image is refused: it has more than {limit} {what}")]
    Limit { what: &'static str, limit: u64 },
    #[error(
        "no room for the image: it needs {needed} bytes or more, and of the {budget} bytes for images {used} are \
         held by images in use and by other pulls: remove functions or images, or raise the budget"
    )]
    NoRoom { needed: u64, used: u64, budget: u64 },
    #[error("the disk is full")]
    DiskFull,
    #[error("image {0} is in use by a function: remove or change that first")]
    InUse(Digest),
    #[error("no image {0}: pull it first")]
    NoSuchImage(String),
    #[error("credentials for {registry}: {why}")]
    Credentials { registry: String, why: String },
    #[error("image user {user:?}: {why}")]
    User { user: String, why: String },
    #[error("the image has neither ENTRYPOINT nor CMD: say which command to run")]
    NoCommand,
    #[error("the pull was given up")]
    Cancelled,
    /// The inside text; callers are told only that the image store failed.
    #[error("the image store failed: {0}")]
    Failed(String),
}

// === impl ImageError ===

impl ImageError {
    /// What the file system said about `subject`.
    pub(crate) fn io(subject: impl Display, error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Failed(format!("{subject}: {error}")),
        }
    }
}

/// A name from outside, for a message: bounded, without control characters.
pub(crate) fn show(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name).chars().take(200).collect();
    text.escape_debug().to_string()
}
