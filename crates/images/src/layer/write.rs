//! Carries the tree's orders out beneath one directory descriptor.
//!
//! Every folder is opened from the root with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, every last part without following
//! it. The tree has resolved all links already, so that a way with a link in it means that disk and tree differ:
//! an error, and nothing written. Modes are set explicitly, because the umask may say otherwise.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::tree::{Disk, Name};
use crate::ImageError;
use crate::error::show;

pub(super) struct Writer {
    root: OwnedFd,
    /// The folder that was opened last: entries come folder by folder.
    last: Option<(Box<[Name]>, OwnedFd)>,
}

/// Makes the folder that becomes an image's root. Other users go through it, so it has the mode 0755 whatever the image
/// says.
pub(crate) fn make_root(path: &Path) -> Result<OwnedFd, ImageError> {
    let failed = |error: Errno| ImageError::io(path.display(), &error.into());
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).map_err(failed)?;
    Ok(root)
}

// === impl Writer ===

impl Writer {
    pub fn new(root: OwnedFd) -> Self {
        Self { root, last: None }
    }

    /// Sets a folder's permission bits; its owner, who must be able to remove it, always has all.
    pub fn set_folder_mode(&mut self, folder: &[Name], name: &[u8], mode: u32) -> Result<(), ImageError> {
        let mode = Mode::from_raw_mode((mode & 0o1777) | 0o700);
        // A name that is a folder, for the tree has just made or met it.
        rustix::fs::chmodat(self.open(folder)?, name, mode, AtFlags::empty()).map_err(|error| failed(name, error))
    }

    /// Writes a new file, whose contents `copy` writes.
    pub fn file(
        &mut self,
        folder: &[Name],
        name: &[u8],
        mode: u32,
        modified: u64,
        copy: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.open(folder)?, name, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(file.map_err(|error| failed(name, error))?);
        copy(&mut file)?;
        let mode = Mode::from_raw_mode((mode & 0o777) | 0o400);
        rustix::fs::fchmod(&file, mode).map_err(|error| failed(name, error))?;
        // Python holds the time of a source against that in its compiled file.
        let seconds = i64::try_from(modified).unwrap_or(0).min(i64::from(u32::MAX));
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&file, &times).map_err(|error| failed(name, error))
    }

    pub fn link(&mut self, folder: &[Name], name: &[u8], target: &[u8]) -> Result<(), ImageError> {
        rustix::fs::symlinkat(target, self.open(folder)?, name).map_err(|error| failed(name, error))
    }

    pub fn hard_link(&mut self, from: (&[Name], &[u8]), folder: &[Name], name: &[u8]) -> Result<(), ImageError> {
        let there = self.open(from.0)?.try_clone_to_owned().map_err(|error| ImageError::io(show(name), &error))?;
        let here = self.open(folder)?;
        rustix::fs::linkat(there, from.1, here, name, AtFlags::empty()).map_err(|error| failed(name, error))
    }

    fn open(&mut self, folder: &[Name]) -> Result<BorrowedFd<'_>, ImageError> {
        if folder.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(way, _)| **way != *folder) {
            let opened = open_beneath(self.root.as_fd(), &folder.join(&b'/')).map_err(|error| match error {
                Errno::NOSYS => ImageError::Failed("unpacking images needs Linux 5.6 or newer (openat2)".into()),
                error => failed(&folder.join(&b'/'), error),
            })?;
            self.last = Some((folder.into(), opened));
        }
        Ok(self.last.as_ref().expect("just opened").1.as_fd())
    }
}

fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

fn failed(name: &[u8], error: Errno) -> ImageError {
    ImageError::io(format_args!("unpacking {}", show(name)), &io::Error::from(error))
}

impl Disk for Writer {
    fn make_folder(&mut self, folder: &[Name], name: &[u8]) -> Result<(), ImageError> {
        let here = self.open(folder)?;
        rustix::fs::mkdirat(here, name, Mode::from_raw_mode(0o700)).map_err(|error| failed(name, error))?;
        self.set_folder_mode(folder, name, 0o755)
    }

    fn remove_file(&mut self, folder: &[Name], name: &[u8]) -> Result<(), ImageError> {
        rustix::fs::unlinkat(self.open(folder)?, name, AtFlags::empty()).map_err(|error| failed(name, error))
    }

    fn remove_folder(&mut self, folder: &[Name], name: &[u8]) -> Result<(), ImageError> {
        rustix::fs::unlinkat(self.open(folder)?, name, AtFlags::REMOVEDIR).map_err(|error| failed(name, error))?;
        // It, or one in it, may be the one that is open.
        self.last = None;
        Ok(())
    }
}

/// Copies to its end through `buffer`; `more` is asked before each piece is written.
pub(super) fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    buffer: &mut [u8],
    more: &mut dyn FnMut(u64) -> Result<(), ImageError>,
) -> Result<(), CopyError> {
    loop {
        let read = from.read(buffer).map_err(CopyError::Read)?;
        if read == 0 {
            return Ok(());
        }
        more(read as u64).map_err(CopyError::Refused)?;
        to.write_all(&buffer[..read]).map_err(CopyError::Write)?;
    }
}

pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
    Refused(ImageError),
}
