//! The embedded store: three SQLite databases and a directory of packages.
//!
//! ```text
//! <dir>/lock            held while a store is open: one process at a time
//! <dir>/catalogue.db    functions, their versions and history, tokens, secrets (sealed), comparisons, prices: every commit is synced before it is answered
//! <dir>/secret.key      what opens the secrets, unless the operator keeps that elsewhere
//! <dir>/telemetry.db    records, log lines: written in batches, so that logs never slow the catalogue
//! <dir>/queue.db        asynchronous events, [`SqliteQueue`]: as the catalogue
//! <dir>/spare           room for cleaning up on a full disk
//! <dir>/objects         what S3's buckets hold, see [`crate::objects`]
//! <dir>/audit           who did what, in no database: see [`crate::audit`]
//! <dir>/packages, code  see [`crate::packages`]
//! ```
//!
//! Each database has one thread that writes, and a few connections that read; no lock is ever waited for. The
//! threads end, with all they were given written, on `close` or when the last handle goes.

mod alias_env;
mod api_keys;
mod backup;
mod canaries;
mod companions;
mod comparisons;
mod credentials;
mod database;
mod functions;
mod history;
mod layers;
mod log_file;
mod policies;
mod provisioned;
mod queue;
mod routes;
mod secrets;
mod spare;
mod telemetry;
mod versions;
mod writer;

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use model::CodeHash;
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::keyring::Keyring;
use crate::objects::DiskObjects;
use crate::packages::{self, DiskPackages};
use crate::unpack::Limits;
use crate::{CodeIntegrity, FileHead, Packages, StoreError};
use database::{Readers, blocking};
use spare::Spare;
use telemetry::TelemetryDb;
use writer::Writer;

pub use backup::check_database;
pub use database::is_current;
pub use queue::{EventLimits, SqliteQueue};
pub use telemetry::{QueueLimits, Retention};

/// How to open a [`SqliteStore`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; made if it is not there.
    pub dir: PathBuf,
    /// What a package may hold.
    pub limits: Limits,
    /// Revisions of each function that are kept beside the current one, for rollback; default 99.
    pub history: u32,
    /// How long records and log lines are kept.
    pub retention: Retention,
    /// How much telemetry may wait to be written.
    pub queue: QueueLimits,
    /// The file of the keys that secrets are sealed with; none: one in the data directory, made when it is not there.
    pub secret_keys: Option<PathBuf>,
}

/// The store of one machine. Implements every trait of this crate.
pub struct SqliteStore {
    writer: Writer,
    readers: Arc<Readers>,
    telemetry: TelemetryDb,
    packages: Arc<DiskPackages>,
    /// Those whose unpacked code was compared since the store was opened, and since they were last added.
    whole: Mutex<HashMap<CodeHash, Arc<OnceCell<()>>>>,
    objects: Arc<DiskObjects>,
    /// Unpacking takes memory and disk: a few at a time.
    unpacking: Arc<Semaphore>,
    changes: watch::Sender<u64>,
    history: u32,
    keys: Arc<RwLock<Arc<Keyring>>>,
    spare: Arc<Spare>,
    /// Held until all else is closed, or given to a successor.
    lock: Mutex<Option<File>>,
}

// === impl Options ===

