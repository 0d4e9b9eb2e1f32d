//! A start: from nothing to a ready instance, each step with its bound.
//!
//! ```text
//! driver.start ──► HELLO ──► INIT sent ──► READY            then a waiter has it
//!  │ refused        │ hello  ▲ │             │ INIT_ERROR, end, init limit
//!  │                │        └─│── a stem: adopts the code
//!  └────────────────┴──────────┴─────────────┴──► NotStarted: killed, one waiter is told
//! ```

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use driver::{BoxFuture, Exit, ExitCause, Handle, StartError};
use model::{Fault, FaultCode, FunctionError, InstanceId, RequestId, Timestamp};
use tokio::sync::{SemaphorePermit, watch};
use tokio::time::Instant;
use wire::Frame;

use crate::fork_point::Image;
use crate::instance::{Cold, Info, Instance, watch_over};
use crate::io::{Broken, Io, unexpected};
use crate::log::{Sink, Tail};
use crate::pool::Pool;
use crate::runtime;
use crate::secrets::{self, Revealed};
use crate::shared::Shared;
use crate::{code, draining, failure};

/// Why there is no instance.
pub struct NotStarted {
    pub why: Why,
    /// The instance that did not come to be, if there was a sandbox.
    pub instance: Option<InstanceId>,
    pub cold: Cold,
    /// What it printed.
    pub tail: Option<Tail>,
}

pub enum Why {
    /// The platform could not.
    Fault(Fault),
    /// INIT_ERROR.
    Reported(Bytes),
    /// The sandbox ended.
    Exited(Option<ExitCause>),
    TimedOut(Duration),
    Protocol(String),
    /// The stem was of no use: another start may do better, and nobody need be told.
    StemLost,
}

/// A stem that is to become the instance: sandbox and runtime are there.
pub struct Claimed {
    pub handle: Arc<dyn Handle>,
    pub io: Io,
}

/// What a start begins with.
pub enum Origin {
    /// Nothing, and somebody waits for it.
    Awaited,
    /// Nothing, and nobody does.
    Ahead,
    Stem(Box<Claimed>),
}

/// What the steps share.
pub struct Birth<'a> {
    pub io: Io,
    sink: Sink<'a>,
    pub exit: watch::Receiver<Option<Exit>>,
    limit: Duration,
}

// === impl NotStarted ===

impl NotStarted {
    pub fn fault(fault: Fault) -> Self {
        Self { why: Why::Fault(fault), instance: None, cold: Cold::default(), tail: None }
    }
}

impl Why {
    /// What the caller of `id` is told: an error of the function, or a fault of the platform.
    pub fn told(self, id: RequestId) -> Result<FunctionError, Fault> {
        Ok(match self {
            Why::Fault(fault) => return Err(fault),
            Why::Reported(payload) => failure::reported(payload, FaultCode::InitFailed),
            Why::Exited(Some(ExitCause::Setup(step))) => {
                return Err(Fault::new(FaultCode::SandboxFailed, "the sandbox could not be set up").with_detail(step));
            }
            Why::Exited(cause) => failure::exited(id, cause.as_ref()),
            Why::TimedOut(limit) => failure::timed_out(id, limit, FaultCode::InitTimeout),
            Why::Protocol(what) => failure::not_the_protocol(id, &what),
            Why::StemLost => return Err(Fault::new(FaultCode::SandboxFailed, "a stem ended as it was claimed")),
        })
    }
}

/// Starts an instance for the pool and gives it to it, or the reason why not.
pub fn run(shared: Arc<Shared>, pool: Arc<Pool>, info: Arc<Info>, origin: Origin) -> impl Future<Output = ()> + Send {
    let mut cold = Cold { stem: matches!(origin, Origin::Stem(_)), ..Cold::default() };
    // It has its place in the memory budget now. What the task waits for is another matter.
    cold.laps.lap("place");
    run_from(shared, pool, info, origin, cold)
}

