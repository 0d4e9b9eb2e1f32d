//! Records and log lines, in a database of their own.
//!
//! What is given is put into a bounded queue and written in batches by one thread. A full queue or a full disk
//! drops and counts; nobody who logs ever waits. A query first waits until what was given before it is written.

mod bundle;
mod query;
mod queue;
mod retention;
mod rows;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use model::{LogLine, Record};
use tokio::sync::watch;

use super::SqliteStore;
use super::database::{self, Readers};
use crate::{LogPage, LogQuery, RecordQuery, StoreError, Telemetry};
use queue::{Item, Queue};
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
        let conn = database::open(dir, &rows::SCHEMA)?;
        let state = State::load(&conn)?;
        let queue = Arc::new(Queue::new(limits));
        let logged = watch::Sender::new(state.next_line as u64 - 1);
        let names = Names::default();
        let writer = Writer { conn, queue: queue.clone(), retention, logged: logged.clone(), names, state };
        let thread = std::thread::Builder::new().name("store-telemetry".into()).spawn(move || writer.run());
        let thread = thread.map_err(|error| StoreError::io("starting the store's writer", &error))?;
        let readers = Readers::new(dir, &rows::SCHEMA, 4);
        Ok(Self { queue, readers, logged, thread: Mutex::new(Some(thread)) })
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

impl Drop for TelemetryDb {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Telemetry for SqliteStore {
    fn record(&self, record: Record) {
        self.telemetry.queue.push(Item::Record(Box::new(record)));
    }

    fn log(&self, line: LogLine) {
        self.telemetry.queue.push(Item::Line(line));
    }

    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(move |conn| query::records(conn, &query)).await
    }

    async fn logs(&self, query: LogQuery) -> Result<LogPage, StoreError> {
        self.telemetry.queue.flush().await?;
        self.telemetry.readers.read(move |conn| query::logs(conn, &query)).await
    }

    fn logged(&self) -> watch::Receiver<u64> {
        self.telemetry.logged.subscribe()
    }

    fn dropped(&self) -> u64 {
        self.telemetry.queue.dropped()
    }
}
