//! Room that is kept for cleaning up. Who removes something to make room on a full disk needs a little of it first: the
//! database's log grows before anything gets smaller.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// Enough for the log of a function's removal, many times over.
const MOST: u64 = 2 << 20;
const LEAST: u64 = 128 << 10;

/// A file that is of no use but to be removed.
pub(super) struct Spare {
    path: PathBuf,
}

// === impl Spare ===

impl Spare {
    pub fn open(dir: &Path) -> Self {
        let spare = Self { path: dir.join("spare") };
        spare.refill();
        spare
    }

    /// Gives the room to others. False if there is none kept.
    pub fn spend(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Keeps room again, as much as there is up to [`MOST`].
    pub fn refill(&self) {
        let Ok(file) = File::options().create(true).write(true).truncate(false).open(&self.path) else { return };
        let has = file.metadata().map_or(0, |file| file.len());
        let mut size = MOST;
        while size > has && size >= LEAST {
            if fallocate(&file, FallocateFlags::empty(), 0, size).is_ok() {
                return;
            }
            size /= 2;
        }
        // A disk on which no room can be kept is no fault: then there may be none one day.
        if has < LEAST {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_until_it_is_spent_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let spare = Spare::open(dir.path());
        assert_eq!(fs::metadata(&spare.path).unwrap().len(), MOST);
        assert!(spare.spend());
        assert!(!spare.spend());
        spare.refill();
        assert_eq!(fs::metadata(&spare.path).unwrap().len(), MOST);
    }
}
