//! Backups: what is in one, and how it is made while Hearth works.
//!
//! ```text
//! copies beneath tmp/backup ─► their lengths and hashes: backup.json ─► tar, to whoever asked ─► copies gone
//! ```
//!
//! A crash leaves the copies, which the next start removes with all else in `tmp`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use control::BoxFuture;
use futures_util::stream;
use model::{Fault, FaultCode, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::aside::{self, Pace, Paced};
use store::sqlite::{SqliteQueue, SqliteStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The form of backups that this Hearth makes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// The first file of a backup.
pub const CONTENTS: &str = "backup.json";

/// Bytes that are sent at once.
const PIECE: usize = 64 * 1024;

/// How fast they are sent at most, bytes a second. Others pay for it too: who serves connections, and who takes them.
const RATE: u64 = 48 << 20;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    pub format: u32,
    /// The Hearth that made it.
    pub hearth: String,
    /// RFC 3339.
    pub made: String,
    /// Names the key that its secrets are sealed with.
    pub secret_key: String,
    /// All that follows, in this order.
    pub files: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// Makes backups of one installation, one at a time.
pub struct Backups {
    store: Arc<SqliteStore>,
    queue: Arc<SqliteQueue>,
    folder: PathBuf,
    turn: Arc<Semaphore>,
}

/// The copies, removed when dropped.
struct Copies(PathBuf);

/// Where the tar goes: to the client, as it takes it.
struct Pipe {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

// === impl Backups ===

impl Backups {
    /// `dir` is the data directory, as the server reaches it.
    pub fn new(store: Arc<SqliteStore>, queue: Arc<SqliteQueue>, dir: &Path) -> Self {
        Self { store, queue, folder: dir.join("tmp").join("backup"), turn: Arc::new(Semaphore::new(1)) }
    }

    async fn make(&self, logs: bool) -> Result<Body, Fault> {
        let Ok(turn) = self.turn.clone().try_acquire_owned() else {
            return Err(Fault::new(FaultCode::Conflict, "another backup is being made: wait for it to end"));
        };
        let failed = |error: &dyn std::fmt::Display| {
            let text = "the backup could not be made: the log of the server says why";
            tracing::error!(%error, "a backup could not be made");
            Fault::new(FaultCode::Store, text).with_detail(error.to_string())
        };
        let copies = Copies::begin(&self.folder).map_err(|error| failed(&error))?;
        self.queue.copy_into(&self.folder.join("queue.db")).await.map_err(|error| failed(&error))?;
        let key = self.store.copy_into(&self.folder, logs).await.map_err(|error| failed(&error))?;
        let folder = self.folder.clone();
        let looked = aside::run("backup", move || contents(&folder, key)).await.flatten();
        let contents = looked.map_err(|error| failed(&error))?;
        let (pieces, mut taken) = mpsc::channel(4);
        aside::spawn("backup", move || send(&copies, &contents, pieces, turn)).map_err(|error| failed(&error))?;
        Ok(Body::from_stream(stream::poll_fn(move |cx| taken.poll_recv(cx))))
    }
}

impl control::Backups for Backups {
    fn backup(&self, logs: bool) -> BoxFuture<'_, Result<Body, Fault>> {
        Box::pin(self.make(logs))
    }
}

/// What the copies are.
fn contents(folder: &Path, secret_key: String) -> io::Result<Contents> {
    let (mut files, mut pace) = (Vec::new(), Pace::begin());
    let names = |kind: &str| -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder.join(kind))?;
        let names = entries.map(|entry| Ok(format!("{kind}/{}", entry?.file_name().to_string_lossy())));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let databases = ["catalogue.db", "queue.db", "telemetry.db"].map(String::from).into_iter();
    let databases = databases.filter(|name| folder.join(name).exists());
    for path in databases.chain(names("packages")?).chain(names("objects")?) {
        let (bytes, sha256) =
            digest(&mut Paced { from: File::open(folder.join(&path))?, pace: &mut pace }, &mut io::sink())?;
        files.push(Entry { path, bytes, sha256 });
    }
    let hearth = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Contents { format: FORMAT, hearth, made: Timestamp::now().rfc3339(), secret_key, files })
}

/// Copies, and says how much and with what SHA-256.
pub fn digest(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(u64, String)> {
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&piece[..read]);
        to.write_all(&piece[..read])?;
        bytes += read as u64;
    }
    Ok((bytes, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Writes the tar until it ends, or until nobody takes it any more.
fn send(copies: &Copies, contents: &Contents, pieces: mpsc::Sender<io::Result<Bytes>>, turn: OwnedSemaphorePermit) {
    let cut = pieces.clone();
    let write = || -> io::Result<()> {
        let mut tar = tar::Builder::new(Pipe { pieces, piece: Vec::new() });
        let own = serde_json::to_vec_pretty(contents)?;
        let mut add = |path: &str, bytes: u64, content: &mut dyn Read| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes);
            header.set_mode(0o600);
            header.set_cksum();
            tar.append_data(&mut header, path, content)
        };
        add(CONTENTS, own.len() as u64, &mut own.as_slice())?;
        for Entry { path, bytes, .. } in &contents.files {
            add(path, *bytes, &mut File::open(copies.0.join(path))?)?;
        }
        tar.into_inner()?.flush()
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "a backup was not taken to its end");
        // Not a whole answer: whoever reads it must see that.
        let _ = cut.blocking_send(Err(error));
    }
    drop(turn);
}

// === impl Copies ===

impl Copies {
    fn begin(folder: &Path) -> io::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a backup's copies could not be removed: the next start does");
        }
    }
}

// === impl Pipe ===

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        thread::sleep(Duration::from_nanos(piece.len() as u64 * 1_000_000_000 / RATE));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it"))
    }
}
