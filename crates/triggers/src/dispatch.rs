//! The dispatcher's loop: sees what is due, deals places out, and sleeps until something changes.

use std::collections::HashMap;
use std::time::Duration;

use model::{FunctionName, RequestId, Timestamp};
use store::StoreError;
use store::queue::{Progress, Settlement};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::decide::deal::{Hand, deal};
use crate::run::{Teller, run, settle};
use crate::{Options, Runner};

/// Between two looks at what is too old.
const HOUSE_KEEPING: Duration = Duration::from_secs(60);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);
/// After the disk did, which is over only with a new start.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// The longest sleep: the day's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The clock went back, and is not only adjusted, if it is behind by so much.
const WENT_BACK: Duration = Duration::from_secs(2);
/// Of functions that are not there: their events are only given up.
const OF_NOBODY: usize = 8;

/// A run that goes on.
struct Running {
    event: RequestId,
    function: FunctionName,
    bytes: u64,
    progress: Progress,
}

struct Dispatch<R> {
    options: Options<R>,
    runs: JoinSet<()>,
    running: HashMap<Id, Running>,
    last: Option<FunctionName>,
    /// The day's time and the time since the start, at the last look.
    seen: (Timestamp, Instant),
    /// Up to when the minutes were counted.
    kept_house: Instant,
}

pub async fn dispatch<R: Runner>(options: Options<R>, mut stopped: watch::Receiver<bool>) {
    let mut changes = options.queue.changes();
    let seen = ((options.clock)(), Instant::now());
    let kept_house = Instant::now();
    let mut dispatch =
        Dispatch { options, runs: JoinSet::new(), running: HashMap::new(), last: None, seen, kept_house };
    let mut house = tokio::time::interval(HOUSE_KEEPING);
    house.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        changes.mark_unchanged();
        let stopping = *stopped.borrow_and_update();
        let sleep = if stopping {
            if dispatch.runs.is_empty() {
                return;
            }
            LONGEST_SLEEP
        } else {
            match dispatch.pass().await {
                Ok(sleep) => sleep,
                Err(StoreError::Closed) => return,
                // Those that run come to their end.
                Err(error @ StoreError::Disk(_)) => {
                    tracing::error!(%error, "no event begins any more");
                    LONG_PAUSE
                }
                Err(error) => {
                    tracing::error!(%error, "events cannot be dispatched: tried again soon");
                    PAUSE
                }
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(ended) = dispatch.runs.join_next_with_id() => dispatch.ended(ended),
            _ = tokio::time::sleep(sleep) => {}
            _ = house.tick() => dispatch.keep_house().await,
            changed = stopped.changed() => if changed.is_err() { return },
        }
        // Those that ended together are one occasion.
        while let Some(ended) = dispatch.runs.try_join_next_with_id() {
            dispatch.ended(ended);
        }
    }
}

// === impl Dispatch ===

impl<R: Runner> Dispatch<R> {
    /// Begins what may begin, and says how long there is nothing more to do.
    async fn pass(&mut self) -> Result<Duration, StoreError> {
        let now = self.now().await?;
        let limits = self.options.limits;
        let free = limits.of_all.saturating_sub(self.running.len());
        let held: u64 = self.running.values().map(|run| run.bytes).sum();
        if free == 0 || held >= limits.bytes {
            return Ok(LONGEST_SLEEP);
        }
        let ready = self.options.queue.ready().await?;
        let (due, later): (Vec<_>, Vec<_>) = ready.into_iter().partition(|one| one.due <= now);
        let next = later.iter().map(|one| one.due.since(now)).min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let hands: Vec<Hand> = due.into_iter().map(|one| self.hand(one.function)).collect();
        let asks = deal(&hands, free, self.last.as_ref());
        if asks.is_empty() {
            return Ok(next);
        }
        let leased = self.options.queue.lease(asks, now, limits.bytes - held).await?;
        let again = !leased.is_empty();
        for event in leased {
            let function = event.event.function.clone();
            self.last = Some(function.clone());
            let (id, bytes, progress) = (event.event.id, event.bytes, event.progress);
            let teller = Teller { region: self.options.region.clone(), account: self.options.account.clone() };
            let (runner, queue, clock) =
                (self.options.runner.clone(), self.options.queue.clone(), self.options.clock.clone());
            let handle = self.runs.spawn(run(runner, queue, clock, teller, event));
            self.running.insert(handle.id(), Running { event: id, function, bytes, progress });
        }
        // Places that were dealt to functions with fewer events are there for others.
        Ok(if again { Duration::ZERO } else { next })
    }

    fn hand(&self, function: FunctionName) -> Hand {
        let most = match self.options.runner.function(&function) {
            Some(function) => self.options.limits.of_function.min(function.spec.scale.max as usize),
            None => OF_NOBODY,
        };
        let running = self.running.values().filter(|run| run.function == function).count();
        Hand { function, room: most.saturating_sub(running) }
    }

    /// The day's time. Where it went back, what waits goes with it: nobody shall wait for an hour twice.
    async fn now(&mut self) -> Result<Timestamp, StoreError> {
        let (now, instant) = ((self.options.clock)(), Instant::now());
        let expected = self.seen.0 + instant.duration_since(self.seen.1);
        let back = expected.since(now);
        if back > WENT_BACK {
            tracing::warn!("the clock went back by {back:?}: the times of events that wait are moved with it");
            self.options.queue.shift(back.as_micros() as i64).await?;
        }
        self.seen = (now, instant);
        Ok(now)
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(Running { event, mut progress, .. }) = self.running.remove(&id) else { return };
        if let Err(error) = ended {
            tracing::error!(%error, id = %event, "the run of an event panicked");
            // As if the server had ended with it: it runs again, but not for ever.
            progress.losses += 1;
            let due = (self.options.clock)() + PAUSE;
            let error = Some("Hearth itself failed while this event ran".to_owned());
            let queue = self.options.queue.clone();
            tokio::spawn(async move { settle(&queue, event, Settlement::Again { due, progress, error }).await });
        }
    }

    async fn keep_house(&mut self) {
        let passed = self.kept_house.elapsed().as_secs() / 60;
        self.kept_house += Duration::from_secs(passed * 60);
        match self.options.queue.expire((self.options.clock)(), passed as u32).await {
            Ok(0) => {}
            Ok(gone) => tracing::warn!(events = gone, "dead events were purged: they were older than 14 days"),
            Err(error) => tracing::warn!(%error, "old events could not be looked for"),
        }
    }
}
