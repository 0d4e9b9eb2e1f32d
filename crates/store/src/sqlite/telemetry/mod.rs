//! Records and log lines, in a database of their own.
//!
//! What is given is put into a bounded queue and written in batches by one thread. A full queue or a full disk
//! drops and counts; nobody who logs ever waits. A query first waits until what was given before it is written.

mod bundle;
mod events;
mod meter;
mod payloads;
mod query;
mod queue;
mod retention;
mod rows;
mod search;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use model::{FunctionName, LogLine, Payloads, Record, RequestId, Revision, Tally};
use tokio::sync::watch;

use super::SqliteStore;
use super::database::{self, Readers};
use crate::observe::{
    InstanceTime, InstanceTraffic, MetricsQuery, MetricsSeries, Observe, RecordPage, RecordSearch, Total,
};
use crate::{LogPage, LogQuery, RecordQuery, StoreError, Telemetry};
use queue::{Item, Queue};
pub(super) use rows::SCHEMA;
use rows::{Names, State};
use writer::Writer;

pub use queue::QueueLimits;
pub use retention::Retention;

pub(super) struct TelemetryDb {
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    logged: watch::Sender<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

// === impl TelemetryDb ===

impl TelemetryDb {
    pub fn open(dir: &Path, retention: Retention, limits: QueueLimits) -> Result<Self, StoreError> {
        let open = || {
            let conn = database::open(dir, &rows::SCHEMA)?;
            let state = State::load(&conn)?;
            Ok((conn, state))
        };
        let (conn, state) = match open() {
            // Nobody is to go without calls for the sake of what was logged.
            Err(StoreError::Disk(why)) => {
                let kept = set_aside(dir)?;
                tracing::error!(%why, kept = %kept.display(), "logs and records begin anew: what was there is damaged, and set aside");
                open()?
            }
            other => other?,
        };
        let queue = Arc::new(Queue::new(limits));
        let logged = watch::Sender::new(state.next_line as u64 - 1);
        let names = Names::default();
        let writer =
            Writer { conn, queue: queue.clone(), retention, logged: logged.clone(), names, state, version: None };
        let thread = std::thread::Builder::new().name("store-telemetry".into()).spawn(move || writer.run());
        let thread = thread.map_err(|error| StoreError::io("starting the store's writer", &error))?;
        let readers = Readers::new(dir, &rows::SCHEMA, 4);
        Ok(Self { queue, readers, logged, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Writes what waits, and ends the thread. Blocks.
    pub fn close(&self) {
        self.readers.close();
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of records and log lines panicked");
        }
    }
}

/// Gives a damaged database another name, whatever had that name before.
fn set_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let file = |end: &str| dir.join(format!("{}{end}", rows::SCHEMA.file));
    let kept = file(".damaged");
    for (from, to) in [("", ""), ("-wal", "-wal"), ("-shm", "-shm")] {
        let (from, to) = (file(from), file(&format!(".damaged{to}")));
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io(from.display(), &error));
            }
            _ => {}
        }
    }
    Ok(kept)
}

impl Drop for TelemetryDb {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Telemetry for SqliteStore {
    fn record(&self, record: Record) {
        self.telemetry.queue.push(Item::Record(Box::new(record), None));
    }

    fn record_with(&self, record: Record, payloads: Payloads) {
        self.telemetry.queue.push(Item::Record(Box::new(record), Some(Box::new(payloads))));
    }

    async fn payloads(&self, id: RequestId) -> Result<Option<Payloads>, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(move |conn| payloads::read(conn, id)).await
    }

    fn log(&self, line: LogLine) {
        self.telemetry.queue.push(Item::Line(line));
    }

    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(move |conn| query::records(conn, &query)).await
    }

    async fn tally(&self, function: &FunctionName, revision: Revision, after: u64) -> Result<(Tally, u64), StoreError> {
        let function = function.clone();
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(move |conn| query::tally(conn, &function, revision, after)).await
    }

    async fn logs(&self, query: LogQuery) -> Result<LogPage, StoreError> {
        self.telemetry.queue.flush().await?;
        if query.grep.is_some() || query.field.is_some() || query.level.is_some() {
            return self.telemetry.readers.search(move |conn| query::logs(conn, &query)).await;
        }
        self.telemetry.readers.read(move |conn| query::logs(conn, &query)).await
    }

    fn logged(&self) -> watch::Receiver<u64> {
        self.telemetry.logged.subscribe()
    }

    fn dropped(&self) -> u64 {
        self.telemetry.queue.dropped()
    }
}

#[async_trait]
impl Observe for SqliteStore {
    fn instances(&self, times: Vec<InstanceTime>) {
        self.telemetry.queue.push(Item::Instances(times));
    }

    fn traffic(&self, traffic: Vec<InstanceTraffic>) {
        self.telemetry.queue.push(Item::Traffic(traffic));
    }

    async fn metrics(&self, query: MetricsQuery) -> Result<Vec<MetricsSeries>, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(move |conn| meter::series(conn, &query)).await
    }

    async fn totals(&self) -> Result<Vec<Total>, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(meter::totals).await
    }

    async fn search(&self, search: RecordSearch) -> Result<RecordPage, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.search(move |conn| search::records(conn, &search)).await
    }
}
