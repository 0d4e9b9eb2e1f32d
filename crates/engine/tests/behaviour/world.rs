//! An engine with fakes around it, and words to say what it shall do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use driver::InstalledRuntime;
use engine::{Engine, EngineLimits, Options, StemRules};
use model::{
    CodeHash, Door, Fault, Function, FunctionName, FunctionSpec, Idle, Invocation, LogLine, Outcome, Payloads, Record,
    Reply, RequestId, Revision, Runtime, Timestamp,
};
use store::{Functions, LogPage, LogQuery, RecordQuery, StoreError, Telemetry};
use tokio::sync::watch;

use crate::fake::FakeDriver;

pub const MIB: u64 = 1024 * 1024;

pub struct World {
    pub engine: Engine,
    pub driver: Arc<FakeDriver>,
    pub store: Arc<MemoryStore>,
    pub told: Arc<Told>,
}

pub struct MemoryStore {
    functions: Mutex<Vec<Function>>,
    changes: watch::Sender<u64>,
}

/// What the engine told about its work.
#[derive(Default)]
pub struct Told {
    records: Mutex<Vec<Record>>,
    payloads: Mutex<Vec<(RequestId, Payloads)>>,
    lines: Mutex<Vec<LogLine>>,
}

// === impl World ===

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// An engine with changed options and no function.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let driver = Arc::new(FakeDriver::default());
        let store = Arc::new(MemoryStore { functions: Mutex::default(), changes: watch::Sender::new(0) });
        let told = Arc::new(Told::default());
        let mut options = Options {
            drivers: vec![driver.clone()],
            images: std::sync::Arc::new(engine::NoImages),
            secrets: std::sync::Arc::new(engine::NoSecrets),
            code: std::sync::Arc::new(engine::SoundCode),
            runtimes: vec![InstalledRuntime { runtime: Runtime::python("3.11"), program: "/usr/bin/python3".into() }],
            functions: store.clone(),
            telemetry: told.clone(),
            memory_budget: 4096 * MIB,
            inherits: false,
            region: "us-east-1".into(),
            account: "000000000000".into(),
            // Stems come into being by themselves: only where a test is about them.
            limits: EngineLimits {
                exit: Duration::from_millis(500),
                stems: StemRules { most: 0, each: 0 },
                ..EngineLimits::default()
            },
        };
        change(&mut options);
        let engine = Engine::start(options).await.unwrap();
        Self { engine, driver, store, told }
    }

    /// Deploys a function of that name, and waits until calls see it.
    pub async fn deploy(&self, name: &str, change: impl FnOnce(&mut FunctionSpec)) {
        let mut spec = FunctionSpec::new(name.parse().unwrap(), Runtime::python("3.11"), "app.handler");
        change(&mut spec);
        spec.validate().unwrap();
        self.store.put(spec, CodeHash::from_digest(&[7; 32]), None).await.unwrap();
        self.settle().await;
    }

    pub async fn delete(&self, name: &str) {
        self.store.delete(&name.parse().unwrap()).await.unwrap();
        self.settle().await;
    }

    /// Something that the store counts as a change, and that calls see when this returns.
    pub async fn touch(&self) {
        self.store.changes.send_modify(|change| *change += 1);
        self.settle().await;
    }

    async fn settle(&self) {
        let change = *self.store.changes.borrow();
        self.engine.settled(change).await;
    }

    pub async fn call(&self, name: &str, event: &str) -> Result<Outcome, Fault> {
        self.engine.invoke(invocation(name, event)).await
    }

    /// What the function answered, or its failure as JSON.
    pub async fn ask(&self, name: &str, event: &str) -> String {
        said(&self.call(name, event).await.unwrap().reply)
    }

    /// A call in a task of its own.
    pub fn calling(&self, name: &str, event: &str) -> tokio::task::JoinHandle<Result<Outcome, Fault>> {
        let (engine, invocation) = (self.engine.clone(), invocation(name, event));
        tokio::spawn(async move { engine.invoke(invocation).await })
    }

    pub fn instances(&self) -> usize {
        self.engine.instances().len()
    }
}

