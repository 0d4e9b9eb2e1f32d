//! Schedules: looks which ticks have come, and makes events of them.

use std::sync::Arc;
use std::time::Duration;

use model::{RequestId, Schedule, Timestamp, Timetable};
use store::queue::NewEvent;
use store::schedules::{ScheduleName, Schedules, Tick};
use store::{Functions, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Clock;
use crate::decide::plan::{jitter, plan};

/// The longest sleep: the day's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What a ticker is made of.
pub struct TickerOptions {
    pub functions: Arc<dyn Functions>,
    pub schedules: Arc<dyn Schedules>,
    pub clock: Clock,
    /// In the ARNs of events.
    pub region: String,
    pub account: String,
}

/// Sees to schedules until it is dropped. A tick that is half seen to when that happens is not made, or made whole.
pub struct Ticker {
    task: JoinHandle<()>,
}

pub(crate) struct Known {
    name: ScheduleName,
    schedule: Schedule,
    table: Timetable,
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
        tokio::time::sleep(PAUSE).await;
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
    for function in options.functions.list().await? {
        for schedule in function.spec.schedules {
            let name = ScheduleName { function: function.spec.name.clone(), schedule: schedule.name.clone() };
            match schedule.timetable() {
                Ok(table) => known.push(Known { name, schedule, table }),
                // It was checked when it was deployed, by this or another version.
                Err(error) => tracing::error!(function = %name.function, %error, "a schedule is not understood"),
            }
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
    for Known { name, schedule, table } in known {
        let Some(state) = states.iter().find(|state| state.name == *name && !state.paused) else { continue };
        let now = (options.clock)();
        let plan = plan(schedule, table, state.last, now);
        if let Some(last) = plan.last {
            let ticks = plan.ticks.into_iter().map(|tick| make(options, name, schedule, tick, now)).collect();
            options.schedules.tick(name.clone(), ticks, schedule.overlap, last).await?;
        }
        if let Some(next) = plan.next {
            sleep = sleep.min(next.since((options.clock)()));
        }
    }
    Ok(sleep)
}

fn make(options: &TickerOptions, name: &ScheduleName, schedule: &Schedule, tick: Timestamp, now: Timestamp) -> Tick {
    let id = RequestId::random();
    let place = (options.region.as_str(), options.account.as_str());
    let event = NewEvent {
        id,
        function: name.function.clone(),
        payload: aws::scheduled::payload(&name.function, schedule, tick, &id, place),
        received: now,
        trace_id: trace_id(&id, now),
        client_context: String::new(),
        hops: 0,
        key: None,
    };
    Tick { tick, event, due: tick.max(now) + jitter(schedule, &name.function, tick) }
}

/// A trace of its own, as X-Ray names them.
fn trace_id(id: &RequestId, now: Timestamp) -> String {
    let hex: String = id.to_string().chars().filter(|c| *c != '-').collect();
    format!("Root=1-{:08x}-{};Sampled=0", now.millis() / 1000, &hex[..24])
}
