//! An instance: a sandbox that has become one function revision's execution environment.
//!
//! ```text
//! starting ──READY──► idle ◄──────► busy          [`Info`] lives from the start until the sandbox is gone;
//!    │ failed           │ exit,       │ timeout,   [`Instance`], with the streams, from READY until it is
//!    ▼                  │ reaped      ▼ broken      killed. One task waits for the sandbox's end.
//!   gone ◄──────────────┴───────── killed
//! ```

use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use driver::{Exit, Handle, StartError, Usage};
use model::metric::Traffic;
use model::{Function, InstanceId, InstanceState, InstanceView, Isolation, RequestId, Timestamp};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep_until};

use crate::heir::About;
use crate::io::Io;
use crate::laps::Laps;
use crate::ledger::Charge;
use crate::log::Sink;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::traffic::Counted;

/// A reading of usage that is younger is taken for a new one: under load each call's end is the next one's
/// start, and reading two files of a cgroup costs microseconds.
const FRESH: Duration = Duration::from_millis(1);

/// A peak of memory that is younger holds for a call too that took less than [`SHORT`], within which little can be
/// written: its file is not read again. The next reading tells.
const PEAK_FRESH: Duration = Duration::from_millis(10);
const SHORT: Duration = Duration::from_millis(1);

/// How long an instance whose work is over may take to end by itself: what AWS Lambda gives extensions, and a little.
const FAREWELL: Duration = Duration::from_millis(2300);

/// What is known of an instance without owning it.
pub struct Info {
    pub id: InstanceId,
    pub function: Arc<Function>,
    isolation: Isolation,
    started: Timestamp,
    state: AtomicU8,
    invocations: AtomicU64,
    peak: AtomicU64,
    handle: OnceLock<Arc<dyn Handle>>,
    charge: Charge,
    /// How many want it not to be frozen.
    awake: AtomicU32,
    traffic: Counted,
}

/// A ready instance, owned by its pool while idle and by an invocation while busy.
pub struct Instance {
    pub info: Arc<Info>,
    pub io: Io,
    /// How the sandbox ended, once it has.
    pub exit: watch::Receiver<Option<Exit>>,
    /// The invocation before.
    pub previous: Option<RequestId>,
    pub deadline: Deadline,
    frozen: bool,
    read: Option<(Instant, Usage)>,
    /// When the peak of memory was read.
    peak_at: Option<Instant>,
}

/// The timer of an instance's calls. One for all of them: to put off a timer that is set takes no lock and wakes nobody,
/// to set one does, with each call.
#[derive(Default)]
pub struct Deadline(Option<Pin<Box<Sleep>>>);

/// What a start took. All durations are microseconds.
#[derive(Debug, Clone, Default)]
pub struct Cold {
    pub sandbox_us: Option<u64>,
    pub runtime_us: Option<u64>,
    pub init_us: Option<u64>,
    /// The sandbox and its runtime were there before.
    pub stem: bool,
    /// It went on from its function's fork point.
    pub restored: bool,
    /// The moments that it passed.
    pub laps: Laps,
}

// === impl Info ===

impl Info {
    pub fn new(id: InstanceId, function: Arc<Function>, isolation: Isolation, charge: Charge) -> Self {
        Self {
            id,
            function,
            isolation,
            started: Timestamp::now(),
            state: AtomicU8::new(0),
            invocations: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            handle: OnceLock::new(),
            charge,
            awake: AtomicU32::new(0),
            traffic: Counted::from(Traffic::default()),
        }
    }

    /// One of a server before this one.
    pub fn adopted(id: InstanceId, pool: &Pool, charge: Charge, about: &About) -> Self {
        let mut info = Self::new(id, pool.function.clone(), pool.isolation, charge);
        info.started = about.started;
        info.invocations = AtomicU64::new(about.invocations);
        info.peak = AtomicU64::new(about.peak);
        info.traffic = Counted::from(about.traffic);
        info
    }

    pub fn started(&self) -> Timestamp {
        self.started
    }

    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    pub fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    /// Passes the sandbox to a successor of this server, with its streams. False: that cannot be.
    pub async fn give(&self, streams: driver::Streams, about: String) -> bool {
        let Some(handle) = self.handle.get() else { return false };
        handle.give(streams, about).await.is_ok()
    }