pub fn invocation(name: &str, event: &str) -> Invocation {
    Invocation {
        id: RequestId::random(),
        function: name.parse().unwrap(),
        qualifier: None,
        payload: Bytes::from(event.to_owned()),
        door: Door::Invoke,
        received: Timestamp::now(),
        trace: model::Trace::unrecorded(Timestamp::now()),
        client_context: String::new(),
        tail: true,
        probe: None,
        replay_of: None,
    }
}

pub fn said(reply: &Reply) -> String {
    let bytes = match reply {
        Reply::Success(payload) => payload,
        Reply::Failure(error) => &error.payload,
    };
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits until it is so; fails when it is not within five seconds.
pub async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not so within five seconds: {what}");
}

pub fn idle(time: Duration) -> Idle {
    Idle::For(time)
}

// === impl Told ===

impl Told {
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    pub fn record(&self, id: RequestId) -> Record {
        let found: Vec<_> = self.records().into_iter().filter(|record| record.request_id == id).collect();
        assert_eq!(found.len(), 1, "one record for each invocation");
        found.into_iter().next().unwrap()
    }

    /// What was kept of a call, as text.
    pub fn kept(&self, id: RequestId) -> Option<(String, Option<String>)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let kept = self.payloads.lock().unwrap();
        let found = kept.iter().find(|(one, _)| *one == id);
        found.map(|(_, one)| (text(&one.input), one.output.as_ref().map(text)))
    }

    pub fn lines(&self) -> Vec<LogLine> {
        self.lines.lock().unwrap().clone()
    }

    /// The line with this text.
    pub fn line(&self, text: &str) -> Option<LogLine> {
        self.lines().into_iter().find(|line| line.message == text)
    }
}

#[async_trait]
impl Telemetry for Told {
    fn record(&self, record: Record) {
        self.records.lock().unwrap().push(record);
    }

    fn log(&self, line: LogLine) {
        self.lines.lock().unwrap().push(line);
    }

    fn record_with(&self, record: Record, payloads: Payloads) {
        self.payloads.lock().unwrap().push((record.request_id, payloads));
        self.records.lock().unwrap().push(record);
    }

    async fn records(&self, _: RecordQuery) -> Result<Vec<Record>, StoreError> {
        Ok(self.records())
    }

    async fn tally(&self, _: &FunctionName, _: model::Revision, _: u64) -> Result<(model::Tally, u64), StoreError> {
        Ok((model::Tally::default(), 0))
    }

    async fn logs(&self, _: LogQuery) -> Result<LogPage, StoreError> {
        Ok(LogPage { lines: self.lines(), cursor: 0 })
    }

    fn logged(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn dropped(&self) -> u64 {
        0
    }
}

// === impl MemoryStore ===

#[async_trait]
impl Functions for MemoryStore {
    async fn put(&self, spec: FunctionSpec, code: CodeHash, _: Option<u64>) -> Result<Function, StoreError> {
        let mut functions = self.functions.lock().unwrap();
        let old = functions.iter().position(|function| function.spec.name == spec.name);
        let old = old.map(|place| functions.remove(place));
        let revision = Revision(old.map_or(1, |old| old.revision.0 + 1));
        let function =
            Function { spec, version: Default::default(), revision, code, code_size: 1, modified: Timestamp::now() };
        functions.push(function.clone());
        self.changes.send_modify(|change| *change += 1);
        Ok(function)
    }

    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError> {
        let functions = self.functions.lock().unwrap();
        let found = functions.iter().find(|function| function.spec.name == *name).cloned();
        found.ok_or_else(|| StoreError::NoSuchFunction(name.clone()))
    }

    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        Ok(self.functions.lock().unwrap().clone())
    }

    async fn delete(&self, name: &FunctionName) -> Result<(), StoreError> {
        self.functions.lock().unwrap().retain(|function| function.spec.name != *name);
        self.changes.send_modify(|change| *change += 1);
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