async fn run_from(shared: Arc<Shared>, pool: Arc<Pool>, info: Arc<Info>, origin: Origin, mut cold: Cold) {
    let started = {
        let start = start(&shared, &pool, &info, origin, &mut cold);
        tokio::select! {
            started = start => started,
            // Dropping a start that is under way kills its sandbox.
            () = shared.stopping() => {
                if !info.has_sandbox() {
                    shared.forget(&info.id);
                }
                Err(NotStarted::fault(draining()))
            }
        }
    };
    match started {
        Ok(instance) => pool.ready(instance, cold),
        Err(NotStarted { why: Why::StemLost, .. }) => pool.again(&shared),
        Err(mut failed) => {
            failed.cold = cold;
            if let Why::Exited(Some(ExitCause::Setup(step))) = &failed.why {
                let function = &pool.function.spec.name;
                tracing::warn!(%function, instance = %info.id, step, "a sandbox could not be set up");
            }
            if let Why::Fault(fault) = &failed.why
                && !shared.is_stopped()
            {
                let (function, detail) = (&pool.function.spec.name, fault.detail.as_deref().unwrap_or_default());
                tracing::warn!(%function, instance = %info.id, %fault, detail, "an instance could not be started");
            }
            info.kill();
            pool.failed(&shared, failed);
        }
    }
}

async fn start(
    shared: &Arc<Shared>,
    pool: &Arc<Pool>,
    info: &Arc<Info>,
    origin: Origin,
    cold: &mut Cold,
) -> Result<Box<Instance>, NotStarted> {
    let function = &pool.function;
    let ahead = matches!(origin, Origin::Ahead);
    let whole = code::whole(shared, function).await;
    if let Origin::Stem(claimed) = origin {
        let Claimed { handle, io } = *claimed;
        info.hold(handle.clone());
        let birth = Birth::new(shared, pool, info, handle.exited(), io);
        cold.laps.lap("turn");
        if let Err(fault) = whole {
            return Err(birth.not_started(info, Why::Fault(fault)));
        }
        let begun = Instant::now();
        let adopted = handle.adopt(function.code.clone()).await;
        cold.sandbox_us = Some(begun.elapsed().as_micros() as u64);
        cold.runtime_us = Some(0);
        cold.laps.lap("adopt");
        return match adopted {
            Ok(()) => match secrets::reveal(shared, function).await {
                Ok(secrets) => birth.finish(shared, pool, info, cold, Ok(secrets)).await,
                Err(fault) => Err(birth.not_started(info, Why::Fault(fault))),
            },
            Err(error) => {
                tracing::debug!(instance = %info.id, %error, "a stem could not become an instance");
                Err(birth.not_started(info, Why::StemLost))
            }
        };
    }
    if let Err(fault) = whole {
        shared.forget(&info.id);
        return Err(NotStarted::fault(fault));
    }
    let image = match &pool.fork_point {
        Some(point) => Some(point.image(shared, pool).await.inspect_err(|_| shared.forget(&info.id))?),
        None => None,
    };
    if image.is_some() {
        cold.restored = true;
        cold.laps.lap("fork point");
    }
    // Dropped at HELLO: how long a function's own initialisation takes must not hold up others.
    let turn = turn(shared, ahead).await;
    cold.laps.lap("turn");
    let turn = turn.map_err(|fault| {
        shared.forget(&info.id);
        NotStarted::fault(fault)
    })?;
    let begun = Instant::now();
    let made = async {
        let isolation = pool.isolation;
        let driver = shared.drivers.get(&isolation).ok_or_else(|| {
            let text = format!("isolation {isolation} of function {} is not on this machine", function.spec.name);
            Fault::new(FaultCode::IsolationUnavailable, text)
        })?;
        // First: without one of them there need be no sandbox.
        let secrets = secrets::reveal(shared, function).await?;
        let spec = match &image {
            Some(_) => runtime::restored(shared, function, &info.id)?,
            None => runtime::sandbox(shared, function, &info.id)?,
        };
        if let Some(image) = &function.spec.image {
            shared.images.used(&image.digest);
        }
        Ok((driver.start(spec).await.map_err(refused)?, secrets))
    };
    let made = made.await;
    cold.laps.lap("sandbox");
    let (sandbox, secrets) = made.map_err(|fault| {
        shared.forget(&info.id);
        NotStarted::fault(fault)
    })?;
    cold.laps.with_steps(sandbox.steps);
    cold.sandbox_us = Some(begun.elapsed().as_micros() as u64);
    info.hold(sandbox.handle.clone());
    let exited = sandbox.handle.exited();
    let io = match Io::new(sandbox.streams) {
        Ok(io) => io,
        Err(error) => {
            // Its memory is given back when it is gone.
            watch(shared, pool, info, exited);
            let fault = Fault::new(FaultCode::SandboxFailed, "the sandbox's streams could not be used");
            let why = Why::Fault(fault.with_detail(error));
            return Err(NotStarted { why, instance: Some(info.id.clone()), cold: Cold::default(), tail: None });
        }
    };
    let mut birth = Birth::new(shared, pool, info, exited, io);
    if let Some(image) = &image
        && let Err(error) = birth.io.send_image(image.file())
    {
        return Err(birth.lost(pool, info, image, &error.to_string()).await);
    }

    let begun = Instant::now();
    let until = begun + shared.limits.hello;
    let mut first = birth.frame(until).await;
    if let Ok(Frame::Trace(trace)) = first {
        cold.laps.set_up(trace);
        first = birth.frame(until).await;
    } else {
        cold.laps.tail("tell");
    }
    let hello = first.and_then(|frame| match frame {
        Frame::Hello { version: wire::VERSION, runtime } => Ok(runtime),
        Frame::Hello { version, .. } => Err(Why::Protocol(format!("version {version} of the protocol"))),
        frame => Err(Why::from(unexpected(&frame))),
    });
    cold.runtime_us = Some(begun.elapsed().as_micros() as u64);
    cold.laps.lap("runtime");
    drop(turn);
    if let Some(image) = &image {
        match &hello {
            Ok(_) => image.works(),
            Err(why) => {
                let why = why.for_people();
                return Err(birth.lost(pool, info, image, &why).await);
            }
        }
    }
    let hello = match hello {
        Ok(runtime) => runtime::check_hello(&function.spec, &runtime).map(|()| secrets).map_err(Why::Fault),
        Err(Why::TimedOut(limit)) => {
            let fault = Fault::new(FaultCode::SandboxFailed, "the runtime did not start in time");
            Err(Why::Fault(fault.with_detail(format!("no HELLO within {limit:?}"))))
        }
        Err(why) => Err(why),
    };
    birth.finish(shared, pool, info, cold, hello).await
}

