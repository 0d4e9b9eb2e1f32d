//! What the engine adds to a warm call: `cargo test --release -p engine --test warm -- --ignored --nocapture`.
//!
//! The guest is a thread that answers at once, so what is measured is two wake-ups of a thread, which the bare
//! exchange over the same kind of socket pays as well, and the engine's own work. It asserts nothing: times
//! are the machine's.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use driver::{
    BoxFuture, Capability, Driver, Exit, Handle, InstalledRuntime, Sandbox, SandboxSpec, StartError, Streams, Usage,
};
use engine::{Engine, EngineLimits, Options};
use model::{
    CodeHash, Door, Function, FunctionName, FunctionSpec, Invocation, Isolation, LogLine, Record, Reply, RequestId,
    Revision, Runtime, Timestamp,
};
use store::{Functions, LogPage, LogQuery, RecordQuery, StoreError, Telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use wire::{Decoder, Frame, Side, Stream};

const CALLS: u32 = 20_000;

struct Threads;

struct Held(Mutex<Option<std::io::PipeWriter>>);

impl Driver for Threads {
    fn isolation(&self) -> Isolation {
        Isolation::Namespace
    }

    fn capability(&self) -> Capability {
        Capability {
            isolation: Isolation::Namespace,
            works: true,
            overhead: 0,
            no_mounts: None,
            no_egress: None,
            findings: Vec::new(),
        }
    }

    fn start(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<Sandbox, StartError>> {
        Box::pin(async move {
            let (control, control_guest) = UnixStream::pair().unwrap();
            let (invoke, invoke_guest) = UnixStream::pair().unwrap();
            let (log, log_guest) = std::io::pipe().unwrap();
            std::thread::spawn(move || guest(control_guest, invoke_guest));
            let streams = Streams { control: control.into(), invoke: vec![invoke.into()], log: log.into() };
            let handle = Arc::new(Held(Mutex::new(Some(log_guest))));
            Ok(Sandbox { id: spec.id, streams, handle, steps: vec![] })
        })
    }
}

impl Handle for Held {
    fn kill(&self) {
        self.0.lock().unwrap().take();
    }

    fn exited(&self) -> BoxFuture<'static, Exit> {
        Box::pin(std::future::pending())
    }

    fn usage(&self) -> Usage {
        Usage { memory_peak: Some(1), cpu: Some(Duration::ZERO) }
    }

    fn adopt(&self, _code: CodeHash) -> BoxFuture<'static, Result<(), StartError>> {
        Box::pin(async { Ok(()) })
    }

    fn freeze(&self, _frozen: bool) -> bool {
        true
    }
}

fn guest(mut control: UnixStream, mut invoke: UnixStream) {
    let mut bytes = BytesMut::new();
    Frame::Hello { version: wire::VERSION, runtime: "thread".into() }.encode(&mut bytes).unwrap();
    control.write_all(&bytes).unwrap();
    let mut decoder = Decoder::new(Stream::Control, Side::Host);
    let mut buffer = [0; 65536];
    while decoder.next_frame().unwrap().is_none() {
        let read = control.read(&mut buffer).unwrap();
        decoder.push(&buffer[..read]);
    }
    bytes.clear();
    Frame::Ready.encode(&mut bytes).unwrap();
    control.write_all(&bytes).unwrap();
    bytes.clear();
    Frame::Response { last: true, payload: Bytes::from_static(b"{}") }.encode(&mut bytes).unwrap();
    while invoke.read(&mut buffer).is_ok_and(|read| read > 0) {
        invoke.write_all(&bytes).unwrap();
    }
}

struct One(Function, watch::Sender<u64>);

#[async_trait]
impl Functions for One {
    async fn put(&self, _: FunctionSpec, _: CodeHash, _: Option<u64>) -> Result<Function, StoreError> {
        Err(StoreError::Closed)
    }
    async fn get(&self, _: &FunctionName) -> Result<Function, StoreError> {
        Ok(self.0.clone())
    }
    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        Ok(vec![self.0.clone()])
    }
    async fn delete(&self, _: &FunctionName) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
}