    /// The sandbox is there.
    pub fn hold(&self, handle: Arc<dyn Handle>) {
        let _ = self.handle.set(handle);
    }

    pub fn has_sandbox(&self) -> bool {
        self.handle.get().is_some()
    }

    pub fn set(&self, state: InstanceState) {
        let number = match state {
            InstanceState::Starting => 0,
            InstanceState::Idle => 1,
            InstanceState::Busy => 2,
            InstanceState::Frozen => 3,
        };
        self.state.store(number, Ordering::Relaxed);
    }

    pub fn count_invocation(&self) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops its processes, or lets them go on. False where this machine cannot, or where somebody wants them to go on.
    pub fn freeze(&self, frozen: bool) -> bool {
        let Some(handle) = self.handle.get() else { return false };
        let awake = || frozen && self.awake.load(Ordering::SeqCst) > 0;
        if awake() || !handle.freeze(frozen) {
            return false;
        }
        // Who began to want that meanwhile may have thawed it too early.
        !awake() || !handle.freeze(false)
    }

    /// From now on until [`Info::let_sleep`] it is not frozen.
    pub fn hold_awake(&self) {
        self.awake.fetch_add(1, Ordering::SeqCst);
        if let Some(handle) = self.handle.get() {
            handle.freeze(false);
        }
    }

    pub fn let_sleep(&self) {
        self.awake.fetch_sub(1, Ordering::SeqCst);
    }

    /// A socket of its network, if it has a sandbox yet.
    pub fn socket(&self) -> Option<driver::BoxFuture<'static, Result<OwnedFd, StartError>>> {
        self.handle.get().map(|handle| handle.socket())
    }

    pub fn kill(&self) {
        if let Some(handle) = self.handle.get() {
            handle.kill();
            self.charge.dies();
        }
    }

    /// It is believed to need no more than this, but what it was seen to use.
    pub fn settle(&self, bytes: u64) {
        self.charge.at_most(bytes.max(self.peak.load(Ordering::Relaxed)));
    }

    pub fn charged(&self) -> u64 {
        self.charge.bytes()
    }

    pub fn usage(&self) -> Usage {
        let usage = self.handle.get().map(|handle| handle.usage()).unwrap_or_default();
        self.saw(usage);
        usage
    }

    fn cpu(&self) -> Option<Duration> {
        self.handle.get()?.cpu()
    }

    /// What it sent and received since this was asked last.
    pub fn traffic(&self) -> Traffic {
        self.handle.get().map_or_else(Traffic::default, |handle| self.traffic.grown(&**handle))
    }

    /// From now on its traffic is counted by whoever takes it over; how far it was counted here.
    pub fn leave_traffic(&self) -> Traffic {
        self.traffic.end()
    }

    /// Remembers the highest memory use, and has it paid for.
    pub fn saw(&self, usage: Usage) {
        if let Some(peak) = usage.memory_peak
            && peak > self.peak.load(Ordering::Relaxed)
        {
            self.peak.store(peak, Ordering::Relaxed);
            self.charge.at_least(peak);
        }
    }

    pub fn peak(&self) -> Option<u64> {
        Some(self.peak.load(Ordering::Relaxed)).filter(|peak| *peak > 0)
    }

    pub fn view(&self) -> InstanceView {
        InstanceView {
            instance: self.id.clone(),
            function: self.function.spec.name.clone(),
            revision: self.function.revision,
            version: self.function.version,
            state: match self.state.load(Ordering::Relaxed) {
                0 => InstanceState::Starting,
                1 => InstanceState::Idle,
                3 => InstanceState::Frozen,
                _ => InstanceState::Busy,
            },
            isolation: self.isolation,
            started: self.started,
            invocations: self.invocations.load(Ordering::Relaxed),
            memory_peak: self.peak(),
        }
    }
}

// === impl Deadline ===

impl Deadline {
    /// The timer, set to that time.
    pub fn at(&mut self, time: tokio::time::Instant) -> Pin<&mut Sleep> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(time)));
        if sleep.deadline() != time {
            sleep.as_mut().reset(time);
        }
        sleep.as_mut()
    }
}

