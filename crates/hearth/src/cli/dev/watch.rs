//! Waits until a folder was changed and has come to rest.
//!
//! inotify only wakes: what changed is found by looking at the files, so nothing depends on which events an editor
//! causes (writing in place, renaming over, writing many files at once). Folders that stay out of the package take
//! no watch: in a tree with `.git` and virtual environments those are most of them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::cli::ignore::Ignore;

/// Nothing changed for so long: whoever was writing has finished.
const REST: Duration = Duration::from_millis(50);
/// Changes that do not end are looked at all the same.
const RESTLESS: Duration = Duration::from_secs(1);
/// Between two looks where looking is all that helps: the folder is gone, or Hearth is.
const AGAIN: Duration = Duration::from_secs(1);

/// Watches a folder with all below it, or one file.
pub struct Watch {
    inotify: OwnedFd,
    folder: PathBuf,
    /// Only this file, in the folder itself.
    only: Option<Vec<u8>>,
}

// === impl Watch ===

impl Watch {
    pub fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        Self::new(folder, None)
    }

    /// By its folder: a file that is renamed over is another file.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().context("a file has a name")?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self::new(folder.unwrap_or(Path::new(".")), Some(name.as_bytes().to_vec()))
    }

    fn new(folder: &Path, only: Option<Vec<u8>>) -> anyhow::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|error| match error {
            Errno::MFILE => anyhow::anyhow!(
                "this user watches too many folders already: end some of what watches, or raise \
                 fs.inotify.max_user_instances with sysctl"
            ),
            error => anyhow::Error::new(error).context("starting to watch"),
        })?;
        let watch = Self { inotify, folder: folder.to_owned(), only };
        watch.spread()?;
        Ok(watch)
    }

    /// Returns when something may have changed and nothing changes any more. With `again` also after a second in which
    /// nothing did.
    pub fn changed(&self, again: bool) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let left = AGAIN.saturating_sub(started.elapsed());
            if again && left.is_zero() {
                break;
            }
            if self.wait(again.then_some(left))? && self.take()? {
                break;
            }
        }
        let moved = Instant::now();
        while self.wait(Some(REST))? && moved.elapsed() < RESTLESS {
            self.take()?;
        }
        // Before anybody looks, so that what comes later in a new folder wakes us again.
        self.spread()
    }

    /// Whether there is something to take.
    fn wait(&self, limit: Option<Duration>) -> anyhow::Result<bool> {
        let limit = limit.map(|limit| Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 }));
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, limit.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error).context("waiting for changes"),
        }
    }

    /// Takes all events; whether any of them is about us.
    fn take(&self) -> anyhow::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut ours = false;
        loop {
            match events.next() {
                Ok(event) => {
                    let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().map(std::ffi::CStr::to_bytes);
                    ours |= lost || self.only.as_deref().is_none_or(|only| name == Some(only));
                }
                Err(Errno::AGAIN) => return Ok(ours),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("reading what changed"),
            }
        }
    }

    /// Watches every folder there is now. Where the folder itself is gone there is nothing to watch until it is back.
    fn spread(&self) -> anyhow::Result<()> {
        if !self.add(&self.folder)? || self.only.is_some() {
            return Ok(());
        }
        let ignore = Ignore::new(&fs::read_to_string(self.folder.join(".hearthignore")).unwrap_or_default());
        self.below(&self.folder, "", &ignore)
    }

    fn below(&self, folder: &Path, inside: &str, ignore: &Ignore) -> anyhow::Result<()> {
        // A folder that went in between is not there to be watched, and what cannot be read is told by the deploy.
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name();
            let Some(name) = OsStr::to_str(&name) else { continue };
            let path = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
            let place = entry.path();
            if !ignore.leaves_out(&path, true) && self.add(&place)? {
                self.below(&place, &path, ignore)?;
            }
        }
        Ok(())
    }

    /// Watches one folder; whether it is there.
    fn add(&self, folder: &Path) -> anyhow::Result<bool> {
        let what = WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.inotify, folder, what) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(false),
            Err(Errno::NOSPC) => bail!(
                "{} has more folders than this user may watch: leave some out with .hearthignore, or raise \
                 fs.inotify.max_user_watches with sysctl",
                self.folder.display()
            ),
            Err(error) => Err(io::Error::from(error)).with_context(|| format!("watching {}", folder.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pack::write;

    /// Whether the watch wakes for it.
    fn wakes(watch: &Watch, act: impl FnOnce()) -> bool {
        while watch.wait(Some(Duration::ZERO)).unwrap() {
            watch.take().unwrap();
        }
        act();
        // Events are there when the call that caused them returns.
        watch.wait(Some(Duration::ZERO)).unwrap() && watch.take().unwrap()
    }

    #[test]
    fn it_wakes_for_what_editors_do_and_for_nothing_that_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        write(folder.path(), "app.py", "1");
        write(folder.path(), "lib/a.py", "1");
        write(folder.path(), ".git/index", "1");
        let watch = Watch::of_folder(folder.path()).unwrap();
        assert!(wakes(&watch, || fs::write(at("app.py"), "2").unwrap()));
        assert!(wakes(&watch, || fs::write(at("lib/a.py"), "2").unwrap()));
        assert!(wakes(&watch, || fs::rename(at("lib/a.py"), at("app.py")).unwrap()));
        assert!(wakes(&watch, || fs::remove_file(at("app.py")).unwrap()));
        assert!(!wakes(&watch, || fs::write(at(".git/index"), "2").unwrap()));
        write(folder.path(), "new/deep/a.py", "1");
        watch.changed(false).unwrap();
        assert!(wakes(&watch, || fs::write(at("new/deep/a.py"), "2").unwrap()));
    }

    #[test]
    fn of_one_file_its_neighbours_wake_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        write(folder.path(), "app.py", "1");
        let watch = Watch::of_file(&at("app.py")).unwrap();
        assert!(!wakes(&watch, || fs::write(at("other.py"), "2").unwrap()));
        assert!(wakes(&watch, || fs::rename(at("other.py"), at("app.py")).unwrap()));
    }
}
