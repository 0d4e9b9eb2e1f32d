//! What turns something that was kept into an invocation: the dispatcher of asynchronous events; the ticker, which makes
//! events of schedules; event sources: message queues, MQTT topics, watched folders; and what sees to canaries.
//!
//! ```text
//!             ready, dealt out in turn              judge
//! queue ──lease──► runs ──Invocation──► Runner ──────────► settle: done, again, or given up
//!   ▲                                                        │
//!   └──────────── the record for a destination, in one ──────┘
//! ```
//!
//! An event is run at least once. Its attempts are counted before they begin, so that one that ends the server is
//! found out. What decides is pure and lives in `decide`.

#![forbid(unsafe_code)]

mod canary;
pub mod decide;
mod dispatch;
mod run;
mod sources;
mod ticker;

#[cfg(test)]
mod canary_tests;
#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ticker_tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::{Fault, Function, FunctionName, Invocation, Outcome, Timestamp};
use store::{Queue, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use canary::{Canaries, CanaryOptions};
pub use sources::{EventSources, SourceOptions};
pub use ticker::{Ahead, Ticker, TickerOptions};

/// What the dispatcher needs of the engine.
pub trait Runner: Clone + Send + Sync + 'static {
    /// The function of that name as it is deployed now. Must not block.
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>>;

    /// Runs one invocation to its end.
    fn invoke(&self, invocation: Invocation) -> impl Future<Output = Result<Outcome, Fault>> + Send;
}

/// Tells the day's time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How many events run at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one function, if it is not allowed fewer instances; default 32.
    pub of_function: usize,
    /// Of all; default 512.
    pub of_all: usize,
    /// Bytes of payload that are held for them; default 128 MiB.
    pub bytes: u64,
}

/// What a dispatcher is made of.
pub struct Options<R> {
    pub runner: R,
    pub queue: Arc<dyn Queue>,
    pub clock: Clock,
    /// In the ARNs of records.
    pub region: String,
    pub account: String,
    pub limits: Limits,
}

/// Runs events until it is stopped.
pub struct Dispatcher {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { of_function: 32, of_all: 512, bytes: 128 << 20 }
    }
}

// === impl Dispatcher ===

impl Dispatcher {
    /// Lets what an earlier server ran wait again, and begins. Needs a Tokio runtime with time.
    pub async fn start<R: Runner>(options: Options<R>) -> Result<Self, StoreError> {
        let recovered = options.queue.recover().await?;
        if recovered > 0 {
            tracing::info!(events = recovered, "events that ran when the last server ended will run again");
        }
        let (stop, stopped) = watch::channel(false);
        Ok(Self { stop, task: tokio::spawn(dispatch::dispatch(options, stopped)) })
    }

    /// No event begins from now on.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the events that run, at most `limit`. Those that still do then run again with the next start.
    pub async fn ended(self, limit: Duration) {
        self.stop();
        let mut task = self.task;
        match tokio::time::timeout(limit, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the dispatcher of events panicked"),
            Err(_) => {
                tracing::warn!("events still ran after {limit:?}: they will run again");
                task.abort();
            }
        }
    }
}
