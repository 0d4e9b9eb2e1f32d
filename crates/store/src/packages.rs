//! Packages on disk, each as its zip and unpacked.
//!
//! ```text
//! <dir>/tmp/<n>/          being made or removed; emptied when the store opens
//! <dir>/code/<sha256>/    unpacked, for sandboxes to mount
//! <dir>/packages/<sha256>.zip
//! <dir>/packages/<sha256>.tree     a sum of all that is unpacked, see [`crate::unpack::tree_sum`]
//!
//! add:     tmp/n/code ─sync─► code/<sha256> ─► packages/<sha256>.tree ─sync─► packages/<sha256>.zip ─sync─► done
//! remove:  packages/<sha256>.zip ─sync─► gone, then the sum, and code/<sha256> ─► tmp/n ─► gone
//! verify:  code/<sha256> is of the sum? ─► fine     no, or no sum ─► unpacked again from the zip, if that is of its name
//! ```
//!
//! The zip comes last and goes first: a package is there if and only if its zip is. A crash leaves at most a
//! folder without its zip, which the next opening removes. A zip without its folder is not a state that a crash
//! makes, but people and backups do: the next opening unpacks it again.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use model::CodeHash;
use sha2::{Digest, Sha256};

use crate::unpack::{Limits, merge, tree_sum, unpack};
use crate::{FileHead, StoreError};

/// The packages beneath one directory. One process at a time: the caller holds the lock. All methods block.
#[derive(Debug)]
pub struct DiskPackages {
    packages: PathBuf,
    code: PathBuf,
    tmp: PathBuf,
    limits: Limits,
    /// Held while a package appears or goes, so that one is not found and removed at once.
    gate: Mutex<()>,
    next: AtomicU64,
}

/// A folder beneath `tmp`, removed when dropped.
struct Scratch(PathBuf);

// === impl DiskPackages ===

