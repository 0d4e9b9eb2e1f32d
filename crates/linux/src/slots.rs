//! Slots: where code appears in a sandbox that runs already, and that somebody else's program has made.
//!
//! ```text
//! run/slots                      a small tmpfs, shared: what is mounted below appears wherever a part of it is bound
//!  └── 0123456789abcdef          a slot: the /var of one sandbox, bound read-only and as a slave
//!       ├── task                 empty, until the sandbox is claimed and its code is mounted here
//!       └── runtime, lang        for what else is mounted into the sandbox
//!
//! empty ─► filled (once, whether that goes well or not) ─► removed: code unmounted, folders gone
//! ```
//!
//! Must be in the mount namespace of that program, and takes the privilege to mount there. A tmpfs and not a folder
//! bound to itself: taking it away is one order, which leaves nothing, and which cannot empty anything that is mounted in
//! it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use crate::folders::Folder;
use crate::root::{at, c_path};
use crate::roots::Var;
use crate::sys;

/// Where the code goes.
const TASK: &str = "task";

/// The folders of a sandbox's `/var`, each after the one it is in. `task/lib` is in sight until the code covers it: see
/// [`crate::root`].
const FOLDERS: [&str; 4] = [TASK, "task/lib", "runtime", "lang"];

/// How many killed processes' mounts may lie over each other.
const STACKED: usize = 64;

/// The place that all slots are in. Taken away when dropped.
#[derive(Debug)]
pub struct Slots {
    path: PathBuf,
}

/// One sandbox's slot. Removed when dropped.
#[derive(Debug)]
pub struct Slot {
    path: PathBuf,
    state: Mutex<State>,
}

/// One sandbox's `/mnt`. Taken away when dropped; what the sandbox sees of it stays until it ends.
#[derive(Debug)]
pub struct Shelf {
    path: PathBuf,
    folders: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Filled,
    Removed,
}

