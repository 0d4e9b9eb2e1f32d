//! Folders of the host's, for functions to see: opened beneath what the operator allows, mounted from the descriptor, and
//! shown as the function's own where they are somebody's.
//!
//! ```text
//! mount asked for ─► allowed? ─► opened, no link followed ─► looked at: whose is it? ─► detached mount, ids mapped
//!                       │ no              │ a link, none there        │ root's, to write
//!                       └─────────────────┴───────────────────────────┴─► refused, in words for the caller
//! ```
//!
//! The list is the caller's own, whatever the server said: this is the wall. A function with such a mount could put links
//! into it, so no link is followed on the way to another one; and what is mounted below a folder on the host is not shown.
//!
//! **Whose it is.** Every sandbox has ids of its own. In the mount, the folder's owner is shown as the function's user, and
//! what the function makes belongs to that owner on disk (idmapped mounts, Linux 5.12; not every file system has them: then
//! the ids are as they are on disk). Root is never mapped: what belongs to root is read as by anybody else.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use driver::StartError;
use model::{AllowedMount, Mount, allowed_mount};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::sys;

/// Who sees a folder.
#[derive(Debug, Clone, Copy)]
pub enum Viewer {
    /// A process with this user and group id, in the host's terms.
    Ids { uid: u32, gid: u32 },
    /// The same, by a file server that is root.
    Served { uid: u32, gid: u32 },
    /// Whoever it is, ids cannot be mapped: Hearth was started by an ordinary user, who is the only one there is.
    Unmapped,
}

/// Opened and ready to be attached.
#[derive(Debug)]
pub struct Folder {
    /// Below `/mnt`.
    pub name: CString,
    /// Detached, with its attributes.
    pub tree: OwnedFd,
}

/// A file server that is root makes files as root, and gives them away afterwards: until then they are this one's on disk,
/// which no system gives out.
const NOBODYS: u32 = 0x7fff_fffe;

/// Opens all that a sandbox mounts.
pub fn open_all(list: &[AllowedMount], mounts: &[Mount], viewer: Viewer) -> Result<Vec<Folder>, StartError> {
    mounts.iter().map(|mount| open(list, mount, viewer)).collect()
}

