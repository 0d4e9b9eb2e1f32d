//! What a sandbox sees of an image: a list of what is made and of what is bound, from a folder that belongs to somebody
//! who is not trusted and holds what a stranger packed.
//!
//! ```text
//! image's root, by descriptors only ─► Layout ─┬─► Root: a tmpfs, what is bound is mounted into it from descriptors
//!                                              └─► docker: a small image with the mount points, and binds
//! ```
//!
//! `/`, `/etc`, `/run` and `/var` are folders of Hearth's own: nothing is ever mounted onto what came out of an image, so no link
//! in one can lead a mount elsewhere. Their entries are the image's: folders and large files are bound, small files of
//! `/etc` and links are copied. What Hearth mounts itself (`/proc`, `/dev`, `/tmp`, `/var/task`, …) an image cannot have.
//!
//! Why `/etc` is not bound whole: `passwd` and `hosts` have to say what is true in a sandbox, and binding files over
//! those of an image would need them to be there, as files and not as links.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use model::ImageDigest;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

/// Folders at the top that are never the image's.
const OURS: [&str; 9] = ["dev", "etc", "hearth", "mnt", "proc", "run", "sys", "tmp", "var"];

/// Entries of `/var` that are never the image's.
const OURS_IN_VAR: [&str; 2] = ["runtime", "task"];

/// Entries of `/run` that are never the image's.
const OURS_IN_RUN: [&str; 1] = ["secrets"];

/// Entries of `/etc` that are never the image's; `passwd` and `group` are its own with a line more.
const OURS_IN_ETC: [&str; 4] = ["hostname", "hosts", "mtab", "resolv.conf"];

/// A file of `/etc` up to this size is copied, a longer one bound.
const SMALL: u64 = 64 * 1024;

/// What is copied of `/etc` together, at most; the rest is bound.
const COPIED: u64 = 2 << 20;

/// What a root may have at most: each entry is a mount or an inode of every sandbox.
const MOST: usize = 512;

/// What a root file system is made of. Paths have no slash before them, and lead through folders of this list only.
#[derive(Debug, Default)]
pub struct Layout {
    /// Each after the one that it is in.
    pub folders: Vec<String>,
    pub files: Vec<Copied>,
    pub links: Vec<(String, PathBuf)>,
    pub binds: Vec<Bound>,
}

/// A small file.
#[derive(Debug)]
pub struct Copied {
    pub path: String,
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Something of the image that is mounted, at the same path that it has there.
#[derive(Debug)]
pub struct Bound {
    pub path: String,
    pub folder: bool,
    /// What was looked at: to be mounted, not looked up again.
    pub what: OwnedFd,
}

/// Where images' roots lie in the data directory, named by their digests.
pub const PLACE: &str = "images/roots";

/// The image's root, in the data directory. No link is followed on the way. The error of one that is not there is
/// `NotFound`.
pub fn open(data: BorrowedFd<'_>, digest: &ImageDigest) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat2(data, format!("{PLACE}/{digest}"), flags, Mode::empty(), resolve)?)
}

/// Whether two descriptors are of one file.
pub fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn beneath(folder: BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve)?)
}

// === impl Layout ===

