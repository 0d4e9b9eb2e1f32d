//! The instances of one revision of one function: hands them out, takes them back, has them made and reaped.
//! What is decided is decided by the [`Roster`]; this keeps it under a lock that is never held over an await,
//! and carries out.

mod inherit;
mod learnt;
mod lease;
mod together;

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use model::{Fault, Function, Idle, InstanceId, InstanceState, Isolation, Probe, ProbeStart, Qualifier};
use store::Telemetry;
use tokio::sync::oneshot;

use crate::bound::Bound;
use crate::decide::budget::Candidate;
use crate::decide::roster::{Keep, Late, NoWait, Roster, Rules, Take, Ticket};
use crate::fork_point::ForkPoint;
use crate::instance::{Cold, Info, Instance};
use crate::ledger::{self, Asked, Charge};
use crate::refusal::RETRY_AFTER;
use crate::runtime;
use crate::shared::{Shared, lock};
use crate::start::{self, Claimed, NotStarted, Origin};
use crate::stems::{Shape, Stem};
use crate::web::Seats;
pub use lease::Lease;

/// Of the memory budget, one part of so many stays free of instances that are made ahead of calls.
const AHEAD_SHARE: u64 = 16;

/// How long a warm instance that measurements asked for outlives its last call.
const PROBE_KEEP: Duration = Duration::from_secs(5);

pub struct Pool {
    /// Unique in this engine.
    pub id: u64,
    pub function: Arc<Function>,
    pub isolation: Isolation,
    /// The shape of the stems that its starts may claim; none if they may not.
    shape: Option<Arc<Shape>>,
    /// It is a measurement's.
    visits: bool,
    pub telemetry: Arc<dyn Telemetry>,
    /// What its instances go on from, if the function wants that.
    pub fork_point: Option<ForkPoint>,
    arn: OnceLock<String>,
    shared: Weak<Shared>,
    state: Mutex<State>,
    /// Of a web function: the calls in its instances.
    pub seats: Seats,
    /// The maximum that it shares with others.
    bound: Arc<Bound>,
    /// The most that an instance of this pool was seen to use after a call, bytes.
    peak: AtomicU64,
    /// The most that one was seen to use when it was ready for its first.
    fresh: AtomicU64,
}

struct State {
    roster: Roster<Box<Instance>, oneshot::Sender<Grant>>,
    /// The entry in the timers.
    due: Option<Instant>,
}

/// What a waiter gets.
pub enum Grant {
    /// With what its start took, if it was made while the waiter waited.
    Ready(Lease, Option<Box<Cold>>),
    Failed(Box<NotStarted>),
    /// The function was deployed anew, or deleted: look it up again.
    Moved,
}

// === impl Pool ===

impl Pool {
    /// For a function's calls on one isolation, with so many instances, together with those of `base`.
    pub fn new(
        shared: &Arc<Shared>,
        function: &Arc<Function>,
        isolation: Isolation,
        instances: RangeInclusive<u32>,
        base: Option<&Arc<Pool>>,
    ) -> Arc<Self> {
        let rules = Rules {
            max: *instances.end(),
            min: *instances.start(),
            keep: match function.spec.scale.idle {
                Idle::Auto => Keep::Auto,
                Idle::For(time) => Keep::For(time),
            },
            freeze: shared.limits.freeze,
            queue: shared.limits.queue,
            patience: shared.limits.queue_wait,
        };
        let shape = Self::shape(shared, function, isolation);
        let bound = base.map_or_else(|| Bound::new(rules.max), |base| base.bound.clone());
        let pool = Self::with(shared, function, isolation, rules, shape, bound, false);
        if let Some(base) = base {
            pool.bound.share(base, &pool);
        }
        pool
    }

    /// For measurements, beside those that the function's calls go to.
    pub fn for_probe(shared: &Arc<Shared>, function: &Arc<Function>, probe: Probe) -> Arc<Self> {
        let keep = if probe.start == ProbeStart::Warm { PROBE_KEEP } else { Duration::ZERO };
        let (freeze, queue, patience) = (shared.limits.freeze, shared.limits.queue, shared.limits.queue_wait);
        let rules = Rules { max: function.spec.scale.max, min: 0, keep: Keep::For(keep), freeze, queue, patience };
        let shape = match probe.start {
            ProbeStart::Stem => Self::shape(shared, function, probe.isolation),
            ProbeStart::Scratch | ProbeStart::Warm => None,
        };
        Self::with(shared, function, probe.isolation, rules, shape, Bound::new(rules.max), true)
    }

