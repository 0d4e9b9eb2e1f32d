//! What is done with files: found, removed, moved. By descriptors, so that no link leads elsewhere. Blocks.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use model::{After, FolderSource, HostFolder};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::super::FeedError;
use crate::decide::settled::Look;

/// Files that one source looks at, at most.
const MOST_FILES: usize = 500_000;
/// Folders in folders, at most.
const DEEPEST: usize = 64;
/// Names that are tried for a file whose own is taken.
const NAMES: u32 = 1000;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// What a scan found.
#[derive(Debug, Default)]
pub struct Found {
    /// By the path in the folder.
    pub files: Vec<(String, Look)>,
    /// One whose name cannot be told.
    pub odd: Option<String>,
}

/// Opens a folder that may be read.
pub fn open(folder: &HostFolder) -> Result<OwnedFd, FeedError> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, folder.as_str(), flags, Mode::empty(), resolve).map_err(|errno| failed(folder, "", errno))
}

fn failed(folder: &HostFolder, key: &str, errno: Errno) -> FeedError {
    let path = if key.is_empty() { folder.to_string() } else { format!("{folder}/{key}") };
    FeedError(match errno {
        Errno::NOENT => format!("there is no {path} on the host"),
        Errno::LOOP => format!("a link is on the way to {path}: name the folder that it leads to"),
        Errno::NOTDIR => format!("{path} is not a folder"),
        Errno::ACCESS | Errno::PERM => {
            let user = rustix::process::geteuid().as_raw();
            format!(
                "{path}: the server runs as user {user}, who may not do that: allow it, for example with \
                 `setfacl -R -m u:{user}:rX {folder}`, rwX where files are to be removed or moved"
            )
        }
        Errno::XDEV => format!("{path} is on another file system than the folder that it is to be moved to"),
        errno => format!("{path}: {errno}"),
    })
}

/// All files that are wanted. `watch` is given every folder that was looked into.
pub fn scan(source: &FolderSource, watch: impl Fn(&OwnedFd)) -> Result<Found, FeedError> {
    let mut found = Found::default();
    let mut folders = vec![(open(&source.path)?, String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        // Before it is read: what comes then is found, or noticed.
        watch(&folder);
        let entries = Dir::read_from(&folder).map_err(|errno| failed(&source.path, &prefix, errno))?;
        for entry in entries {
            let entry = entry.map_err(|errno| failed(&source.path, &prefix, errno))?;
            let raw = entry.file_name();
            let name = match raw.to_str() {
                Ok("." | "..") => continue,
                Ok(name) => name,
                Err(_) => {
                    found.odd = Some(format!("{prefix}{}", raw.to_string_lossy()));
                    continue;
                }
            };
            // What is hidden is somebody's who is not done with it yet: rsync's, an editor's.
            let hidden = name.starts_with('.') && !source.pattern.as_ref().is_some_and(|one| one.starts_with('.'));
            if hidden {
                continue;
            }
            let stat = match stat(&folder, raw) {
                // It went meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(|errno| failed(&source.path, &format!("{prefix}{name}"), errno))?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if source.wants(name) => {
                    found.files.push((format!("{prefix}{name}"), look(&stat)));
                }
                FileType::Directory if source.recursive && depth < DEEPEST => {
                    match rustix::fs::openat(&folder, raw, FOLDER, Mode::empty()) {
                        Ok(inner) => folders.push((inner, format!("{prefix}{name}/"), depth + 1)),
                        Err(Errno::NOENT) => {}
                        Err(errno) => return Err(failed(&source.path, &format!("{prefix}{name}"), errno)),
                    }
                }
                _ => {}
            }
        }
        if found.files.len() > MOST_FILES {
            return Err(FeedError(format!("{} has more than {MOST_FILES} files: name a smaller folder", source.path)));
        }
    }
    Ok(found)
}

fn stat(folder: &OwnedFd, name: &CStr) -> Result<Stat, Errno> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn look(stat: &Stat) -> Look {
    let mtime = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    Look { inode: stat.st_ino, size: stat.st_size as u64, mtime }
}