/// The right to take up processors: first come, first served, but of those that nobody waits for only so many stand in
/// line at once.
async fn turn(shared: &Shared, ahead: bool) -> Result<[Option<SemaphorePermit<'_>>; 2], Fault> {
    let turn = async {
        let ahead = if ahead { shared.ahead.acquire().await.ok() } else { None };
        [ahead, shared.starts.acquire().await.ok()]
    };
    let limit = shared.limits.turn;
    if ahead {
        // Nobody is told anything, and each of those before it is bounded.
        return Ok(turn.await);
    }
    tokio::time::timeout(limit, turn).await.map_err(|_| {
        let text = format!("an instance could not be started: others took up the machine for {limit:?}");
        Fault::new(FaultCode::NoCapacity, text).with_retry_after(Duration::from_secs(1))
    })
}

/// Has the instance's end noticed.
pub fn watch(
    shared: &Arc<Shared>,
    pool: &Arc<Pool>,
    info: &Arc<Info>,
    exited: BoxFuture<'static, Exit>,
) -> watch::Receiver<Option<Exit>> {
    let (tell, exit) = watch::channel(None);
    let weak = Arc::downgrade(shared);
    shared.spawn(watch_over(weak, Arc::downgrade(pool), info.clone(), exited, tell));
    exit
}

