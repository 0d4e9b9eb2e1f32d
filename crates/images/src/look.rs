//! Looks at an image's files from outside, the way its programs would see them: links are resolved as if the image's
//! root were `/`, and lead nowhere else.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::ImageError;

/// Bytes of a text that are read.
const MAX_TEXT: u64 = 1 << 20;

/// A program that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// As it was looked for: absolute, in the image.
    pub path: String,
    /// What its file is called in the end, all links followed: `python3.11` of `/usr/bin/python3`.
    pub name: String,
}

/// An image's root.
pub(crate) struct Inside(OwnedFd);

// === impl Inside ===

impl Inside {
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(root, dir, Mode::empty());
        opened.map(Self).map_err(|error| failed("root", error))
    }

    /// None: there is no such file.
    fn at(&self, path: &str, flags: OFlags) -> Result<Option<OwnedFd>, ImageError> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), inside) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(failed(path, error)),
        }
    }

    /// A small text file; empty if there is none.
    pub fn text(&self, path: &str) -> Result<String, ImageError> {
        let Some(file) = self.at(path, OFlags::RDONLY | OFlags::NONBLOCK)? else { return Ok(String::new()) };
        let found = rustix::fs::fstat(&file).map_err(|error| failed(path, error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(String::new());
        }
        let mut text = Vec::new();
        let read = File::from(file).take(MAX_TEXT).read_to_end(&mut text);
        read.map_err(|error| ImageError::io(format_args!("reading {path} of an image"), &error))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A file that others than its owner may run.
    pub fn program(&self, path: &str) -> Result<Option<Program>, ImageError> {
        let Some(file) = self.at(path, OFlags::PATH)? else { return Ok(None) };
        let found = rustix::fs::fstat(&file).map_err(|error| failed(path, error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_mode & 0o001 == 0 {
            return Ok(None);
        }
        let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let real = std::fs::read_link(link).unwrap_or_else(|_| PathBuf::from(path));
        let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Some(Program { path: path.to_owned(), name }))
    }

    /// Looks for a program along a `PATH`, each name in all of it before the next.
    pub fn find(&self, names: &[&str], path: &str) -> Result<Vec<Program>, ImageError> {
        let mut found = Vec::new();
        for name in names {
            for folder in path.split(':').filter(|folder| folder.starts_with('/')) {
                found.extend(self.program(&format!("{}/{name}", folder.trim_end_matches('/')))?);
            }
        }
        Ok(found)
    }
}

fn failed(path: &str, error: Errno) -> ImageError {
    ImageError::io(format_args!("looking at {path} of an image"), &error.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_program_is_found_as_the_image_would_and_never_outside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("opt/py/bin")).unwrap();
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        let program = root.join("opt/py/bin/python3.11");
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/opt/py/bin/python3.11", root.join("usr/bin/python3")).unwrap();
        symlink("/bin/sh", root.join("usr/bin/sh")).unwrap();
        symlink("../../../../../../../bin/ls", root.join("usr/bin/ls")).unwrap();
        symlink("/proc/self/exe", root.join("usr/bin/exe")).unwrap();
        std::fs::write(root.join("usr/bin/text"), "").unwrap();
        let inside = Inside::open(root).unwrap();
        let found = inside.find(&["python3.11", "python3"], "/usr/bin:relative:/opt/py/bin/").unwrap();
        let paths: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.name.as_str())).collect();
        assert_eq!(paths, [("/opt/py/bin/python3.11", "python3.11"), ("/usr/bin/python3", "python3.11")]);
        assert_eq!(inside.find(&["sh", "ls", "exe", "text"], "/usr/bin").unwrap(), []);
    }
}