    fn shape(shared: &Shared, function: &Function, isolation: Isolation) -> Option<Arc<Shape>> {
        if !shared.works(isolation) || !runtime::takes_stems(&function.spec) {
            return None;
        }
        let spec = runtime::sandbox(shared, function, &InstanceId::zero()).ok()?;
        Some(Arc::new(Shape::of(isolation, runtime::says(&function.spec), spec)))
    }

    fn with(
        shared: &Arc<Shared>,
        function: &Arc<Function>,
        isolation: Isolation,
        rules: Rules,
        shape: Option<Arc<Shape>>,
        bound: Arc<Bound>,
        visits: bool,
    ) -> Arc<Self> {
        let estimate = usual(shared, function, isolation);
        Arc::new(Self {
            id: shared.pools.fetch_add(1, Ordering::Relaxed),
            function: function.clone(),
            isolation,
            shape,
            visits,
            telemetry: shared.telemetry.clone(),
            // A measurement says from what it starts.
            fork_point: (function.spec.snapstart && !visits).then(ForkPoint::default),
            arn: OnceLock::new(),
            shared: Arc::downgrade(shared),
            seats: Seats::default(),
            bound,
            state: Mutex::new(State { roster: Roster::new(rules, estimate), due: None }),
            peak: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
        })
    }

    /// The function's name for the world.
    pub fn arn(&self, shared: &Shared) -> &str {
        self.arn.get_or_init(|| runtime::arn(shared, &self.function))
    }

