//! The one thread that writes telemetry: a transaction for each batch, at most one batch in 200 ms.
//!
//! ```text
//! sleep ─first item─► collect ─200 ms since the last, or urgent─► insert, trim, commit ─► sleep
//!   └─a second of quiet─► sync what is not yet on disk; once a minute, trim by age
//! ```
//!
//! A commit alone survives the death of the process but not that of the machine; once a second one is synced,
//! and takes all before it along.
//!
//! For a while there may be two such threads, in two processes: a server's that ends, and its successor's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::watch;

use super::Retention;
use super::bundle;
use super::meter;
use super::queue::{Batch, Item, Next, Queue};
use super::retention;
use super::rows::{Inserter, Names, State};
use crate::StoreError;

/// Between two commits, unless a query waits or the queue fills.
const PACE: Duration = Duration::from_millis(200);
/// What a crash of the machine may lose.
const SYNC: Duration = Duration::from_secs(1);
/// How often a quiet store looks for what has become too old.
const TRIM: Duration = Duration::from_secs(60);
/// Between two messages about a disk that cannot be written.
const COMPLAIN: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    pub conn: Connection,
    pub queue: Arc<Queue>,
    pub retention: Retention,
    pub logged: watch::Sender<u64>,
    pub names: Names,
    pub state: State,
    /// Changes when another process has written.
    pub version: Option<i64>,
}

// === impl Writer ===

impl Writer {
    pub fn run(mut self) {
        let mut due = Instant::now();
        let mut synced = Instant::now();
        let mut dirty = false;
        let mut trim_at = Instant::now();
        let mut complain_at = Instant::now();
        loop {
            let quiet = if dirty { SYNC } else { trim_at.saturating_duration_since(Instant::now()) };
            let next = self.queue.next(due, quiet);
            let sync = match next {
                Next::Batch(_) => synced.elapsed() >= SYNC,
                Next::Quiet | Next::Closed => dirty,
            };
            let (batch, closed) = match next {
                Next::Batch(batch) => (Some(batch), false),
                Next::Quiet => (None, false),
                Next::Closed => (None, true),
            };
            let items = batch.as_ref().map_or(&[][..], |batch| &batch.items);
            let rest = match self.write(items, sync) {
                Ok(more) => {
                    if sync {
                        (dirty, synced) = (false, Instant::now());
                    } else {
                        dirty |= !items.is_empty();
                    }
                    if more { Duration::from_millis(50) } else { TRIM }
                }
                Err(error) => {
                    self.queue.count_dropped(items.len() as u64);
                    if complain_at <= Instant::now() {
                        tracing::error!(%error, lost = items.len(), "records and log lines cannot be written");
                        complain_at = Instant::now() + COMPLAIN;
                    }
                    SYNC
                }
            };
            trim_at = Instant::now() + rest;
            due = Instant::now() + PACE;
            if let Some(Batch { items, barriers, held }) = batch {
                drop(items);
                self.queue.done(held);
                for barrier in barriers {
                    let _ = barrier.send(());
                }
            }
            if closed {
                return;
            }
        }
    }

    /// Writes a batch, empty or not, and trims. True if there is more to trim.
    fn write(&mut self, items: &[Item], sync: bool) -> Result<bool, StoreError> {
        // Cannot be changed within a transaction, and costs nothing.
        self.conn.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })?;
        let mut state = self.state;
        let written = self.transact(items, &mut state, sync);
        if written.is_err() {
            self.names.forget();
        }
        let more = written?;
        let logged = state.next_line != self.state.next_line;
        self.state = state;
        if logged {
            self.logged.send_replace(state.next_line as u64 - 1);
        }
        Ok(more)
    }

    fn transact(&mut self, items: &[Item], state: &mut State, sync: bool) -> Result<bool, StoreError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // While a server hands over to another, both write: nothing that the other changed is remembered otherwise.
        let version = tx.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.version.replace(version) != Some(version) {
            *state = State::load(&tx)?;
            self.names.forget();
        }
        let mut insert = Inserter::new(&tx)?;
        for (record, payloads) in items.iter().filter_map(Item::record) {
            insert.record(&mut self.names, state, record, payloads)?;
        }
        bundle::each(items, |bundle| insert.lines(&mut self.names, state, bundle))?;
        let mut sizes = std::mem::take(&mut insert.sizes);
        let mut payload_sizes = std::mem::take(&mut insert.payload_sizes);
        drop(insert);
        let now = Timestamp::now();
        meter::count(&tx, &mut self.names, items, now)?;
        let more = retention::trim(&tx, &self.retention, state, items.len(), now, &mut sizes, &mut payload_sizes)?;
        // Without a write there is nothing to commit, and so nothing to sync.
        if sync || *state != self.state {
            state.save(&tx)?;
        }
        tx.commit()?;
        Ok(more)
    }
}
