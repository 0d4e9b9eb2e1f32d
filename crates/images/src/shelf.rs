//! The images that are there: on disk, within their budget.
//!
//! ```text
//! <dir>/tmp/<n>/                 being made or removed; emptied when the store opens
//! <dir>/roots/<64 hex>/          a root file system, for sandboxes to mount
//! <dir>/roots/<64 hex>.json      what is known of it
//!
//! add:     tmp/n/root ─sync─► roots/<hex> ─sync─► roots/<hex>.json ─sync─► done
//! remove:  roots/<hex>.json ─sync─► gone, then roots/<hex> ─► tmp/n ─► gone
//! ```
//!
//! The file comes last and goes first: an image is there if and only if its file is. A crash leaves at most a root
//! without its file, which the next opening removes, as it does a file without its root.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::disk::{self, Scratch, list, make_dir, remove, rename, sync};
use crate::{Digest, ImageConfig, ImageError, Skipped};

/// That an image was used is written to disk at most this often.
const TOUCH: Duration = Duration::from_secs(60);

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Of its manifest; what a function keeps.
    pub digest: Digest,
    /// What it was last pulled as, spelled out. Empty once all its tags have moved to other images.
    pub references: Vec<String>,
    /// Bytes that its root takes on disk.
    pub bytes: u64,
    pub config: ImageConfig,
    pub pulled: Timestamp,
    /// Last pulled or touched.
    pub used: Timestamp,
    pub skipped: Skipped,
}

/// What images take of their budget, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub images: usize,
    pub used: u64,
    /// Held by pulls that are not done.
    pub reserved: u64,
    pub budget: u64,
}

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    pub images: Vec<Image>,
    pub bytes: u64,
}

/// All methods block.
#[derive(Debug)]
pub(crate) struct Shelf {
    roots: PathBuf,
    tmp: PathBuf,
    budget: u64,
    state: Mutex<State>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<Digest, Kept>,
    reserved: u64,
}

#[derive(Debug)]
struct Kept {
    image: Image,
    /// What the file says of its last use.
    noted: Timestamp,
}

/// Room that a pull has for itself; given back when dropped.
pub(crate) struct Reservation {
    shelf: Arc<Shelf>,
    bytes: u64,
    /// Images that must stay: in use, or used since the pull began.
    in_use: HashSet<Digest>,
    since: Timestamp,
}

// === impl Shelf ===

impl Shelf {
    /// Opens the images beneath `dir`, which is made if need be, and mends what a crash left.
    pub fn open(dir: &Path, budget: u64) -> Result<Self, ImageError> {
        let (roots, tmp) = (dir.join("roots"), dir.join("tmp"));
        // Sandboxes reach their own root under other user ids; nobody may list the others.
        make_dir(dir, 0o711)?;
        make_dir(&roots, 0o711)?;
        make_dir(&tmp, 0o700)?;
        sync(dir)?;
        let state = Mutex::default();
        let shelf = Self { roots, tmp, budget, state, next: AtomicU64::new(0) };
        shelf.mend()?;
        Ok(shelf)
    }

    fn mend(&self) -> Result<(), ImageError> {
        for entry in list(&self.tmp)? {
            remove(&self.tmp.join(entry))?;
        }
        let mut state = self.state();
        let names = list(&self.roots)?;
        for digest in names.iter().filter_map(|name| Digest::from_hex(name.strip_suffix(".json")?).ok()) {
            let file = self.file(&digest);
            let text = fs::read(&file).map_err(|error| ImageError::io(file.display(), &error))?;
            match serde_json::from_slice::<Image>(&text) {
                Ok(image) if image.digest == digest && self.root(&digest).is_dir() => {
                    let noted = image.used;
                    state.images.insert(digest, Kept { image, noted });
                }
                _ => {
                    tracing::warn!(image = %digest, "removing an image that is damaged: pull it again");
                    remove(&file)?;
                }
            }
        }
        sync(&self.roots)?;
        for digest in names.iter().filter_map(|name| Digest::from_hex(name).ok()) {
            if !state.images.contains_key(&digest) {
                tracing::info!(image = %digest, "removing an image that was not added to its end");
                remove(&self.root(&digest))?;
            }
        }
        Ok(())
    }

