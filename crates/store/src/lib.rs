//! What Hearth remembers: functions and their code, credentials, secrets, invocation records, log lines.
//!
//! The traits are the wall behind which one machine's SQLite may become a cluster's PostgreSQL: nothing above
//! knows of tables or file paths. [`sqlite`] is the embedded implementation.

#![forbid(unsafe_code)]

pub mod api_keys;
pub mod aside;
pub mod audit;
pub mod companions;
mod credentials;
mod keyring;
pub mod layers;
pub mod log_events;
pub mod messages;
mod objects;
pub mod observe;
pub mod packages;
pub mod policies;
mod provisioned;
pub mod queue;
pub mod schedules;
mod secrets;
pub mod sources;
pub mod sqlite;
pub mod unpack;
pub mod versions;

pub use api_keys::{ApiKey, ApiKeys};
pub use audit::{AuditEntry, AuditLimits, AuditLog, AuditQuery};
pub use companions::{Companions, Objects, OwnSchedule};
pub use credentials::{Credentials, StoredToken};
pub use layers::{LayerVersion, Layers, NewLayer};
pub use log_events::LogEvents;
pub use messages::Messages;
pub use observe::Observe;
pub use packages::DiskPackages;
pub use policies::Policies;
pub use provisioned::{Provisioned, Provisions};
pub use queue::Queue;
pub use schedules::Schedules;
pub use secrets::{KeyRotation, SecretInfo, SecretValues, Secrets};
pub use sources::Sources;
pub use sqlite::{Options, SqliteQueue, SqliteStore};
pub use unpack::Limits;
pub use versions::{Published, Versions};

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{
    AliasName, CodeHash, ComparisonId, Door, Function, FunctionName, FunctionSpec, InstanceId, LogLevel, LogLine,
    Payloads, Prices, QueueName, Record, RequestId, Revision, SecretName, Tally, Timestamp, TokenId, Version,
};
use tokio::sync::watch;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("no function named {0}")]
    NoSuchFunction(FunctionName),
    #[error("no package with hash {0}: upload it first")]
    NoSuchPackage(CodeHash),
    #[error(
        "the package {0} is damaged on the disk, unpacked and as it was uploaded: deploy the function again, or restore a \
         backup (docs/backup.md)"
    )]
    DamagedPackage(CodeHash),
    #[error("the package is refused: {0}")]
    BadPackage(String),
    #[error("function {name} changed meanwhile: it is at revision {found}, not {expected}")]
    Conflict { name: FunctionName, expected: u64, found: u64 },
    #[error("function {name} has no version {version}: `hearth list {name}` shows those that it has")]
    NoSuchVersion { name: FunctionName, version: u64 },
    #[error("function {name} has no alias {alias}: make it with `hearth alias set {name} {alias} VERSION`")]
    NoSuchAlias { name: FunctionName, alias: AliasName },
    #[error("revision {revision} of function {name} is not kept: `hearth history {name}` shows what there was")]
    NoSuchRevision { name: FunctionName, revision: Revision },
    #[error("version {version} of function {name} is in use by {}: point that elsewhere first", users.join(", "))]
    VersionUsed { name: FunctionName, version: u64, users: Vec<String> },
    #[error("alias {alias} of function {name} changed meanwhile: it is at revision {found}, not {expected}")]
    AliasConflict { name: FunctionName, alias: AliasName, expected: u64, found: u64 },
    #[error(
        "alias {alias} cannot point to version {version} and give version {second} a share: expected two different \
         published versions"
    )]
    BadRouting { alias: AliasName, version: Version, second: u64 },
    #[error("alias {alias} of function {name} has variables of its own that do not go with it: {why}")]
    BadAliasEnv { name: FunctionName, alias: AliasName, why: String },
    #[error("the code of function {name} is {found}, not {expected}")]
    OtherCode { name: FunctionName, expected: CodeHash, found: CodeHash },
    #[error(
        "a canary of function {0} runs: `hearth canary {0}` shows it; promote it or roll it back first \
         (`hearth canary {0} --promote`, `--abort`)"
    )]
    CanaryRuns(FunctionName),
    #[error("no canary of function {0} runs")]
    NoCanary(FunctionName),
    #[error("the queue of {function} is full: too many {what} wait")]
    QueueFull { function: FunctionName, what: &'static str },
    #[error("the idempotency key {0:?} was used for another event within the last 24 hours")]
    KeyReused(String),
    #[error("no message queue named {0}: make it with `hearth mq create {0}`")]
    NoSuchQueue(QueueName),
    #[error("queue {queue} is the dead-letter queue of {by}: change that queue's rules first")]
    QueueUsed { queue: QueueName, by: QueueName },
    #[error("the message queues are full: too many {0}")]
    MessagesFull(&'static str),
    #[error("the message is refused: {0}")]
    BadMessage(String),
    #[error("the rules of queue {queue} are refused: {why}")]
    BadQueue { queue: QueueName, why: String },
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
    #[error("route {route:?} is function {function}'s already, as {taken:?}: change one of them, or remove {function}")]
    RouteTaken { route: String, function: FunctionName, taken: String },
    #[error("an API key named {0} is there already: remove it, or choose another name")]
    ApiKeyTaken(SecretName),
    #[error("no API key named {0}: `hearth key list` shows those that are there")]
    NoSuchApiKey(SecretName),
    #[error("there are {0} API keys, the most that are kept: remove one that nobody uses")]
    TooManyApiKeys(i64),
    #[error("a token named {0} is there already: revoke it, or choose another name")]
    TokenTaken(SecretName),
    #[error("no token has the id {0}: `hearth token ls` shows those that are there")]
    NoSuchToken(TokenId),
    #[error(
        "token {0} is the installation's own: to have another, remove the file admin.token of the data directory and \
         start Hearth again"
    )]
    OwnToken(TokenId),
    #[error("there are {0} tokens, the most that are kept: revoke one that nobody uses")]
    TooManyTokens(i64),
    /// The inside text: it names a file.
    #[error("{0}")]
    KeyFile(String),
    #[error("there are too many {what}: at most {most} are kept")]
    TooMany { what: &'static str, most: u64 },
    #[error("the disk is full")]
    DiskFull,
    /// The inside text. A database whose disk failed once takes no writes until it is opened again.
    #[error("the disk failed: {0}")]
    Disk(String),
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

    /// All versions, aliases and canaries. A store that keeps none has none.
    async fn published(&self) -> Result<Published, StoreError> {
        Ok(Published::default())
    }

    /// Schedules that were made through AWS's APIs; their functions need not be there. A store that keeps none has none.
    async fn own_schedules(&self) -> Result<Vec<OwnSchedule>, StoreError> {
        Ok(Vec::new())
    }

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

/// That what instances are given is what was uploaded.
#[async_trait]
pub trait CodeIntegrity: Send + Sync {
    /// Compares a package's unpacked code with its sum, and unpacks it again where it does not fit. To be asked before each
    /// start: what was once found whole is not read again as long as the store is open.
    async fn whole(&self, hash: &CodeHash) -> Result<(), StoreError>;
}

/// Packages, named by the SHA-256 of their bytes.
#[async_trait]
pub trait Packages: Send + Sync {
    /// Checks a zip, unpacks it and keeps it. Durable when it resolves. The same bytes twice are one package.
    async fn add(&self, zip: Bytes) -> Result<CodeHash, StoreError>;

    /// Whether it is there and as it was uploaded.
    async fn has(&self, hash: &CodeHash) -> Result<bool, StoreError>;

    /// The zip as it was uploaded.
    async fn read(&self, hash: &CodeHash) -> Result<Bytes, StoreError>;

    /// A file of the package, by its path in it: how it begins, and whether it may be executed. None: there is no such
    /// file. Links are followed within the package.
    async fn head(&self, hash: &CodeHash, path: &str) -> Result<Option<FileHead>, StoreError>;

    /// One package that is these, unpacked over each other in this order. Durable when it resolves, and refused where it
    /// would be too much for one.
    async fn merge(&self, hashes: Vec<CodeHash>) -> Result<CodeHash, StoreError>;

    /// Bytes of all its files together, unpacked.
    async fn unpacked(&self, hash: &CodeHash) -> Result<u64, StoreError>;

    /// Removes packages that neither functions nor layers use and that are older than `age` (a deploy uploads first and
    /// refers later). Returns how many went.
    async fn collect(&self, age: Duration) -> Result<usize, StoreError>;
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
    /// Only lines until then.
    pub until: Option<Timestamp>,
    pub instance: Option<InstanceId>,
    /// Only lines of this severity or a higher one; those that do not say theirs are left out.
    pub level: Option<LogLevel>,
    /// Only lines that are a JSON object in which the field of this path has this value.
    pub field: Option<(String, String)>,
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

    /// Keeps a record together with what the invocation was given and answered; where there is no room for both, the
    /// record, which then says so. A store that keeps no payloads keeps the record.
    fn record_with(&self, record: Record, payloads: Payloads) {
        let _ = payloads;
        self.record(Record { payloads: model::Kept::Dropped, ..record });
    }

    /// What is kept of an invocation's event and answer; none where nothing is, or is no more. Sees what was given
    /// before.
    async fn payloads(&self, id: RequestId) -> Result<Option<Payloads>, StoreError> {
        let _ = id;
        Ok(None)
    }

    fn log(&self, line: LogLine);

    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, StoreError>;

    /// Counts the calls of one revision that were recorded after a cursor, 0 for all, and gives the next cursor. Sees
    /// every record given before.
    async fn tally(&self, function: &FunctionName, revision: Revision, after: u64) -> Result<(Tally, u64), StoreError>;

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
