//! Files that come to a folder: created there, written, or moved into it; also while no server ran.
//!
//! ```text
//! scan ─► new, or changed ─► as it is for the window ─► event on disk, with its mark ─► event done ─► after: delete, move
//!   ▲                                                     (one transaction)
//!   └── something happened (inotify), or a while has passed
//! ```
//!
//! inotify only says when to look: what is there, the scan finds, so that nothing depends on every notice having come. A file
//! is known by path, inode, size and time of its last change; one that is known becomes no event again. No link is followed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{After, AllowedMount, FolderSource, HostFolder, Mount, Timestamp, allowed_mount};
use rustix::fs::inotify::{self, WatchFlags};
use store::Sources;
use store::sources::{Mark, MarkState, SourceName};
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::{Feed, FeedError, Message, Report, Settled, SourceOptions};
use crate::decide::settled::{Look, Unsettled};
use crate::{Clock, Runner};

mod files;

/// Between scans where nothing was noticed.
const QUIET: Duration = Duration::from_secs(30);
/// The same where nothing can be noticed.
const BLIND: Duration = Duration::from_secs(2);
/// Between scans, at least: a burst of notices is one.
const LEAST: Duration = Duration::from_millis(100);
/// Between looks at which events are done, while there are some that are not.
const LOOK_DONE: Duration = Duration::from_millis(500);
const EVENTS: WatchFlags =
    WatchFlags::CLOSE_WRITE.union(WatchFlags::CREATE).union(WatchFlags::MOVED_TO).union(WatchFlags::ONLYDIR);

pub struct FolderFeed {
    store: Arc<dyn Sources>,
    name: SourceName,
    source: FolderSource,
    unsettled: Unsettled,
    /// By the path in the folder: what it was when an event was made of it.
    seen: HashMap<String, (String, MarkState)>,
    ready: VecDeque<(String, Look)>,
    /// Handed over, and not settled yet: by token, which is the path in the folder.
    taken: HashMap<String, Look>,
    /// inotify, which is read like a pipe.
    notices: Option<pipe::Receiver>,
    /// When the last scan ended, and how long it took.
    scanned: Option<(Instant, Duration)>,
    /// Where the function sees the folder.
    mounted: Option<String>,
    report: Report,
    clock: Clock,
}

// === impl FolderFeed ===