    /// Where the image's root file system is, or would be.
    pub fn root(&self, digest: &Digest) -> PathBuf {
        self.roots.join(digest.hex())
    }

    pub fn get(&self, digest: &Digest) -> Option<Image> {
        self.state().images.get(digest).map(|kept| kept.image.clone())
    }

    pub fn list(&self) -> Vec<Image> {
        self.state().images.values().map(|kept| kept.image.clone()).collect()
    }

    pub fn usage(&self) -> Usage {
        let state = self.state();
        Usage { images: state.images.len(), used: state.used(), reserved: state.reserved, budget: self.budget }
    }

    /// A folder to make an image in.
    pub fn scratch(&self) -> Result<Scratch, ImageError> {
        let path = self.tmp.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        make_dir(&path, 0o700)?;
        Ok(Scratch(path))
    }

    /// Keeps the image whose root has been made, and synced, at `root`. If it is there already, it stays as it is and
    /// gets the references.
    pub fn add(&self, image: Image, root: &Path) -> Result<Image, ImageError> {
        let mut state = self.state();
        if let Some(known) = self.refer_in(&mut state, &image.digest, &image.references)? {
            return Ok(known);
        }
        let to = self.root(&image.digest);
        if to.exists() {
            // Of an addition or removal that failed half way; nothing uses it, for there is no file.
            let scratch = self.scratch()?;
            rename(&to, &scratch.0.join("old"))?;
        }
        self.unname(&mut state, &image.digest, &image.references)?;
        rename(root, &to)?;
        sync(&self.roots)?;
        self.write(&image)?;
        state.images.insert(image.digest.clone(), Kept { noted: image.used, image: image.clone() });
        Ok(image)
    }

    /// Gives an image that is there these references too, and notes its use. None if it is not there.
    pub fn refer(&self, digest: &Digest, references: &[String]) -> Result<Option<Image>, ImageError> {
        self.refer_in(&mut self.state(), digest, references)
    }

    fn refer_in(&self, state: &mut State, digest: &Digest, references: &[String]) -> Result<Option<Image>, ImageError> {
        let Some(kept) = state.images.get(digest) else { return Ok(None) };
        let mut image = kept.image.clone();
        image.used = Timestamp::now();
        image.references.extend_from_slice(references);
        image.references.sort();
        image.references.dedup();
        self.unname(state, digest, references)?;
        self.write(&image)?;
        state.images.insert(digest.clone(), Kept { noted: image.used, image: image.clone() });
        Ok(Some(image))
    }

    /// A reference is of one image: takes these from all but `digest`.
    fn unname(&self, state: &mut State, digest: &Digest, references: &[String]) -> Result<(), ImageError> {
        for kept in state.images.values_mut().filter(|kept| kept.image.digest != *digest) {
            if kept.image.references.iter().any(|reference| references.contains(reference)) {
                let mut image = kept.image.clone();
                image.references.retain(|reference| !references.contains(reference));
                self.write(&image)?;
                *kept = Kept { noted: image.used, image };
            }
        }
        Ok(())
    }

    /// Notes that the image is used now.
    pub fn touch(&self, digest: &Digest) -> Result<(), ImageError> {
        let mut state = self.state();
        let missing = || ImageError::NoSuchImage(digest.to_string());
        let kept = state.images.get_mut(digest).ok_or_else(missing)?;
        kept.image.used = Timestamp::now();
        // A clock that went back counts as zero.
        if kept.image.used.since(kept.noted) >= TOUCH {
            self.write(&kept.image)?;
            kept.noted = kept.image.used;
        }
        Ok(())
    }

