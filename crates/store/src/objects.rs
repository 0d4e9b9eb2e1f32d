//! Objects on disk: a file each, named by a random id, never changed once it has its name.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::StoreError;
use crate::companions::Referred;
use crate::packages::make_dir;

/// All objects together, bytes.
const MOST: u64 = 8 << 30;

pub(crate) struct DiskObjects {
    folder: PathBuf,
    /// Bytes in the folder.
    used: AtomicU64,
}

// === impl DiskObjects ===

impl DiskObjects {
    /// Opens the folder, and removes what no record refers to. Blocks.
    pub fn open(dir: &Path, referred: &Referred) -> Result<Self, StoreError> {
        let folder = dir.join("objects");
        if !folder.is_dir() {
            make_dir(&folder, 0o700)?;
        }
        let failed = |error: std::io::Error| StoreError::io(folder.display(), &error);
        let mut used = 0;
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(|name| referred.contains(name)) {
                used += entry.metadata().map_err(failed)?.len();
            } else {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(Self { folder, used: AtomicU64::new(used) })
    }

    pub fn keep(&self, bytes: &Bytes) -> Result<String, StoreError> {
        self.make(bytes.len() as u64, |file| file.write_all(bytes))
    }

    pub fn join(&self, ids: &[String]) -> Result<String, StoreError> {
        let mut parts = Vec::with_capacity(ids.len());
        let mut size = 0;
        for id in ids {
            let path = self.path(id)?;
            size += fs::metadata(&path).map_err(|error| StoreError::io(path.display(), &error))?.len();
            parts.push(path);
        }
        self.make(size, |file| parts.iter().try_for_each(|part| std::io::copy(&mut File::open(part)?, file).map(drop)))
    }

    pub fn read(&self, id: &str, from: u64, length: usize) -> Result<Bytes, StoreError> {
        let path = self.path(id)?;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(length as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map(Bytes::from).map_err(|error| StoreError::io(path.display(), &error))
    }

    pub fn discard(&self, ids: &[String]) {
        for path in ids.iter().filter_map(|id| self.path(id).ok()) {
            let size = fs::metadata(&path).map_or(0, |data| data.len());
            match fs::remove_file(&path) {
                Ok(()) => drop(self.used.fetch_sub(size, Ordering::Relaxed)),
                // The next start removes it.
                Err(error) => tracing::warn!(%error, "could not remove {}", path.display()),
            }
        }
    }

    /// Links those into another folder, and says how many are not there.
    pub fn link(&self, ids: &Referred, into: &Path) -> Result<usize, StoreError> {
        let mut missing = 0;
        for id in ids {
            let link = into.join(id);
            match fs::hard_link(self.path(id)?, &link) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound => missing += 1,
                Err(error) => return Err(StoreError::io(link.display(), &error)),
            }
        }
        Ok(missing)
    }

    pub fn missing(&self, ids: &Referred) -> usize {
        ids.iter().filter(|id| !self.path(id).is_ok_and(|path| path.is_file())).count()
    }

    fn make(&self, size: u64, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<String, StoreError> {
        if self.used.fetch_add(size, Ordering::Relaxed) + size > MOST {
            self.used.fetch_sub(size, Ordering::Relaxed);
            return Err(StoreError::TooMany { what: "bytes in buckets", most: MOST });
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StoreError::Failed(format!("draw random bits: {error}")))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.folder.join(&id);
        let made = || -> std::io::Result<()> {
            let mut file = File::create_new(&path)?;
            write(&mut file)?;
            file.sync_all()?;
            // The name has to outlive a power cut as well.
            File::open(&self.folder)?.sync_all()
        };
        made().map_err(|error| {
            let _ = fs::remove_file(&path);
            self.used.fetch_sub(size, Ordering::Relaxed);
            StoreError::io(path.display(), &error)
        })?;
        Ok(id)
    }

    /// Only what looks like an id of ours becomes a path.
    fn path(&self, id: &str) -> Result<PathBuf, StoreError> {
        let good = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| self.folder.join(id)).ok_or_else(|| StoreError::Failed(format!("{id:?} is no object's id")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_joined_read_and_swept() {
        let dir = tempfile::tempdir().unwrap();
        let objects = DiskObjects::open(dir.path(), &Referred::new()).unwrap();
        let one = objects.keep(&Bytes::from_static(b"hello ")).unwrap();
        let two = objects.keep(&Bytes::from_static(b"world")).unwrap();
        let both = objects.join(&[one.clone(), two.clone()]).unwrap();
        assert_eq!(objects.read(&both, 4, 5).unwrap(), &b"o wor"[..]);
        objects.discard(std::slice::from_ref(&one));
        assert!(objects.read(&one, 0, 1).is_err());
        assert!(objects.read("../catalogue.db", 0, 1).is_err());
        drop(objects);
        let again = DiskObjects::open(dir.path(), &Referred::from([both.clone()])).unwrap();
        assert_eq!(again.used.load(Ordering::Relaxed), 11);
        assert!(again.read(&two, 0, 1).is_err(), "nothing refers to it");
        assert_eq!(again.read(&both, 0, 100).unwrap(), &b"hello world"[..]);
    }
}