impl FolderFeed {
    pub async fn open<R: Runner>(
        options: &SourceOptions<R>,
        name: &SourceName,
        source: &FolderSource,
        report: Report,
    ) -> Result<Self, FeedError> {
        for (folder, writes) in model::Source::Folder(source.clone()).folders() {
            require_allowed(&options.allowed, folder, writes)?;
            files::open(folder)?;
        }
        let known = options.sources.marks(name.clone()).await?;
        let prefix = format!("{}/", source.path);
        let seen = known.into_iter().filter_map(|(mark, state)| {
            // Those of another folder, which the source had before, are none of this one.
            Some((mark.key.strip_prefix(&prefix)?.to_owned(), (mark.value, state)))
        });
        let function = options.runner.function(&name.function);
        let mounts = function.as_ref().map_or(&[][..], |function| &function.spec.mounts);
        let mounted = mounts.iter().find_map(|mount| match source.path.below(&mount.host)? {
            "" => Some(mount.path.to_string()),
            below => Some(format!("{}/{below}", mount.path)),
        });
        let notices = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC);
        let notices = notices.ok().and_then(|notices| pipe::Receiver::from_owned_fd_unchecked(notices).ok());
        if notices.is_none() {
            tracing::warn!(function = %name.function, source = name.source, "no inotify: the folder is looked at every {BLIND:?}");
        }
        Ok(Self {
            store: options.sources.clone(),
            name: name.clone(),
            source: source.clone(),
            unsettled: Unsettled::new(source.settle),
            seen: seen.collect(),
            ready: VecDeque::new(),
            taken: HashMap::new(),
            notices,
            scanned: None,
            mounted,
            report,
            clock: options.clock.clone(),
        })
    }

    /// Waits until it is worth looking.
    async fn wait(&mut self) {
        let Some((scanned, took)) = self.scanned else { return };
        let quiet = if self.notices.is_some() { QUIET } else { BLIND };
        let mut until = scanned + quiet;
        if let Some(due) = self.unsettled.due() {
            until = until.min(due);
        }
        let waits = |(_, state): &(String, MarkState)| *state == MarkState::Kept;
        if self.source.after != After::Keep && self.seen.values().any(waits) {
            until = until.min(scanned + LOOK_DONE);
        }
        // A folder of many files must not take all of a processor.
        let earliest = scanned + LEAST.max(took * 4);
        match &self.notices {
            Some(notices) => {
                tokio::select! {
                    _ = tokio::time::sleep_until(until.max(earliest)) => {}
                    // What they say does not matter, only that they were.
                    _ = notices.readable() => {
                        let mut buffer = [0; 4096];
                        while notices.try_read(&mut buffer).is_ok_and(|length| length > 0) {}
                    }
                }
            }
            None => tokio::time::sleep_until(until).await,
        }
        tokio::time::sleep_until(earliest).await;
    }

    async fn scan(&mut self) -> Result<(), FeedError> {
        let begun = Instant::now();
        let source = self.source.clone();
        let watch = match &self.notices {
            Some(notices) => Some(notices.as_fd().try_clone_to_owned().map_err(|error| FeedError(error.to_string()))?),
            None => None,
        };
        let found = tokio::task::spawn_blocking(move || {
            files::scan(&source, |folder| {
                let Some(watch) = &watch else { return };
                // By its descriptor: no link is followed.
                let path = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
                // One that cannot be watched is looked at every now and then all the same.
                let _ = inotify::add_watch(watch, path, EVENTS);
            })
        });
        let found = found.await.map_err(|error| FeedError(error.to_string()))??;
        if let Some(odd) = &found.odd {
            self.report.error(&format!("{odd} is left out: its name is not UTF-8"));
        }
        self.forget_gone(&found.files).await?;
        let gone = self.finish(&found.files).await?;
        let is_new = |(key, look): &(String, Look)| {
            !gone.contains(key)
                && !self.taken.contains_key(key)
                && self.seen.get(key).is_none_or(|(value, _)| *value != look.to_string())
        };
        let new: Vec<_> = found.files.into_iter().filter(is_new).collect();
        self.ready = self.unsettled.scan(new, Instant::now()).into();
        self.scanned = Some((Instant::now(), begun.elapsed()));
        Ok(())
    }

    /// Forgets files that are gone, but not all of them at once: then the folder may only be not mounted.
    async fn forget_gone(&mut self, files: &[(String, Look)]) -> Result<(), FeedError> {
        let there: HashSet<&str> = files.iter().map(|(key, _)| key.as_str()).collect();
        let gone: Vec<String> = self.seen.keys().filter(|key| !there.contains(key.as_str())).cloned().collect();
        if !gone.is_empty() && gone.len() < self.seen.len() {
            self.forget(gone).await?;
        }
        Ok(())
    }

    async fn forget(&mut self, keys: Vec<String>) -> Result<(), FeedError> {
        let marks = keys.iter().map(|key| self.mark_key(key)).collect();
        self.store.forget_marks(self.name.clone(), marks).await?;
        for key in keys {
            self.seen.remove(&key);
        }
        Ok(())
    }

    /// Does what is to be done with files whose events are done. Returns which are not there any more.
    async fn finish(&mut self, files: &[(String, Look)]) -> Result<HashSet<String>, FeedError> {
        if self.source.after == After::Keep || self.seen.is_empty() {
            return Ok(HashSet::new());
        }
        let prefix = self.mark_key("");
        for (mark, state) in self.store.marks(self.name.clone()).await? {
            if let Some(one) = mark.key.strip_prefix(&prefix).and_then(|key| self.seen.get_mut(key)) {
                one.1 = state;
            }
        }
        let mut gone = Vec::new();
        for (key, look) in files {
            let done = |(value, state): &(String, MarkState)| *state == MarkState::Done && *value == look.to_string();
            if !self.seen.get(key).is_some_and(done) {
                continue;
            }
            let (source, file, look) = (self.source.clone(), key.clone(), *look);
            let done = tokio::task::spawn_blocking(move || files::finish(&source, &file, look)).await;
            match done.map_err(|error| FeedError(error.to_string()))? {
                Ok(()) => gone.push(key.clone()),
                // Tried again with the next scan.
                Err(why) => self.report.error(&why.0),
            }
        }
        if !gone.is_empty() {
            self.forget(gone.clone()).await?;
        }
        Ok(gone.into_iter().collect())
    }

    fn mark_key(&self, key: &str) -> String {
        format!("{}/{key}", self.source.path)
    }

    fn message(&self, key: String, look: Look) -> Message {
        let mtime = Timestamp((look.mtime / 1000) as i64).rfc3339();
        let record = serde_json::json!({
            "eventSource": "hearth:folder",
            "eventName": "ObjectCreated",
            "eventTime": (self.clock)().rfc3339(),
            "source": self.source.name,
            "folder": self.source.path.as_str(),
            "key": key,
            "path": self.mark_key(&key),
            "mountedPath": self.mounted.as_ref().map(|mounted| format!("{mounted}/{key}")),
            "size": look.size,
            "mtime": mtime,
        });
        let mark = Mark { key: self.mark_key(&key), value: look.to_string() };
        Message { token: key.clone(), record: record.to_string().into(), id: key, mark: Some(mark) }
    }
}

#[async_trait]
impl Feed for FolderFeed {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, FeedError> {
        while self.ready.is_empty() {
            self.wait().await;
            self.scan().await?;
        }
        let count = self.ready.len().min(most);
        let taken: Vec<_> = self.ready.drain(..count).collect();
        self.taken.extend(taken.iter().cloned());
        Ok(taken.into_iter().map(|(key, look)| self.message(key, look)).collect())
    }

    async fn settle(&mut self, settled: Vec<(String, Settled)>) -> Result<(), FeedError> {
        for (key, settled) in settled {
            let Some(look) = self.taken.remove(&key) else { continue };
            if settled == Settled::Done {
                self.seen.insert(key, (look.to_string(), MarkState::Kept));
            }
        }
        Ok(())
    }

    async fn lag(&mut self) -> Result<Option<u64>, FeedError> {
        Ok(Some((self.unsettled.count().max(self.ready.len())) as u64))
    }
}

fn require_allowed(list: &[AllowedMount], folder: &HostFolder, writes: bool) -> Result<(), FeedError> {
    let path = "/mnt/x".parse().map_err(|error: model::InvalidMount| FeedError(error.to_string()))?;
    let asked = Mount { host: folder.clone(), path, read_only: !writes };
    allowed_mount(list, &asked).map(drop).map_err(|why| FeedError(why.to_string()))
}
