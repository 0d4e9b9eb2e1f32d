//! The audit log: who did what, in files that are only added to.
//!
//! ```text
//! <data>/audit/00000000000000000001.jsonl    a record a line, each with the SHA-256 of the one before: a chain
//!              00000000000000004711.jsonl    the next file, named by its first record; the oldest go
//! ```
//!
//! Whoever changes, removes or puts in a record breaks the chain, unless they write all that follows anew: so the newest
//! hash, noted elsewhere, vouches for all before it. A crash may leave the last line unfinished: that line was answered
//! to nobody, and is cut off. Nothing here reads a secret; those who write records give none.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{FaultCode, Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// What stands before the first record of all.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct AuditLimits {
    /// Bytes of a file, about.
    pub file: u64,
    /// Files; before there is one more, the oldest goes.
    pub files: usize,
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Whose token; none: nobody's, as of a login that failed, or Hearth's own.
    pub token: Option<TokenId>,
    /// The same in words.
    pub by: Option<String>,
    pub ip: Option<IpAddr>,
    /// The operation.
    pub action: String,
    /// What it was done to.
    pub object: String,
    /// Of the answer.
    pub status: u16,
    pub code: Option<FaultCode>,
}

/// A record of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// From 1, without a gap.
    pub seq: u64,
    /// RFC 3339.
    pub at: String,
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// Of the record before.
    pub prev: String,
    /// Of this one: SHA-256 of its line without this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// Which records to read, newest first.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    pub limit: usize,
    /// Only those before this one.
    pub before: Option<u64>,
    pub token: Option<TokenId>,
    pub action: Option<String>,
    pub since: Option<Timestamp>,
}

/// What became of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditCheck {
    pub records: u64,
    /// The oldest that is kept; 0: there is none.
    pub first: u64,
    pub last: u64,
    /// The hash of the last.
    pub head: String,
    /// Where it is broken first, and how.
    pub broken: Option<String>,
    /// The record that has the hash that was asked for.
    pub found: Option<u64>,
}

/// The log of one data directory. Cloning is cheap.
#[derive(Clone)]
pub struct AuditLog(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    limits: AuditLimits,
    chain: Mutex<Chain>,
    /// The last record that is on disk for good. Taken before `chain` by nobody who holds that.
    synced: Mutex<u64>,
    /// The last record could not be written.
    failed: AtomicBool,
}

struct Chain {
    file: Arc<File>,
    /// Of whole lines.
    size: u64,
    seq: u64,
    hash: String,
    /// First records of the files.
    files: VecDeque<u64>,
}

impl Default for AuditLimits {
    /// 64 MB: some 200,000 records.
    fn default() -> Self {
        Self { file: 4 << 20, files: 16 }
    }
}

// === impl AuditLog ===

impl AuditLog {
    /// Opens the log, and cuts off what a crash left unfinished. Blocks.
    pub fn open(data: &Path, limits: AuditLimits) -> Result<Self, StoreError> {
        let dir = data.join("audit");
        let subject = |error: &io::Error| StoreError::io(dir.display(), error);
        crate::packages::make_dir(&dir, 0o700)?;
        let mut files: VecDeque<u64> = segments(&dir).map_err(|error| subject(&error))?.into();
        if files.is_empty() {
            files.push_back(1);
        }
        let newest = *files.back().unwrap_or(&1);
        let path = path_of(&dir, newest);
        let file = open(&path).map_err(|error| StoreError::io(path.display(), &error))?;
        let text = fs::read(&path).map_err(|error| StoreError::io(path.display(), &error))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let cut = text.len() - whole;
        if cut > 0 {
            file.set_len(whole as u64).map_err(|error| StoreError::io(path.display(), &error))?;
        }
        let (seq, hash) = match last_line(&text[..whole]) {
            Some(line) => end_of(line, newest),
            // A file that was begun and has no record: what ends before it?
            None => match files.len().checked_sub(2).map(|before| files[before]) {
                Some(before) => {
                    let path = path_of(&dir, before);
                    let text = fs::read(&path).map_err(|error| StoreError::io(path.display(), &error))?;
                    last_line(&text).map_or((newest - 1, BEGINNING.to_owned()), |line| end_of(line, before))
                }
                None => (newest - 1, BEGINNING.to_owned()),
            },
        };
        let chain = Chain { file: Arc::new(file), size: whole as u64, seq, hash, files };
        let (synced, failed) = (Mutex::new(seq), AtomicBool::new(false));
        let log = Self(Arc::new(Shared { dir, limits, chain: Mutex::new(chain), synced, failed }));
        if cut > 0 {
            log.0.append(own("audit_recovered", format!("{cut} bytes that a crash left unfinished")))?;
        }
        Ok(log)
    }

