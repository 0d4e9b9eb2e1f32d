//! Stems: sandboxes whose runtime is up and waits, with no function in them yet. A cold call claims one, and is spared
//! the time that sandbox and runtime take.
//!
//! ```text
//! driver.start without code ─► HELLO ─► ready ──claim──► adopt the code, INIT: an instance
//!      │ refused, no HELLO                │ nobody has its shape any more, memory is needed, it ended
//!      └─► tried again later              └─► killed
//! ```
//!
//! One is made at a time, and only while no call waits for a start of its own. They are charged to the memory budget,
//! out of what nobody else wants, and are the first to go.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use driver::{Exit, Handle, RootFs, SandboxSpec};
use model::{InstanceId, Isolation, Runtime};
use tokio::sync::{Notify, watch};
use wire::Frame;

use crate::decide::stems::{Nursery, Rules};
use crate::io::{Broken, Io};
use crate::ledger::Charge;
use crate::runtime;
use crate::shared::{Shared, lock};

/// How often it is looked whether the starts that calls wait for are over.
const YIELD: Duration = Duration::from_millis(20);

/// How long stems are kept for a measurement after it asked.
const VISIT: Duration = Duration::from_secs(30);

/// All that must be known before a runtime can run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    isolation: Isolation,
    runtime: Runtime,
    /// Its id is nobody's, and it has no code.
    spec: SandboxSpec,
}

/// A stem that somebody owns.
pub struct Stem {
    pub id: InstanceId,
    pub handle: Arc<dyn Handle>,
    pub io: Io,
    pub charge: Charge,
    exit: watch::Receiver<Option<Exit>>,
}

/// Stems of one shape, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StemView {
    pub isolation: Isolation,
    pub runtime: Runtime,
    pub memory: model::Memory,
    pub ready: usize,
    pub starting: usize,
    /// What they are charged together, bytes.
    pub charged: u64,
}

pub struct Stems {
    state: Mutex<State>,
    /// Something changed that may ask for a stem, or for one less.
    changed: Arc<Notify>,
}

struct State {
    nursery: Nursery<Arc<Shape>>,
    ready: BTreeMap<Arc<Shape>, Vec<Stem>>,
    closed: bool,
}

// === impl Shape ===

impl Shape {
    /// The shape of a sandbox that an instance wants.
    pub fn of(isolation: Isolation, runtime: Runtime, spec: SandboxSpec) -> Self {
        Self { isolation, runtime, spec: SandboxSpec { id: InstanceId::zero(), code: None, ..spec } }
    }

    /// An image may have another interpreter than the one that was asked for: calls' own starts tell.
    fn expects(&self, hello: &str) -> Result<(), String> {
        let right = self.spec.root == RootFs::Host || runtime::is_that(&self.runtime, hello);
        if right { Ok(()) } else { Err(format!("it is another runtime: {hello:?}")) }
    }

    fn spec(&self, id: &InstanceId) -> SandboxSpec {
        let mut spec = SandboxSpec { id: id.clone(), ..self.spec.clone() };
        // Its bootstrap then takes its time before HELLO, so that a call need not.
        spec.env.push(("HEARTH_STEM".into(), "1".into()));
        spec
    }
}

// === impl Stems ===

impl Stems {
    pub fn new(rules: Rules) -> Self {
        let state = State { nursery: Nursery::new(rules), ready: BTreeMap::new(), closed: false };
        Self { state: Mutex::new(state), changed: Arc::default() }
    }

    /// A pool with this shape is there.
    pub fn join(&self, shape: &Arc<Shape>, now: Instant) {
        lock(&self.state).nursery.join(shape, now);
        self.changed.notify_one();
    }

    /// It is gone.
    pub fn leave(&self, shape: &Arc<Shape>) {
        lock(&self.state).nursery.leave(shape);
        self.changed.notify_one();
    }

    /// A measurement wants stems of this shape for a while.
    pub fn visit(&self, shape: &Arc<Shape>, now: Instant) {
        lock(&self.state).nursery.visit(shape, now, now + VISIT);
        self.changed.notify_one();
    }

    /// A stem for a cold call, if there is one.
    pub fn claim(&self, shape: &Arc<Shape>, now: Instant) -> Option<Stem> {
        let mut state = lock(&self.state);
        let State { nursery, ready, .. } = &mut *state;
        let mut claimed = None;
        while claimed.is_none() && nursery.claim(shape, now) {
            claimed = ready.get_mut(shape).and_then(Vec::pop).filter(Stem::lives);
        }
        drop(state);
        self.changed.notify_one();
        claimed
    }

    /// Kills stems until `need` bytes of their charges will come free, or there are none. Returns what will.
    pub fn evict(&self, need: u64) -> u64 {
        let mut freed = 0;
        while freed < need {
            let mut state = lock(&self.state);
            let Some(shape) = state.nursery.stalest_ready() else { break };
            let stem = state.take(&shape);
            drop(state);
            freed += stem.map_or(0, |stem| stem.kill());
        }
        freed
    }

    /// A sandbox ended by itself.
    fn gone(&self, shape: &Arc<Shape>, id: &InstanceId) {
        let mut state = lock(&self.state);
        let stems = state.ready.get_mut(shape);
        let place = stems.as_ref().and_then(|stems| stems.iter().position(|stem| stem.id == *id));
        if let (Some(stems), Some(place)) = (stems, place) {
            let stem = stems.remove(place);
            state.nursery.lost(shape);
            drop(state);
            tracing::debug!(instance = %stem.id, "a stem ended by itself");
            self.changed.notify_one();
        }
    }

