//! Comparisons over calls that nobody makes, in a time that nobody waits for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use control::{ComparisonPlan, ComparisonProgress, IsolationFigures, Machine, Setting};
use fakes::Kept;
use fakes::*;
use model::*;

use super::*;

/// A store that keeps one comparison, and an engine that answers as it is told.
mod fakes {
    use super::*;

    #[derive(Default)]
    pub struct Kept(pub Mutex<Vec<StoredComparison>>);

    #[async_trait::async_trait]
    impl Comparisons for Kept {
        async fn keep(&self, comparison: StoredComparison) -> Result<(), store::StoreError> {
            self.0.lock().unwrap().push(comparison);
            Ok(())
        }
        async fn comparison(&self, _: ComparisonId) -> Result<Option<StoredComparison>, store::StoreError> {
            Ok(None)
        }
        async fn comparisons(&self, _: &FunctionName) -> Result<Vec<StoredComparison>, store::StoreError> {
            Ok(Vec::new())
        }
        async fn prices(&self) -> Result<Option<Prices>, store::StoreError> {
            Ok(None)
        }
        async fn set_prices(&self, _: Prices) -> Result<(), store::StoreError> {
            Ok(())
        }
    }

    type Answer = dyn Fn(&Invocation, u32) -> Result<Reply, Fault> + Send + Sync;

    #[derive(Clone)]
    pub struct Engine {
        pub answer: Arc<Answer>,
        /// Of each call the isolation, what it was to start from, and the event.
        pub seen: Arc<Mutex<Vec<(Isolation, ProbeStart, String)>>>,
        pub stems: bool,
        pub revision: Arc<AtomicU32>,
    }

    impl Engine {
        pub fn new(answer: impl Fn(&Invocation, u32) -> Result<Reply, Fault> + Send + Sync + 'static) -> Self {
            let revision = Arc::new(AtomicU32::new(1));
            Self { answer: Arc::new(answer), seen: Arc::default(), stems: true, revision }
        }

        pub fn good() -> Self {
            Self::new(|_, _| Ok(Reply::Success("1".into())))
        }

        pub fn count(&self, isolation: Isolation, start: ProbeStart) -> usize {
            let seen = self.seen.lock().unwrap();
            seen.iter().filter(|(one, from, _)| (*one, *from) == (isolation, start)).count()
        }
    }

