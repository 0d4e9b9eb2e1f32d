//! Canaries: looks how the calls of each new revision go, and has it promoted or rolled back. What is decided is decided
//! by [`model::CanaryRules::decide`]; the canaries are the store's, and so are the counts: a restart goes on where it was.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Canary, CanaryEnd, CanaryStep, FunctionName, Revision, Tally, Timestamp, Weight, show_duration};
use store::{StoreError, Telemetry, Versions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Clock;

/// Between two looks at the canaries that run.
const PAUSE: Duration = Duration::from_secs(1);

/// What the history says.
const BY: &str = "Hearth";

/// What a canary keeper is made of.
pub struct CanaryOptions {
    pub versions: Arc<dyn Versions>,
    pub telemetry: Arc<dyn Telemetry>,
    /// Changes when a canary may have begun.
    pub changes: watch::Receiver<u64>,
    pub clock: Clock,
}

/// Sees to canaries until it is dropped.
pub struct Canaries {
    task: JoinHandle<()>,
}

/// Calls that were counted, and the record that was the last.
pub(crate) type Counts = HashMap<(FunctionName, Revision), (Tally, u64)>;

// === impl Canaries ===

impl Canaries {
    pub fn start(options: CanaryOptions) -> Self {
        Self { task: tokio::spawn(run(options)) }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut options: CanaryOptions) {
    let mut counts = Counts::new();
    loop {
        options.changes.mark_unchanged();
        let running = match look(&options, &mut counts).await {
            Ok(running) => running,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "canaries cannot be seen to: tried again soon");
                true
            }
        };
        if running {
            tokio::time::sleep(PAUSE).await;
        } else if options.changes.changed().await.is_err() {
            return;
        }
    }
}

/// Sees to each canary once; says whether any still runs.
pub(crate) async fn look(options: &CanaryOptions, counts: &mut Counts) -> Result<bool, StoreError> {
    let canaries = options.versions.canaries().await?;
    counts.retain(|(name, revision), _| canaries.iter().any(|one| one.function == *name && one.revision == *revision));
    let mut running = false;
    for canary in canaries {
        let Canary { function, revision, rules, since, .. } = &canary;
        let (tally, after) = counts.entry((function.clone(), *revision)).or_default();
        let (more, cursor) = options.telemetry.tally(function, *revision, *after).await?;
        *tally = Tally { calls: tally.calls + more.calls, errors: tally.errors + more.errors };
        *after = cursor;
        let elapsed = Timestamp::since((options.clock)(), *since);
        let (end, why) = match rules.decide(elapsed, *tally) {
            CanaryStep::Wait => {
                running = true;
                continue;
            }
            CanaryStep::Promote => {
                (CanaryEnd::Promoted, format!("after {}, {}", show_duration(rules.lasts), of(*tally)))
            }
            CanaryStep::RollBack => {
                (CanaryEnd::RolledBack, format!("{}: more than {}", of(*tally), rules.max_error_rate))
            }
        };
        match options.versions.end_canary(function, *revision, end, &why, BY).await {
            Ok(now) => tracing::info!(%function, %revision, ?end, why, now = %now.revision, "a canary is over"),
            // Somebody was quicker.
            Err(StoreError::NoCanary(_) | StoreError::NoSuchFunction(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(running)
}

fn of(tally: Tally) -> String {
    let rate = tally.errors as f64 / tally.calls.max(1) as f64;
    let rate = Weight::try_from(rate).map(|rate| format!(" ({rate})")).unwrap_or_default();
    format!("{} of {} calls failed{rate}", tally.errors, tally.calls)
}
