//! What every source has in common: it takes no more than it has room for, makes batches, hands them over, and says what
//! became of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::SourceState;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Feed, FeedError, Message, Report, Settled};
use crate::decide::backoff::Backoff;
use crate::decide::batch::{self, Batcher};

/// Between looks at how much waits.
const LAG: Duration = Duration::from_secs(2);
/// After a function could not take a batch.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Takes batches. Delivers each once; says of every message what became of it, in the order of the messages.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    async fn deliver(&self, batches: Vec<Vec<Message>>) -> Vec<(String, Settled)>;
}

/// How much at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub batch: batch::Rules,
    /// Messages that were taken and are not settled.
    pub in_flight: usize,
    pub deliveries: usize,
    /// Batches of one delivery.
    pub together: usize,
}

/// Runs a source until it is stopped, with every delivery that was begun ended and told; or until its feed fails.
pub async fn run(
    feed: &mut dyn Feed,
    sink: Arc<dyn Sink>,
    limits: Limits,
    report: &Report,
    mut stop: watch::Receiver<bool>,
) -> Result<(), FeedError> {
    let mut batcher = Batcher::new(limits.batch);
    let mut deliveries: JoinSet<Vec<(String, Settled)>> = JoinSet::new();
    let mut delivering = 0;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut not_before = Instant::now();
    let mut lag = tokio::time::interval(LAG);
    lag.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = *stop.borrow_and_update();
        if stopping {
            let why = || Settled::NotBegun("the source was stopped".into());
            let back = batcher.drain().into_iter().map(|one: Message| (one.token, why())).collect();
            feed.settle(back).await?;
            if deliveries.is_empty() {
                report.change(|status| status.in_flight = 0);
                return Ok(());
            }
        }
        while deliveries.len() < limits.deliveries {
            let now = Instant::now();
            let batches: Vec<_> = std::iter::from_fn(|| batcher.take(now)).take(limits.together).collect();
            if batches.is_empty() {
                break;
            }
            delivering += batches.iter().map(Vec::len).sum::<usize>();
            let sink = sink.clone();
            deliveries.spawn(async move { sink.deliver(batches).await });
        }
        let in_flight = batcher.count() + delivering;
        report.change(|status| status.in_flight = in_flight as u64);
        let room = limits.in_flight.saturating_sub(in_flight);
        let due = batcher.due().filter(|_| deliveries.len() < limits.deliveries);
        tokio::select! {
            came = feed.next(room), if room > 0 && !stopping && not_before <= Instant::now() => {
                let now = Instant::now();
                for message in came? {
                    let bytes = message.record.len() + 1;
                    batcher.push(message, bytes, now);
                }
            }
            _ = tokio::time::sleep_until(not_before), if not_before > Instant::now() => {}
            _ = tokio::time::sleep_until(due.unwrap_or(not_before)), if due.is_some() => {}
            Some(ended) = deliveries.join_next() => {
                let settled = ended.map_err(|error| FeedError(format!("a delivery panicked: {error}")))?;
                delivering -= settled.len();
                settled.iter().for_each(|(_, settled)| report.settled(settled));
                if settled.iter().any(|(_, settled)| matches!(settled, Settled::NotBegun(_))) {
                    not_before = Instant::now() + backoff.failed();
                } else {
                    backoff.worked();
                    report.state(SourceState::Running);
                }
                feed.settle(settled).await?;
            }
            _ = lag.tick() => {
                let lag = feed.lag().await?;
                report.change(|status| status.lag = lag);
            }
            changed = stop.changed(), if !stopping => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