    /// The same as a call named it.
    pub fn invoked_arn(&self, shared: &Shared, qualifier: Option<&Qualifier>) -> Cow<'_, str> {
        let arn = self.arn(shared);
        qualifier.map_or(Cow::Borrowed(arn), |qualifier| Cow::Owned(format!("{arn}:{qualifier}")))
    }

    /// An idle instance. `Take::Closed`: look the function up again.
    pub fn take(self: &Arc<Self>) -> Take<Lease> {
        let taken = lock(&self.state).roster.take(now());
        match taken {
            Take::Idle(mut instance) => {
                instance.info.set(InstanceState::Busy);
                instance.thaw();
                Take::Idle(Lease { pool: self.clone(), instance: Some(instance) })
            }
            Take::None => Take::None,
            Take::Closed => Take::Closed,
        }
    }

    /// An instance as soon as there is one, at `until` at the latest unless one is being made.
    pub async fn wait(self: &Arc<Self>, shared: &Arc<Shared>, until: Instant) -> Result<Grant, Fault> {
        if lock(&self.state).roster.rules().max == 0 {
            return Err(self.too_many());
        }
        let (sender, mut receiver) = oneshot::channel();
        let ticket = match lock(&self.state).roster.wait(sender, now()) {
            Ok(ticket) => ticket,
            Err(NoWait::Closed) => return Ok(Grant::Moved),
            Err(NoWait::Full) => return Err(self.crowded()),
        };
        self.scale(shared);
        let mut until = until;
        loop {
            if let Ok(granted) = tokio::time::timeout_at(until.into(), &mut receiver).await {
                return Ok(granted.unwrap_or(Grant::Moved));
            }
            if let Some(fault) = self.give_up(shared, ticket) {
                return Err(fault);
            }
            // A start is bounded, so this is: it is looked at again in case that one went to somebody else.
            until = now() + RETRY_AFTER;
        }
    }

    /// A waiter's time is over. `None`: it may stay.
    fn give_up(&self, shared: &Arc<Shared>, ticket: Ticket) -> Option<Fault> {
        let mut state = lock(&self.state);
        if state.roster.late(ticket, now()) != Late::Left {
            return None;
        }
        let enough = state.roster.wanted(now()) == 0;
        let at_max = state.roster.at_max() || self.bound.holds(self.id);
        if enough {
            shared.ledger.leave(self.id);
        }
        if state.roster.waiting() == 0 {
            self.bound.leave_line(shared, self.id);
        }
        drop(state);
        Some(if at_max { self.too_many() } else { self.no_capacity() })
    }

    /// A call is known to come: an instance is made for it, if none is idle and memory is to spare.
    pub fn expect(self: &Arc<Self>, shared: &Arc<Shared>, until: Instant) {
        let mut state = lock(&self.state);
        state.roster.expect(until);
        self.schedule(&mut state);
        drop(state);
        self.scale(shared);
    }

    /// It is in use: stems are kept for it.
    pub fn join(&self, shared: &Shared) {
        if let Some(shape) = &self.shape {
            shared.stems.join(shape, now());
        }
    }

    /// It is not in use any more.
    pub fn leave(&self, shared: &Shared) {
        if let Some(shape) = &self.shape {
            shared.stems.leave(shape);
        }
    }

    /// From now on so many instances are always kept.
    pub fn keep(self: &Arc<Self>, shared: &Arc<Shared>, min: u32) {
        let mut state = lock(&self.state);
        state.roster.set_min(min);
        self.schedule(&mut state);
        drop(state);
        self.scale(shared);
    }

    /// Whether as many are ready as are always kept, or one could not be made.
    pub fn is_warm(&self) -> bool {
        lock(&self.state).roster.is_warm()
    }

    /// A stem for a call that waits.
    fn stem(&self, shared: &Shared, now: Instant) -> Option<Stem> {
        let shape = self.shape.as_ref()?;
        if self.visits {
            shared.stems.visit(shape, now);
        }
        shared.stems.claim(shape, now)
    }

    /// Starts what is wanted and fits. Says whether somebody waits for more, which does not fit at present.
    pub fn scale(self: &Arc<Self>, shared: &Arc<Shared>) -> bool {
        let mut evicted = false;
        loop {
            let now = now();
            let mut state = lock(&self.state);
            let unwanted = shared.only_awaited() && !state.roster.is_awaited();
            if state.roster.wanted(now) == 0 || unwanted || shared.is_stopped() {
                // Under the lock: who comes next must find itself in line.
                shared.ledger.leave(self.id);
                self.bound.leave_line(shared, self.id);
                self.count_in(&state, Some(shared));
                return false;
            }
            let awaited = state.roster.is_awaited();
            if !self.bound.ask(self.id, state.roster.total(), awaited, now) {
                match self.held_back(shared, state, awaited, now) {
                    true => continue,
                    false => return false,
                }
            }
            // What is kept warm has the time to start from nothing.
            if state.roster.is_awaited()
                && let Some(stem) = self.stem(shared, now)
            {
                if shared.ledger.raise(self.id, &stem.charge, self.estimate(shared), now) {
                    state.roster.began();
                    drop(state);
                    self.adopt(shared, stem);
                    continue;
                }
                // This function takes more than there is beside the stem, whose memory helps towards it.
                stem.kill();
            }
            if state.roster.is_ahead() {
                // Nobody is evicted for it, and nobody who waits comes later for it.
                match shared.ledger.spare(self.estimate(shared), AHEAD_SHARE) {
                    Some(charge) => {
                        state.roster.began();
                        drop(state);
                        self.start(shared, charge, false);
                    }
                    None => state.roster.forgo(),
                }
                continue;
            }
            match shared.ledger.ask(self, self.estimate(shared), now) {
                Asked::Charged(charge) => {
                    state.roster.began();
                    drop(state);
                    self.start(shared, charge, awaited);
                }
                Asked::Evict(bytes) if !evicted => {
                    drop(state);
                    ledger::evict(shared, bytes);
                    // Asked again, for the line to know; what is evicted comes free when its sandbox is gone.
                    evicted = true;
                }
                // Only who has callers waiting stands in line; keeping warm is tried again later.
                Asked::Evict(_) | Asked::Wait if state.roster.waiting() > 0 => {
                    self.count_in(&state, Some(shared));
                    return true;
                }
                Asked::Evict(_) | Asked::Wait => {
                    self.count_in(&state, Some(shared));
                    state.roster.postpone(now);
                    shared.ledger.leave(self.id);
                    self.schedule(&mut state);
                    return false;
                }
                Asked::Never => {
                    let waiter = state.roster.next_waiter(now);
                    drop(state);
                    let Some(waiter) = waiter else {
                        tracing::warn!(function = %self.function.spec.name, "no instance fits into the memory budget");
                        return false;
                    };
                    let _ = waiter.send(Grant::Failed(Box::new(NotStarted::fault(self.no_capacity()))));
                }
            }
        }
    }

    fn start(self: &Arc<Self>, shared: &Arc<Shared>, charge: Charge, awaited: bool) {
        let info = Arc::new(Info::new(InstanceId::random(), self.function.clone(), self.isolation, charge));
        shared.register(&info);
        let origin = if awaited { Origin::Awaited } else { Origin::Ahead };
        shared.spawn(start::run(shared.clone(), self.clone(), info, origin));
    }

    fn adopt(self: &Arc<Self>, shared: &Arc<Shared>, stem: Stem) {
        let Stem { id, handle, io, charge, .. } = stem;
        let info = Arc::new(Info::new(id, self.function.clone(), self.isolation, charge));
        shared.register(&info);
        shared.spawn(start::run(shared.clone(), self.clone(), info, Origin::Stem(Box::new(Claimed { handle, io }))));
    }

    /// What an instance is charged at its start, bytes.
    pub fn estimate(&self, shared: &Shared) -> u64 {
        let usual = usual(shared, &self.function, self.isolation);
        let most = self.function.spec.memory.bytes() + shared.overhead(self.isolation);
        match (self.peak.load(Ordering::Relaxed), self.fresh.load(Ordering::Relaxed)) {
            (0, 0) => usual,
            // What a call will take of it, nobody knows yet.
            (0, fresh) => usual.min((2 * fresh).max(2 * shared.limits.least)),
            // The next one may be somewhat bigger than those that were seen.
            (peak, _) => (peak + peak / 4).max(shared.limits.least).min(most),
        }
    }

    /// A start succeeded.
    pub fn ready(self: &Arc<Self>, instance: Box<Instance>, cold: Cold) {
        if let Some(peak) = instance.info.peak() {
            self.fresh.fetch_max(peak, Ordering::Relaxed);
            self.settle(&instance);
        }
        let mut state = lock(&self.state);
        state.roster.ready(now());
        self.place(state, instance, Some(Box::new(cold)));
    }

    /// A start came to nothing for no fault of the function's: who waits gets another one.
    pub fn again(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut state = lock(&self.state);
        state.roster.start_lost();
        self.count_in(&state, Some(shared));
        drop(state);
        self.scale(shared);
    }

    /// A start failed: one waiter is told.
    pub fn failed(self: &Arc<Self>, shared: &Arc<Shared>, why: NotStarted) {
        let mut why = Grant::Failed(Box::new(why));
        let mut state = lock(&self.state);
        let mut waiter = state.roster.start_failed(now());
        while let Some(sender) = waiter {
            match sender.send(why) {
                Ok(()) => break,
                Err(back) => (why, waiter) = (back, state.roster.next_waiter(now())),
            }
        }
        self.count_in(&state, Some(shared));
        self.schedule(&mut state);
        drop(state);
        self.scale(shared);
    }

    /// A call is over and its instance in order.
    fn release(self: &Arc<Self>, instance: Box<Instance>) {
        if let Some(peak) = instance.info.peak() {
            self.peak.fetch_max(peak, Ordering::Relaxed);
            self.settle(&instance);
        }
        let state = lock(&self.state);
        if state.roster.rules().keep == Keep::For(Duration::ZERO) {
            return self.lose(state, Some(instance));
        }
        self.place(state, instance, None);
    }

    /// Gives back what it was charged beyond what others like it prove to need.
    fn settle(&self, instance: &Instance) {
        if let Some(shared) = self.shared.upgrade() {
            instance.info.settle(self.estimate(&shared));
        }
    }

    /// Gives a busy instance to the first who waits, or parks it.
    fn place(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        mut instance: Box<Instance>,
        mut cold: Option<Box<Cold>>,
    ) {
        if state.roster.is_closed() || instance.exit.borrow().is_some() {
            return self.lose(state, Some(instance));
        }
        if state.roster.waiting() > 0 && self.bound.is_due(self.id, now()) {
            return self.lose(state, Some(instance));
        }
        while let Some(waiter) = state.roster.next_waiter(now()) {
            instance.info.set(InstanceState::Busy);
            let lease = Lease { pool: self.clone(), instance: Some(instance) };
            match waiter.send(Grant::Ready(lease, cold.take())) {
                Ok(()) => return,
                // Its owner is gone. Taken out of the lease again, whose drop would want the lock.
                Err(Grant::Ready(mut lease, back)) => match lease.instance.take() {
                    Some(taken) => (instance, cold) = (taken, back),
                    None => return,
                },
                Err(_) => return,
            }
        }
        if let Some(shared) = self.shared.upgrade().filter(|shared| shared.is_handing_over()) {
            state.roster.lost(now());
            self.count_in(&state, Some(&shared));
            drop(state);
            return self.pass_on(&shared, instance);
        }
        instance.info.set(InstanceState::Idle);
        state.roster.park(instance, now());
        self.bound.offer(self.shared.upgrade().as_ref(), self.id);
        self.schedule(&mut state);
    }

    /// A busy instance goes.
    fn lose(self: &Arc<Self>, mut state: MutexGuard<'_, State>, instance: Option<Box<Instance>>) {
        state.roster.lost(now());
        self.count_in(&state, self.shared.upgrade().as_ref());
        drop(state);
        if let Some(instance) = instance {
            if let Some(peak) = instance.info.peak() {
                self.peak.fetch_max(peak, Ordering::Relaxed);
            }
            instance.kill(self);
        }
        if let Some(shared) = self.shared.upgrade() {
            self.scale(&shared);
        }
    }

    /// A sandbox is gone: if it was idle, it leaves the pool.
    pub fn exited(self: &Arc<Self>, shared: &Arc<Shared>, id: &InstanceId) {
        let mut state = lock(&self.state);
        let gone = state.roster.remove(|instance| instance.info.id == *id, now());
        self.count_in(&state, Some(shared));
        self.schedule(&mut state);
        drop(state);
        if let Some(instance) = gone {
            tracing::debug!(instance = %id, function = %self.function.spec.name, "an idle instance ended by itself");
            instance.kill(self);
            self.scale(shared);
        }
    }

    /// What is due: reaps, freezes, and tries again to keep instances warm.
    pub fn tick(self: &Arc<Self>, shared: &Arc<Shared>, now: Instant) {
        let mut state = lock(&self.state);
        state.due = None;
        if let Some(habit) = state.roster.habit_mut() {
            habit.weigh(self.estimate(shared));
        }
        state.roster.review(now);
        let expired = state.roster.expire(now);
        self.count_in(&state, Some(shared));
        // Under the lock, so that nobody takes one meanwhile: a write each.
        state.roster.freezable(now).for_each(|instance| instance.freeze());
        self.schedule(&mut state);
        drop(state);
        for instance in expired {
            instance.retire(Some(shared), self);
        }
        self.scale(shared);
    }

    fn schedule(self: &Arc<Self>, state: &mut State) {
        let (Some(due), Some(shared)) = (state.roster.due(), self.shared.upgrade()) else { return };
        match state.due {
            Some(set) if set <= due => return,
            Some(set) => shared.timers.clear(set, self.id),
            None => {}
        }
        state.due = Some(due);
        shared.timers.set(due, self);
    }

    /// The idle instance that would be evicted n-th, from 0 on, if there is one.
    pub fn evictable(&self, place: usize) -> Option<Candidate> {
        let state = lock(&self.state);
        let (chance, since, instance) = state.roster.evictable(now()).nth(place)?;
        Some(Candidate { chance, since, bytes: instance.info.charged() })
    }

    /// Kills the longest idle instance, if one may be evicted.
    pub fn evict(&self) {
        let mut state = lock(&self.state);
        let evicted = state.roster.evict();
        self.count_in(&state, self.shared.upgrade().as_ref());
        drop(state);
        if let Some(instance) = evicted {
            instance.kill(self);
        }
    }

    /// Hands out nothing any more: idle instances are killed, who waits looks the function up again or is told
    /// `fault`.
    pub fn close(&self, fault: Option<Fault>) {
        let mut state = lock(&self.state);
        let (idle, waiters) = state.roster.close();
        self.bound.leave(self.shared.upgrade().as_ref(), self.id);
        let due = state.due.take();
        drop(state);
        for waiter in waiters {
            let _ = waiter.send(match &fault {
                Some(fault) => Grant::Failed(Box::new(NotStarted::fault(fault.clone()))),
                None => Grant::Moved,
            });
        }
        let shared = self.shared.upgrade();
        for instance in idle {
            instance.retire(shared.as_ref(), self);
        }
        if let Some(shared) = shared {
            shared.ledger.leave(self.id);
            if let Some(due) = due {
                shared.timers.clear(due, self.id);
            }
        }
    }

    pub fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.upgrade()
    }
}

/// What an instance is charged before any was measured, bytes.
fn usual(shared: &Shared, function: &Function, isolation: Isolation) -> u64 {
    shared.limits.estimate.min(function.spec.memory.bytes()) + shared.overhead(isolation)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
