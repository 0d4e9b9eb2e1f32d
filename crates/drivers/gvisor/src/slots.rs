//! Slots: for each sandbox a folder on the host that it sees as `/var`, into which its code is mounted, before it starts
//! or long after.
//!
//! ```text
//! slots/            a mount of its own, shared: what is mounted below it appears in every copy of it
//!   └── ID/         runsc copies this one, as a slave, into its file server's mount namespace
//!        └── task/  the code is mounted here, read-only: there and inside at the same moment
//!   └── ID-opt/     the layers are mounted here, if there are any, before it starts
//! ```
//!
//! All in the spawner's own mount namespace: nobody else on the host sees it, and it goes when the spawner goes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use linux::folders::Folder;
use linux::root::{at, c_path};
use linux::roots::Var;
use linux::slots::Shelf;
use linux::sys;
use model::InstanceId;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

/// What is in a sandbox's `/var`: places to mount something.
const FOLDERS: [&str; 4] = ["task", "task/lib", "runtime", "lang"];

/// All slots.
#[derive(Debug)]
pub struct Slots {
    path: PathBuf,
}

// === impl Slots ===

impl Slots {
    /// Makes the place for them, and removes what a killed spawner left there: folders, its mounts are gone.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path).map_err(at("make", &path))?;
        for entry in fs::read_dir(&path)? {
            remove_folders(&entry?.path());
        }
        rustix::mount::mount_bind(&path, &path).map_err(|error| at("bind", &path)(error.into()))?;
        // Private first: a mount that only changes to shared would stay a slave of the host's too.
        for propagation in [MountPropagationFlags::PRIVATE, MountPropagationFlags::SHARED] {
            rustix::mount::mount_change(&path, propagation).map_err(|error| at("share", &path)(error.into()))?;
        }
        Ok(Self { path })
    }

    pub fn of(&self, id: &InstanceId) -> PathBuf {
        self.path.join(id.as_str())
    }

    /// Makes an empty one, with places for what an image has in its `/var`.
    pub fn add(&self, id: &InstanceId, image: Option<&Var>) -> io::Result<PathBuf> {
        let slot = self.of(id);
        fs::create_dir(&slot).map_err(at("make", &slot))?;
        for folder in FOLDERS {
            fs::create_dir(slot.join(folder)).map_err(at("make", folder))?;
        }
        image.map_or(Ok(()), |image| image.make_in(&slot))?;
        Ok(slot)
    }

    /// Mounts the code, which is a detached mount.
    pub fn give(&self, id: &InstanceId, code: BorrowedFd<'_>) -> io::Result<()> {
        sys::move_mount(code.as_fd(), &c_path(&self.of(id).join("task"))?)
    }

    /// Mounts the layers, which are a detached mount, where they can be bound from.
    pub fn give_layers(&self, id: &InstanceId, layers: BorrowedFd<'_>) -> io::Result<PathBuf> {
        let place = self.layers_of(id);
        fs::create_dir(&place).map_err(at("make", &place))?;
        sys::move_mount(layers, &c_path(&place)?).map_err(at("mount its layers at", &place))?;
        Ok(place)
    }

    fn layers_of(&self, id: &InstanceId) -> PathBuf {
        self.path.join(format!("{id}-opt"))
    }

    /// Removes one, with the code that may be mounted in it.
    pub fn remove(&self, id: &InstanceId) {
        let slot = self.of(id);
        // An error: it had no code.
        let _ = rustix::mount::unmount(slot.join("task"), UnmountFlags::DETACH);
        remove_folders(&slot);
        // Errors: it had no layers.
        let layers = self.layers_of(id);
        let _ = rustix::mount::unmount(&layers, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&layers);
    }

    pub fn close(self) {
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.path);
    }
}

/// What sandboxes see as `/mnt`: made when the first of them mounts anything.
#[derive(Debug)]
pub struct Shelves {
    path: PathBuf,
    place: Option<linux::slots::Slots>,
    shelves: HashMap<InstanceId, Shelf>,
}

// === impl Shelves ===

impl Shelves {
    /// Takes away what a killed spawner left: an empty folder, its mounts are gone.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        linux::slots::sweep(&path)?;
        Ok(Self { path, place: None, shelves: HashMap::new() })
    }

    /// Attaches folders for one sandbox; none if there are none.
    pub fn add(&mut self, id: &InstanceId, folders: &[Folder]) -> io::Result<Option<PathBuf>> {
        if folders.is_empty() {
            return Ok(None);
        }
        let place = match self.place.take() {
            Some(place) => place,
            None => linux::slots::Slots::open(self.path.clone())?,
        };
        let shelf = self.place.insert(place).shelve(id.as_str(), folders)?;
        let path = shelf.path().to_owned();
        self.shelves.insert(id.clone(), shelf);
        Ok(Some(path))
    }

    pub fn remove(&mut self, id: &InstanceId) {
        self.shelves.remove(id);
    }

    pub fn close(self) {
        // Each takes away what is its own, the place last.
        drop(self.shelves);
        drop(self.place);
    }
}

/// Never what is in them: that would be a function's code, if a mount could not be taken away.
fn remove_folders(slot: &Path) {
    for folder in FOLDERS.iter().rev() {
        let _ = fs::remove_dir(slot.join(folder));
    }
    Var::remove_in(slot);
    let _ = fs::remove_dir(slot);
}
