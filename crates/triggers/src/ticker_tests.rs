//! The ticker over a real queue, with a clock that does as it is told.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use model::{
    CodeHash, Function, FunctionName, FunctionSpec, Missed, Overlap, RequestId, Revision, Runtime, Schedule, Timestamp,
};
use store::queue::{EventQuery, NewEvent, QueuedEvent, Settlement};
use store::schedules::{ScheduleName, ScheduleState, Tick};
use store::sqlite::{EventLimits, SqliteQueue};
use store::{Functions, Queue, Schedules, StoreError};
use tokio::sync::watch;

use crate::ticker::{load, look};
use crate::{Ticker, TickerOptions};

const MINUTE: i64 = 60_000_000;

/// One function with schedules.
struct One(Mutex<Vec<Schedule>>, watch::Sender<u64>);

#[async_trait::async_trait]
impl Functions for One {
    async fn put(&self, _: FunctionSpec, _: CodeHash, _: Option<u64>) -> Result<Function, StoreError> {
        Err(StoreError::Closed)
    }
    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError> {
        Err(StoreError::NoSuchFunction(name.clone()))
    }
    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "app.handler");
        spec.schedules = self.0.lock().unwrap().clone();
        let code = CodeHash::from_digest(&[0; 32]);
        Ok(vec![Function {
            spec,
            version: Default::default(),
            revision: Revision(1),
            code,
            code_size: 1,
            modified: Timestamp(0),
        }])
    }
    async fn delete(&self, _: &FunctionName) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
}

struct World {
    queue: Arc<SqliteQueue>,
    functions: Arc<One>,
    clock: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(schedules: Vec<Schedule>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = SqliteQueue::open(dir.path(), EventLimits { reserve: 0, ..EventLimits::default() }).unwrap();
        let functions = Arc::new(One(Mutex::new(schedules), watch::channel(0).0));
        Self { queue, functions, clock: Arc::new(AtomicI64::new(0)), _dir: dir }
    }

    fn options(&self) -> TickerOptions {
        let clock = self.clock.clone();
        TickerOptions {
            functions: self.functions.clone(),
            schedules: self.queue.clone(),
            clock: Arc::new(move || Timestamp(clock.load(Ordering::SeqCst))),
            region: "us-east-1".into(),
            account: "000000000000".into(),
            ahead: None,
        }
    }

    /// Sets the clock, and looks at it, as a ticker does that was just started.
    async fn at(&self, minutes: i64) {
        self.clock.store(minutes * MINUTE, Ordering::SeqCst);
        let options = self.options();
        let known = load(&options).await.unwrap();
        look(&options, &known).await.unwrap();
    }

    async fn states(&self) -> Vec<ScheduleState> {
        self.queue.states().await.unwrap()
    }

    /// The minutes of all events' ticks.
    async fn ticks(&self) -> Vec<i64> {
        let events = self.queue.events(EventQuery { limit: 1000, ..EventQuery::default() }).await.unwrap();
        let mut ticks = Vec::new();
        for event in events {
            let payload = self.queue.event(event.event.id).await.unwrap().unwrap().event.payload;
            let event: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            let time = event["time"].as_str().unwrap();
            let minutes: i64 = time[11..13].parse::<i64>().unwrap() * 60 + time[14..16].parse::<i64>().unwrap();
            ticks.push(minutes);
        }
        ticks
    }
}

fn every_ten(overlap: Overlap, missed: Missed) -> Schedule {
    Schedule { overlap, missed, ..Schedule::new("s", "*/10 * * * *") }
}

fn name() -> ScheduleName {
    ScheduleName { function: "f".parse().unwrap(), schedule: "s".into() }
}

#[tokio::test]
async fn each_tick_becomes_one_event_over_restarts_and_clocks_that_jump() {
    let world = World::new(vec![every_ten(Overlap::Allow, Missed::All)]);
    for minutes in [5, 9, 10, 10, 11, 20, 19, 15, 20, 21, 45, 30, 45, 50] {
        world.at(minutes).await;
    }
    assert_eq!(world.ticks().await, [10, 20, 30, 40, 50]);
    assert_eq!(world.states().await[0].enqueued, 5);
    // Two years ahead, which is a mistake, and back.
    world.at(2 * 365 * 24 * 60).await;
    world.at(61).await;
    world.at(70).await;
    let ticks = world.ticks().await;
    // The one on time and the hundred before it, and then the next of the day that it is.
    assert_eq!((ticks.len(), ticks.last()), (5 + 101 + 1, Some(&70)));
}