pub fn refused(error: StartError) -> Fault {
    let (code, text) = match &error {
        StartError::Unavailable { .. } | StartError::NoEgress { .. } => {
            (FaultCode::IsolationUnavailable, error.to_string())
        }
        StartError::Mount(_) => (FaultCode::MountRefused, error.to_string()),
        StartError::NoImage(_) => (FaultCode::RuntimeUnavailable, error.to_string()),
        _ => (FaultCode::SandboxFailed, "a sandbox could not be made".to_owned()),
    };
    Fault::new(code, text).with_detail(error)
}

// === impl Birth ===

impl<'a> Birth<'a> {
    pub fn new(
        shared: &Arc<Shared>,
        pool: &'a Arc<Pool>,
        info: &'a Arc<Info>,
        exited: BoxFuture<'static, Exit>,
        io: Io,
    ) -> Self {
        let sink = Sink::new(&*pool.telemetry, &pool.function.spec.name, &info.id).keeping(Some(Tail::default()));
        Self { io, sink, exit: watch(shared, pool, info, exited), limit: shared.limits.exit }
    }

    /// From HELLO to READY.
    async fn finish(
        mut self,
        shared: &Shared,
        pool: &Pool,
        info: &Arc<Info>,
        cold: &mut Cold,
        hello: Result<Revealed, Why>,
    ) -> Result<Box<Instance>, NotStarted> {
        let begun = Instant::now();
        let mut told = begun;
        let ready = match hello {
            Ok(secrets) => self.init(shared, pool, info, &secrets, &mut told).await,
            Err(why) => Err(why),
        };
        let over = Instant::now();
        cold.init_us = Some((over - begun).as_micros() as u64);
        cold.laps.until("init", over);
        cold.laps.with_parts([("prepare", told), ("load", over)]);
        info.usage();
        match ready {
            Ok(()) => {
                let _ = self.io.drain(&mut self.sink);
                Ok(Box::new(Instance::new(info.clone(), self.io, self.exit)))
            }
            Err(why) => Err(self.not_started(info, why)),
        }
    }

    /// An instance did not go on from its image: whoever waits gets another one, from another image.
    async fn lost(self, pool: &Pool, info: &Info, image: &Arc<Image>, why: &str) -> NotStarted {
        if let Some(point) = &pool.fork_point {
            point.broken(image, why).await;
        }
        tracing::warn!(function = %pool.function.spec.name, why, "an instance could not go on from its fork point");
        self.not_started(info, Why::StemLost)
    }

    pub fn not_started(mut self, info: &Info, why: Why) -> NotStarted {
        info.kill();
        let _ = self.io.drain(&mut self.sink);
        NotStarted { why, instance: Some(info.id.clone()), cold: Cold::default(), tail: self.sink.into_tail() }
    }

    /// Sends INIT, notes when it is sent, and waits for READY.
    async fn init(
        &mut self,
        shared: &Shared,
        pool: &Pool,
        info: &Info,
        secrets: &Revealed,
        told: &mut Instant,
    ) -> Result<(), Why> {
        match self.answer_to_init(shared, pool, info, secrets, told).await? {
            Frame::Ready => Ok(()),
            frame => Err(unexpected(&frame).into()),
        }
    }

    /// Sends INIT, and waits for what comes then, if it is no INIT_ERROR.
    pub async fn answer_to_init(
        &mut self,
        shared: &Shared,
        pool: &Pool,
        info: &Info,
        secrets: &Revealed,
        told: &mut Instant,
    ) -> Result<Frame, Why> {
        // AWS gives it ten seconds; a function that may take longer for a call may take as long for this.
        let limit = shared.limits.init.max(pool.function.spec.timeout);
        let until = Instant::now() + limit;
        let copied = pool.fork_point.is_some();
        let mut init = runtime::init(shared, &pool.function, &info.id, Timestamp::now(), copied).map_err(Why::Fault)?;
        secrets.tell(&pool.function, &mut init);
        let body = serde_json::to_vec(&init).map_err(|error| Why::Protocol(error.to_string()))?;
        let (mut bytes, body) = (BytesMut::with_capacity(body.len() + 16), Bytes::from(body));
        Frame::Init(body.clone()).encode(&mut bytes).map_err(|error| Why::Protocol(error.to_string()))?;
        if let Ok(mut body) = body.try_into_mut() {
            secrets.wipe(&mut init, &mut body);
        }
        // Before it is: whom that wakes may be done before this task goes on.
        *told = Instant::now();
        let sent = self.tell(&bytes, until).await;
        secrets.wipe(&mut init, &mut bytes);
        sent.map_err(|why| why.within(limit))?;
        match self.frame(until).await.map_err(|why| why.within(limit))? {
            Frame::InitError(payload) => Err(Why::Reported(payload)),
            frame => Ok(frame),
        }
    }