// === impl Instance ===

impl Instance {
    pub fn new(info: Arc<Info>, io: Io, exit: watch::Receiver<Option<Exit>>) -> Self {
        Self { info, io, exit, previous: None, deadline: Deadline::default(), frozen: false, read: None, peak_at: None }
    }

    /// It has been idle for a moment: its processes shall not run while nobody calls.
    pub fn freeze(&mut self) {
        self.frozen = self.info.freeze(true);
        if self.frozen {
            self.info.set(InstanceState::Frozen);
        }
    }

    /// It is about to be called.
    pub fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) && !self.info.freeze(false) {
            // It would not answer: the call is told that it ended, and takes another.
            self.info.kill();
        }
    }

    /// Whether a call may begin: the sandbox is there, and says nothing unasked.
    pub fn is_usable(&self) -> bool {
        self.io.is_quiet() && self.exit.borrow().is_none()
    }

    /// Usage at the start of a call.
    pub fn usage_before(&mut self, now: Instant) -> Usage {
        match self.read {
            Some((at, usage)) if now.saturating_duration_since(at) < FRESH => usage,
            _ => self.info.usage(),
        }
    }

    /// Usage at the end of a call that took so long.
    pub fn usage_after(&mut self, now: Instant, took: Duration) -> Usage {
        let fresh = self.peak_at.is_some_and(|at| now.saturating_duration_since(at) < PEAK_FRESH);
        let cpu = if fresh && took < SHORT { self.info.cpu() } else { None };
        let usage = match cpu {
            Some(cpu) => Usage { memory_peak: self.info.peak(), cpu: Some(cpu) },
            None => {
                self.peak_at = Some(now);
                self.info.usage()
            }
        };
        self.read = Some((now, usage));
        usage
    }

    /// There is no more work for it. What may have extensions is let end by itself, for a moment: they are told of the end.
    pub fn retire(self: Box<Self>, shared: Option<&Arc<Shared>>, pool: &Pool) {
        let spec = &self.info.function.spec;
        let hears = spec.is_through_agent() && spec.web.is_none() && spec.command.is_none();
        match shared.filter(|shared| hears && !shared.is_stopped()) {
            Some(shared) => shared.spawn(self.end_by_itself(pool.telemetry.clone())),
            None => self.kill(pool),
        }
    }

    async fn end_by_itself(mut self: Box<Self>, telemetry: Arc<dyn store::Telemetry>) {
        let info = self.info.clone();
        let mut sink = Sink::new(&*telemetry, &info.function.spec.name, &info.id);
        info.freeze(false);
        self.io.hang_up();
        let Instance { io, exit, .. } = &mut *self;
        let mut gone = pin!(exit.wait_for(Option::is_some));
        let ended = poll_fn(|cx| {
            io.poll_log(cx, &mut sink);
            gone.as_mut().poll(cx).map(drop)
        });
        // One that stays is killed like any other.
        let _ = tokio::time::timeout(FAREWELL, ended).await;
        info.kill();
        let _ = io.drain(&mut sink);
    }

    /// Kills the sandbox, and keeps what it printed last.
    pub fn kill(mut self: Box<Self>, pool: &Pool) {
        self.info.kill();
        let mut sink = Sink::new(&*pool.telemetry, &pool.function.spec.name, &self.info.id);
        let _ = self.io.drain(&mut sink);
    }
}

/// Waits for the end of a sandbox, tells its owner, and takes it out of the pool if nobody owns it.
pub async fn watch_over(
    shared: Weak<Shared>,
    pool: Weak<Pool>,
    info: Arc<Info>,
    exited: driver::BoxFuture<'static, Exit>,
    tell: watch::Sender<Option<Exit>>,
) {
    let exit = exited.await;
    info.saw(exit.usage);
    tell.send_replace(Some(exit));
    let Some(shared) = shared.upgrade() else { return };
    let id = info.id.clone();
    // What it sent last: the kernel knows it for as long as the sandbox's handle is there.
    shared.traffic.add(&info);
    if let Some(pool) = pool.upgrade() {
        pool.exited(&shared, &id);
    }
    // The last holder gives the memory back: nobody but this task, unless a call is about to end.
    drop(info);
    shared.forget(&id);
}