impl Options {
    /// The defaults, in this data directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            limits: Limits::default(),
            history: 99,
            retention: Retention::default(),
            queue: QueueLimits::default(),
            secret_keys: None,
        }
    }
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the store, mends what a crash left, and starts its threads. Blocks, for milliseconds.
    pub fn open(options: Options) -> Result<Arc<Self>, StoreError> {
        let Options { dir, limits, history, retention, queue, secret_keys } = options;
        if !dir.is_dir() {
            std::fs::create_dir_all(&dir).map_err(|error| StoreError::io(dir.display(), &error))?;
            packages::make_dir(&dir, 0o711)?;
        }
        let lock = lock(&dir)?;
        let keys = secret_keys.map_or_else(|| Keyring::in_dir(&dir), Keyring::external)?;
        let packages = DiskPackages::open(&dir, limits)?;
        let telemetry = TelemetryDb::open(&dir, retention, queue)?;
        let catalogue = database::open_durable(&dir, &functions::SCHEMA)?;
        let spare = Arc::new(Spare::open(&dir));
        let objects = DiskObjects::open(&dir, &companions::referred(&catalogue)?)?;
        Ok(Arc::new(Self {
            writer: Writer::start("store-catalogue", catalogue)?,
            readers: Readers::new(&dir, &functions::SCHEMA, 4),
            telemetry,
            packages: Arc::new(packages),
            whole: Mutex::default(),
            objects: Arc::new(objects),
            unpacking: Arc::new(Semaphore::new(2)),
            changes: watch::Sender::new(0),
            history,
            keys: Arc::new(RwLock::new(Arc::new(keys))),
            spare,
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Where a package's unpacked code is, for sandboxes to mount read-only. Never changes while the package is
    /// there.
    pub fn code_folder(&self, hash: &CodeHash) -> PathBuf {
        self.packages.folder(hash)
    }

    /// Does what removes something, if need be in the room that is kept for it.
    async fn clean_up<T, F>(&self, remove: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut removed = remove().await;
        let spare = self.spare.clone();
        if matches!(removed, Err(StoreError::DiskFull)) && blocking(move || Ok(spare.spend())).await? {
            removed = remove().await;
        }
        let spare = self.spare.clone();
        let refill = move || {
            spare.refill();
            Ok(())
        };
        blocking(refill).await?;
        removed
    }

    /// Gives the data directory to a successor: writes what was given, and no change from now on. What calls still want goes
    /// on: records and log lines are written, secrets and packages read. Blocks.
    pub fn hand_over(&self) -> Result<(), StoreError> {
        self.unpacking.close();
        self.writer.close();
        match self.lock.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Said, and not only closed: a process that is being started at this moment has a copy.
            Some(lock) => lock.unlock().map_err(|error| StoreError::io("the data directory's lock", &error)),
            None => Ok(()),
        }
    }

    /// Writes what was given and ends the threads; every call from now on answers `Closed`, but for those that
    /// only read packages. Blocks. A second call does nothing.
    pub fn close(&self) {
        self.unpacking.close();
        self.readers.close();
        self.writer.close();
        self.telemetry.close();
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl CodeIntegrity for SqliteStore {
    async fn whole(&self, hash: &CodeHash) -> Result<(), StoreError> {
        let looked = {
            let mut all = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(hash.clone()).or_default().clone()
        };
        // Who comes while it is looked at waits for that.
        let look = || {
            let (packages, hash) = (self.packages.clone(), hash.clone());
            blocking(move || packages.verify(&hash))
        };
        let answer = looked.get_or_try_init(look).await.copied();
        if answer.is_err() {
            self.whole.lock().unwrap_or_else(PoisonError::into_inner).remove(hash);
        }
        answer
    }
}

#[async_trait]
impl Packages for SqliteStore {
    async fn add(&self, zip: Bytes) -> Result<CodeHash, StoreError> {
        let slot = self.unpacking.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let packages = self.packages.clone();
        let added = blocking(move || {
            let _slot = slot;
            packages.add(&zip)
        });
        let hash = added.await?;
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        Ok(hash)
    }

    async fn has(&self, hash: &CodeHash) -> Result<bool, StoreError> {
        let (packages, hash) = (self.packages.clone(), hash.clone());
        // Who asks would otherwise not upload what is damaged here.
        blocking(move || packages.sound(&hash)).await
    }

    async fn read(&self, hash: &CodeHash) -> Result<Bytes, StoreError> {
        let (packages, hash) = (self.packages.clone(), hash.clone());
        blocking(move || packages.read(&hash)).await
    }

    async fn head(&self, hash: &CodeHash, path: &str) -> Result<Option<FileHead>, StoreError> {
        let (packages, hash, path) = (self.packages.clone(), hash.clone(), path.to_owned());
        blocking(move || packages.head(&hash, &path)).await
    }

    async fn merge(&self, hashes: Vec<CodeHash>) -> Result<CodeHash, StoreError> {
        let slot = self.unpacking.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let packages = self.packages.clone();
        blocking(move || {
            let _slot = slot;
            packages.merge(&hashes)
        })
        .await
    }

    async fn unpacked(&self, hash: &CodeHash) -> Result<u64, StoreError> {
        let (packages, hash) = (self.packages.clone(), hash.clone());
        blocking(move || packages.unpacked(&hash)).await
    }

    async fn collect(&self, age: Duration) -> Result<usize, StoreError> {
        let packages = self.packages.clone();
        // On the writer's thread, so that no function comes to refer to a package while it goes.
        let sweep = move |catalogue: &rusqlite::Connection| packages.sweep(&functions::used(catalogue)?, age);
        let swept = self.writer.write(sweep, || {}).await?;
        let count = swept.count;
        if count > 0 {
            self.whole.lock().unwrap_or_else(PoisonError::into_inner).retain(|hash, _| self.packages.has(hash));
        }
        blocking(move || {
            drop(swept);
            Ok(count)
        })
        .await
    }
}

/// How long a predecessor is waited for. A process that it was starting at that moment holds the lock too, until it runs
/// its own program.
const LOCK_LIMIT: Duration = Duration::from_secs(1);

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| StoreError::io(path.display(), &error))?;
    let until = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Failed(format!("another process uses the data directory {}", dir.display())));
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(path.display(), &error)),
        }
    }
}
