//! Writes a checked tree beneath a directory descriptor.
//!
//! Each name is one part, opened below the descriptor of its own folder, never through a link: even with another
//! process busy in the same place nothing is written outside.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use flate2::bufread::DeflateDecoder;
use rustix::fs::{Mode, OFlags};

use super::directory::{Entry, Method};
use super::tree::{Id, Kind, Tree};
use super::{Unpacked, refuse};
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
            let failed = |error: rustix::io::Errno| self.failed(child, &error.into());
            match &node.kind {
                Kind::Folder { .. } => {
                    rustix::fs::mkdirat(here, node.name, Mode::from_raw_mode(0o700)).map_err(failed)?;
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let below = rustix::fs::openat(here, node.name, flags, Mode::empty()).map_err(failed)?;
                    self.folder(child, below.as_fd())?;
                }
                Kind::File { entry, executable } => {
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let file = rustix::fs::openat(here, node.name, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
                    self.file(child, entry, *executable, File::from(file))?;
                }
                Kind::Link { target } => rustix::fs::symlinkat(target.as_str(), here, node.name).map_err(failed)?,
            }
        }
        // Explicitly, because the umask may say otherwise; sandboxes read it under other user ids.
        let finish = rustix::fs::fchmod(here, Mode::from_raw_mode(0o755));
        let finish = finish.and_then(|()| if self.sync_each { rustix::fs::fsync(here) } else { Ok(()) });
        finish.map_err(|error| self.failed(id, &error.into()))
    }

    fn file(&mut self, id: Id, entry: &Entry<'_>, executable: bool, mut file: File) -> Result<(), StoreError> {
        match entry.method {
            Method::Stored => self.copy(id, entry, &mut &*entry.data, &mut file)?,
            Method::Deflate => {
                let mut inflate = DeflateDecoder::new(entry.data);
                self.copy(id, entry, &mut inflate, &mut file)?;
                if inflate.total_in() != entry.data.len() as u64 {
                    return self.refuse(id, "more data follows its end");
                }
            }
        }
        self.done.files += 1;
        let mode = if executable { 0o755 } else { 0o644 };
        let finish = rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(io::Error::from);
        let finish = finish.and_then(|()| if self.sync_each { file.sync_all() } else { Ok(()) });
        finish.map_err(|error| self.failed(id, &error))
    }

    /// Copies the contents, and holds them against size and checksum. Stops at the first byte too many.
    fn copy(&mut self, id: Id, entry: &Entry<'_>, from: &mut dyn Read, to: &mut File) -> Result<(), StoreError> {
        let mut checksum = crc32fast::Hasher::new();
        let mut size = 0_u64;
        loop {
            let read = match from.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return self.refuse(id, &format!("it cannot be decompressed: {error}")),
            };
            size += read as u64;
            if size > entry.size {
                return self.refuse(id, &format!("it says {} bytes, but holds more", entry.size));
            }
            checksum.update(&self.buffer[..read]);
            to.write_all(&self.buffer[..read]).map_err(|error| self.failed(id, &error))?;
        }
        if size != entry.size {
            return self.refuse(id, &format!("it says {} bytes, but holds {size}", entry.size));
        }
        if checksum.finalize() != entry.crc {
            return self.refuse(id, "its contents do not match their checksum");
        }
        self.done.bytes += size;
        Ok(())
    }

    fn refuse<T>(&self, id: Id, why: &str) -> Result<T, StoreError> {
        refuse(format!("entry {}: {why}", self.tree.path(id)))
    }

    fn failed(&self, id: Id, error: &io::Error) -> StoreError {
        StoreError::io(format_args!("unpacking {}", self.tree.path(id)), error)
    }
}
