//! Event sources: message queues, MQTT topics, watched folders. A new kind is one file that implements [`Feed`], and a line
//! in [`open`].
//!
//! ```text
//!            next                batch full, or its window over       deliver
//! Feed ───────────────► Batcher ─────────────────────────────► Sink ───────────► Runner (a queue's messages)
//!   ▲     as long as                as long as deliveries                  └───► the queue of events (all others)
//!   │     there is room             are free
//!   └───────────────────────── settle: done, failed, not begun ◄───────────┘
//! ```
//!
//! **Invariant.** A message is settled as done only after its function took it, or after an event with it is on disk. What
//! a feed does not hear of it delivers again: at least once. Messages of one source are handed over in the order in which
//! the feed gave them; a sink with several deliveries at once may end them in another one.
//!
//! Retries and dead letters are the queue's that holds the message: the message queue's own rules where it comes from one,
//! the function's `[async]` rules for events.

mod folder;
mod manager;
mod mqtt;
mod queue;
mod runner;
mod sink;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use model::{AllowedMount, Source, SourceState, SourceStatus};
use store::sources::{Mark, SourceName};
use store::{Functions, Messages, SecretValues, Sources};

use crate::{Clock, Runner};

pub use manager::EventSources;

/// What sources are made of.
pub struct SourceOptions<R> {
    pub runner: R,
    pub functions: Arc<dyn Functions>,
    pub sources: Arc<dyn Sources>,
    pub messages: Arc<dyn Messages>,
    pub secrets: Arc<dyn SecretValues>,
    /// Folders that may be read.
    pub allowed: Vec<AllowedMount>,
    /// Tells this installation from others at one broker.
    pub installation: String,
    pub clock: Clock,
    /// In the ARNs of events.
    pub region: String,
    pub account: String,
}

/// Something that came.
#[derive(Debug, Clone)]
pub struct Message {
    /// By which the feed knows it.
    pub token: String,
    /// Its element of the event's `Records`, JSON.
    pub record: Bytes,
    /// By which the function names it in a partial answer.
    pub id: String,
    /// What is to be remembered with the event of it.
    pub mark: Option<Mark>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Done,
    /// The function took it and failed.
    Failed(String),
    /// The function could not take it, through no fault of the message's.
    NotBegun(String),
}

/// Why a feed does not work: for people. It is dropped, and opened again after a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedError(pub String);

/// A place that messages come from.
#[async_trait]
pub trait Feed: Send {
    /// Waits until something has come, and gives `most` of it at most. Is cancelled at any time: what it has not given is
    /// not lost by that.
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, FeedError>;

    /// Hears what became of messages, each once. Those of a sink with one delivery at a time come in their order.
    async fn settle(&mut self, settled: Vec<(String, Settled)>) -> Result<(), FeedError>;

    /// Messages that wait there, if that can be known.
    async fn lag(&mut self) -> Result<Option<u64>, FeedError>;
}

/// Where a source's state is told.
#[derive(Clone)]
pub struct Report {
    status: Arc<Mutex<SourceStatus>>,
    clock: Clock,
}

// === impl FeedError ===

impl From<store::StoreError> for FeedError {
    fn from(error: store::StoreError) -> Self {
        Self(error.to_string())
    }
}

// === impl Report ===

impl Report {
    fn new(name: &SourceName, kind: &'static str, clock: Clock) -> Self {
        let status = SourceStatus {
            function: name.function.clone(),
            name: name.source.clone(),
            kind,
            state: SourceState::Starting,
            lag: None,
            in_flight: 0,
            delivered: 0,
            failed: 0,
            last_delivered: None,
            last_error: None,
        };
        Self { status: Arc::new(Mutex::new(status)), clock }
    }

    fn change(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn get(&self) -> SourceStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self, state: SourceState) {
        self.change(|status| status.state = state);
    }

    fn error(&self, why: &str) {
        let now = (self.clock)();
        let mut why = why.to_owned();
        why.truncate(why.floor_char_boundary(1024));
        self.change(|status| status.last_error = Some((now, why)));
    }

    fn settled(&self, settled: &Settled) {
        let now = (self.clock)();
        match settled {
            Settled::Done => self.change(|status| {
                status.delivered += 1;
                status.last_delivered = Some(now);
            }),
            Settled::Failed(why) => {
                self.change(|status| status.failed += 1);
                self.error(why);
            }
            Settled::NotBegun(why) => self.error(why),
        }
    }
}

/// Opens the feed of a source, as it is deployed now.
async fn open<R: Runner>(
    options: &SourceOptions<R>,
    name: &SourceName,
    source: &Source,
    report: &Report,
) -> Result<Box<dyn Feed>, FeedError> {
    Ok(match source {
        Source::Queue(queue) => Box::new(queue::QueueFeed::open(options, name, queue).await?),
        Source::Mqtt(mqtt) => Box::new(mqtt::MqttFeed::open(options, name, mqtt, report.clone()).await?),
        Source::Folder(folder) => Box::new(folder::FolderFeed::open(options, name, folder, report.clone()).await?),
    })
}