    /// The next frame on the control stream that is not LOG.
    pub async fn frame(&mut self, until: Instant) -> Result<Frame, Why> {
        let begun = Instant::now();
        let broken = {
            let Self { io, sink, .. } = self;
            let next = poll_fn(|cx| {
                io.poll_log(cx, sink);
                loop {
                    match io.poll_control(cx) {
                        Poll::Ready(Ok(Frame::Log(log))) => sink.logged(log),
                        Poll::Ready(result) => return Poll::Ready(result),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            });
            match tokio::time::timeout_at(until, next).await {
                Ok(Ok(frame)) => return Ok(frame),
                Ok(Err(broken)) => broken,
                Err(_) => return Err(Why::TimedOut(until - begun)),
            }
        };
        Err(self.why(broken).await)
    }

    async fn tell(&mut self, bytes: &[u8], until: Instant) -> Result<(), Why> {
        let mut parts = [bytes, &[]];
        let told = poll_fn(|cx| {
            self.io.poll_log(cx, &mut self.sink);
            self.io.poll_tell(cx, &mut parts)
        });
        match tokio::time::timeout_at(until, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(broken)) => Err(self.why(broken).await),
            Err(_) => Err(Why::TimedOut(Duration::ZERO)),
        }
    }

    async fn why(&mut self, broken: Broken) -> Why {
        match broken {
            Broken::Protocol(_) => broken.into(),
            Broken::Closed { .. } => {
                let exit = ended(&mut self.io, &mut self.sink, &mut self.exit, self.limit).await;
                Why::Exited(exit.map(|exit| exit.cause))
            }
        }
    }
}

/// How a sandbox ended whose streams did; none if that is not known within `limit`. Keeps what it prints.
pub async fn ended(
    io: &mut Io,
    sink: &mut Sink<'_>,
    exit: &mut watch::Receiver<Option<Exit>>,
    limit: Duration,
) -> Option<Exit> {
    let known = {
        let mut gone = pin!(exit.wait_for(Option::is_some));
        let either = poll_fn(|cx| {
            io.poll_log(cx, sink);
            gone.as_mut().poll(cx).map(|gone| gone.ok().and_then(|gone| gone.clone()))
        });
        tokio::time::timeout(limit, either).await.ok().flatten()
    };
    let _ = io.drain(sink);
    known
}

impl Why {
    /// For the operator's log.
    pub fn for_people(&self) -> String {
        match self {
            Why::Fault(fault) => fault.to_string(),
            Why::Reported(_) => "it reported an error".to_owned(),
            Why::Exited(cause) => format!("it ended: {cause:?}"),
            Why::TimedOut(limit) => format!("it did not answer within {limit:?}"),
            Why::Protocol(what) => format!("it does not keep to the protocol: {what}"),
            Why::StemLost => "it was lost".to_owned(),
        }
    }

    /// Names the whole limit in a message, not what was left of it.
    fn within(self, limit: Duration) -> Self {
        if matches!(self, Why::TimedOut(_)) { Why::TimedOut(limit) } else { self }
    }
}

impl From<Broken> for Why {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Protocol(error) => Why::Protocol(error.to_string()),
            Broken::Closed { .. } => Why::Exited(None),
        }
    }
}