struct Forgets;

#[async_trait]
impl Telemetry for Forgets {
    fn record(&self, _: Record) {}
    fn log(&self, _: LogLine) {}
    async fn records(&self, _: RecordQuery) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }
    async fn tally(&self, _: &FunctionName, _: model::Revision, _: u64) -> Result<(model::Tally, u64), StoreError> {
        Ok((model::Tally::default(), 0))
    }

    async fn logs(&self, _: LogQuery) -> Result<LogPage, StoreError> {
        Ok(LogPage::default())
    }
    fn logged(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
    fn dropped(&self) -> u64 {
        0
    }
}

fn invocation() -> Invocation {
    Invocation {
        id: RequestId::random(),
        function: "f".parse().unwrap(),
        qualifier: None,
        payload: Bytes::from_static(b"{\"key\":\"value\"}"),
        door: Door::Invoke,
        received: Timestamp::now(),
        trace: model::Trace::unrecorded(Timestamp::now()),
        client_context: String::new(),
        tail: false,
        probe: None,
        replay_of: None,
    }
}

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{what:<28} p50 {:7.1} µs   p99 {:7.1} µs   min {:6.1} µs", at(0.5), at(0.99), at(0.0));
}

async fn measure() {
    let (mut host, guest_end) = tokio::net::UnixStream::pair().map(|(a, b)| (a, b.into_std().unwrap())).unwrap();
    guest_end.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let (mut guest_end, mut buffer) = (guest_end, [0; 65536]);
        while guest_end.read(&mut buffer).is_ok_and(|read| read > 0) {
            guest_end.write_all(b"\x03\0\0\0\x13\x01{}").unwrap();
        }
    });
    let mut took = Vec::new();
    let (event, mut buffer) = ([7; 200], [0; 8]);
    for _ in 0..CALLS {
        let begun = Instant::now();
        host.write_all(&event).await.unwrap();
        host.read_exact(&mut buffer).await.unwrap();
        took.push(begun.elapsed());
    }
    show("bare exchange", took);

    let function = Function {
        spec: FunctionSpec::new("f".parse().unwrap(), Runtime::python("3.11"), "a.b"),
        version: Default::default(),
        revision: Revision(1),
        code: CodeHash::from_digest(&[0; 32]),
        code_size: 0,
        modified: Timestamp(0),
    };
    let engine = Engine::start(Options {
        drivers: vec![Arc::new(Threads)],
        images: std::sync::Arc::new(engine::NoImages),
        secrets: std::sync::Arc::new(engine::NoSecrets),
        code: std::sync::Arc::new(engine::SoundCode),
        runtimes: vec![InstalledRuntime { runtime: Runtime::python("3.11"), program: "/p".into() }],
        functions: Arc::new(One(function, watch::Sender::new(0))),
        telemetry: Arc::new(Forgets),
        memory_budget: 1 << 30,
        inherits: false,
        region: "us-east-1".into(),
        account: "000000000000".into(),
        limits: EngineLimits::default(),
    })
    .await
    .unwrap();
    let mut took = Vec::new();
    for _ in 0..CALLS {
        let call = invocation();
        let begun = Instant::now();
        let outcome = engine.invoke(call).await.unwrap();
        took.push(begun.elapsed());
        assert!(matches!(outcome.reply, Reply::Success(_)));
    }
    show("through the engine", took);

    let begun = Instant::now();
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for _ in 0..CALLS / 16 {
                    engine.invoke(invocation()).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let rate = f64::from(CALLS) / begun.elapsed().as_secs_f64();
    println!("{:<28} {rate:.0} calls/s with {} instances", "16 callers", engine.instances().len());
}

#[test]
#[ignore = "a measurement"]
fn what_a_warm_call_costs() {
    println!("one thread:");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(measure());
    println!("two workers:");
    let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    workers.block_on(async { tokio::spawn(measure()).await.unwrap() });
}