    /// Adds a record. It is on disk when this resolves.
    pub async fn append(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let shared = self.0.clone();
        let done = tokio::task::spawn_blocking(move || shared.append(entry)).await;
        done.unwrap_or_else(|error| Err(StoreError::Failed(format!("the audit log: {error}"))))
    }

    /// Fails where the last record could not be written, and none can now.
    pub async fn ready(&self) -> Result<(), StoreError> {
        if !self.0.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.append(own("audit_resumed", "records before this one may be missing".to_owned())).await
    }

    /// Reads records, newest first.
    pub async fn read(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        let dir = self.0.dir.clone();
        let read = tokio::task::spawn_blocking(move || read(&dir, &query)).await;
        let read = read.map_err(|error| StoreError::Failed(format!("the audit log: {error}")))?;
        read.map_err(|error| StoreError::io(self.0.dir.display(), &error))
    }

    /// Checks the chain, and looks for the record of a hash.
    pub async fn check(&self, hash: Option<String>) -> Result<AuditCheck, StoreError> {
        let dir = self.0.dir.clone();
        let checked = tokio::task::spawn_blocking(move || check(&dir, hash.as_deref())).await;
        let checked = checked.map_err(|error| StoreError::Failed(format!("the audit log: {error}")))?;
        checked.map_err(|error| StoreError::io(self.0.dir.display(), &error))
    }
}

/// What Hearth itself has to say.
fn own(action: &str, object: String) -> AuditEntry {
    AuditEntry {
        token: None,
        by: Some("hearth".into()),
        ip: None,
        action: action.into(),
        object,
        status: 200,
        code: None,
    }
}

// === impl Shared ===

impl Shared {
    fn append(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let done = self.write(entry).and_then(|(seq, file)| {
            // Who comes while another syncs finds their record synced as well, or syncs for all that came since.
            let mut synced = lock(&self.synced);
            if *synced < seq {
                let upto = lock(&self.chain).seq;
                file.sync_data()?;
                // Of a file that was changed meanwhile, the one before was synced at the change.
                *synced = if Arc::ptr_eq(&file, &lock(&self.chain).file) { upto } else { seq };
            }
            Ok(())
        });
        self.failed.store(done.is_err(), Ordering::Release);
        done.map_err(|error| StoreError::io("the audit log", &error))
    }

    fn write(&self, entry: AuditEntry) -> io::Result<(u64, Arc<File>)> {
        let mut chain = lock(&self.chain);
        let record = AuditRecord {
            seq: chain.seq + 1,
            at: Timestamp::now().rfc3339(),
            entry,
            prev: chain.hash.clone(),
            hash: String::new(),
        };
        let mut line = serde_json::to_string(&record)?;
        let hash = digest(line.as_bytes());
        line.pop();
        line.push_str(&format!(",\"hash\":\"{hash}\"}}\n"));
        if chain.size > 0 && chain.size + line.len() as u64 > self.limits.file {
            self.begin(&mut chain, record.seq)?;
        }
        // What an earlier write left half done.
        chain.file.set_len(chain.size)?;
        (&*chain.file).write_all(line.as_bytes())?;
        chain.size += line.len() as u64;
        (chain.seq, chain.hash) = (record.seq, hash);
        Ok((chain.seq, chain.file.clone()))
    }