    /// Removes an image. Its room is free when it returns.
    pub fn remove(&self, digest: &Digest, in_use: &HashSet<Digest>) -> Result<Image, ImageError> {
        if in_use.contains(digest) {
            return Err(ImageError::InUse(digest.clone()));
        }
        let mut state = self.state();
        let scratch = self.scratch()?;
        let image = self.take_away(&mut state, digest, &scratch)?;
        drop(state);
        Ok(image)
    }

    /// Removes images that are not in use, the least recently used first, until all fit the budget.
    pub fn collect(&self, in_use: &HashSet<Digest>) -> Result<Collected, ImageError> {
        let mut state = self.state();
        let scratch = self.scratch()?;
        let mut collected = Collected::default();
        while state.used() + state.reserved > self.budget {
            let Some(digest) = state.oldest(|image| !in_use.contains(&image.digest)) else { break };
            let image = self.take_away(&mut state, &digest, &scratch)?;
            collected.bytes += image.bytes;
            collected.images.push(image);
        }
        drop(state);
        Ok(collected)
    }

    /// Reserves room for a pull that begins now, removing images that are not in use if need be.
    pub fn reserve(self: &Arc<Self>, bytes: u64, in_use: HashSet<Digest>) -> Result<Reservation, ImageError> {
        let mut reservation = Reservation { shelf: self.clone(), bytes: 0, in_use, since: Timestamp::now() };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Moves an image's root into `trash`, which is removed when dropped.
    fn take_away(&self, state: &mut State, digest: &Digest, trash: &Scratch) -> Result<Image, ImageError> {
        if !state.images.contains_key(digest) {
            return Err(ImageError::NoSuchImage(digest.to_string()));
        }
        remove(&self.file(digest))?;
        sync(&self.roots)?;
        let kept = state.images.remove(digest).expect("just seen");
        rename(&self.root(digest), &trash.0.join(digest.hex()))?;
        Ok(kept.image)
    }

    fn write(&self, image: &Image) -> Result<(), ImageError> {
        let text = serde_json::to_vec_pretty(image).map_err(|error| ImageError::Failed(error.to_string()))?;
        let by = self.tmp.join(format!("{}.json", image.digest.hex()));
        disk::write(&text, &by, &self.file(&image.digest))
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        self.roots.join(format!("{}.json", digest.hex()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Memory follows disk in one step at a time: a panic leaves both as they were.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn used(&self) -> u64 {
        self.images.values().map(|kept| kept.image.bytes).sum()
    }

    fn oldest(&self, may_go: impl Fn(&Image) -> bool) -> Option<Digest> {
        let images = self.images.values().map(|kept| &kept.image).filter(|image| may_go(image));
        images.min_by_key(|image| image.used).map(|image| image.digest.clone())
    }
}

// === impl Reservation ===

impl Reservation {
    /// Asks for more room. If it cannot be had whatever is removed, nothing is removed.
    pub fn grow(&mut self, bytes: u64) -> Result<(), ImageError> {
        let shelf = &self.shelf;
        let may_go = |image: &Image| !self.in_use.contains(&image.digest) && image.used < self.since;
        let mut state = shelf.state();
        let going: u64 =
            state.images.values().map(|kept| &kept.image).filter(|image| may_go(image)).map(|i| i.bytes).sum();
        let staying = state.used() - going + state.reserved;
        if staying.saturating_add(bytes) > shelf.budget {
            let used = staying - self.bytes;
            let needed = self.bytes.saturating_add(bytes);
            return Err(ImageError::NoRoom { needed, used, budget: shelf.budget });
        }
        let mut trash = None;
        while state.used() + state.reserved + bytes > shelf.budget {
            let Some(digest) = state.oldest(may_go) else { break };
            if trash.is_none() {
                trash = Some(shelf.scratch()?);
            }
            if let Some(trash) = &trash {
                let image = shelf.take_away(&mut state, &digest, trash)?;
                tracing::info!(image = %digest, bytes = image.bytes, "removed an image to make room");
            }
        }
        state.reserved += bytes;
        self.bytes += bytes;
        drop(state);
        // The room is promised; it is free when this is gone.
        drop(trash);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shelf.state().reserved -= self.bytes;
    }
}
