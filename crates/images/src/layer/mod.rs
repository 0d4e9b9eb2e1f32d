//! Applies untrusted layers, one over the other, to a root file system, or refuses all of it.
//!
//! ```text
//! blob ─► decode ─► tar ─► tree ─► write ─► files beneath one directory descriptor
//!         │         │      │       └ opens every folder with RESOLVE_BENEATH and no links at all
//!         │         │      └ decides, in memory, what each entry means for what is there: which folder its
//!         │         │        parents' links lead to inside the root, what it replaces, what whiteouts take away
//!         │         └ refuses: damaged headers, sparse files, sizes where there is no content, endless names
//!         └ refuses: what is not of the size, digest or diff_id that it was said to be, ratio bombs
//! ```
//!
//! Where tools differ, this is containerd's reading, which builders test against: links in an entry's folder are
//! followed as inside a chroot, links in its last part never; an absolute name is one beneath the root. Owners,
//! set-id bits and extended attributes are dropped, devices, fifos and sockets left out. An error may leave a part
//! of the root written: the caller works in a temporary folder.

mod apply;
mod decode;
mod name;
pub(crate) mod tar;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use std::sync::atomic::AtomicBool;

use crate::manifest::Packing;
use crate::{Digest, ImageError};

pub(crate) use apply::Applier;
pub(crate) use write::make_root;

/// How much an image may hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Layers; default 128.
    pub layers: usize,
    /// Entries of all layers together, and folders that are only named as parents; default 500,000.
    pub entries: u64,
    /// Bytes written by all layers together, also those that later layers replace; default 10 GiB.
    pub unpacked: u64,
    /// Bytes of a path; default 4,000, a little less than Linux takes.
    pub path_bytes: usize,
    /// Folders inside one another, links resolved; default 128.
    pub depth: usize,
    /// Bytes of all names and link targets together, which bounds the memory that unpacking takes; default 128 MiB.
    pub names_bytes: u64,
    /// Bytes that one compressed byte may become, over the first 64 MiB of a layer; default 200.
    pub ratio: u64,
}

/// What was left out of an image while unpacking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// Devices, fifos and sockets. `/dev` is the sandbox's.
    pub special: u64,
    /// Files that had set-user-id or set-group-id, which they lost.
    pub set_id: u64,
}

/// One layer as the image describes it.
pub(crate) struct Layer<'a> {
    /// Counts from one, for messages.
    pub number: usize,
    pub digest: &'a Digest,
    pub size: u64,
    pub diff_id: &'a Digest,
    pub packing: Packing,
}

/// What the unpacking asks and tells its caller. All are called from the unpacking thread, often.
pub(crate) struct Context<'a> {
    /// May these bytes more be written? An error ends the unpacking.
    pub take: &'a mut dyn FnMut(u64) -> Result<(), ImageError>,
    /// So many bytes of the packed layer have been read.
    pub read: &'a dyn Fn(u64),
    /// Set from elsewhere when nobody waits any more.
    pub cancelled: &'a AtomicBool,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 128,
            entries: 500_000,
            unpacked: 10 << 30,
            path_bytes: 4_000,
            depth: 128,
            names_bytes: 128 << 20,
            ratio: 200,
        }
    }
}
