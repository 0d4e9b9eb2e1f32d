//! Checks the contents of a tree, and writes it beneath a directory descriptor.
//!
//! They are decompressed twice, which costs a second at the very most: a package that is refused has then
//! touched no disk, however much it would have written. Each name is one part, opened below the descriptor of its own folder, never through a link: even with another
//! process busy in the same place nothing is written outside.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};

use super::Unpacked;
use super::contents::{Broken, copy};
use super::directory::Entry;
use super::tree::{Id, Kind, Tree};
use crate::StoreError;

/// From this many files on, the whole file system is synced once instead of each file.
const SYNC_ALL: usize = 64;

const BUFFER: usize = 64 * 1024;

struct Writer<'t, 'a> {
    tree: &'t Tree<'a>,
    sync_each: bool,
    buffer: Box<[u8]>,
    done: Unpacked,
}

/// Decompresses every file to nowhere.
pub(super) fn check(tree: &Tree<'_>) -> Result<(), StoreError> {
    let mut buffer = vec![0; BUFFER];
    for (id, node) in tree.nodes.iter().enumerate() {
        if let Kind::File { entry, .. } = &node.kind {
            copy(entry, &mut buffer, &mut io::sink()).map_err(|broken| failure(tree, id, broken))?;
        }
    }
    Ok(())
}

fn failure(tree: &Tree<'_>, id: Id, broken: Broken) -> StoreError {
    let path = tree.path(id);
    match broken {
        Broken::Refused(why) => StoreError::BadPackage(format!("entry {path}: {why}")),
        Broken::Io(error) => StoreError::io(format_args!("unpacking {path}"), &error),
    }
}

pub(super) fn write(tree: &Tree<'_>, root: BorrowedFd<'_>) -> Result<Unpacked, StoreError> {
    let sync_each = tree.nodes.len() < SYNC_ALL;
    let done = Unpacked { files: 0, bytes: 0 };
    let mut writer = Writer { tree, sync_each, buffer: vec![0; BUFFER].into(), done };
    writer.folder(0, root)?;
    if !sync_each {
        rustix::fs::syncfs(root).map_err(|error| StoreError::io("syncing a package", &error.into()))?;
    }
    Ok(writer.done)
}

// === impl Writer ===

impl Writer<'_, '_> {
    /// Fills the folder open at `here`. Recursion is bounded by `Limits::depth`.
    fn folder(&mut self, id: Id, here: BorrowedFd<'_>) -> Result<(), StoreError> {
        let tree = self.tree;
        let Kind::Folder { children, .. } = &tree.nodes[id].kind else { return Ok(()) };
        for &child in children {
            let node = &tree.nodes[child];
            let failed = |error: rustix::io::Errno| self.failed(child, error.into());
            match &node.kind {
                Kind::Folder { .. } => {
                    rustix::fs::mkdirat(here, node.name, Mode::from_raw_mode(0o700)).map_err(failed)?;
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let below = rustix::fs::openat(here, node.name, flags, Mode::empty()).map_err(failed)?;
                    self.folder(child, below.as_fd())?;
                }
                Kind::File { entry, executable } => {
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let file =
                        rustix::fs::openat(here, node.name, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
                    self.file(child, entry, *executable, File::from(file))?;
                }
                Kind::Link { target } => rustix::fs::symlinkat(target.as_str(), here, node.name).map_err(failed)?,
            }
        }
        // Explicitly, because the umask may say otherwise; sandboxes read it under other user ids.
        let finish = rustix::fs::fchmod(here, Mode::from_raw_mode(0o755));
        let finish = finish.and_then(|()| if self.sync_each { rustix::fs::fsync(here) } else { Ok(()) });
        finish.map_err(|error| self.failed(id, error.into()))
    }

    fn file(&mut self, id: Id, entry: &Entry<'_>, executable: bool, mut file: File) -> Result<(), StoreError> {
        copy(entry, &mut self.buffer, &mut file).map_err(|broken| failure(self.tree, id, broken))?;
        self.done.bytes += entry.size;
        self.done.files += 1;
        let mode = if executable { 0o755 } else { 0o644 };
        let finish = rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(io::Error::from);
        let finish = finish.and_then(|()| if self.sync_each { file.sync_all() } else { Ok(()) });
        finish.map_err(|error| self.failed(id, error))
    }

    fn failed(&self, id: Id, error: io::Error) -> StoreError {
        failure(self.tree, id, Broken::Io(error))
    }
}