impl DiskPackages {
    /// Opens the packages beneath `dir`, which exists, and mends what a crash left.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, StoreError> {
        let packages = Self {
            packages: dir.join("packages"),
            code: dir.join("code"),
            tmp: dir.join("tmp"),
            limits,
            gate: Mutex::new(()),
            next: AtomicU64::new(0),
        };
        make_dir(&packages.packages, 0o700)?;
        // Sandboxes reach their own folder under other user ids; nobody may list the others.
        make_dir(&packages.code, 0o711)?;
        make_dir(&packages.tmp, 0o700)?;
        sync(dir)?;
        packages.mend()?;
        Ok(packages)
    }

    fn mend(&self) -> Result<(), StoreError> {
        for entry in list(&self.tmp)? {
            remove(&self.tmp.join(entry))?;
        }
        let zips: HashSet<String> =
            list(&self.packages)?.into_iter().filter_map(|name| Some(name.strip_suffix(".zip")?.to_owned())).collect();
        let folders: HashSet<String> = list(&self.code)?.into_iter().collect();
        let known = |name: &&String| name.parse::<CodeHash>().is_ok();
        for name in list(&self.packages)? {
            if name.strip_suffix(".tree").is_some_and(|name| !zips.contains(name)) {
                remove(&self.packages.join(name))?;
            }
        }
        for name in folders.difference(&zips).filter(known) {
            tracing::info!(package = %name, "removing a package that was not added to its end");
            remove(&self.code.join(name))?;
        }
        for name in zips.difference(&folders).filter(known) {
            let hash: CodeHash = name.parse().map_err(|error| StoreError::Failed(format!("{error}")))?;
            tracing::warn!(package = %name, "unpacking a package again whose folder is gone");
            match self.restore(&hash) {
                Ok(()) => {}
                Err(why @ (StoreError::BadPackage(_) | StoreError::DamagedPackage(_))) => {
                    tracing::error!(package = %name, %why, "removing a package that is damaged: deploy it again");
                    remove(&self.zip_path(&hash))?;
                    remove(&self.sum_path(&hash))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn restore(&self, hash: &CodeHash) -> Result<(), StoreError> {
        let zip = self.read(hash)?;
        let scratch = self.scratch()?;
        let sum = self.unpack_into(&zip, &scratch.0.join("code"))?;
        rename(&scratch.0.join("code"), &self.folder(hash))?;
        sync(&self.code)?;
        self.put_sum(hash, &sum, &scratch)
    }

    /// Has the sum of a package's folder in its place. Lost by a crash it is made anew.
    fn put_sum(&self, hash: &CodeHash, sum: &str, scratch: &Scratch) -> Result<(), StoreError> {
        let made = scratch.0.join("tree");
        fs::write(&made, sum).map_err(|error| StoreError::io(made.display(), &error))?;
        rename(&made, &self.sum_path(hash))
    }

    /// See [`crate::CodeIntegrity::whole`].
    pub fn verify(&self, hash: &CodeHash) -> Result<(), StoreError> {
        let folder = self.folder(hash);
        let found = tree_sum(&folder);
        let wanted = fs::read_to_string(self.sum_path(hash)).ok();
        if let (Ok(found), Some(wanted)) = (&found, &wanted)
            && found == wanted
        {
            return Ok(());
        }
        // Whatever is wrong, the zip tells what is right.
        let zip = self.read(hash)?;
        let scratch = self.scratch()?;
        let code = scratch.0.join("code");
        let sum = self.unpack_into(&zip, &code)?;
        let _gate = self.gate();
        if !self.has(hash) {
            return Err(StoreError::NoSuchPackage(hash.clone()));
        }
        if found.as_ref().ok() != Some(&sum) {
            tracing::error!(package = %hash, "the unpacked code was damaged: it is unpacked again");
            if fs::symlink_metadata(&folder).is_ok() {
                rename(&folder, &scratch.0.join("old"))?;
            }
            rename(&code, &folder)?;
            sync(&self.code)?;
        }
        self.put_sum(hash, &sum, &scratch)?;
        sync(&self.packages)
    }

    /// See [`crate::Packages::add`].
    pub fn add(&self, zip: &[u8]) -> Result<CodeHash, StoreError> {
        if zip.len() as u64 > self.limits.packed {
            let limit = self.limits.packed;
            return Err(StoreError::BadPackage(format!("it is {} bytes, expected at most {limit}", zip.len())));
        }
        let hash = hash_of(zip);
        if self.touch(&hash, &self.gate())? {
            return Ok(hash);
        }
        let scratch = self.scratch()?;
        let (code, blob) = (scratch.0.join("code"), scratch.0.join("zip"));
        let sum = self.unpack_into(zip, &code)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&blob);
        let written = file.and_then(|mut file| file.write_all(zip).and_then(|()| file.sync_all()));
        written.map_err(|error| StoreError::io(format_args!("writing package {hash}"), &error))?;

        let gate = self.gate();
        if self.touch(&hash, &gate)? {
            return Ok(hash);
        }
        let folder = self.folder(&hash);
        if folder.exists() {
            // Of a removal or an addition that failed half way; nothing uses it, for there is no zip.
            rename(&folder, &scratch.0.join("old"))?;
        }
        rename(&code, &folder)?;
        sync(&self.code)?;
        self.put_sum(&hash, &sum, &scratch)?;
        rename(&blob, &self.zip_path(&hash))?;
        sync(&self.packages)?;
        Ok(hash)
    }

    /// Unpacks, and gives the sum of what came of it.
    fn unpack_into(&self, zip: &[u8], folder: &Path) -> Result<String, StoreError> {
        make_dir(folder, 0o700)?;
        let root = File::open(folder).map_err(|error| StoreError::io(folder.display(), &error))?;
        unpack(zip, &self.limits, root.as_fd())?;
        tree_sum(folder)
    }

    /// Whether the package is there; if so, it is as young as if it had just been added.
    fn touch(&self, hash: &CodeHash, _gate: &MutexGuard<'_, ()>) -> Result<bool, StoreError> {
        // One that is damaged is no package: what comes now takes its place.
        if !self.has(hash) || !self.folder(hash).is_dir() || !self.sound(hash)? {
            return Ok(false);
        }
        self.date(hash, SystemTime::now())?;
        Ok(true)
    }

    /// Notes that a function refers to the package now: should it stop doing so, the package goes at the next
    /// [`DiskPackages::sweep`], however young. Its age protects an upload only until it is first used.
    pub fn settle(&self, hash: &CodeHash) -> Result<(), StoreError> {
        self.date(hash, SystemTime::UNIX_EPOCH)
    }

    fn date(&self, hash: &CodeHash, modified: SystemTime) -> Result<(), StoreError> {
        let file = OpenOptions::new().append(true).open(self.zip_path(hash));
        let dated = file.and_then(|file| file.set_times(FileTimes::new().set_modified(modified)));
        dated.map_err(|error| StoreError::io(format_args!("package {hash}"), &error))
    }

    /// Whether its zip is there, and as it was uploaded. Reads all of it.
    pub fn sound(&self, hash: &CodeHash) -> Result<bool, StoreError> {
        let mut sum = Sha256::new();
        let mut file = match File::open(self.zip_path(hash)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io(format_args!("reading package {hash}"), &error)),
        };
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(CodeHash::from_digest(&sum.finalize().into()) == *hash),
                Ok(length) => sum.update(&buffer[..length]),
                Err(error) => return Err(StoreError::io(format_args!("reading package {hash}"), &error)),
            }
        }
    }

    pub fn has(&self, hash: &CodeHash) -> bool {
        self.size(hash).is_some()
    }

    /// Bytes of the zip; none if there is no such package.
    pub fn size(&self, hash: &CodeHash) -> Option<u64> {
        fs::metadata(self.zip_path(hash)).ok().map(|zip| zip.len())
    }

    pub fn read(&self, hash: &CodeHash) -> Result<Bytes, StoreError> {
        match fs::read(self.zip_path(hash)) {
            Ok(zip) if hash_of(&zip) == *hash => Ok(zip.into()),
            Ok(_) => Err(StoreError::DamagedPackage(hash.clone())),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::NoSuchPackage(hash.clone())),
            Err(error) => Err(StoreError::io(format_args!("reading package {hash}"), &error)),
        }
    }

    /// See [`crate::Packages::head`].
    pub fn head(&self, hash: &CodeHash, path: &str) -> Result<Option<FileHead>, StoreError> {
        let relative = Path::new(path);
        // Nothing in a package leads out of it: so a path without `..` does not either.
        if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Ok(None);
        }
        let failed = |error: io::Error| StoreError::io(format_args!("reading {path} of package {hash}"), &error);
        let file = match File::open(self.folder(hash).join(relative)) {
            Ok(file) => file,
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(FileHead::MOST).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(FileHead { bytes, executable: meta.permissions().mode() & 0o111 != 0 }))
    }

    /// See [`crate::Packages::merge`].
    pub fn merge(&self, hashes: &[CodeHash]) -> Result<CodeHash, StoreError> {
        if let [one] = hashes {
            return Ok(one.clone());
        }
        let zips = hashes.iter().map(|hash| self.read(hash)).collect::<Result<Vec<_>, _>>()?;
        let merged = merge(&zips, &self.limits)?;
        drop(zips);
        self.add(&merged)
    }

    /// See [`crate::Packages::unpacked`].
    pub fn unpacked(&self, hash: &CodeHash) -> Result<u64, StoreError> {
        let failed = |error: io::Error| StoreError::io(format_args!("measuring package {hash}"), &error);
        if !self.has(hash) {
            return Err(StoreError::NoSuchPackage(hash.clone()));
        }
        let (mut bytes, mut folders) = (0, vec![self.folder(hash)]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // Not of what a link leads to.
                let meta = entry.metadata().map_err(failed)?;
                match meta.is_dir() {
                    true => folders.push(entry.path()),
                    false => bytes += meta.len(),
                }
            }
        }
        Ok(bytes)
    }

    /// Where the package's code is, or would be. Never changes while the package is there.
    pub fn folder(&self, hash: &CodeHash) -> PathBuf {
        self.code.join(hash.as_str())
    }

    /// Takes packages away that are not in `used` and older than `age`. They are gone when it returns, but the
    /// room is free only after [`DiskPackages::empty`] with what it gave.
    pub fn sweep(&self, used: &HashSet<CodeHash>, age: Duration) -> Result<Swept, StoreError> {
        let _gate = self.gate();
        let now = SystemTime::now();
        let mut gone = Vec::new();
        for name in list(&self.packages)? {
            let Some(hash) = name.strip_suffix(".zip").and_then(|name| name.parse::<CodeHash>().ok()) else { continue };
            if used.contains(&hash) {
                continue;
            }
            let path = self.packages.join(&name);
            let made = fs::metadata(&path).and_then(|zip| zip.modified());
            let made = made.map_err(|error| StoreError::io(path.display(), &error))?;
            // A time in the future is as young as can be.
            if now.duration_since(made).is_ok_and(|old| old >= age) {
                remove(&path)?;
                remove(&self.sum_path(&hash))?;
                gone.push(hash);
            }
        }
        if gone.is_empty() {
            return Ok(Swept { count: 0, trash: None });
        }
        sync(&self.packages)?;
        let scratch = self.scratch()?;
        for hash in &gone {
            let folder = self.folder(hash);
            if folder.exists() {
                rename(&folder, &scratch.0.join(hash.as_str()))?;
            }
        }
        Ok(Swept { count: gone.len(), trash: Some(scratch) })
    }

    fn scratch(&self) -> Result<Scratch, StoreError> {
        let path = self.tmp.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        make_dir(&path, 0o700)?;
        Ok(Scratch(path))
    }

    fn sum_path(&self, hash: &CodeHash) -> PathBuf {
        self.packages.join(format!("{hash}.tree"))
    }

    pub(crate) fn zip_path(&self, hash: &CodeHash) -> PathBuf {
        self.packages.join(format!("{hash}.zip"))
    }

    fn gate(&self) -> MutexGuard<'_, ()> {
        // It guards no data that a panic could leave half done.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`DiskPackages::sweep`] took away. Dropping it removes the folders, which takes a while.
pub struct Swept {
    pub count: usize,
    #[expect(dead_code, reason = "held for its drop")]
    trash: Option<Scratch>,
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

fn hash_of(zip: &[u8]) -> CodeHash {
    CodeHash::from_digest(&Sha256::digest(zip).into())
}

/// Makes a directory with exactly this mode, whatever the umask; one that is there gets the mode.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    let made = match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let made = made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    made.map_err(|error| StoreError::io(path.display(), &error))
}

/// Makes durable which names a directory holds.
pub(crate) fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| StoreError::io(dir.display(), &error))
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::io(format_args!("renaming to {}", to.display()), &error))
}

/// Removes a file, or a folder with all in it; one that is gone already is fine. Follows no links.
fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::io(format_args!("removing {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Names in a directory; those that are not UTF-8 are not ours.
fn list(dir: &Path) -> Result<Vec<String>, StoreError> {
    let names = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().into_string().ok())).collect::<io::Result<Vec<_>>>()
    });
    Ok(names.map_err(|error| StoreError::io(dir.display(), &error))?.into_iter().flatten().collect())
}
