//! What Hearth remembers: functions and their code, credentials, secrets, invocation records, log lines.
//!
//! The traits are the wall behind which one machine's SQLite may become a cluster's PostgreSQL: nothing above
//! knows of tables or file paths. [`sqlite`] is the embedded implementation.

#![forbid(unsafe_code)]

mod keyring;
pub mod packages;
pub mod queue;
pub mod schedules;
mod secrets;
pub mod sqlite;
pub mod unpack;

pub use packages::DiskPackages;
pub use queue::Queue;
pub use schedules::Schedules;
pub use secrets::{KeyRotation, SecretInfo, SecretValues, Secrets};
pub use sqlite::{Options, SqliteQueue, SqliteStore};
pub use unpack::Limits;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{
    CodeHash, ComparisonId, Door, Function, FunctionName, FunctionSpec, LogLine, Prices, Record, RequestId, SecretName,
    Timestamp,
};
use tokio::sync::watch;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("no function named {0}")]
    NoSuchFunction(FunctionName),
    #[error("no package with hash {0}: upload it first")]
    NoSuchPackage(CodeHash),
    #[error("the package is refused: {0}")]
    BadPackage(String),
    #[error("function {name} changed meanwhile: it is at revision {found}, not {expected}")]
    Conflict { name: FunctionName, expected: u64, found: u64 },
    #[error("the queue of {function} is full: too many {what} wait")]
    QueueFull { function: FunctionName, what: &'static str },
    #[error("the idempotency key {0:?} was used for another event within the last 24 hours")]
    KeyReused(String),
    #[error("no secret named {0}: set it with `hearth secret set {0}`")]
    NoSuchSecret(SecretName),
    #[error(
        "secret {name} is used by {}: remove their references first, or force it, and their calls will fail",
        list(functions)
    )]
    SecretUsed { name: SecretName, functions: Vec<FunctionName> },
    #[error(
        "secret {name} was sealed with the key {key}, which this Hearth does not have: restore its key, or set the secret again"
    )]
    SecretLocked { name: SecretName, key: String },
    /// The inside text: it names a file.
    #[error("{0}")]
    KeyFile(String),
    #[error("the disk is full")]
    DiskFull,
    /// The inside text; callers are told only that the store failed.
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("the store is closed")]
    Closed,
}

fn list(functions: &[FunctionName]) -> String {
    let names: Vec<_> = functions.iter().take(5).map(FunctionName::as_str).collect();
    match functions.len().saturating_sub(names.len()) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Functions. Every write is durable when its future resolves, and whole: a crash leaves the old revision or
/// the new one.
#[async_trait]
pub trait Functions: Send + Sync {
    /// Creates the function or replaces it by a new revision. `spec` must have passed `validate`. With
    /// `expect`, only if the function is at that revision (0: does not exist). Every secret that it refers to must be there.
    async fn put(&self, spec: FunctionSpec, code: CodeHash, expect: Option<u64>) -> Result<Function, StoreError>;

    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError>;

    /// All functions by name.
    async fn list(&self) -> Result<Vec<Function>, StoreError>;

    async fn delete(&self, name: &FunctionName) -> Result<(), StoreError>;

    /// Goes up by one with every change; a watcher then reads what it needs.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The beginning of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    /// At most [`FileHead::MOST`] bytes.
    pub bytes: Vec<u8>,
    pub executable: bool,
}

impl FileHead {
    pub const MOST: u64 = 64 * 1024;
}

/// Packages, named by the SHA-256 of their bytes.
#[async_trait]
pub trait Packages: Send + Sync {
    /// Checks a zip, unpacks it and keeps it. Durable when it resolves. The same bytes twice are one package.
    async fn add(&self, zip: Bytes) -> Result<CodeHash, StoreError>;

    async fn has(&self, hash: &CodeHash) -> Result<bool, StoreError>;

    /// The zip as it was uploaded.
    async fn read(&self, hash: &CodeHash) -> Result<Bytes, StoreError>;

    /// A file of the package, by its path in it: how it begins, and whether it may be executed. None: there is no such
    /// file. Links are followed within the package.
    async fn head(&self, hash: &CodeHash, path: &str) -> Result<Option<FileHead>, StoreError>;

    /// Removes packages that no function uses and that are older than `age` (a deploy uploads first and
    /// refers later). Returns how many went.
    async fn collect(&self, age: Duration) -> Result<usize, StoreError>;
}

/// Secrets of the installation itself.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Keeps the hash of a token; `name` is for people.
    async fn add_token(&self, name: &str, sha256: [u8; 32]) -> Result<(), StoreError>;

    /// SHA-256 hashes of all valid tokens.
    async fn tokens(&self) -> Result<Vec<[u8; 32]>, StoreError>;
}

/// A comparison that came to its end. What was measured is text that only those above can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredComparison {
    pub id: ComparisonId,
    pub function: FunctionName,
    pub begun: Timestamp,
    pub body: String,
}

/// What `hearth compare` found, and the prices that it is paid in.
#[async_trait]
pub trait Comparisons: Send + Sync {
    /// Keeps it as long as its function is there and nothing but a few are newer. Durable when it resolves.
    async fn keep(&self, comparison: StoredComparison) -> Result<(), StoreError>;

    async fn comparison(&self, id: ComparisonId) -> Result<Option<StoredComparison>, StoreError>;

    /// A function's comparisons, newest first.
    async fn comparisons(&self, function: &FunctionName) -> Result<Vec<StoredComparison>, StoreError>;

    /// The prices that were set; none as long as nobody has set any.
    async fn prices(&self) -> Result<Option<Prices>, StoreError>;

    /// `prices` must have passed `validate`. Durable when it resolves.
    async fn set_prices(&self, prices: Prices) -> Result<(), StoreError>;
}

/// Which records to read, newest first.
#[derive(Debug, Clone, Default)]
pub struct RecordQuery {
    pub function: Option<FunctionName>,
    pub request_id: Option<RequestId>,
    /// Only calls that came in since then.
    pub since: Option<Timestamp>,
    /// All but those that came in here.
    pub except: Option<Door>,
    pub limit: usize,
}

/// Which log lines to read. The answer is oldest first: the newest `limit` lines that match.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub function: Option<FunctionName>,
    pub request_id: Option<RequestId>,
    pub since: Option<Timestamp>,
    /// Only lines whose message holds this text, in any case.
    pub grep: Option<String>,
    /// Only lines after this cursor, in order, the oldest `limit` of them: for following.
    pub after: Option<u64>,
    pub limit: usize,
}

/// Log lines, and where to go on from.
#[derive(Debug, Clone, Default)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    pub cursor: u64,
}

/// Records and log lines. Writing never waits and never fails: what cannot be kept is counted. A crash loses
/// at most the last second.
#[async_trait]
pub trait Telemetry: Send + Sync {
    fn record(&self, record: Record);

    fn log(&self, line: LogLine);

    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, StoreError>;

    /// Sees every line given to [`Telemetry::log`] before the call.
    async fn logs(&self, query: LogQuery) -> Result<LogPage, StoreError>;

    /// Changes when there are new log lines; for following without polling.
    fn logged(&self) -> watch::Receiver<u64>;

    /// Lines and records that were dropped because they came faster than they could be written.
    fn dropped(&self) -> u64;
}

// === impl StoreError ===

impl StoreError {
    /// What the file system said about `subject`.
    pub(crate) fn io(subject: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Failed(format!("{subject}: {error}")),
        }
    }
}
