//! The dispatcher over a real queue and functions that do as they are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use model::{
    AsyncRules, CodeHash, Door, Fault, FaultCode, Function, FunctionError, FunctionName, FunctionSpec, InstanceId,
    Invocation, Outcome, Record, RecordOutcome, Reply, RequestId, Revision, Runtime, Target, Timestamp,
};
use store::queue::{EventQuery, NewEvent, QueueCounts};
use store::sqlite::{EventLimits, SqliteQueue};
use store::{Queue, StoreError};
use tempfile::TempDir;

use crate::{Dispatcher, Limits, Options, Runner};

pub fn outcome(function: &FunctionName, reply: Reply) -> Outcome {
    let record = Record {
        request_id: RequestId::random(),
        function: function.clone(),
        revision: Revision(1),
        version: Default::default(),
        instance: None,
        door: Door::Async,
        received: Timestamp(0),
        cold: false,
        stem: false,
        isolation: None,
        outcome: RecordOutcome::Ok,
        error: None,
        queued_us: 0,
        sandbox_us: None,
        runtime_us: None,
        init_us: None,
        handler_us: 0,
        memory_peak: None,
        cpu_us: None,
        request_bytes: 0,
        response_bytes: 0,
        qualifier: None,
        memory: None,
        billed_ms: 0,
        replay_of: None,
        payloads: model::Kept::No,
        stages: vec![],
        trace: None,
    };
    Outcome { reply, instance: InstanceId::zero(), tail: None, record }
}

/// Functions by name: `ok`, `fails`, `busy`, `kills`; `slow` takes a while. Others are not there, but for those that
/// were told of.
#[derive(Clone, Default)]
struct Fake {
    calls: Arc<Mutex<Vec<(FunctionName, Bytes)>>>,
    at_once: Arc<Mutex<HashMap<FunctionName, (usize, usize)>>>,
    rules: Arc<Mutex<HashMap<FunctionName, AsyncRules>>>,
}

impl Runner for Fake {
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        if name.as_str() == "absent" {
            return None;
        }
        let mut spec = FunctionSpec::new(name.clone(), Runtime::python("3.11"), "app.handler");
        spec.asynchronous = self.rules.lock().unwrap().get(name).cloned().unwrap_or_default();
        let code = CodeHash::from_digest(&[0; 32]);
        Some(Arc::new(Function {
            spec,
            version: Default::default(),
            revision: Revision(1),
            code,
            code_size: 1,
            modified: Timestamp(0),
        }))
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        let name = invocation.function;
        self.calls.lock().unwrap().push((name.clone(), invocation.payload.clone()));
        {
            let mut at_once = self.at_once.lock().unwrap();
            let (now, most) = at_once.entry(name.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        }
        if name.as_str().starts_with("slow") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.at_once.lock().unwrap().get_mut(&name).unwrap().0 -= 1;
        let failure = |code| {
            let payload = Bytes::from_static(br#"{"errorMessage":"no","errorType":"E"}"#);
            Reply::Failure(FunctionError { payload, fault: Fault::new(code, "no") })
        };
        let reply = match name.as_str() {
            "fails" => failure(FaultCode::HandlerError),
            "kills" => failure(FaultCode::Exited),
            "busy" => return Err(Fault::new(FaultCode::TooManyRequests, "full")),
            "absent" => return Err(Fault::new(FaultCode::NotFound, "no function named absent")),
            _ => Reply::Success(invocation.payload),
        };
        Ok(outcome(&name, reply))
    }
}

struct World {
    queue: Arc<SqliteQueue>,
    fake: Fake,
    dispatcher: Option<Dispatcher>,
    dir: TempDir,
}

impl World {
    fn new(limits: EventLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = SqliteQueue::open(dir.path(), EventLimits { reserve: 0, ..limits }).unwrap();
        Self { queue, fake: Fake::default(), dispatcher: None, dir }
    }

    fn rules(&self, function: &str, rules: AsyncRules) {
        self.fake.rules.lock().unwrap().insert(name(function), rules);
    }

    async fn dispatch(&mut self, limits: Limits) {
        let options = Options {
            runner: self.fake.clone(),
            queue: self.queue.clone(),
            clock: Arc::new(Timestamp::now),
            region: "us-east-1".into(),
            account: "000000000000".into(),
            limits,
        };
        self.dispatcher = Some(Dispatcher::start(options).await.unwrap());
    }