#[tokio::test]
async fn one_that_is_new_or_says_another_time_begins_now() {
    let world = World::new(vec![every_ten(Overlap::Allow, Missed::All)]);
    world.at(59).await;
    assert!(world.ticks().await.is_empty(), "nothing of before it was made");
    world.functions.0.lock().unwrap()[0].cron = "*/7 * * * *".into();
    world.at(73).await;
    assert!(world.ticks().await.is_empty());
    world.at(74).await;
    assert_eq!(world.ticks().await, [74]);
    world.functions.0.lock().unwrap().clear();
    world.at(81).await;
    assert!(world.states().await.is_empty());
}

#[tokio::test]
async fn what_is_paused_makes_no_events_and_makes_none_up() {
    let world = World::new(vec![every_ten(Overlap::Allow, Missed::All)]);
    world.at(5).await;
    assert!(world.queue.pause(name(), true, Timestamp(5 * MINUTE)).await.unwrap());
    world.at(30).await;
    assert!(world.queue.pause(name(), false, Timestamp(35 * MINUTE)).await.unwrap());
    world.at(40).await;
    assert_eq!(world.ticks().await, [40]);
    let unknown = ScheduleName { schedule: "other".into(), ..name() };
    assert!(!world.queue.pause(unknown, true, Timestamp(0)).await.unwrap());
}

fn tick(minutes: i64) -> Tick {
    let event = NewEvent {
        id: RequestId::random(),
        function: "f".parse().unwrap(),
        qualifier: None,
        payload: Bytes::from_static(b"{}"),
        received: Timestamp(minutes * MINUTE),
        trace_id: String::new(),
        client_context: String::new(),
        hops: 0,
        key: None,
    };
    Tick { tick: Timestamp(minutes * MINUTE), event, due: Timestamp(minutes * MINUTE) }
}

async fn lease(queue: &SqliteQueue) -> Vec<QueuedEvent> {
    queue.lease(vec![("f".parse().unwrap(), 10)], Timestamp(i64::MAX), 1 << 20).await.unwrap()
}

#[tokio::test]
async fn overlaps_are_passed_over_queued_or_allowed() {
    for (overlap, at_once, in_all, skipped) in
        [(Overlap::Skip, 1, 1, 2), (Overlap::Queue, 1, 3, 0), (Overlap::Allow, 3, 3, 0)]
    {
        let world = World::new(vec![]);
        world.queue.know(vec![(name(), "m".into())], Timestamp(0)).await.unwrap();
        for minutes in [10, 20, 30, 30] {
            world.queue.tick(name(), vec![tick(minutes)], overlap, Timestamp(minutes * MINUTE)).await.unwrap();
        }
        let mut ran = 0;
        loop {
            let leased = lease(&world.queue).await;
            if leased.is_empty() {
                break;
            }
            assert!(leased.len() <= at_once, "{overlap:?}");
            assert!(overlap == Overlap::Allow || lease(&world.queue).await.is_empty(), "{overlap:?}");
            for event in leased {
                world.queue.settle(event.event.id, Settlement::Done { then: None }).await.unwrap();
                ran += 1;
            }
        }
        assert_eq!((ran, world.states().await[0].skipped), (in_all, skipped), "{overlap:?}");
    }
}

#[tokio::test]
async fn a_function_is_made_ready_once_shortly_before_its_tick() {
    let world = World::new(vec![
        every_ten(Overlap::Allow, Missed::All),
        Schedule { jitter: Duration::from_secs(60), ..Schedule::new("spread", "*/10 * * * *") },
    ]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let ahead = told.clone();
    let options = TickerOptions {
        ahead: Some(Arc::new(move |function: &FunctionName, soon| {
            ahead.lock().unwrap().push((function.clone(), soon))
        })),
        ..world.options()
    };
    let known = load(&options).await.unwrap();
    let at = async |seconds: i64| {
        world.clock.store(seconds * 1_000_000, Ordering::SeqCst);
        look(&options, &known).await.unwrap()
    };
    assert_eq!(at(590).await, Duration::from_secs(8), "it wakes for it");
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(at(598).await, Duration::from_secs(2));
    at(599).await;
    at(600).await;
    assert_eq!(*told.lock().unwrap(), [("f".parse().unwrap(), Duration::from_secs(7))]);
    at(1199).await;
    assert_eq!(told.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_ticker_sees_what_is_deployed_while_it_runs() {
    let world = World::new(vec![]);
    let ticker = Ticker::start(TickerOptions { clock: Arc::new(Timestamp::now), ..world.options() });
    world.functions.0.lock().unwrap().push(Schedule::new("s", "* * * * * *"));
    world.functions.1.send_modify(|change| *change += 1);
    let begun = std::time::Instant::now();
    while world.queue.counts().await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no tick of a schedule of every second");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(ticker);
}
