//! Unpacks an untrusted zip beneath a directory, or refuses all of it.
//!
//! ```text
//! bytes ─► directory ─► tree ─► check ─► write ─► files beneath one directory descriptor
//!          │            │       └ refuses: contents that are not of the size or checksum that they were said to be
//!          │            └ refuses: unsafe names, names twice, case collisions, paths through files or links,
//!          │                       links that lead out, devices
//!          └ refuses: what is not a zip, encryption, unknown compression, overlaps, too many, too big
//! ```
//!
//! Nothing is written before everything has been checked. The directory is read here and not by the `zip` crate,
//! because that one keeps every entry of a million in memory before its caller may count them, and drops
//! entries of the same name without saying which. Set-user-id, set-group-id and sticky bits, owners and times
//! are not taken over: a file is 0644, or 0755 if anyone may execute it; a directory is 0755.

mod contents;
mod directory;
mod merge;
mod name;
mod sum;
mod tree;
mod write;

use std::os::fd::BorrowedFd;

use crate::StoreError;

pub use merge::merge;
pub use sum::tree_sum;

/// How much a package may hold. The defaults are AWS Lambda's where it has one.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the zip itself; default 250 MiB.
    pub packed: u64,
    /// Bytes of all files together, unpacked; default 250 MiB.
    pub unpacked: u64,
    /// Files, links and folders, also those that are only named as a parent; default 20,000.
    pub entries: usize,
    /// Bytes of one part of a path; default 255, the most that file systems take.
    pub part_bytes: usize,
    /// Bytes of a whole path; default 4,096, the most that Linux takes.
    pub path_bytes: usize,
    /// Bytes of all paths together, which bounds the memory that checking takes; default 8 MiB.
    pub names_bytes: usize,
    /// Folders inside one another; default 100.
    pub depth: usize,
    /// Bytes of a symbolic link's target; default 1,024.
    pub link_bytes: u64,
}

/// What a package came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    pub files: usize,
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packed: 250 << 20,
            unpacked: 250 << 20,
            entries: 20_000,
            part_bytes: 255,
            path_bytes: 4_096,
            names_bytes: 8 << 20,
            depth: 100,
            link_bytes: 1_024,
        }
    }
}

/// Checks `zip` and writes what it holds beneath `root`, which must be empty. Durable when it returns. After a
/// refusal nothing has been written; after another error, `root` may hold a part. Blocks; takes less than 64 MiB beside `zip`.
pub fn unpack(zip: &[u8], limits: &Limits, root: BorrowedFd<'_>) -> Result<Unpacked, StoreError> {
    let entries = directory::read(zip, limits)?;
    let tree = tree::build(entries, limits)?;
    write::check(&tree)?;
    write::write(&tree, root)
}

fn refuse<T>(why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::BadPackage(why.into()))
}

/// A name from a package as an error may show it: quoted, escaped and cut.
fn show(name: &[u8]) -> String {
    const LONGEST: usize = 100;
    let cut = &name[..name.len().min(LONGEST)];
    let more = if name.len() > LONGEST { "…" } else { "" };
    format!("{:?}{more}", String::from_utf8_lossy(cut))
}