impl Layout {
    /// Looks at an image's root. Bounded by [`MOST`] entries and [`COPIED`] bytes.
    pub fn of(root: BorrowedFd<'_>) -> io::Result<Self> {
        let mut layout = Self::default();
        for folder in [
            "dev",
            "dev/shm",
            "etc",
            "hearth",
            "mnt",
            "proc",
            "run",
            "run/secrets",
            "tmp",
            "var",
            "var/task",
            "var/task/lib",
            "var/runtime",
        ] {
            layout.folders.push(folder.to_owned());
        }
        let owner = rustix::fs::fstat(root)?.st_uid;
        let mut copied = 0;
        layout.take(root, "", &OURS, owner, &mut copied)?;
        for (name, ours) in [("etc", &OURS_IN_ETC[..]), ("run", &OURS_IN_RUN[..]), ("var", &OURS_IN_VAR[..])] {
            match beneath(root, name, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(folder) => layout.take(folder.as_fd(), &format!("{name}/"), ours, owner, &mut copied)?,
                // None, or a link, or a file: ours is empty then.
                Err(error) if is_other(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for (name, more) in crate::root::etc_texts() {
            layout.add_etc(name, &more);
        }
        for folder in ["opt", "var/lang"] {
            let there = |path: &str| path == folder;
            let taken = layout.binds.iter().any(|bound| there(&bound.path))
                || layout.links.iter().any(|(path, _)| there(path))
                || layout.folders.iter().any(|path| there(path));
            if !taken {
                layout.folders.push(folder.to_owned());
            }
        }
        Ok(layout)
    }

    /// Takes the entries of one folder, all but `ours`.
    fn take(
        &mut self,
        folder: BorrowedFd<'_>,
        prefix: &str,
        ours: &[&str],
        owner: u32,
        copied: &mut u64,
    ) -> io::Result<()> {
        for entry in list(folder)? {
            let entry = entry?;
            // A name that is no text is nothing that a program looks for at such a place.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if [".", ".."].contains(&name) || ours.contains(&name) {
                continue;
            }
            if self.folders.len() + self.files.len() + self.links.len() + self.binds.len() > MOST {
                return Err(io::Error::other(format!("the image has more than {MOST} entries in /, /etc and /var")));
            }
            let path = format!("{prefix}{name}");
            let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(found.st_mode) {
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(folder, name, Vec::new())?;
                    let Ok(target) = target.into_string() else { continue };
                    self.links.push((path, target.into()));
                }
                FileType::Directory => {
                    let what = beneath(folder, name, OFlags::PATH | OFlags::DIRECTORY)?;
                    // One mount less in every sandbox.
                    match is_empty(what.as_fd())? {
                        true => self.folders.push(path),
                        false => self.binds.push(Bound { path, folder: true, what }),
                    }
                }
                // Whoever owns the image's folder must not show a sandbox others' files by hard links.
                FileType::RegularFile if found.st_uid == owner => {
                    let small =
                        prefix == "etc/" && found.st_size.cast_unsigned() <= SMALL.min(COPIED.saturating_sub(*copied));
                    if small {
                        let content = read(folder, name)?;
                        *copied += content.len() as u64;
                        self.files.push(Copied { path, content, mode: found.st_mode & 0o555 | 0o400 });
                    } else {
                        self.binds.push(Bound { path, folder: false, what: file(folder, name)?.0 });
                    }
                }
                // Devices, sockets, pipes: the image store makes none.
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a file of ours into `/etc`. `passwd` and `group` get a line more than the image has, others give way to those
    /// that the image has.
    fn add_etc(&mut self, name: &str, text: &str) {
        let path = format!("etc/{name}");
        let joined = ["passwd", "group"].contains(&name);
        if let Some(file) = self.files.iter_mut().find(|file| file.path == path) {
            if joined {
                let mut known = String::from_utf8_lossy(&file.content).into_owned();
                let listed = |line: &str| {
                    let field = |line: &str, at| line.split(':').nth(at).map(str::to_owned);
                    known.lines().any(|one| field(one, 0) == field(line, 0) || field(one, 2) == field(line, 2))
                };
                let more: Vec<_> = text.lines().filter(|line| !listed(line)).map(str::to_owned).collect();
                if !known.is_empty() && !known.ends_with('\n') {
                    known.push('\n');
                }
                more.iter().for_each(|line| known.extend([line.as_str(), "\n"]));
                file.content = known.into_bytes();
            }
            return;
        }
        // A link or a large one of the image: left as it is.
        if self.links.iter().any(|(other, _)| *other == path) || self.binds.iter().any(|bound| bound.path == path) {
            return;
        }
        self.files.push(Copied { path, content: text.as_bytes().to_vec(), mode: 0o444 });
    }
}

fn list(folder: BorrowedFd<'_>) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::new(rustix::fs::openat(folder, c".", flags, Mode::empty())?)?)
}

fn is_empty(folder: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in list(folder)? {
        if ![c".", c".."].contains(&entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_other(error: &io::Error) -> bool {
    [libc::ENOENT, libc::ENOTDIR, libc::ELOOP].map(Some).contains(&error.raw_os_error())
}

/// A regular file, for nothing yet.
fn file(folder: BorrowedFd<'_>, name: &str) -> io::Result<(OwnedFd, Stat)> {
    let what = beneath(folder, name, OFlags::PATH)?;
    let found = rustix::fs::fstat(&what)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok((what, found)),
        _ => Err(io::Error::other("the image changes while it is looked at")),
    }
}

fn read(folder: BorrowedFd<'_>, name: &str) -> io::Result<Vec<u8>> {
    // Never waits, whatever has come to be there meanwhile.
    let opened = File::from(beneath(folder, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
    let mut content = Vec::new();
    opened.take(SMALL).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn layout(root: &Path) -> Layout {
        Layout::of(OwnedFd::from(File::open(root).unwrap()).as_fd()).unwrap()
    }

    fn paths(layout: &Layout) -> Vec<&str> {
        let binds = layout.binds.iter().map(|one| one.path.as_str());
        let links = layout.links.iter().map(|(path, _)| path.as_str());
        let files = layout.files.iter().map(|one| one.path.as_str());
        binds.chain(links).chain(files).chain(layout.folders.iter().map(String::as_str)).collect()
    }

    #[test]
    fn an_ordinary_image_is_bound_and_its_etc_copied() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["usr/bin", "etc/ssl", "var/lib", "var/lang/bin", "var/task", "app", "proc", "opt"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            fs::write(root.join(folder).join("file"), "").unwrap();
        }
        symlink("usr/bin", root.join("bin")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/app:/bin/sh").unwrap();
        fs::write(root.join("etc/large"), vec![0; 100_000]).unwrap();
        fs::write(root.join("etc/hosts"), "6.6.6.6 localhost\n").unwrap();
        let made = layout(root);
        let mut binds: Vec<_> = made.binds.iter().map(|one| one.path.as_str()).collect();
        binds.sort_unstable();
        assert_eq!(binds, ["app", "etc/large", "etc/ssl", "opt", "usr", "var/lang", "var/lib"]);
        assert_eq!(made.links, [("bin".to_owned(), PathBuf::from("usr/bin"))]);
        let content = |path| {
            let file = made.files.iter().find(|file| file.path == path);
            file.map(|file| String::from_utf8_lossy(&file.content).into_owned())
        };
        let passwd = content("etc/passwd").unwrap();
        assert!(passwd.starts_with("root:x:0:0") && passwd.contains("\nsbx_user1051:x:993:993:"), "{passwd}");
        assert!(content("etc/hosts").unwrap().starts_with("127.0.0.1 localhost"));
        let all = paths(&made);
        let unique: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(all.len(), unique.len(), "{all:?}");
    }

    #[test]
    fn links_in_the_place_of_mount_points_are_not_looked_through() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let secret = dir.path().join("secret");
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&secret).unwrap();
        fs::write(secret.join("key"), "secret").unwrap();
        for name in ["etc", "var", "tmp", "dev", "hearth", "usr"] {
            symlink(&secret, root.join(name)).unwrap();
        }
        fs::write(root.join("proc"), "").unwrap();
        let made = layout(&root);
        assert!(made.binds.is_empty(), "{made:?}");
        assert!(!paths(&made).iter().any(|path| path.ends_with("key")));
        assert_eq!(made.links.len(), 1, "all but usr are ours");
        // Nothing that is made lies behind a link.
        let behind = |path: &str| made.links.iter().any(|(link, _)| path.starts_with(&format!("{link}/")));
        assert!(!paths(&made).into_iter().any(behind));
    }

    #[test]
    fn an_image_that_would_be_thousands_of_mounts_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..=MOST + 10 {
            fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        let root = OwnedFd::from(File::open(dir.path()).unwrap());
        assert!(Layout::of(root.as_fd()).unwrap_err().to_string().contains("more than 512"));
    }
}
