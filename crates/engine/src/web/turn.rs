//! Whose lines a web function prints. With one call at a time in an instance, they are that call's; with several, nobody
//! but the function knows.
//!
//! ```text
//! call B sits ─► asks ─► who reads the log takes what is there as A's ─► goes on with B ─► B's request is sent
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::RequestId;
use tokio::sync::Notify;

use crate::log::Sink;

/// How long a call waits for its turn at most: its request counts for more than its lines.
const PATIENCE: Duration = Duration::from_millis(20);

pub struct Turn {
    /// One call at a time.
    alone: bool,
    asked: Mutex<Option<RequestId>>,
    turned: Notify,
}

// === impl Turn ===

impl Turn {
    pub fn new(concurrency: usize) -> Self {
        Self { alone: concurrency == 1, asked: Mutex::default(), turned: Notify::new() }
    }

    /// True: wait for [`Turn::turned`].
    pub fn asks(&self, call: RequestId) -> bool {
        if self.alone {
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
        }
        self.alone
    }

    pub async fn turned(&self) {
        // Who reads the log may have ended with its instance.
        let _ = tokio::time::timeout(PATIENCE, self.turned.notified()).await;
    }

    /// Called by who reads the log, when all that was there has been read.
    pub fn goes_on(&self, sink: &mut Sink<'_>) {
        if let Some(call) = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take() {
            sink.turn_to(call);
            self.turned.notify_one();
        }
    }
}
