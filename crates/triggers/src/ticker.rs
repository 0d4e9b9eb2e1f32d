//! Schedules: looks which ticks have come, and makes events of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::trace::{Trace, Trigger};
use model::{FunctionName, RequestId, Schedule, Timestamp, Timetable};
use store::queue::NewEvent;
use store::schedules::{ScheduleName, Schedules, Tick};
use store::{Functions, StoreError};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::Clock;
use crate::decide::plan::{jitter, plan};

/// The longest sleep: the day's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How long before its tick a function is made ready: a start takes less nearly always.
const AHEAD: Duration = Duration::from_secs(2);
/// And how long it is to be ready after it.
const AHEAD_KEPT: Duration = Duration::from_secs(5);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);
/// After the disk did, which is over only with a new start.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// What a ticker is made of.
pub struct TickerOptions {
    pub functions: Arc<dyn Functions>,
    pub schedules: Arc<dyn Schedules>,
    pub clock: Clock,
    /// In the ARNs of events.
    pub region: String,
    pub account: String,
    /// Is told of functions whose schedules are about to tick.
    pub ahead: Option<Ahead>,
}

/// Makes a function ready for a call that will come within that time. Must not block.
pub type Ahead = Arc<dyn Fn(&FunctionName, Duration) + Send + Sync>;

/// Sees to schedules until it is dropped. A tick that is half seen to when that happens is not made, or made whole.
pub struct Ticker {
    task: JoinHandle<()>,
}

pub(crate) struct Known {
    name: ScheduleName,
    schedule: Schedule,
    table: Timetable,
    /// The tick that its function was last made ready for.
    ahead_of: AtomicI64,
}

// === impl Ticker ===

impl Ticker {
    pub fn start(options: TickerOptions) -> Self {
        Self { task: tokio::spawn(run(options)) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(options: TickerOptions) {
    let mut changes = options.functions.changes();
    loop {
        let error = match follow(&options, &mut changes).await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error) => error,
        };
        tracing::error!(%error, "schedules cannot be seen to: tried again soon");
        tokio::time::sleep(if matches!(error, StoreError::Disk(_)) { LONG_PAUSE } else { PAUSE }).await;
    }
}

/// Ends when nobody changes functions any more.
async fn follow(options: &TickerOptions, changes: &mut watch::Receiver<u64>) -> Result<(), StoreError> {
    changes.mark_unchanged();
    let mut known = load(options).await?;
    loop {
        let sleep = look(options, &known).await?;
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                known = load(options).await?;
            }
            _ = tokio::time::sleep(sleep) => {}
        }
    }
}

/// All schedules as they are deployed now. What is new begins now.
pub(crate) async fn load(options: &TickerOptions) -> Result<Vec<Known>, StoreError> {
    let mut known = Vec::new();
    let mut functions = HashSet::new();
    for function in options.functions.list().await? {
        functions.insert(function.spec.name.clone());
        for schedule in function.spec.schedules {
            let name = ScheduleName { function: function.spec.name.clone(), schedule: schedule.name.clone() };
            match schedule.timetable() {
                Ok(table) => known.push(Known { name, schedule, table, ahead_of: AtomicI64::new(i64::MIN) }),
                // It was checked when it was deployed, by this or another version.
                Err(error) => tracing::error!(function = %name.function, %error, "a schedule is not understood"),
            }
        }
    }
    // Those of AWS's APIs are of functions that may not be there; with a function anew they begin anew.
    for own in options.functions.own_schedules().await? {
        let name = ScheduleName { function: own.function, schedule: own.schedule.name.clone() };
        if !own.enabled || !functions.contains(&name.function) {
            continue;
        }
        match own.schedule.timetable() {
            Ok(table) => {
                known.push(Known { name, schedule: own.schedule, table, ahead_of: AtomicI64::new(i64::MIN) });
            }
            Err(error) => tracing::error!(function = %name.function, %error, "a schedule is not understood"),
        }
    }
    let all = known.iter().map(|one| (one.name.clone(), meaning(&one.schedule))).collect();
    options.schedules.know(all, (options.clock)()).await?;
    Ok(known)
}

/// What must not change without the schedule beginning anew.
fn meaning(schedule: &Schedule) -> String {
    let Schedule { cron, timezone, start, end, .. } = schedule;
    let text = |moment: &Option<String>| moment.clone().unwrap_or_default();
    format!("{cron}|{timezone}|{}|{}", text(start), text(end))
}

/// Sees to every schedule, and says how long there is nothing more to do.
pub(crate) async fn look(options: &TickerOptions, known: &[Known]) -> Result<Duration, StoreError> {
    let states = if known.is_empty() { vec![] } else { options.schedules.states().await? };
    let mut sleep = LONGEST_SLEEP;
    // All at once: those that come together are one transaction, and none is late because of others.
    let mut ticking = JoinSet::new();
    for Known { name, schedule, table, ahead_of } in known {
        let Some(state) = states.iter().find(|state| state.name == *name && !state.paused) else { continue };
        let now = (options.clock)();
        let plan = plan(schedule, table, state.last, now);
        if let Some(last) = plan.last {
            let ticks = plan.ticks.into_iter().map(|tick| make(options, name, schedule, tick, now)).collect();
            let (schedules, name, overlap) = (options.schedules.clone(), name.clone(), schedule.overlap);
            ticking.spawn(async move { schedules.tick(name, ticks, overlap, last).await });
        }
        if let Some(next) = plan.next {
            let left = next.since((options.clock)());
            sleep = sleep.min(left);
            // One that is spread over some time begins at its own.
            if let Some(ahead) = options.ahead.as_ref().filter(|_| schedule.jitter.is_zero()) {
                if left > AHEAD {
                    sleep = sleep.min(left - AHEAD);
                } else if ahead_of.swap(next.0, Ordering::Relaxed) != next.0 {
                    ahead(&name.function, left + AHEAD_KEPT);
                }
            }
        }
    }
    while let Some(ticked) = ticking.join_next().await {
        ticked.map_err(|error| StoreError::Failed(error.to_string()))??;
    }
    Ok(sleep)
}

fn make(options: &TickerOptions, name: &ScheduleName, schedule: &Schedule, tick: Timestamp, now: Timestamp) -> Tick {
    let id = RequestId::at(now);
    let place = (options.region.as_str(), options.account.as_str());
    let event = NewEvent {
        id,
        function: name.function.clone(),
        qualifier: schedule.qualifier.clone(),
        payload: aws::scheduled::payload(&name.function, schedule, tick, &id, place),
        received: now,
        trace_id: Trace::event(Trigger::Timer, now),
        client_context: String::new(),
        hops: 0,
        key: None,
    };
    Tick { tick, event, due: tick.max(now) + jitter(schedule, &name.function, tick) }
}