    /// None is made any more, and all are killed.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let all = std::mem::take(&mut state.ready);
        drop(state);
        for stem in all.into_values().flatten() {
            stem.kill();
        }
        self.changed.notify_one();
    }

    pub fn views(&self) -> Vec<StemView> {
        let state = lock(&self.state);
        let charged = |shape: &Arc<Shape>| {
            state.ready.get(shape).into_iter().flatten().map(|stem| stem.charge.bytes()).sum::<u64>()
        };
        let view = |(shape, ready, starting): (&Arc<Shape>, usize, usize)| StemView {
            isolation: shape.isolation,
            runtime: shape.runtime.clone(),
            memory: shape.spec.limits.memory,
            ready,
            starting,
            charged: charged(shape),
        };
        state.nursery.counts().map(view).filter(|view| view.ready + view.starting > 0).collect()
    }
}

impl State {
    fn take(&mut self, shape: &Arc<Shape>) -> Option<Stem> {
        self.nursery.lost(shape);
        self.ready.get_mut(shape)?.pop()
    }
}

// === impl Stem ===

impl Stem {
    fn lives(&self) -> bool {
        self.exit.borrow().is_none() && self.io.is_quiet()
    }

    /// What its memory's charge gives back when it is gone.
    pub fn kill(self) -> u64 {
        let bytes = self.charge.bytes();
        self.charge.dies();
        self.handle.kill();
        // Its charge is given back when the sandbox is gone.
        let mut exit = self.exit.clone();
        tokio::spawn(async move {
            let _ = exit.wait_for(Option::is_some).await;
            drop(self);
        });
        bytes
    }
}

/// Makes stems and lets them go, until the engine is gone.
pub async fn keep(shared: Weak<Shared>) {
    loop {
        let Some(engine) = shared.upgrade() else { return };
        if engine.is_stopped() {
            return;
        }
        let now = now();
        trim(&engine.stems, now);
        let wanted = lock(&engine.stems.state).nursery.wanted(now);
        let busy = engine.is_starting();
        if let Some(shape) = wanted.as_ref().filter(|_| !busy) {
            lock(&engine.stems.state).nursery.began(shape);
            trim(&engine.stems, now);
            make(&engine, shape).await;
            continue;
        }
        let due = match wanted {
            Some(_) => Some(now + YIELD),
            None => lock(&engine.stems.state).nursery.due(now),
        };
        let changed = engine.stems.changed.clone();
        // Not held while it waits, so that an engine that nobody has can go.
        drop(engine);
        tokio::select! {
            () = changed.notified() => {}
            () = until(due) => {}
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn trim(stems: &Stems, now: Instant) {
    loop {
        let mut state = lock(&stems.state);
        let Some(shape) = state.nursery.surplus(now) else { return };
        let stem = state.take(&shape);
        drop(state);
        if let Some(stem) = stem {
            stem.kill();
        }
    }
}

async fn make(shared: &Arc<Shared>, shape: &Arc<Shape>) {
    let stems = &shared.stems;
    let estimate = shared.limits.estimate + shared.overhead(shape.isolation);
    let Some(charge) = shared.ledger.spare(estimate, shared.limits.stem_share) else {
        return lock(&stems.state).nursery.postponed(shape, now());
    };
    let made = tokio::select! {
        made = start(shared, shape, charge) => made,
        () = shared.stopping() => return,
    };
    match made {
        Ok(stem) => {
            let mut state = lock(&stems.state);
            if state.closed {
                drop(state);
                stem.kill();
                return;
            }
            state.nursery.ready(shape);
            state.ready.entry(shape.clone()).or_default().push(stem);
        }
        Err(why) => {
            let (isolation, runtime) = (shape.isolation, &shape.runtime);
            tracing::debug!(%isolation, %runtime, why, "a stem could not be made: cold calls start from nothing");
            lock(&stems.state).nursery.failed(shape, now());
        }
    }
}

async fn start(shared: &Arc<Shared>, shape: &Arc<Shape>, charge: Charge) -> Result<Stem, String> {
    let id = InstanceId::random();
    let driver = shared.drivers.get(&shape.isolation).ok_or("there is no such driver")?;
    let sandbox = driver.start(shape.spec(&id)).await.map_err(|error| error.to_string())?;
    let (tell, exit) = watch::channel(None);
    let (exited, weak, of, name) = (sandbox.handle.exited(), Arc::downgrade(shared), shape.clone(), id.clone());
    shared.spawn(async move {
        let exit = exited.await;
        tell.send_replace(Some(exit));
        if let Some(shared) = weak.upgrade() {
            shared.stems.gone(&of, &name);
        }
    });
    let io = Io::new(sandbox.streams).map_err(|error| error.to_string())?;
    let mut stem = Stem { id, handle: sandbox.handle, io, charge, exit };
    let hello = async {
        tokio::select! {
            hello = hello(&mut stem.io) => match hello {
                Ok(Frame::Hello { version: wire::VERSION, runtime }) => shape.expects(&runtime),
                Ok(_) => Err("its first word was not HELLO".to_owned()),
                Err(_) => Err("it closed its control stream".to_owned()),
            },
            () = tokio::time::sleep(shared.limits.hello) => Err("it did not say HELLO in time".to_owned()),
        }
    };
    if let Err(why) = hello.await {
        stem.kill();
        return Err(why);
    }
    if let Some(peak) = stem.handle.usage().memory_peak {
        stem.charge.at_least(peak);
    }
    Ok(stem)
}

/// The first frame but TRACE, which nobody asks for: a stem's making is no call's time.
async fn hello(io: &mut Io) -> Result<Frame, Broken> {
    match poll_fn(|cx| io.poll_control(cx)).await {
        Ok(Frame::Trace(_)) => poll_fn(|cx| io.poll_control(cx)).await,
        first => first,
    }
}