fn open(list: &[AllowedMount], mount: &Mount, viewer: Viewer) -> Result<Folder, StartError> {
    let refuse = |text: String| StartError::Mount(format!("mount at {}: {text}", mount.path));
    let allowed = allowed_mount(list, mount).map_err(|why| refuse(why.to_string()))?;
    let host = &mount.host;
    let failed = |what: &str, error: io::Error| StartError::System(format!("{what} the folder {host}: {error}"));
    let folder = beneath(allowed, mount).map_err(|errno| match errno {
        Errno::NOENT => refuse(format!("there is no folder {host} on the host")),
        Errno::LOOP | Errno::XDEV => {
            refuse(format!("a link is on the way to {host}: name the folder that it leads to"))
        }
        Errno::NOTDIR => refuse(format!("{host} is not a folder")),
        errno => failed("open", errno.into()),
    })?;
    let about = rustix::fs::fstat(&folder).map_err(|errno| failed("look at", errno.into()))?;
    if !mount.read_only && about.st_uid == 0 && !matches!(viewer, Viewer::Unmapped) {
        return Err(refuse(format!(
            "{host} belongs to root, and what a function writes would be root's: `chown` it to another user, or mount it \
             read-only"
        )));
    }
    let tree = sys::open_tree(folder.as_fd(), c"", false).map_err(|error| failed("mount", error))?;
    let mut attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    if mount.read_only {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    sys::mount_setattr(tree.as_fd(), c"", false, attributes).map_err(|error| failed("mount", error))?;
    if about.st_uid != 0 {
        // A group of root's would be given to what is made: it is that of the owner's number instead.
        let group = if about.st_gid == 0 { about.st_uid } else { about.st_gid };
        if let Err(error) = map(tree.as_fd(), (about.st_uid, group), viewer) {
            tracing::warn!(%host, %error, "a folder's ids cannot be mapped: functions see them as they are");
        }
    }
    let name = CString::new(mount.path.name()).map_err(|error| failed("name", error.into()))?;
    Ok(Folder { name, tree })
}

/// The folder, by the operator's path first: no link on either way.
fn beneath(allowed: &AllowedMount, mount: &Mount) -> Result<OwnedFd, Errno> {
    // Not NOFOLLOW: a link at the end would then be opened itself, and be "not a folder".
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let top = rustix::fs::openat2(CWD, allowed.host.as_str(), flags, Mode::empty(), links)?;
    match mount.host.below(&allowed.host) {
        // The list was asked with the same question: it is below.
        None => Err(Errno::XDEV),
        Some("") => Ok(top),
        Some(rest) => rustix::fs::openat2(&top, rest, flags, Mode::empty(), links | ResolveFlags::BENEATH),
    }
}

/// Shows `on_disk` as the viewer's in a mount that nobody has seen yet.
fn map(tree: BorrowedFd<'_>, on_disk: (u32, u32), viewer: Viewer) -> io::Result<()> {
    let (seen, more) = match viewer {
        Viewer::Unmapped => return Ok(()),
        Viewer::Ids { uid, gid } => ((uid, gid), String::new()),
        Viewer::Served { uid, gid } => ((uid, gid), format!("\n{NOBODYS} 0 1")),
    };
    let ids =
        user_namespace(&format!("{} {} 1{more}", on_disk.0, seen.0), &format!("{} {} 1{more}", on_disk.1, seen.1))?;
    sys::mount_idmap(tree, ids.as_fd())
}

/// A user namespace with these maps, in which nobody is.
fn user_namespace(uids: &str, gids: &str) -> io::Result<OwnedFd> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes two system calls on plain numbers and ends: it touches no lock that another thread may have
    // held.
    match unsafe { sys::clone(libc::CLONE_NEWUSER as u64, None) }? {
        sys::Cloned::Child => {
            let _ = sys::close_range(write.as_raw_fd() as u32, write.as_raw_fd() as u32);
            // Until the parent has what it wants, or is gone.
            let mut byte = [0u8];
            let _ = rustix::io::read(&read, &mut byte);
            sys::exit_now(0)
        }
        sys::Cloned::Parent { pidfd, pid } => {
            let made = (|| {
                let folder = Path::new("/proc").join(pid.to_string());
                std::fs::write(folder.join("uid_map"), uids)?;
                std::fs::write(folder.join("gid_map"), gids)?;
                std::fs::File::open(folder.join("ns/user")).map(OwnedFd::from)
            })();
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            made
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn list(texts: &[String]) -> Vec<AllowedMount> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn mount(host: &Path, read_only: bool) -> Mount {
        Mount { host: host.to_str().unwrap().parse().unwrap(), path: "/mnt/x".parse().unwrap(), read_only }
    }

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: only root may mount here");
        }
        root
    }

    #[test]
    fn no_link_leads_out_of_what_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["photos/may", "secret"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("photos/file"), "").unwrap();
        symlink("../secret", at("photos/out")).unwrap();
        symlink("may", at("photos/in")).unwrap();
        symlink("photos", at("link")).unwrap();
        let allow = list(&[at("photos").to_str().unwrap().into(), at("link").to_str().unwrap().into()]);
        let said = |path: &str| {
            open(&allow, &mount(&at(path), true), Viewer::Unmapped).map(drop).map_err(|error| error.to_string())
        };
        for (path, why) in [
            ("photos/out", "a link is on the way"),
            ("photos/out/x", "a link is on the way"),
            ("photos/in", "a link is on the way"),
            ("link/may", "a link is on the way"),
            ("photos/none", "there is no folder"),
            ("photos/file", "is not a folder"),
            ("secret", "may not be mounted"),
        ] {
            let error = said(path).unwrap_err();
            assert!(error.contains(why), "{path}: {error}");
        }
        if is_root() {
            assert_eq!(said("photos/may"), Ok(()));
        }
    }

    /// Attached somewhere for the test, and taken away again.
    fn attached<T>(folder: &Folder, look: impl FnOnce(&Path) -> T) -> T {
        let at = tempfile::tempdir().unwrap();
        sys::move_mount(folder.tree.as_fd(), &crate::root::c_path(at.path()).unwrap()).unwrap();
        let seen = look(at.path());
        rustix::mount::unmount(at.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
        seen
    }

    #[test]
    fn what_is_made_belongs_to_the_folders_owner() {
        use std::os::unix::fs::MetadataExt;
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (mine, roots) = (dir.path().join("mine"), dir.path().join("roots"));
        for folder in [&mine, &roots] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("file"), "x").unwrap();
        }
        chown(&mine, Some(4001), Some(4002)).unwrap();
        chown(mine.join("file"), Some(4001), Some(4002)).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let allow = list(&[dir.path().to_str().unwrap().into()]);
        let viewer = Viewer::Served { uid: 993, gid: 993 };
        let folder = open(&allow, &mount(&mine, false), viewer).unwrap();
        let ids = attached(&folder, |at| {
            let about = std::fs::metadata(at.join("file")).unwrap();
            std::fs::write(at.join("made"), "y").unwrap();
            chown(at.join("made"), Some(993), Some(993)).unwrap();
            (about.uid(), about.gid())
        });
        assert_eq!(ids, (993, 993));
        let made = std::fs::metadata(mine.join("made")).unwrap();
        assert_eq!((made.uid(), made.gid()), (4001, 4002));

        let refused = open(&allow, &mount(&roots, false), viewer).unwrap_err().to_string();
        assert!(refused.contains("belongs to root"), "{refused}");
        let folder = open(&allow, &mount(&roots, true), viewer).unwrap();
        let (uid, written) = attached(&folder, |at| {
            (
                std::fs::metadata(at.join("file")).unwrap().uid(),
                std::fs::write(at.join("new"), "").map_err(|e| e.kind()),
            )
        });
        assert_eq!((uid, written), (0, Err(io::ErrorKind::ReadOnlyFilesystem)));
    }
}