    impl Calls for Engine {
        async fn call(&self, invocation: Invocation) -> Result<Outcome, Fault> {
            let Probe { isolation, start } = invocation.probe.unwrap();
            assert_eq!(invocation.door, Door::Compare);
            let number = {
                let mut seen = self.seen.lock().unwrap();
                let event = String::from_utf8(invocation.payload.to_vec()).unwrap();
                seen.push((isolation, start, event));
                seen.len() as u32
            };
            let took = if start == ProbeStart::Warm { 2 } else { 40 };
            tokio::time::sleep(Duration::from_millis(took)).await;
            let reply = (self.answer)(&invocation, number)?;
            let record = Record {
                request_id: invocation.id,
                function: invocation.function,
                version: Default::default(),
                revision: Revision(self.revision.load(Ordering::SeqCst).into()),
                instance: Some(InstanceId::random()),
                door: invocation.door,
                received: invocation.received,
                cold: start != ProbeStart::Warm,
                stem: start == ProbeStart::Stem && self.stems,
                isolation: Some(isolation),
                outcome: RecordOutcome::Ok,
                error: None,
                queued_us: 0,
                sandbox_us: Some(1_000),
                runtime_us: Some(2_000),
                init_us: Some(3_000),
                handler_us: 1_500,
                memory_peak: Some(1 << 20),
                cpu_us: Some(700),
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
            Ok(Outcome { reply, instance: InstanceId::random(), tail: None, record })
        }
    }
}

fn order(isolations: &[Isolation]) -> ComparisonOrder {
    let all = Isolation::ALL.iter().map(|isolation| IsolationFigures {
        isolation: *isolation,
        reason: (!isolations.contains(isolation)).then(|| "not asked for".to_owned()),
        figures: None,
        notes: Vec::new(),
        costs: Vec::new(),
    });
    let comparison = Comparison {
        id: ComparisonId::random(),
        function: "f".parse().unwrap(),
        revision: 1,
        state: ComparisonState::Running,
        begun: Timestamp(0).rfc3339(),
        ended: None,
        progress: ComparisonProgress::default(),
        plan: ComparisonPlan { events: 2, cold: 3, warm: 25, seconds: 1, clients: 4 },
        setting: Setting { memory: Memory::mib(128), vcpus: 0.1, keep_seconds: 600.0, min: 0, max: 10 },
        machine: Machine::default(),
        isolations: all.collect(),
        notes: Vec::new(),
        error: None,
        calls: None,
    };
    ComparisonOrder { comparison, events: vec!["1".into(), "2".into()] }
}

async fn ended(comparer: &Comparer<Engine>, id: ComparisonId) -> Comparison {
    loop {
        let comparison = comparer.comparison(id).unwrap();
        if comparison.state != ComparisonState::Running {
            return comparison;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn compare(engine: Engine, isolations: &[Isolation]) -> (Comparison, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let comparer = Comparer::new(engine, kept.clone());
    let order = order(isolations);
    let id = order.comparison.id;
    comparer.begin(order).unwrap();
    (ended(&comparer, id).await, kept)
}

fn failure(message: &str) -> Reply {
    let payload = format!("{{\"errorMessage\": \"{message}\"}}").into();
    Reply::Failure(FunctionError { payload, fault: Fault::new(FaultCode::HandlerError, message) })
}

#[tokio::test(start_paused = true)]
async fn every_isolation_gets_the_same_calls_and_its_figures() {
    let engine = Engine::good();
    let (done, kept) = compare(engine.clone(), &[Isolation::Namespace, Isolation::Docker]).await;
    assert_eq!(done.state, ComparisonState::Done, "{:?}", done.error);
    assert_eq!(done.progress.done, done.progress.total);
    for one in &done.isolations[..2] {
        let figures = one.figures.as_ref().unwrap();
        let (cold, stem, warm) = (figures.cold.unwrap(), figures.stem.unwrap(), figures.warm.unwrap());
        assert_eq!((cold.count, stem.count, warm.count), (3, 3, 25));
        assert_eq!((cold.p50_us / 1000, warm.p50_us / 1000, cold.init_us), (40, 2, Some(3_000)));
        // Four clients, 2 ms a call.
        assert!((1900.0..=2004.0).contains(&figures.throughput.unwrap()), "{:?}", figures.throughput);
        assert_eq!(engine.count(one.isolation, ProbeStart::Scratch), 3);
    }
    assert_eq!(done.isolations[2].reason.as_deref(), Some("not asked for"));
    let mut events = BTreeMap::new();
    for (_, start, event) in engine.seen.lock().unwrap().iter().filter(|(_, start, _)| *start == ProbeStart::Scratch) {
        *events.entry((format!("{start:?}"), event.clone())).or_insert(0) += 1;
    }
    assert_eq!(events.into_values().collect::<Vec<_>>(), [3, 3], "each event as often as the other");
    let kept = kept.0.lock().unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&kept[0].body).unwrap(), done);
}

#[tokio::test(start_paused = true)]
async fn without_stems_their_row_is_empty_and_says_why() {
    let mut engine = Engine::good();
    engine.stems = false;
    let (done, _) = compare(engine.clone(), &[Isolation::Namespace]).await;
    let one = &done.isolations[0];
    let figures = one.figures.as_ref().unwrap();
    assert_eq!((figures.stem, figures.cold.unwrap().count), (None, 3), "what came of nothing counts as such once only");
    assert_eq!(one.notes, ["no stem was ready for it within 3 s"]);
    assert_eq!(engine.count(Isolation::Namespace, ProbeStart::Stem), 7, "tried for a moment, once");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_fails_ends_it_at_once_in_its_own_words() {
    let engine = Engine::new(|_, _| Ok(failure("no such bucket")));
    let (failed, kept) = compare(engine.clone(), &[Isolation::Namespace, Isolation::Docker]).await;
    assert_eq!(failed.state, ComparisonState::Failed);
    let error = failed.error.unwrap();
    assert_eq!((error.code, &*error.message), (FaultCode::HandlerError, "no such bucket"));
    assert_eq!(error.answer.unwrap()["errorMessage"], "no such bucket");
    assert_eq!(engine.seen.lock().unwrap().len(), 2, "one call on each");
    assert!(kept.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_isolation_that_does_not_do_it_is_left_out_with_the_reason() {
    let engine = Engine::new(|invocation, _| match invocation.probe.unwrap().isolation {
        Isolation::Docker => Err(Fault::new(FaultCode::SandboxFailed, "no space for images")),
        _ => Ok(Reply::Success("1".into())),
    });
    let (done, _) = compare(engine, &[Isolation::Namespace, Isolation::Docker]).await;
    assert_eq!(done.state, ComparisonState::Done);
    assert!(done.isolations[0].figures.is_some());
    let docker = &done.isolations[1];
    assert!(docker.figures.is_none() && docker.reason.as_ref().unwrap().contains("no space for images"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_meanwhile_leaves_no_empty_table() {
    let engine = Engine::new(|_, number| match number {
        ..10 => Ok(Reply::Success("1".into())),
        _ => Err(Fault::new(FaultCode::Draining, "the server is ending")),
    });
    let (failed, kept) = compare(engine, &[Isolation::Namespace, Isolation::Docker]).await;
    assert_eq!(failed.state, ComparisonState::Failed);
    assert!(failed.error.unwrap().message.contains("the server is ending"));
    assert!(kept.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_few_failures_are_counted_and_many_end_it() {
    let now_and_then =
        Engine::new(|_, number| Ok(if number % 25 == 0 { failure("x") } else { Reply::Success("1".into()) }));
    let (done, _) = compare(now_and_then, &[Isolation::Namespace]).await;
    assert_eq!(done.state, ComparisonState::Done);
    assert!(done.isolations[0].figures.as_ref().unwrap().errors > 0);
    let soon = Engine::new(|_, number| Ok(if number > 10 { failure("worn out") } else { Reply::Success("1".into()) }));
    let (failed, _) = compare(soon, &[Isolation::Namespace]).await;
    assert_eq!(failed.error.unwrap().message, "worn out");
}

#[tokio::test(start_paused = true)]
async fn one_runs_at_a_time_and_one_that_is_cancelled_makes_room() {
    let (kept, engine) = (Arc::new(Kept::default()), Engine::good());
    let comparer = Comparer::new(engine.clone(), kept.clone());
    let (first, second) = (order(&[Isolation::Namespace]), order(&[Isolation::Namespace]));
    let (first_id, second_id) = (first.comparison.id, second.comparison.id);
    comparer.begin(first).unwrap();
    let refused = comparer.begin(second.clone()).unwrap_err();
    assert_eq!(refused.code, FaultCode::Conflict);
    assert!(refused.message.contains(&first_id.to_string()), "{refused}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!comparer.cancel(second_id));
    assert!(comparer.cancel(first_id) && !comparer.cancel(first_id));
    let cancelled = comparer.comparison(first_id).unwrap();
    assert_eq!(cancelled.state, ComparisonState::Cancelled);
    comparer.begin(second).unwrap();
    assert_eq!(ended(&comparer, second_id).await.state, ComparisonState::Done);
    assert_eq!(kept.0.lock().unwrap().len(), 1, "nothing is kept of the cancelled one");
}

#[tokio::test(start_paused = true)]
async fn a_deploy_in_between_ends_it() {
    let engine = Engine::good();
    let revision = engine.revision.clone();
    let after = Engine {
        answer: Arc::new(move |_, number| {
            revision.store(if number > 5 { 2 } else { 1 }, Ordering::SeqCst);
            Ok(Reply::Success("1".into()))
        }),
        ..engine
    };
    let (failed, _) = compare(after, &[Isolation::Namespace]).await;
    let error = failed.error.unwrap();
    assert_eq!(error.code, FaultCode::Conflict);
    assert!(error.message.contains("deployed anew"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn slow_functions_are_measured_less_and_it_says_so() {
    let engine = Engine::good();
    let slow = SlowEngine(engine);
    let kept = Arc::new(Kept::default());
    let comparer = Comparer::new(slow, kept);
    let mut order = order(&[Isolation::Namespace]);
    order.comparison.plan.seconds = 0;
    let id = order.comparison.id;
    comparer.begin(order).unwrap();
    let done = loop {
        let comparison = comparer.comparison(id).unwrap();
        if comparison.state != ComparisonState::Running {
            break comparison;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    assert_eq!(done.state, ComparisonState::Done, "{:?}", done.error);
    assert!(done.notes.iter().any(|note| note.starts_with("warm calls: 10 of 25")), "{:?}", done.notes);
}

/// Half a minute for each call.
#[derive(Clone)]
struct SlowEngine(Engine);

impl Calls for SlowEngine {
    async fn call(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        tokio::time::sleep(Duration::from_secs(30)).await;
        self.0.call(invocation).await
    }
}
