//! Sees to it that every source that is deployed runs, and none that is not: follows every deploy without a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{FunctionName, MAX_EVENT_BYTES, MAX_REQUEST_BYTES, Source, SourceState, SourceStatus};
use store::sources::SourceName;
use store::{Functions, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::runner::{Limits, Sink, run};
use super::sink::{ToEvents, ToFunction};
use super::{FeedError, Report, SourceOptions, open};
use crate::Runner;
use crate::decide::backoff::Backoff;
use crate::decide::batch;

/// After a feed failed, first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A feed that ran so long has worked.
const WORKED: Duration = Duration::from_secs(10);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Between looks at messages that are too old.
const HOUSE_KEEPING: Duration = Duration::from_secs(60);
/// Messages that an event source holds before they are on disk.
const ROOM: usize = 1000;
/// Braces and brackets of an event.
const FRAME: usize = 64;

/// All sources of this server. Ends them when it is told to.
#[derive(Clone)]
pub struct EventSources {
    shared: Arc<Shared>,
}

struct Shared {
    reports: Mutex<Vec<Report>>,
    store: Arc<dyn store::Sources>,
    functions: Arc<dyn Functions>,
    /// Goes up when a source was paused, or goes on.
    paused: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A source that runs.
struct Running {
    source: Source,
    /// Its function's, which says how long a call may take.
    timeout: Duration,
    report: Report,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

// === impl EventSources ===

impl EventSources {
    /// Begins with every source that is deployed. What an earlier server held of message queues is visible again.
    pub async fn start<R: Runner>(options: SourceOptions<R>) -> Result<Self, StoreError> {
        let recovered = options.messages.recover_messages((options.clock)()).await?;
        if recovered > 0 {
            tracing::info!(messages = recovered, "messages that the last server held will be received again");
        }
        let shared = Arc::new(Shared {
            reports: Mutex::default(),
            store: options.sources.clone(),
            functions: options.functions.clone(),
            paused: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            task: Mutex::default(),
        });
        let task = tokio::spawn(manage(Arc::new(options), shared.clone()));
        *shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(Self { shared })
    }

    /// How every source fares, by function and name.
    pub fn statuses(&self) -> Vec<SourceStatus> {
        let mut all: Vec<_> =
            self.shared.reports.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Report::get).collect();
        all.sort_by(|a, b| (&a.function, &a.name).cmp(&(&b.function, &b.name)));
        all
    }

    /// Pauses a source, or lets it go on. False if there is none of that name.
    pub async fn pause(&self, function: FunctionName, source: String, paused: bool) -> Result<bool, StoreError> {
        let known = self.shared.store.pause_source(SourceName { function, source }, paused).await?;
        self.shared.paused.send_modify(|count| *count += 1);
        Ok(known)
    }

    /// Nothing is taken from any source from now on.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Waits for what was taken, at most `limit`; what is not settled then comes again.
    pub async fn ended(&self, limit: Duration) {
        self.stop();
        let task = self.shared.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(limit, &mut task).await.is_err() {
            tracing::warn!("event sources still had messages in hand after {limit:?}: they come again");
            task.abort();
        }
    }
}

async fn manage<R: Runner>(options: Arc<SourceOptions<R>>, shared: Arc<Shared>) {
    let mut running: HashMap<SourceName, Running> = HashMap::new();
    let (mut changes, mut paused) = (shared.functions.changes(), shared.paused.subscribe());
    let mut stop = shared.stop.subscribe();
    let mut house = tokio::time::interval(HOUSE_KEEPING);
    house.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        changes.mark_unchanged();
        paused.mark_unchanged();
        if *stop.borrow_and_update() {
            break;
        }
        let failed = match follow(&options, &shared, &mut running).await {
            Ok(()) => false,
            Err(StoreError::Closed) => break,
            Err(error) => {
                tracing::error!(%error, "event sources cannot be seen to: tried again soon");
                true
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            changed = paused.changed() => if changed.is_err() { break },
            _ = tokio::time::sleep(PAUSE), if failed => {}
            changed = stop.changed() => if changed.is_err() { break },
            _ = house.tick() => match options.messages.expire_messages((options.clock)()).await {
                Ok(0) => {}
                Ok(gone) => tracing::info!(messages = gone, "messages were removed: older than their queues keep them"),
                Err(error) => tracing::warn!(%error, "old messages could not be looked for"),
            },
        }
    }
    for one in running.values() {
        one.stop.send_replace(true);
    }
    for (_, one) in running {
        // It was told to end; a panic of it was logged.
        let _ = one.task.await;
    }
}

/// Begins what is new, ends what is gone, and begins anew what has changed.
async fn follow<R: Runner>(
    options: &Arc<SourceOptions<R>>,
    shared: &Shared,
    running: &mut HashMap<SourceName, Running>,
) -> Result<(), StoreError> {
    let mut wanted = HashMap::new();
    for function in shared.functions.list().await? {
        let timeout = function.spec.timeout;
        for source in function.spec.sources {
            let name = SourceName { function: function.spec.name.clone(), source: source.name().to_owned() };
            wanted.insert(name, (source, timeout));
        }
    }
    // Those that end are given their time before what they have seen is forgotten, or the same are begun anew.
    let paused = options.sources.know_sources(wanted.keys().cloned().collect()).await?;
    let keep = |name: &SourceName, one: &Running| {
        !paused.contains(name)
            && one.source.enabled()
            && wanted.get(name).is_some_and(|(source, timeout)| *source == one.source && *timeout == one.timeout)
    };
    let ending: Vec<_> = running.keys().filter(|name| !keep(name, &running[*name])).cloned().collect();
    let mut ended = Vec::new();
    for name in ending {
        if let Some(one) = running.remove(&name) {
            one.stop.send_replace(true);
            ended.push((name, one));
        }
    }
    let mut reports = Vec::new();
    for (name, (source, timeout)) in wanted {
        if paused.contains(&name) || !source.enabled() {
            let report = Report::new(&name, source.kind(), options.clock.clone());
            report.state(SourceState::Paused);
            reports.push(report);
            continue;
        }
        let one = match running.remove(&name) {
            Some(one) => one,
            None => {
                let before = ended.iter().position(|(ended, _)| *ended == name).map(|place| ended.swap_remove(place).1);
                begin(options.clone(), &name, source, timeout, before.map(|before| before.task))
            }
        };
        reports.push(one.report.clone());
        running.insert(name, one);
    }
    *shared.reports.lock().unwrap_or_else(PoisonError::into_inner) = reports;
    Ok(())
}

fn begin<R: Runner>(
    options: Arc<SourceOptions<R>>,
    name: &SourceName,
    source: Source,
    timeout: Duration,
    before: Option<JoinHandle<()>>,
) -> Running {
    let report = Report::new(name, source.kind(), options.clock.clone());
    let (stop, stopped) = watch::channel(false);
    let (task_name, task_source, task_report) = (name.clone(), source.clone(), report.clone());
    let task = tokio::spawn(async move {
        if let Some(before) = before {
            // Two of one source would have messages of the same session, or see the same files.
            let _ = before.await;
        }
        supervise(options, task_name, task_source, task_report, stopped).await;
    });
    Running { source, timeout, report, stop, task }
}

/// Opens the feed, runs it, and does so again when it fails.
async fn supervise<R: Runner>(
    options: Arc<SourceOptions<R>>,
    name: SourceName,
    source: Source,
    report: Report,
    mut stop: watch::Receiver<bool>,
) {
    let (sink, limits) = delivery(&options, &name, &source, &report);
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    while !*stop.borrow() {
        let begun = tokio::time::Instant::now();
        let opened = tokio::select! {
            opened = open(&options, &name, &source, &report) => opened,
            _ = stopped(&mut stop) => return,
        };
        let ended = match opened {
            Ok(mut feed) => {
                report.state(SourceState::Running);
                run(feed.as_mut(), sink.clone(), limits, &report, stop.clone()).await
            }
            Err(error) => Err(error),
        };
        let Err(FeedError(why)) = ended else { return };
        if begun.elapsed() > WORKED {
            backoff.worked();
        }
        report.state(SourceState::Failing);
        report.error(&why);
        report.change(|status| status.in_flight = 0);
        let wait = backoff.failed();
        tracing::warn!(function = %name.function, source = name.source, why, "an event source failed: again in {wait:?}");
        tokio::select! {
            _ = tokio::time::sleep(wait) => {}
            _ = stopped(&mut stop) => return,
        }
    }
}

/// How much of a source goes where at once.
fn delivery<R: Runner>(
    options: &SourceOptions<R>,
    name: &SourceName,
    source: &Source,
    report: &Report,
) -> (Arc<dyn Sink>, Limits) {
    let (size, window) = source.batching();
    let (name, clock) = (name.clone(), options.clock.clone());
    let rules = |bytes: usize| batch::Rules { size: size as usize, bytes: bytes - FRAME, window };
    match source {
        Source::Queue(queue) => {
            let deliveries = queue.concurrency() as usize;
            let (qualifier, partial) = (queue.qualifier.clone(), queue.partial);
            let sink = ToFunction { runner: options.runner.clone(), name, clock, qualifier, partial };
            let in_flight = size as usize * deliveries;
            (Arc::new(sink), Limits { batch: rules(MAX_REQUEST_BYTES), in_flight, deliveries, together: 1 })
        }
        Source::Mqtt(_) | Source::Folder(_) => {
            let sink = ToEvents { store: options.sources.clone(), name, clock, report: report.clone() };
            let in_flight = ROOM.max(size as usize);
            // All that has come while one delivery was written is the next: they share a sync to disk.
            (Arc::new(sink), Limits { batch: rules(MAX_EVENT_BYTES), in_flight, deliveries: 1, together: ROOM })
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can tell any more, which is an end too.
    let _ = stop.wait_for(|stop| *stop).await;
}
