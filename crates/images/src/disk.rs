//! Folders and files as the image store needs them: with exact modes, durable, removed whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::ImageError;

/// A folder beneath `tmp`, removed with all in it when dropped; that blocks.
pub(crate) struct Scratch(pub PathBuf);

/// Makes a directory with exactly this mode, whatever the umask; one that is there gets the mode.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), ImageError> {
    let made = match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let made = made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    made.map_err(|error| ImageError::io(path.display(), &error))
}

/// Makes durable which names a directory holds.
pub(crate) fn sync(dir: &Path) -> Result<(), ImageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| ImageError::io(dir.display(), &error))
}

/// Makes durable everything on the file system that holds `dir`: an image has too many files to sync each.
pub(crate) fn sync_all(dir: &Path) -> Result<(), ImageError> {
    let synced = File::open(dir).and_then(|dir| rustix::fs::syncfs(&dir).map_err(io::Error::from));
    synced.map_err(|error| ImageError::io(format_args!("syncing {}", dir.display()), &error))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), ImageError> {
    fs::rename(from, to).map_err(|error| ImageError::io(format_args!("renaming to {}", to.display()), &error))
}

/// Removes a file, or a folder with all in it; one that is gone already is fine. Follows no links.
pub(crate) fn remove(path: &Path) -> Result<(), ImageError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(ImageError::io(format_args!("removing {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Names in a directory; those that are not UTF-8 are not ours.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>, ImageError> {
    let names = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().into_string().ok())).collect::<io::Result<Vec<_>>>()
    });
    Ok(names.map_err(|error| ImageError::io(dir.display(), &error))?.into_iter().flatten().collect())
}

/// Replaces the file `to` by `contents`, whole or not at all, by way of `by` on the same file system. Durable when it
/// returns.
pub(crate) fn write(contents: &[u8], by: &Path, to: &Path) -> Result<(), ImageError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(by);
    let written = file.and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()));
    written.map_err(|error| ImageError::io(format_args!("writing {}", to.display()), &error))?;
    rename(by, to)?;
    sync(to.parent().unwrap_or(to))
}

/// Bytes that a folder with all in it takes on disk; what has several names in it counts once.
pub(crate) fn size(dir: &Path) -> Result<u64, ImageError> {
    let mut several = std::collections::HashSet::new();
    let mut bytes = 0;
    let mut todo = vec![dir.to_path_buf()];
    let failed = |path: &Path, error: &io::Error| ImageError::io(path.display(), error);
    while let Some(folder) = todo.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| failed(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(&folder, &error))?;
            let found = entry.metadata().map_err(|error| failed(&entry.path(), &error))?;
            if found.is_dir() {
                todo.push(entry.path());
            } else if found.nlink() > 1 && !several.insert(found.ino()) {
                continue;
            }
            bytes += found.blocks() * 512;
        }
    }
    Ok(bytes)
}

// === impl Scratch ===

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            // Emptied at the next opening.
            tracing::warn!(%error, "a temporary folder is left");
        }
    }
}
