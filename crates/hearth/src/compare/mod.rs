//! Comparisons as they run: one at a time, each a task that calls the engine and keeps what came of it.
//!
//! ```text
//! begin ──► task: Run::measure ──┬─► done ──► stored
//!   │         │ cancel, limit    ├─► failed (the function's own error, first of all)
//!   ▼         └──────────────────┴─► cancelled
//! Conflict while one runs
//! ```
//!
//! What is measured and how is in [`run`]. A task that is dropped leaves calls behind that the engine brings to their
//! end; nothing else of it stays.

mod machine;
mod run;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control::{Comparison, ComparisonError, ComparisonOrder, ComparisonState};
use model::{ComparisonId, Fault, FaultCode, Invocation, Outcome, Timestamp};
use store::{Comparisons, StoredComparison};
use tokio::sync::watch;

pub use machine::machine;
use run::Run;

/// A comparison has come to its end by then, with what it has.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// What comparisons need of the engine.
pub trait Calls: Clone + Send + Sync + 'static {
    /// Runs one invocation to its end, also if the future is dropped. The task that polls it is the one that is
    /// measured.
    fn call(&self, invocation: Invocation) -> impl Future<Output = Result<Outcome, Fault>> + Send;
}

/// Runs comparisons. Dropped, it lets one that runs go on to its end.
pub struct Comparer<C> {
    calls: C,
    store: Arc<dyn Comparisons>,
    /// The one that runs, or the last that did.
    current: Mutex<Option<Current>>,
}

struct Current {
    id: ComparisonId,
    shown: Shown,
    cancel: watch::Sender<bool>,
}

/// A comparison as callers see it while it runs.
#[derive(Clone)]
struct Shown(Arc<Mutex<Comparison>>);

/// Why a comparison found nothing.
struct Failure {
    error: ComparisonError,
}

// === impl Shown ===

impl Shown {
    fn get(&self) -> MutexGuard<'_, Comparison> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Comparer ===

impl<C: Calls> Comparer<C> {
    pub fn new(calls: C, store: Arc<dyn Comparisons>) -> Self {
        Self { calls, store, current: Mutex::new(None) }
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Needs a Tokio runtime around it.
    pub fn begin(&self, order: ComparisonOrder) -> Result<(), Fault> {
        let mut current = self.current();
        if let Some(running) = current.as_ref().filter(|one| one.shown.get().state == ComparisonState::Running) {
            let text = format!(
                "a comparison of {} runs already, and two would disturb one another: wait for it, or end it with \
                 DELETE /api/v1/comparisons/{}",
                running.shown.get().function,
                running.id
            );
            return Err(Fault::new(FaultCode::Conflict, text));
        }
        let (cancel, cancelled) = watch::channel(false);
        let id = order.comparison.id;
        let shown = Shown(Arc::new(Mutex::new(order.comparison)));
        let run = Run::new(self.calls.clone(), shown.clone(), order.events);
        tokio::spawn(live(run, shown.clone(), self.store.clone(), cancelled));
        *current = Some(Current { id, shown, cancel });
        Ok(())
    }

    /// The comparison of that id, if it runs or was the last that did.
    pub fn comparison(&self, id: ComparisonId) -> Option<Comparison> {
        let current = self.current();
        let shown = &current.as_ref().filter(|one| one.id == id)?.shown;
        let comparison = shown.get().clone();
        Some(comparison)
    }

    /// Ends it; false if it does not run.
    pub fn cancel(&self, id: ComparisonId) -> bool {
        let current = self.current();
        let Some(one) = current.as_ref().filter(|one| one.id == id) else { return false };
        let mut shown = one.shown.get();
        if shown.state != ComparisonState::Running {
            return false;
        }
        // Said here already: who has cancelled it may begin another one.
        shown.state = ComparisonState::Cancelled;
        shown.ended = Some(Timestamp::now().rfc3339());
        one.cancel.send_replace(true);
        true
    }
}

/// The life of one comparison.
async fn live<C: Calls>(run: Run<C>, shown: Shown, store: Arc<dyn Comparisons>, mut cancelled: watch::Receiver<bool>) {
    let begun = Timestamp::now();
    let measured = tokio::select! {
        // The sender goes with its successor only, which comes after the end.
        _ = cancelled.wait_for(|cancelled| *cancelled) => return,
        measured = tokio::time::timeout(LIMIT, run.measure()) => measured,
    };
    let measured = measured.unwrap_or_else(|_| {
        let text = format!("the comparison was not done within {}: ask for less", model::show_duration(LIMIT));
        Err(Failure {
            error: ComparisonError { code: FaultCode::Timeout, message: text, isolation: None, answer: None },
        })
    });
    let mut done = shown.get().clone();
    done.ended = Some(Timestamp::now().rfc3339());
    match measured {
        Ok((isolations, notes)) => {
            (done.isolations, done.notes, done.state) = (isolations, notes, ComparisonState::Done);
            done.progress.done = done.progress.total;
        }
        Err(Failure { error }) => (done.error, done.state) = (Some(error), ComparisonState::Failed),
    }
    // Stored first: who sees that it is done finds it in the list.
    if done.state == ComparisonState::Done
        && let Ok(body) = serde_json::to_string(&done)
    {
        let stored = StoredComparison { id: done.id, function: done.function.clone(), begun, body };
        if let Err(error) = store.keep(stored).await {
            tracing::warn!(%error, function = %done.function, "a comparison could not be stored");
            done.notes.push("it could not be stored, and is gone when the next one begins".to_owned());
        }
    }
    let mut shown = shown.get();
    if shown.state == ComparisonState::Running {
        *shown = done;
    }
}
