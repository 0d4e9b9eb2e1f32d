//! A package's folder, for whoever may not trust its owner: opened beneath the folder of packages, and mounted from the
//! descriptor, so that what was looked at is what appears.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::CodeHash;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::sys;

/// The package's folder in `packages`. It belongs to the server, which is not trusted: no link is followed out of it.
pub fn open(packages: BorrowedFd<'_>, hash: &CodeHash) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat2(packages, hash.as_str(), flags, Mode::empty(), resolve)?)
}

/// A detached, read-only mount of a folder, to be attached where code is seen.
pub fn mount(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let tree = sys::open_tree(folder, c"", false)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::mount_setattr(tree.as_fd(), c"", false, attributes)?;
    Ok(tree)
}