/// Takes away what a killed process left at this path, whether or not it is still in use somewhere.
pub fn sweep(path: &Path) -> io::Result<()> {
    for _ in 0..STACKED {
        // Detached with everything mounted below it, here and in every sandbox that it was bound into: one that a
        // killed process left may go on running.
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // It is no mount (any more), or nothing.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(at("unmount", path)(errno.into())),
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

// === impl Slots ===

impl Slots {
    /// Makes the place, in a folder that only the caller may write to, after taking away what was there.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        sweep(&path)?;
        fs::create_dir(&path).map_err(at("make", &path))?;
        // From here on it is taken away again if a step fails.
        let slots = Self { path };
        let path = &slots.path;
        // Folders only, so next to no size.
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        sys::mount(c"hearth", &c_path(path)?, c"tmpfs", flags, c"size=1m,nr_inodes=65536,mode=755")
            .map_err(at("mount a tmpfs at", path))?;
        // Cut off first: where the host shares the mount above (systemd does), this one was copied into every mount
        // namespace there is, and each of them would get every function's code, and hold on to it.
        mount_change(path, MountPropagationFlags::PRIVATE).map_err(|errno| at("make private", path)(errno.into()))?;
        // Then shared anew, with nobody but those who bind parts of it later.
        mount_change(path, MountPropagationFlags::SHARED).map_err(|errno| at("share", path)(errno.into()))?;
        Ok(slots)
    }

    /// Makes an empty slot.
    pub fn make(&self, name: &str) -> io::Result<Slot> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(at("make", &path))?;
        let slot = Slot { path, state: Mutex::new(State::Empty) };
        for folder in FOLDERS {
            let folder = slot.path.join(folder);
            fs::create_dir(&folder).map_err(at("make", &folder))?;
            // Whatever the umask is: sandboxes go in as another user.
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        }
        fs::set_permissions(&slot.path, fs::Permissions::from_mode(0o755))?;
        Ok(slot)
    }

    /// Attaches folders of the host's, each by its name in a folder that is to be one sandbox's `/mnt`. Root's, and for
    /// nobody else to write to.
    pub fn shelve(&self, name: &str, folders: &[Folder]) -> io::Result<Shelf> {
        let path = self.path.join(format!("{name}-mnt"));
        fs::create_dir(&path).map_err(at("make", &path))?;
        let mut shelf = Shelf { path, folders: Vec::new() };
        fs::set_permissions(&shelf.path, fs::Permissions::from_mode(0o755))?;
        for folder in folders {
            let place = shelf.path.join(OsStr::from_bytes(folder.name.as_bytes()));
            fs::create_dir(&place).map_err(at("make", &place))?;
            shelf.folders.push(place.clone());
            sys::move_mount(folder.tree.as_fd(), &c_path(&place)?).map_err(at("mount", &place))?;
        }
        Ok(shelf)
    }

    /// Takes the place away with all that is in it.
    pub fn close(&self) {
        if let Err(error) = sweep(&self.path) {
            tracing::warn!(%error, "left behind: the next start takes it away");
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Shelf ===

impl Shelf {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        for place in &self.folders {
            // Detached: the sandbox may still be ending.
            let _ = unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            // Only ever an empty folder: what is in one that could not be unmounted is the host's.
            let _ = fs::remove_dir(place);
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::warn!(shelf = %self.path.display(), %error, "left behind: the end takes it away");
        }
    }
}

// === impl Slot ===

impl Slot {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts code ([`crate::code::mount`]) for the sandbox to see, which it does when this returns. Waits for nobody.
    ///
    /// # Errors
    /// `AlreadyExists` when it was tried before, `NotFound` when the slot is gone.
    pub fn fill(&self, code: BorrowedFd<'_>) -> io::Result<()> {
        let mut state = self.state();
        match *state {
            State::Empty => *state = State::Filled,
            State::Filled => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it has its code already")),
            State::Removed => return Err(io::Error::new(io::ErrorKind::NotFound, "the sandbox ended")),
        }
        let task = self.path.join(TASK);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&task, flags, Mode::empty()).map_err(|errno| at("open", &task)(errno.into()))?;
        sys::move_mount_onto(code, folder.as_fd()).map_err(at("mount code at", &task))
    }

    /// Removes it; what it was filled with stays for processes that still use it. May be called often.
    pub fn remove(&self) {
        let mut state = self.state();
        if std::mem::replace(&mut *state, State::Removed) == State::Removed {
            return;
        }
        // Detached: the sandbox may still be ending. It is no mount if it was never filled.
        let _ = unmount(self.path.join(TASK), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        for folder in FOLDERS.iter().rev() {
            let _ = fs::remove_dir(self.path.join(folder));
        }
        // What an image has in its `/var`.
        Var::remove_in(&self.path);
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(slot = %self.path.display(), %error, "left behind: the end takes it away");
            }
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    fn mounted_below(path: &Path) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.contains(path.to_str().unwrap())
    }

    fn code_of(package: &Path) -> OwnedFd {
        crate::code::mount(OwnedFd::from(fs::File::open(package).unwrap()).as_fd()).unwrap()
    }

    fn may_mount() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: only root may mount here");
        }
        root
    }

    #[test]
    fn a_slot_is_filled_once_and_nothing_is_left_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (place, package) = (folder.path().join("slots"), folder.path().join("package"));
        fs::create_dir(&package).unwrap();
        fs::write(package.join("app.py"), "1").unwrap();
        if !may_mount() {
            return;
        }
        let slots = Slots::open(place.clone()).unwrap();
        let code = || code_of(&package);
        let slot = slots.make("one").unwrap();
        slot.fill(code().as_fd()).unwrap();
        assert_eq!(fs::read(slot.path().join("task/app.py")).unwrap(), b"1");
        let written = fs::write(slot.path().join("task/app.py"), "2").unwrap_err();
        assert_eq!(written.kind(), io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(slot.fill(code().as_fd()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        slot.remove();
        assert_eq!(slot.fill(code().as_fd()).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);

        // A killed process removes nothing; the next one opens the same place.
        let left = slots.make("two").unwrap();
        left.fill(code().as_fd()).unwrap();
        let again = Slots::open(place.clone()).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "the place is new");
        drop((left, slots, again));
        assert!(!place.exists() && !mounted_below(folder.path()));
        assert!(package.join("app.py").exists(), "what was mounted must not be emptied");
    }

    /// As on hosts with systemd, where every mount namespace gets what is mounted in `/run`.
    #[test]
    fn code_goes_to_nobody_who_was_not_bound_to_the_slot() {
        if !may_mount() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let part = |name: &str| folder.path().join(name);
        let (run, other, var) = (part("run"), part("other"), part("var"));
        for name in ["run", "other", "var", "package/inside"] {
            fs::create_dir_all(part(name)).unwrap();
        }
        sys::mount(c"test", &c_path(&run).unwrap(), c"tmpfs", 0, c"").unwrap();
        mount_change(&run, MountPropagationFlags::SHARED).unwrap();
        let bind =
            |from: &Path, to: &Path| sys::mount(&c_path(from).unwrap(), &c_path(to).unwrap(), c"", libc::MS_BIND, c"");
        bind(&run, &other).unwrap();

        let slots = Slots::open(run.join("slots")).unwrap();
        let slot = slots.make("one").unwrap();
        bind(slot.path(), &var).unwrap();
        mount_change(&var, MountPropagationFlags::DOWNSTREAM).unwrap();
        slot.fill(code_of(&part("package")).as_fd()).unwrap();
        assert!(var.join("task/inside").exists(), "the sandbox has its code");
        assert!(!other.join("slots/one/task/inside").exists(), "somebody else has it, too");
        drop((slot, slots));
        assert!(!mounted_below(&part("run/slots")) && !mounted_below(&part("other/slots")));
        assert!(!mounted_below(&var.join("task")));

        for name in ["var", "other", "run"] {
            unmount(part(name), UnmountFlags::DETACH).unwrap();
        }
        assert!(!mounted_below(folder.path()));
    }
}