    /// Begins the file whose first record this is, and lets the oldest go.
    fn begin(&self, chain: &mut Chain, first: u64) -> io::Result<()> {
        chain.file.sync_data()?;
        let file = open(&path_of(&self.dir, first))?;
        chain.files.push_back(first);
        (chain.file, chain.size) = (Arc::new(file), 0);
        while chain.files.len() > self.limits.files.max(1) {
            let Some(oldest) = chain.files.pop_front() else { break };
            fs::remove_file(path_of(&self.dir, oldest))?;
        }
        File::open(&self.dir)?.sync_all()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === files ===

fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.jsonl"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The first records of the files, oldest first.
fn segments(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse::<u64>().ok());
        found.extend(first);
    }
    found.sort_unstable();
    Ok(found)
}

/// The whole lines of a file; none where it went meanwhile.
fn lines(dir: &Path, first: u64) -> io::Result<Vec<String>> {
    let text = match fs::read(path_of(dir, first)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(String::from_utf8_lossy(&text[..whole]).lines().map(str::to_owned).collect())
}

fn last_line(text: &[u8]) -> Option<&[u8]> {
    text.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()
}

/// Number and hash that the next record follows. Of a line that cannot be read, what shows that it was there.
fn end_of(line: &[u8], first: u64) -> (u64, String) {
    match serde_json::from_slice::<AuditRecord>(line) {
        Ok(record) => (record.seq, record.hash),
        Err(_) => (first, digest(line)),
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(dir: &Path, query: &AuditQuery) -> io::Result<Vec<AuditRecord>> {
    let mut found = Vec::new();
    let since = query.since.map(Timestamp::rfc3339);
    for first in segments(dir)?.into_iter().rev() {
        if query.before.is_some_and(|before| first >= before) {
            continue;
        }
        for line in lines(dir, first)?.iter().rev() {
            if found.len() >= query.limit {
                return Ok(found);
            }
            // What cannot be read is for the check to tell.
            let Ok(record) = serde_json::from_str::<AuditRecord>(line) else { continue };
            let entry = &record.entry;
            // Times of one length and zone are in the order of their texts.
            let fits = query.before.is_none_or(|before| record.seq < before)
                && query.token.as_ref().is_none_or(|token| entry.token.as_ref() == Some(token))
                && query.action.as_ref().is_none_or(|action| entry.action == *action)
                && since.as_ref().is_none_or(|since| record.at >= *since);
            if fits {
                found.push(record);
            }
        }
    }
    Ok(found)
}

fn check(dir: &Path, hash: Option<&str>) -> io::Result<AuditCheck> {
    let mut state = AuditCheck::default();
    for first in segments(dir)? {
        for (number, line) in lines(dir, first)?.iter().enumerate() {
            let place = || format!("line {} of {first:020}.jsonl", number + 1);
            let mut told = |why: String| {
                state.broken.get_or_insert(why);
            };
            let Ok(record) = serde_json::from_str::<AuditRecord>(line) else {
                told(format!("{} cannot be read", place()));
                continue;
            };
            let whole = line.rsplit_once(",\"hash\":\"").is_some_and(|(body, end)| {
                digest(format!("{body}}}").as_bytes()) == record.hash && end == format!("{}\"}}", record.hash)
            });
            if !whole {
                told(format!("record {} was changed ({})", record.seq, place()));
            } else if state.records > 0 && (record.seq != state.last + 1 || record.prev != state.head) {
                told(format!("record {} does not follow record {} ({})", record.seq, state.last, place()));
            } else if record.seq == 1 && record.prev != BEGINNING {
                told(format!("record 1 says that others came before it ({})", place()));
            }
            if state.records == 0 {
                state.first = record.seq;
            }
            if hash == Some(record.hash.as_str()) {
                state.found = Some(record.seq);
            }
            state.records += 1;
            (state.last, state.head) = (record.seq, record.hash);
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str) -> AuditEntry {
        let token = Some(TokenId::of(&[7; 32]));
        let ip = Some([127, 0, 0, 1].into());
        AuditEntry {
            token,
            by: Some("ci".into()),
            ip,
            action: action.into(),
            object: "functions/f".into(),
            status: 200,
            code: None,
        }
    }

    const SMALL: AuditLimits = AuditLimits { file: 1500, files: 3 };

    async fn filled(count: usize, limits: AuditLimits) -> (tempfile::TempDir, AuditLog) {
        let data = tempfile::tempdir().unwrap();
        let log = AuditLog::open(data.path(), limits).unwrap();
        for number in 0..count {
            log.append(entry(&format!("a{number}"))).await.unwrap();
        }
        (data, log)
    }

    fn newest(data: &Path) -> PathBuf {
        let dir = data.join("audit");
        path_of(&dir, *segments(&dir).unwrap().last().unwrap())
    }

    #[tokio::test]
    async fn records_chain_over_restarts_and_files_and_the_oldest_go() {
        let (data, log) = filled(30, SMALL).await;
        drop(log);
        let log = AuditLog::open(data.path(), SMALL).unwrap();
        log.append(entry("last")).await.unwrap();
        let check = log.check(None).await.unwrap();
        assert_eq!((check.broken, check.last), (None, 31));
        assert!(check.first > 1 && check.records == 32 - check.first, "{}", check.first);
        assert_eq!(segments(&data.path().join("audit")).unwrap().len(), 3);
        let found = log.read(AuditQuery { limit: 2, ..AuditQuery::default() }).await.unwrap();
        assert_eq!(found.iter().map(|one| one.seq).collect::<Vec<_>>(), [31, 30]);
        assert_eq!(found[0].hash, check.head);
        let before = AuditQuery { limit: 9, before: Some(30), action: Some("a28".into()), ..AuditQuery::default() };
        assert_eq!(log.read(before).await.unwrap().len(), 1);
        let noted = log.check(Some(found[1].hash.clone())).await.unwrap();
        assert_eq!(noted.found, Some(30));
    }

    #[tokio::test]
    async fn many_at_once_are_all_there() {
        let (_data, log) = filled(0, AuditLimits::default()).await;
        let all = (0..50).map(|number| {
            let log = log.clone();
            tokio::spawn(async move { log.append(entry(&format!("a{number}"))).await.unwrap() })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let check = log.check(None).await.unwrap();
        assert_eq!((check.broken, check.records), (None, 50));
    }

    #[tokio::test]
    async fn what_a_crash_left_unfinished_is_cut_off_wherever_it_was() {
        let (data, log) = filled(3, AuditLimits::default()).await;
        drop(log);
        let path = newest(data.path());
        let text = fs::read(&path).unwrap();
        let second = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in [second + 1, second + 40, text.len() - 1] {
            fs::write(&path, &text[..end]).unwrap();
            let log = AuditLog::open(data.path(), AuditLimits::default()).unwrap();
            log.append(entry("after")).await.unwrap();
            let check = log.check(None).await.unwrap();
            assert_eq!(check.broken, None, "cut at {end}");
            let found = log.read(AuditQuery { limit: 2, ..AuditQuery::default() }).await.unwrap();
            assert_eq!([&*found[0].entry.action, &found[1].entry.action], ["after", "audit_recovered"]);
        }
    }

    #[tokio::test]
    async fn a_change_a_gap_and_an_addition_are_told_with_their_place() {
        let (data, log) = filled(5, AuditLimits::default()).await;
        let path = newest(data.path());
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let told = async |lines: &[&str]| {
            fs::write(&path, lines.join("\n") + "\n").unwrap();
            log.check(None).await.unwrap().broken.unwrap_or_default()
        };
        assert_eq!(told(&lines).await, "");
        let changed = lines[2].replace("functions/f", "functions/g");
        assert!(told(&[lines[0], lines[1], &changed, lines[3], lines[4]]).await.contains("record 3 was changed"));
        assert!(told(&[lines[0], lines[1], lines[3], lines[4]]).await.contains("record 4 does not follow record 2"));
        assert!(told(&[lines[0], lines[1], lines[1], lines[2]]).await.contains("record 2 does not follow record 2"));
        assert!(told(&[lines[0], "{}", lines[1]]).await.contains("line 2 of"));
        let last = lines[4].replace("\"hash\":\"", "\"hash\":\"0");
        assert!(told(&[lines[3], &last]).await.contains("record 5 was changed"));
        // What is broken already goes on, and stays broken.
        drop(log);
        fs::write(&path, "nonsense\n").unwrap();
        let log = AuditLog::open(data.path(), AuditLimits::default()).unwrap();
        log.append(entry("on")).await.unwrap();
        assert!(log.check(None).await.unwrap().broken.unwrap().contains("line 1 of"));
    }
}