/// Does with a file what its source says, if it still is as it was. One that has changed meanwhile is left: it is another.
pub fn finish(source: &FolderSource, key: &str, was: Look) -> Result<(), FeedError> {
    let refused = |errno| failed(&source.path, key, errno);
    let (parents, name) = key.rsplit_once('/').unwrap_or(("", key));
    let mut folder = open(&source.path)?;
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        folder = rustix::fs::openat(&folder, parent, FOLDER, Mode::empty()).map_err(refused)?;
    }
    match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Ok(stat) if look(&stat) == was => {}
        Ok(_) => {
            return Err(FeedError(format!("{}/{key} has changed since its event was made: it is left", source.path)));
        }
        Err(errno) => return Err(refused(errno)),
    }
    match &source.after {
        After::Keep => Ok(()),
        After::Delete => rustix::fs::unlinkat(&folder, name, AtFlags::empty()).map_err(refused),
        After::MoveTo(to) => {
            let mut target = open(to)?;
            for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
                match rustix::fs::mkdirat(&target, parent, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(to, key, errno)),
                }
                target = rustix::fs::openat(&target, parent, FOLDER, Mode::empty()).map_err(refused)?;
            }
            for n in 0..NAMES {
                let new = if n == 0 { name.to_owned() } else { format!("{name}.{n}") };
                match rustix::fs::renameat_with(&folder, name, &target, &new, RenameFlags::NOREPLACE) {
                    Err(Errno::EXIST) => {}
                    moved => return moved.map_err(|errno| failed(to, key, errno)),
                }
            }
            Err(FeedError(format!("{to}/{key} and {NAMES} names like it are taken")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(folder: &std::path::Path, json: serde_json::Value) -> FolderSource {
        let mut text = serde_json::json!({"name": "in", "path": folder.to_str().unwrap()});
        text.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(text).unwrap()
    }

    fn names(source: &FolderSource) -> Vec<String> {
        let mut names: Vec<_> = scan(source, |_| {}).unwrap().files.into_iter().map(|(key, _)| key).collect();
        names.sort();
        names
    }

    #[test]
    fn it_finds_what_is_wanted_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in/sub")).unwrap();
        for file in ["a.jpg", "b.txt", ".c.jpg", "sub/d.jpg"] {
            std::fs::write(dir.path().join("in").join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("in/e.jpg")).unwrap();
        std::os::unix::fs::symlink("in", dir.path().join("link")).unwrap();
        let folder = dir.path().join("in");
        assert_eq!(names(&source(&folder, serde_json::json!({}))), ["a.jpg", "b.txt"]);
        let all = serde_json::json!({"recursive": true, "pattern": "*.jpg"});
        assert_eq!(names(&source(&folder, all)), ["a.jpg", "sub/d.jpg"]);
        let error = scan(&source(&dir.path().join("link"), serde_json::json!({})), |_| {}).unwrap_err();
        assert!(error.0.contains("link is on the way"), "{error:?}");
        let error = scan(&source(&dir.path().join("none"), serde_json::json!({})), |_| {}).unwrap_err();
        assert!(error.0.contains("there is no"), "{error:?}");
    }

    #[test]
    fn what_is_done_is_moved_under_a_free_name_or_removed_unless_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, done) = (dir.path().join("in"), dir.path().join("done"));
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::create_dir_all(&done).unwrap();
        let to = serde_json::json!({"recursive": true, "after": {"move_to": done.to_str().unwrap()}});
        let mover = source(&folder, to);
        for round in 0..2 {
            std::fs::write(folder.join("sub/a"), format!("{round}")).unwrap();
            let (key, look) = scan(&mover, |_| {}).unwrap().files.remove(0);
            let other = Look { size: look.size + 1, ..look };
            assert!(finish(&mover, &key, other).unwrap_err().0.contains("has changed"));
            finish(&mover, &key, look).unwrap();
        }
        assert_eq!(std::fs::read_to_string(done.join("sub/a")).unwrap(), "0");
        assert_eq!(std::fs::read_to_string(done.join("sub/a.1")).unwrap(), "1");
        std::fs::write(folder.join("b"), "").unwrap();
        let remover = source(&folder, serde_json::json!({"after": "delete"}));
        let (key, look) = scan(&remover, |_| {}).unwrap().files.remove(0);
        finish(&remover, &key, look).unwrap();
        finish(&remover, &key, look).unwrap();
        assert!(names(&remover).is_empty());
    }
}
