//! The queue of asynchronous events: what is promised of it, whatever keeps it.
//!
//! ```text
//! enqueue ──► waiting ──lease──► running ──settle──► done
//!               ▲ ▲                │ │  └──────────► given up: failed, or dead (kept) ──purge──► purged
//!               │ └──── again ─────┘ │                            │
//!               │ └──── recover ◄────┘ its server ended           │
//!               └──────────────────── redrive ────────────────────┘
//! ```
//!
//! At any time, for each function: `enqueued = waiting + done + failed + dead + purged`; running events are among those
//! that wait.

use async_trait::async_trait;
use bytes::Bytes;
use model::{FunctionName, Qualifier, QueueName, RequestId, Timestamp};
use tokio::sync::watch;

use crate::StoreError;

/// An event to be kept until it has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The request id of every run of it.
    pub id: RequestId,
    pub function: FunctionName,
    /// The version or alias that is called; looked up when it runs.
    pub qualifier: Option<Qualifier>,
    /// JSON.
    pub payload: Bytes,
    pub received: Timestamp,
    pub trace_id: String,
    /// Decoded JSON, or empty.
    pub client_context: String,
    /// How many destinations led to this event.
    pub hops: u32,
    /// Names the event among its function's, for 24 hours.
    pub key: Option<String>,
}

/// What became of an enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The event's; an earlier one's if its key was known.
    pub id: RequestId,
    pub repeated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventState {
    Waiting,
    Running,
    /// Given up, and kept.
    Dead,
}

/// How an event fared so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Runs that the function failed.
    pub failures: u32,
    /// Runs that could not begin, one after the other.
    pub throttles: u32,
    /// Runs that ended their instance.
    pub kills: u32,
    /// Runs during which the server ended.
    pub losses: u32,
}

/// An event in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedEvent {
    pub event: NewEvent,
    pub state: EventState,
    /// Bytes of the payload, which a listing leaves out.
    pub bytes: u64,
    /// When it may run next.
    pub due: Timestamp,
    /// Runs begun, counted before they begin.
    pub attempts: u32,
    pub progress: Progress,
    /// Why it was given up: AWS's condition.
    pub condition: Option<String>,
    /// What the last run that failed said.
    pub error: Option<String>,
}

/// Who is told how an event ended: kept in the transaction that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A function, by an event of its own.
    Event(NewEvent),
    /// A message queue, by a message that may be longer than those that are sent.
    Message { queue: QueueName, body: String, now: Timestamp },
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It went well; with the event for whoever is told.
    Done { then: Option<Told> },
    /// To be run again.
    Again { due: Timestamp, progress: Progress, error: Option<String> },
    /// Not to be run again; kept, if `keep`.
    GivenUp { keep: bool, condition: String, progress: Progress, error: Option<String>, then: Option<Told> },
}

/// A function with events that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub function: FunctionName,
    /// When the first of them may run.
    pub due: Timestamp,
}

/// Exact numbers of one function's events since its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueCounts {
    pub function: FunctionName,
    pub enqueued: u64,
    /// Those that run among them.
    pub waiting: u64,
    pub done: u64,
    /// Given up and not kept.
    pub failed: u64,
    /// Given up and kept.
    pub dead: u64,
    pub purged: u64,
    /// Of payloads, waiting and dead.
    pub bytes: u64,
}

/// Which events. Of running ones none is ever purged or redriven.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    pub function: Option<FunctionName>,
    pub id: Option<RequestId>,
    /// Dead ones; else those that wait or run.
    pub dead: bool,
    /// Of a listing, oldest first.
    pub limit: usize,
}

/// Events. What was answered is durable; every change of an event and its function's numbers is one whole.
///
/// One holder leases at a time. It calls [`Queue::recover`] once before its first lease.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Keeps an event. A key that this function had within 24 hours is answered with the event that had it, unless its
    /// payload was another one: then it is a [`StoreError::KeyReused`].
    async fn enqueue(&self, event: NewEvent) -> Result<Enqueued, StoreError>;

    /// Lets what ran when the last holder ended wait again. Returns how many did.
    async fn recover(&self) -> Result<u64, StoreError>;

    /// Functions with events that wait, and that nobody runs.
    async fn ready(&self) -> Result<Vec<Ready>, StoreError>;

    /// Takes events that are due: of each function at most so many, oldest first, of all together at most `bytes` of
    /// payload but at least one. Their attempts are counted already.
    async fn lease(
        &self,
        asks: Vec<(FunctionName, usize)>,
        now: Timestamp,
        bytes: u64,
    ) -> Result<Vec<QueuedEvent>, StoreError>;

    /// Ends the lease of a running event.
    async fn settle(&self, id: RequestId, settlement: Settlement) -> Result<(), StoreError>;

    /// Moves the times at which events are due, after the clock went back.
    async fn shift(&self, back_micros: i64) -> Result<(), StoreError>;

    /// By function.
    async fn counts(&self) -> Result<Vec<QueueCounts>, StoreError>;

    /// Without payloads.
    async fn events(&self, query: EventQuery) -> Result<Vec<QueuedEvent>, StoreError>;

    /// With its payload.
    async fn event(&self, id: RequestId) -> Result<Option<QueuedEvent>, StoreError>;

    /// Lets dead events wait again, as if they were new. Returns how many.
    async fn redrive(&self, which: EventQuery, now: Timestamp) -> Result<u64, StoreError>;

    /// Removes events. Returns how many.
    async fn purge(&self, which: EventQuery) -> Result<u64, StoreError>;

    /// Forgets keys older than a day, and purges events that died 14 days ago. Returns how many events went. `minutes`
    /// have passed since the last call, by a clock that nobody sets: only those count for what is dead.
    async fn expire(&self, now: Timestamp, minutes: u32) -> Result<u64, StoreError>;

    /// Changes whenever an event may have become ready.
    fn changes(&self) -> watch::Receiver<u64>;
}
