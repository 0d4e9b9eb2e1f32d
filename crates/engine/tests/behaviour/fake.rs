//! A driver whose sandboxes are tasks of the test's own process that speak `wire` over real sockets.
//!
//! What a guest does is said in the event: words like `print hello`, `sleep 50`, `exit 3`, separated by `;`. It
//! answers with the event, or as the last word says.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use driver::{
    BoxFuture, Capability, Driver, Exit, ExitCause, Handle, Sandbox, SandboxSpec, StartError, Streams, Usage,
};
use model::metric::Traffic;
use model::{CodeHash, InstanceId, Isolation, LogLevel, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use wire::{Decoder, Frame, Init, Invoke, Log, SetUp, Side, Stream, Trace};

/// What guests do before their first event.
#[derive(Clone, Default)]
pub struct Script {
    pub refuse: Option<StartError>,
    pub setup_fails: bool,
    pub no_hello: bool,
    /// How often it tells how it was set up; once is right.
    pub traces: u32,
    /// How long initialisation takes.
    pub init: Duration,
    pub init_prints: &'static str,
    pub init_error: Option<&'static str>,
    pub init_exit: Option<i32>,
    /// What `usage` says of memory, bytes.
    pub peak: Option<u64>,
    /// What `traffic` says; none: it has no network.
    pub traffic: Option<Arc<Mutex<Traffic>>>,
    /// Stems end as they are claimed.
    pub no_adoption: bool,
}

pub struct FakeDriver {
    isolation: Isolation,
    works: bool,
    /// What its sandboxes take beside their processes, bytes.
    pub overhead: u64,
    pub script: Mutex<Script>,
    pub specs: Mutex<Vec<SandboxSpec>>,
    pub seen: Arc<Seen>,
    ends: Mutex<HashMap<String, Arc<Notify>>>,
}

#[derive(Default)]
pub struct Seen {
    pub started: AtomicU32,
    pub live: AtomicU32,
    pub most_live: AtomicU32,
    pub inits: Mutex<Vec<Init>>,
    /// Every invocation that a guest began to handle.
    pub handled: Mutex<Vec<String>>,
    /// Every stem that was given its code.
    pub adopted: AtomicU32,
    /// Every sandbox that was given to a successor, and what was said of it.
    pub given: Mutex<Vec<(String, Sandbox)>>,
}

#[derive(Clone)]
struct FakeHandle {
    id: InstanceId,
    kill: Arc<Notify>,
    exit: watch::Receiver<Option<Exit>>,
    peak: Option<u64>,
    cpu: Arc<AtomicU64>,
    traffic: Option<Arc<Mutex<Traffic>>>,
    stem: Arc<AtomicBool>,
    no_adoption: bool,
    /// It is somebody else's to kill.
    given: Arc<AtomicBool>,
    frozen: watch::Sender<bool>,
    seen: Arc<Seen>,
}

struct Guest {
    id: String,
    control: UnixStream,
    invoke: UnixStream,
    log: std::io::PipeWriter,
    script: Script,
    seen: Arc<Seen>,
    frozen: watch::Receiver<bool>,
    calls: u32,
}

// === impl FakeDriver ===

impl Default for FakeDriver {
    fn default() -> Self {
        Self::of(Isolation::Namespace, true)
    }
}

impl FakeDriver {
    pub fn of(isolation: Isolation, works: bool) -> Self {
        let (script, specs, seen, ends) = Default::default();
        Self { isolation, works, overhead: 0, script, specs, seen, ends }
    }

    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub fn started(&self) -> u32 {
        self.seen.started.load(Ordering::SeqCst)
    }

    pub fn live(&self) -> u32 {
        self.seen.live.load(Ordering::SeqCst)
    }

    pub fn most_live(&self) -> u32 {
        self.seen.most_live.load(Ordering::SeqCst)
    }

    /// How many events guests began to handle.
    pub fn handled(&self) -> usize {
        self.seen.handled.lock().unwrap().len()
    }

    /// Ends a sandbox from outside, as the kernel might.
    pub fn end(&self, id: &str) {
        self.ends.lock().unwrap()[id].notify_one();
    }
}

impl Driver for FakeDriver {
    fn isolation(&self) -> Isolation {
        self.isolation
    }

    fn capability(&self) -> Capability {
        Capability {
            isolation: self.isolation,
            works: self.works,
            overhead: self.overhead,
            no_mounts: None,
            no_egress: None,
            findings: Vec::new(),
        }
    }

    fn start(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<Sandbox, StartError>> {
        Box::pin(async move {
            spec.validate()?;
            if !self.works {
                let reason = "it is switched off".into();
                return Err(StartError::Unavailable { isolation: self.isolation, reason });
            }
            let script = self.script.lock().unwrap().clone();
            if let Some(error) = script.refuse {
                return Err(error);
            }
            let (control, control_guest) = StdStream::pair().unwrap();
            let (invoke, invoke_guest) = StdStream::pair().unwrap();
            let (log, log_guest) = std::io::pipe().unwrap();
            let (tell, exit) = watch::channel(None);
            let kill = Arc::new(Notify::new());
            self.specs.lock().unwrap().push(spec.clone());
            self.ends.lock().unwrap().insert(spec.id.to_string(), kill.clone());
            self.seen.started.fetch_add(1, Ordering::SeqCst);
            let live = self.seen.live.fetch_add(1, Ordering::SeqCst) + 1;
            self.seen.most_live.fetch_max(live, Ordering::SeqCst);
            let (peak, traffic, no_adoption) = (script.peak, script.traffic.clone(), script.no_adoption);
            let (freezer, frozen) = watch::channel(false);
            let guest = Guest {
                id: spec.id.to_string(),
                control: tokio_stream(control_guest),
                invoke: tokio_stream(invoke_guest),
                log: log_guest,
                script,
                seen: self.seen.clone(),
                frozen,
                calls: 0,
            };
            let (seen, killed) = (self.seen.clone(), kill.clone());
            tokio::spawn(async move {
                // The guest's ends are closed when it is dropped, before anybody hears of its exit.
                let cause = tokio::select! {
                    cause = guest.run() => cause,
                    () = killed.notified() => ExitCause::Killed,
                };
                seen.live.fetch_sub(1, Ordering::SeqCst);
                tell.send_replace(Some(Exit { cause, usage: Usage::default() }));
            });
            let handle = Arc::new(FakeHandle {
                id: spec.id.clone(),
                kill,
                exit,
                peak,
                cpu: Arc::default(),
                traffic,
                stem: Arc::new(AtomicBool::new(spec.code.is_none())),
                no_adoption,
                given: Arc::default(),
                frozen: freezer,
                seen: self.seen.clone(),
            });
            let streams = Streams { control: control.into(), invoke: vec![invoke.into()], log: OwnedFd::from(log) };
            Ok(Sandbox { id: spec.id, streams, handle, steps: vec![] })
        })
    }
}

fn tokio_stream(stream: StdStream) -> UnixStream {
    stream.set_nonblocking(true).unwrap();
    UnixStream::from_std(stream).unwrap()
}

// === impl FakeHandle ===

impl Handle for FakeHandle {
    fn kill(&self) {
        if !self.given.load(Ordering::SeqCst) {
            self.kill.notify_one();
        }
    }

    fn exited(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.clone();
        Box::pin(async move {
            let gone = Exit { cause: ExitCause::Killed, usage: Usage::default() };
            exit.wait_for(Option::is_some).await.map_or(gone, |exit| exit.clone().unwrap())
        })
    }

    fn usage(&self) -> Usage {
        let cpu = self.cpu.fetch_add(500, Ordering::Relaxed);
        Usage { memory_peak: self.peak, cpu: Some(Duration::from_micros(cpu)) }
    }

    fn traffic(&self) -> Option<Traffic> {
        self.traffic.as_ref().map(|traffic| *traffic.lock().unwrap())
    }

    fn give(&self, streams: Streams, about: String) -> BoxFuture<'static, Result<(), StartError>> {
        self.given.store(true, Ordering::SeqCst);
        let mut handle = self.clone();
        handle.given = Arc::default();
        let sandbox = Sandbox { id: self.id.clone(), streams, handle: Arc::new(handle), steps: vec![] };
        self.seen.given.lock().unwrap().push((about, sandbox));
        Box::pin(async { Ok(()) })
    }

    fn adopt(&self, _code: CodeHash) -> BoxFuture<'static, Result<(), StartError>> {
        let stem = self.stem.swap(false, Ordering::SeqCst);
        assert!(stem, "code is given once, and to stems");
        if self.no_adoption {
            self.kill();
            return Box::pin(async { Err(StartError::System("it ended".into())) });
        }
        self.seen.adopted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn freeze(&self, frozen: bool) -> bool {
        self.frozen.send_replace(frozen);
        true
    }
}

impl Drop for FakeHandle {
    fn drop(&mut self) {
        self.kill();
    }
}

// === impl Guest ===

impl Guest {
    async fn run(mut self) -> ExitCause {
        if self.script.setup_fails {
            return ExitCause::Setup("mount".into());
        }
        if self.script.no_hello {
            std::future::pending::<()>().await;
        }
        for _ in 0..self.script.traces {
            send(&mut self.control, &trace()).await;
        }
        let hello = Frame::Hello { version: wire::VERSION, runtime: "fake".into() };
        send(&mut self.control, &hello).await;
        let mut control_in = Decoder::new(Stream::Control, Side::Host);
        let Some(Frame::Init(init)) = receive(&mut self.control, &mut control_in).await else {
            return ExitCause::Status(0);
        };
        self.seen.inits.lock().unwrap().push(serde_json::from_slice(&init).unwrap());
        self.log.write_all(self.script.init_prints.as_bytes()).unwrap();
        tokio::time::sleep(self.script.init).await;
        if let Some(status) = self.script.init_exit {
            return ExitCause::Status(status);
        }
        if let Some(error) = self.script.init_error {
            send(&mut self.control, &Frame::InitError(Bytes::from(error))).await;
            return ExitCause::Status(1);
        }
        send(&mut self.control, &Frame::Ready).await;
        let mut invoke_in = Decoder::new(Stream::Invoke, Side::Host);
        while let Some(Frame::Invoke(event)) = receive(&mut self.invoke, &mut invoke_in).await {
            // One that nobody thaws never answers.
            let _ = self.frozen.wait_for(|frozen| !frozen).await;
            self.calls += 1;
            self.seen.handled.lock().unwrap().push(event.request_id.clone());
            if let Some(cause) = self.handle(event).await {
                return cause;
            }
        }
        ExitCause::Status(0)
    }

    async fn handle(&mut self, event: Invoke) -> Option<ExitCause> {
        let text = String::from_utf8_lossy(&event.payload).into_owned();
        let mut answer = Frame::Response { last: true, payload: event.payload.clone() };
        let mut after = None;
        for word in text.split(';') {
            let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
            let number = || rest.parse::<u64>().unwrap_or(0);
            match verb {
                "sleep" => tokio::time::sleep(Duration::from_millis(number())).await,
                "print" => writeln!(self.log, "{rest}").unwrap(),
                "printed" => write!(self.log, "{rest}").unwrap(),
                "log" => {
                    let log = Log {
                        time: Timestamp::now(),
                        level: Some(LogLevel::Warn),
                        request_id: event.request_id.clone(),
                        message: rest.to_owned(),
                    };
                    send(&mut self.control, &Frame::Log(log)).await;
                }
                "forge" => {
                    let log =
                        Log { time: Timestamp(1), level: None, request_id: rest.into(), message: "forged".into() };
                    send(&mut self.control, &Frame::Log(log)).await;
                }
                "trace" => send(&mut self.control, &trace()).await,
                "exit" => return Some(ExitCause::Status(number() as i32)),
                "signal" => return Some(ExitCause::Signal(number() as i32)),
                "oom" => return Some(ExitCause::OutOfMemory),
                "error" => answer = Frame::Error(Bytes::from_static(br#"{"errorMessage":"no","errorType":"E"}"#)),
                "who" => answer = response(&self.id),
                "count" => answer = response(&self.calls.to_string()),
                "deadline" => answer = response(&event.deadline_ms.to_string()),
                "one" => answer = response(&"x".repeat(number() as usize)),
                "parts" => {
                    send(&mut self.invoke, &Frame::Response { last: false, payload: Bytes::new() }).await;
                    let mut left = number() as usize;
                    while left > 0 {
                        let part = left.min(1 << 20);
                        send(&mut self.invoke, &Frame::Data(Bytes::from(vec![b'x'; part]))).await;
                        left -= part;
                    }
                    answer = Frame::End;
                }
                "stream" => {
                    let begin = Frame::Stream { content_type: rest.to_owned(), payload: Bytes::new() };
                    send(&mut self.invoke, &begin).await;
                }
                "write" => send(&mut self.invoke, &Frame::Data(Bytes::from(rest.to_owned()))).await,
                "bulk" => {
                    for _ in 0..number() {
                        send(&mut self.invoke, &Frame::Data(Bytes::from(vec![b'x'; 1 << 20]))).await;
                    }
                }
                "over" => answer = Frame::End,
                "garbage" => {
                    self.invoke.write_all(&[1, 0, 0, 0, 0xee, 0]).await.unwrap();
                    std::future::pending::<()>().await;
                }
                "twice" => send(&mut self.invoke, &answer).await,
                "after" => after = Some(rest.to_owned()),
                _ => {}
            }
        }
        send(&mut self.invoke, &answer).await;
        match after.as_deref().map(|after| after.split_once(' ').unwrap_or((after, ""))) {
            Some(("exit", status)) => return Some(ExitCause::Status(status.parse().unwrap())),
            // As gVisor closes a socket in which the next event waits.
            Some(("shut", _)) => {
                let peek = || Ok(rustix::net::recv(&self.invoke, &mut [0; 1], rustix::net::RecvFlags::PEEK)?);
                self.invoke.async_io(tokio::io::Interest::READABLE, peek).await.unwrap();
                rustix::net::shutdown(&self.invoke, rustix::net::Shutdown::Both).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Some(ExitCause::Status(1));
            }
            Some(("print", text)) => {
                tokio::time::sleep(Duration::from_millis(60)).await;
                writeln!(self.log, "{text}").unwrap();
            }
            _ => {}
        }
        None
    }
}

fn trace() -> Frame {
    let steps = vec![(SetUp::User, 1), (SetUp::Mounts, 1)];
    // As of a while ago: it was before it is told.
    Frame::Trace(Trace { begun_us: driver::monotonic_us() - 2, steps })
}

fn response(text: &str) -> Frame {
    Frame::Response { last: true, payload: Bytes::from(text.to_owned()) }
}

async fn send(stream: &mut UnixStream, frame: &Frame) {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes).unwrap();
    // The host may have closed its end.
    let _ = stream.write_all(&bytes).await;
}

async fn receive(stream: &mut UnixStream, decoder: &mut Decoder) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            return Some(frame);
        }
        if stream.read_buf(decoder.buffer()).await.ok()? == 0 {
            return None;
        }
    }
}
