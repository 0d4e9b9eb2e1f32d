//! A way in for `fuzz/`, of which an ordinary build has nothing.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::layer::{Applier, Context, Layer, make_root};
use crate::manifest::{Document, Packing};
use crate::{Digest, ImageError, Limits};

/// Applies one layer to a folder that is made for it. Its digests are what it has; a packed one's contents have none
/// that is known before, so that it is refused at its very end.
pub fn apply(packing: u8, bytes: &[u8], root: &Path) -> Result<(), ImageError> {
    let limits = Limits { entries: 200, unpacked: 1 << 20, names_bytes: 64 << 10, ..Limits::default() };
    let digest = Digest::of(bytes);
    let packing = [Packing::Tar, Packing::Gzip, Packing::Zstd][usize::from(packing) % 3];
    let layer = Layer { number: 1, digest: &digest, size: bytes.len() as u64, diff_id: &digest, packing };
    let context = Context { take: &mut |_| Ok(()), read: &|_| {}, cancelled: &AtomicBool::new(false) };
    Applier::new(make_root(root)?, limits).layer(&layer, bytes, context)
}

pub fn manifest(bytes: &[u8]) {
    let _ = Document::parse(bytes, "it");
}

pub fn config(bytes: &[u8]) {
    let _ = crate::config::ConfigFile::parse(bytes, "it");
}
