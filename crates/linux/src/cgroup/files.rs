//! Control files: small texts, written and read whole, by path from an open folder.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// Writes a control file in one go. `made`: it may be missing, and is made (on a made-up machine).
pub fn write(dir: impl AsFd, path: &str, text: &str, made: bool) -> io::Result<()> {
    let mut flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if made {
        flags |= OFlags::CREATE | OFlags::TRUNC;
    }
    let file = rustix::fs::openat(dir, path, flags, Mode::from_raw_mode(0o644)).map_err(at("open", path))?;
    rustix::io::write(&file, text.as_bytes()).map_err(at("write", path))?;
    Ok(())
}

/// Writes a number.
pub fn write_number(dir: impl AsFd, path: &str, number: u64, made: bool) -> io::Result<()> {
    let mut text = String::with_capacity(20);
    let _ = write!(text, "{number}");
    write(dir, path, &text, made)
}

pub fn open(dir: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, path, flags, Mode::empty()).map_err(at("open", path))
}

/// Opens a control file that is there.
pub fn open_to_write(dir: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, path, flags, Mode::empty()).map_err(at("open", path))
}

pub fn read(dir: impl AsFd, path: &str) -> io::Result<String> {
    let file = open(dir, path)?;
    let mut text = Vec::with_capacity(4096);
    loop {
        let mut part = [0; 4096];
        match rustix::io::read(&file, &mut part).map_err(at("read", path))? {
            0 => break,
            length => text.extend_from_slice(&part[..length]),
        }
    }
    String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into())
}

pub fn exists(dir: impl AsFd, path: &str) -> bool {
    rustix::fs::accessat(dir, path, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_ok()
}

/// Names the file in the error, and keeps its kind.
pub fn at(verb: &'static str, path: &str) -> impl FnOnce(rustix::io::Errno) -> io::Error {
    let path = path.to_owned();
    move |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{verb} {path}: {error}"))
    }
}

/// The number after `key` in a file of `key number` lines.
pub fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