    async fn put(&self, function: &str, payload: &str) -> RequestId {
        self.queue.enqueue(event(function, payload)).await.unwrap().id
    }

    async fn counts(&self, function: &str) -> QueueCounts {
        let counts = self.queue.counts().await.unwrap();
        for one in &counts {
            let sum = one.waiting + one.done + one.failed + one.dead + one.purged;
            assert_eq!(one.enqueued, sum, "{one:?}");
        }
        let none = QueueCounts {
            function: name(function),
            enqueued: 0,
            waiting: 0,
            done: 0,
            failed: 0,
            dead: 0,
            purged: 0,
            bytes: 0,
        };
        counts.into_iter().find(|one| one.function.as_str() == function).unwrap_or(none)
    }

    /// Waits until nothing waits.
    async fn settled(&self) {
        for _ in 0..400 {
            let counts = self.queue.counts().await.unwrap();
            if counts.iter().all(|one| one.waiting == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("events still wait: {:?}", self.queue.counts().await);
    }

    fn calls(&self, function: &str) -> Vec<Bytes> {
        let calls = self.fake.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| name.as_str() == function).map(|(_, payload)| payload.clone()).collect()
    }
}

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn event(function: &str, payload: &str) -> NewEvent {
    NewEvent {
        id: RequestId::random(),
        function: name(function),
        qualifier: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        received: Timestamp::now(),
        trace_id: "Root=1".into(),
        client_context: String::new(),
        hops: 0,
        key: None,
    }
}

fn quick() -> AsyncRules {
    AsyncRules { retry_delay: Duration::from_millis(20), ..AsyncRules::default() }
}

#[tokio::test]
async fn every_event_runs_and_all_are_counted() {
    let mut world = World::new(EventLimits::default());
    for n in 0..50 {
        world.put("ok", &n.to_string()).await;
    }
    assert_eq!(world.counts("ok").await.waiting, 50);
    world.dispatch(Limits::default()).await;
    for n in 50..100 {
        world.put("ok", &n.to_string()).await;
    }
    world.settled().await;
    let mut ran: Vec<u32> =
        world.calls("ok").iter().map(|p| std::str::from_utf8(p).unwrap().parse().unwrap()).collect();
    ran.sort();
    assert_eq!(ran, (0..100).collect::<Vec<_>>());
    let counts = world.counts("ok").await;
    assert_eq!((counts.enqueued, counts.done, counts.bytes), (100, 100, 0));
}

#[tokio::test]
async fn one_that_fails_is_retried_told_and_kept_and_can_be_redriven() {
    let mut world = World::new(EventLimits::default());
    world.rules("fails", AsyncRules { on_failure: Some(Target::Function(name("told"))), ..quick() });
    world.dispatch(Limits::default()).await;
    let id = world.put("fails", r#"{"n":1}"#).await;
    world.settled().await;
    assert_eq!(world.calls("fails").len(), 3);
    let record: serde_json::Value = serde_json::from_slice(&world.calls("told")[0]).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(record["requestContext"]["requestId"], id.to_string());
    assert_eq!(record["requestPayload"]["n"], 1);
    assert_eq!(record["responsePayload"]["errorMessage"], "no");
    let dead = world.queue.event(id).await.unwrap().unwrap();
    assert_eq!((dead.attempts, dead.condition.as_deref()), (3, Some("RetriesExhausted")));
    assert!(dead.error.unwrap().contains("errorMessage"));
    assert_eq!(world.counts("fails").await.dead, 1);

    let which = EventQuery { id: Some(id), dead: true, ..EventQuery::default() };
    world.rules("fails", AsyncRules { dead_letter: false, ..quick() });
    assert_eq!(world.queue.redrive(which, Timestamp::now()).await.unwrap(), 1);
    world.settled().await;
    assert_eq!(world.calls("fails").len(), 6);
    let counts = world.counts("fails").await;
    assert_eq!((counts.enqueued, counts.dead, counts.failed, counts.bytes), (1, 0, 1, 0));
}

#[tokio::test]
async fn what_kills_or_has_no_function_is_set_aside_and_purged() {
    let mut world = World::new(EventLimits::default());
    world.rules("kills", AsyncRules { retries: 10, ..quick() });
    world.dispatch(Limits::default()).await;
    let (kills, absent) = (world.put("kills", "1").await, world.put("absent", "1").await);
    world.settled().await;
    assert_eq!(world.calls("kills").len(), 3);
    let condition = async |id| world.queue.event(id).await.unwrap().unwrap().condition.unwrap();
    assert_eq!((condition(kills).await, condition(absent).await), ("Poison".into(), "FunctionNotFound".into()));
    let all = EventQuery { dead: true, limit: 10, ..EventQuery::default() };
    assert_eq!(world.queue.events(all.clone()).await.unwrap().len(), 2);
    assert_eq!(world.queue.purge(all).await.unwrap(), 2);
    assert_eq!(world.counts("kills").await.purged, 1);
}

#[tokio::test]
async fn one_that_cannot_begin_waits_without_using_up_its_retries() {
    let mut world = World::new(EventLimits::default());
    world.rules("busy", AsyncRules { max_age: Duration::from_millis(1_500), ..quick() });
    world.dispatch(Limits::default()).await;
    let id = world.put("busy", "1").await;
    world.settled().await;
    // At once and after a second; the next would be after two more, when it is too old.
    assert_eq!(world.calls("busy").len(), 2);
    let dead = world.queue.event(id).await.unwrap().unwrap();
    assert_eq!((dead.condition.as_deref(), dead.progress.failures), (Some("EventAgeExceeded"), 0));
}

#[tokio::test]
async fn success_is_told_and_a_circle_of_destinations_is_cut() {
    let mut world = World::new(EventLimits::default());
    world.rules("a", AsyncRules { on_success: Some(Target::Function(name("b"))), ..quick() });
    world.rules("b", AsyncRules { on_success: Some(Target::Function(name("a"))), ..quick() });
    world.dispatch(Limits::default()).await;
    world.put("a", "1").await;
    world.settled().await;
    assert_eq!(world.calls("a").len() + world.calls("b").len(), 17);
    let dead = world.queue.events(EventQuery { dead: true, limit: 10, ..EventQuery::default() }).await.unwrap();
    assert_eq!(dead[0].condition.as_deref(), Some("RecursionLimit"));
    let record: serde_json::Value = serde_json::from_slice(&world.calls("b")[0]).unwrap();
    assert_eq!(record["requestContext"]["condition"], "Success");
}

#[tokio::test]
async fn a_flood_of_one_function_does_not_hold_up_another() {
    let mut world = World::new(EventLimits::default());
    for n in 0..200 {
        world.put("slow", &n.to_string()).await;
    }
    world.dispatch(Limits { of_function: 4, of_all: 8, ..Limits::default() }).await;
    let begun = std::time::Instant::now();
    world.put("ok", "1").await;
    while world.counts("ok").await.done == 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the flood");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(world.counts("slow").await.waiting > 50, "the flood was over before");
    world.settled().await;
    assert_eq!(world.fake.at_once.lock().unwrap()[&name("slow")].1, 4);
}

#[tokio::test]
async fn what_ran_when_the_dispatcher_ended_runs_again() {
    let mut world = World::new(EventLimits::default());
    let id = world.put("ok", "1").await;
    let leased = world.queue.lease(vec![(name("ok"), 5)], Timestamp::now(), 1 << 20).await.unwrap();
    assert_eq!((leased.len(), leased[0].attempts), (1, 1));
    // As if it had been killed here: nobody settles.
    world.queue.close();
    world.queue = SqliteQueue::open(world.dir.path(), EventLimits { reserve: 0, ..EventLimits::default() }).unwrap();
    assert!(world.queue.lease(vec![(name("ok"), 5)], Timestamp::now(), 1 << 20).await.unwrap().is_empty());
    world.dispatch(Limits::default()).await;
    world.settled().await;
    assert_eq!(world.calls("ok").len(), 1);
    assert!(world.queue.event(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stop_lets_runs_end_and_begins_no_more() {
    let mut world = World::new(EventLimits::default());
    for n in 0..40 {
        world.put("slow", &n.to_string()).await;
    }
    world.dispatch(Limits { of_function: 2, ..Limits::default() }).await;
    while world.calls("slow").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.dispatcher.take().unwrap().ended(Duration::from_secs(5)).await;
    let counts = world.counts("slow").await;
    assert_eq!(world.calls("slow").len() as u64, counts.done);
    assert!(counts.waiting > 0);
    let waiting = world.queue.events(EventQuery { limit: 100, ..EventQuery::default() }).await.unwrap();
    assert!(waiting.iter().all(|one| one.state == store::queue::EventState::Waiting));
}

#[tokio::test]
async fn a_key_names_one_event_and_a_full_queue_refuses() {
    let world = World::new(EventLimits { of_function: 2, ..EventLimits::default() });
    let keyed = |payload| NewEvent { key: Some("k".into()), ..event("ok", payload) };
    let puts = (0..20).map(|_| world.queue.enqueue(keyed("1")));
    let mut answers = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        answers.push(put.await.unwrap());
    }
    assert!(answers.iter().all(|one| one.id == answers[0].id));
    assert_eq!(answers.iter().filter(|one| !one.repeated).count(), 1);
    assert!(matches!(world.queue.enqueue(keyed("2")).await, Err(StoreError::KeyReused(_))));
    world.put("ok", "2").await;
    assert!(matches!(world.queue.enqueue(event("ok", "3")).await, Err(StoreError::QueueFull { .. })));
    world.put("other", "1").await;
    assert_eq!(world.counts("ok").await.enqueued, 2);
    // A refused one leaves no key behind.
    let refused = NewEvent { key: Some("new".into()), ..event("ok", "3") };
    assert!(world.queue.enqueue(refused.clone()).await.is_err());
    world.queue.purge(EventQuery { function: Some(name("ok")), ..EventQuery::default() }).await.unwrap();
    assert!(!world.queue.enqueue(refused).await.unwrap().repeated);
}

#[tokio::test]
async fn a_key_names_its_event_for_24_hours_over_restarts_and_after_it_ran() {
    let mut world = World::new(EventLimits::default());
    world.dispatch(Limits::default()).await;
    let day = Duration::from_secs(24 * 3600);
    let first = NewEvent { key: Some("k".into()), ..event("ok", "1") };
    let at = |received| NewEvent { id: RequestId::random(), received, ..first.clone() };
    assert!(!world.queue.enqueue(first.clone()).await.unwrap().repeated);
    world.settled().await;
    world.dispatcher.take().unwrap().ended(Duration::from_secs(5)).await;
    world.queue.close();
    world.queue = SqliteQueue::open(world.dir.path(), EventLimits { reserve: 0, ..EventLimits::default() }).unwrap();
    let late = first.received + day;
    world.queue.expire(late, 1440).await.unwrap();
    let again = world.queue.enqueue(at(late)).await.unwrap();
    assert_eq!((again.id, again.repeated), (first.id, true), "to the last moment of the day");
    let later = late + Duration::from_secs(1);
    world.queue.expire(later, 0).await.unwrap();
    let new = world.queue.enqueue(at(later)).await.unwrap();
    assert!(!new.repeated && new.id != first.id);
}

#[tokio::test]
async fn what_is_dead_is_kept_for_fourteen_days_whatever_the_clock_says() {
    let mut world = World::new(EventLimits::default());
    // As old as it may get: it was received as long ago as dead events are kept.
    let old = Timestamp::now() - Duration::from_secs(14 * 86_400 - 60);
    world.rules("kills", AsyncRules { max_age: Duration::from_secs(14 * 86_400), ..quick() });
    world.dispatch(Limits::default()).await;
    world.queue.enqueue(NewEvent { received: old, ..event("kills", "1") }).await.unwrap();
    world.settled().await;
    assert_eq!(world.counts("kills").await.dead, 1);
    let ten_years = Timestamp::now() + Duration::from_secs(10 * 365 * 86_400);
    assert_eq!(world.queue.expire(ten_years, 1).await.unwrap(), 0, "a clock that is years ahead loses nothing");
    for _ in 0..13 {
        assert_eq!(world.queue.expire(Timestamp::now(), 1440).await.unwrap(), 0);
    }
    assert_eq!(world.queue.expire(Timestamp::now(), 1440).await.unwrap(), 1);
    assert_eq!(world.counts("kills").await.purged, 1);
}
