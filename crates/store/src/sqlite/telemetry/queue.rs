//! Where telemetry waits to be written: bounded by count and bytes, never waited for.
//!
//! What is being written counts until it is written, so that the bound is one of memory. Lines may fill only
//! three quarters, so that a flood of them costs no records, and those of one function half of that, so that its
//! flood costs the others none. Payloads are taken while half of the bytes are free; beyond, their records go without them.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{FunctionName, Kept, LogLine, Payloads, Record};
use tokio::sync::oneshot;

use crate::StoreError;
use crate::observe::{InstanceTime, InstanceTraffic};

/// How much telemetry may wait to be written. What comes beyond is dropped and counted.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Records and lines; default 75,000.
    pub items: usize,
    /// Bytes of memory, roughly; default 24 MiB.
    pub bytes: usize,
}

pub(super) enum Item {
    /// With what the call was given and answered, if that is kept.
    Record(Box<Record>, Option<Box<Payloads>>),
    Line(LogLine),
    Instances(Vec<InstanceTime>),
    Traffic(Vec<InstanceTraffic>),
}

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    limits: QueueLimits,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    /// Of `items` and of the batch being written.
    held: Held,
    /// Of `held`, the lines of each function.
    lines: HashMap<FunctionName, Lines>,
    /// Told once all that was given before them is written.
    barriers: VecDeque<oneshot::Sender<()>>,
    closed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    items: usize,
    bytes: usize,
}

/// One function's lines: in `items`, and in the batch being written.
#[derive(Debug, Default)]
struct Lines {
    waiting: Held,
    writing: Held,
}

pub(super) struct Batch {
    pub items: Vec<Item>,
    pub barriers: VecDeque<oneshot::Sender<()>>,
    /// What it takes in memory; for [`Queue::done`].
    pub held: Held,
}

pub(super) enum Next {
    Batch(Batch),
    /// Nothing came in that time.
    Quiet,
    Closed,
}

/// A burst is collected at least this long.
const BURST: Duration = Duration::from_millis(5);

// === impl Queue ===

impl Queue {
    pub fn new(limits: QueueLimits) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), limits, dropped: AtomicU64::new(0) }
    }

    /// Takes an item, or counts it as dropped.
    pub fn push(&self, mut item: Item) {
        let mut state = self.lock();
        if let Item::Record(record, Some(payloads)) = &item
            && state.held.bytes + payloads.bytes() > self.limits.bytes / 2
        {
            let record = Record { payloads: Kept::Dropped, ..Record::clone(record) };
            item = Item::Record(Box::new(record), None);
        }
        let size = item.size();
        if state.closed || !state.take(&item, size, &self.limits) {
            drop(state);
            self.count_dropped(1);
            return;
        }
        state.items.push(item);
        // The first one wakes a writer that sleeps; the half-full mark one that collects.
        let wake = state.items.len() == 1 || state.items.len() == self.hurry();
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Waits until everything given before is written, or was dropped in trying.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (done, written) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.closed {
                return Err(StoreError::Closed);
            }
            if state.held.items == 0 {
                return Ok(());
            }
            state.barriers.push_back(done);
        }
        self.wake.notify_one();
        written.await.map_err(|_| StoreError::Closed)
    }

    /// The writer's: waits for something to write, at most `quiet`, and not before `due` unless it is urgent.
    pub fn next(&self, due: Instant, quiet: Duration) -> Next {
        let mut state = self.lock();
        let until = Instant::now() + quiet;
        while state.items.is_empty() && state.barriers.is_empty() {
            if state.closed {
                return Next::Closed;
            }
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Next::Quiet;
            };
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let due = due.max(Instant::now() + BURST);
        while state.barriers.is_empty() && !state.closed && state.items.len() < self.hurry() {
            let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { break };
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let held = state.held;
        state.lines.values_mut().for_each(|lines| lines.writing = mem::take(&mut lines.waiting));
        let room = Vec::with_capacity(state.items.len().min(1024));
        Next::Batch(Batch {
            items: mem::replace(&mut state.items, room),
            barriers: mem::take(&mut state.barriers),
            held,
        })
    }

    /// The writer's: the batch with this size is written or given up.
    pub fn done(&self, held: Held) {
        let mut state = self.lock();
        state.held.items -= held.items;
        state.held.bytes -= held.bytes;
        state.lines.retain(|_, lines| {
            lines.writing = Held::default();
            lines.waiting.items > 0
        });
    }

    /// Refuses from now on; what waits is still to be written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub fn count_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn hurry(&self) -> usize {
        (self.limits.items / 4).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the item in, if there is room for it.
    fn take(&mut self, item: &Item, size: usize, limits: &QueueLimits) -> bool {
        let fits = |held: Held, parts: usize, of: usize| {
            held.items < limits.items / of * parts && held.bytes + size <= limits.bytes / of * parts
        };
        match item {
            Item::Record(..) | Item::Instances(_) | Item::Traffic(_) => {
                if !fits(self.held, 1, 1) {
                    return false;
                }
            }
            Item::Line(line) => {
                let lines = match self.lines.get_mut(&line.function) {
                    Some(lines) => lines,
                    None => self.lines.entry(line.function.clone()).or_default(),
                };
                let Lines { waiting, writing } = lines;
                let own = Held { items: writing.items + waiting.items, bytes: writing.bytes + waiting.bytes };
                if !fits(self.held, 3, 4) || !fits(own, 3, 8) {
                    return false;
                }
                waiting.items += 1;
                waiting.bytes += size;
            }
        }
        self.held.items += 1;
        self.held.bytes += size;
        true
    }
}

impl Item {
    pub fn record(&self) -> Option<(&Record, Option<&Payloads>)> {
        match self {
            Item::Record(record, payloads) => Some((record, payloads.as_deref())),
            Item::Line(_) | Item::Instances(_) | Item::Traffic(_) => None,
        }
    }

    /// The memory it takes, roughly: itself, names and the allocator's share.
    fn size(&self) -> usize {
        match self {
            Item::Record(_, payloads) => 500 + payloads.as_ref().map_or(0, |payloads| payloads.bytes()),
            Item::Line(line) => 250 + line.message.len(),
            Item::Instances(times) => 100 * times.len(),
            Item::Traffic(traffic) => 100 * traffic.len(),
        }
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { items: 75_000, bytes: 24 << 20 }
    }
}
