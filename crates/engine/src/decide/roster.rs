//! Which instance serves whom, and how many there shall be: one roster for each revision of a function.
//!
//! ```text
//!            began                 ready                 park
//!  (nothing) ─────► starting ─────────────► busy ◄──────────────► idle
//!                      │ start_failed         │ lost      take      │ expire · evict · remove
//!                      ▼                      ▼                     ▼
//!                     gone                   gone                  gone
//! ```
//!
//! An instance that was idle for a moment is frozen, and thaws when it is taken.
//!
//! Idle instances are a stack: the latest used goes out first, so that the others age and can be reaped.
//! Waiters are a queue. `T` is an idle instance, `W` a waiter; both are only moved about in here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// First wait before a failed start of a kept-warm instance is tried again; doubles with each failure.
const REFILL_FIRST: Duration = Duration::from_secs(1);

/// Longest such wait: a function whose initialisation is broken costs one start a minute.
const REFILL_LONGEST: Duration = Duration::from_secs(60);

/// What a function's configuration says.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Instances at once at most.
    pub max: u32,
    /// Instances kept although nothing calls.
    pub min: u32,
    /// How long an idle instance is kept; zero: none is used twice.
    pub keep: Duration,
    /// How long an instance is idle before it is frozen.
    pub freeze: Duration,
    /// Waiters at once at most.
    pub queue: usize,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What [`Roster::take`] found.
#[derive(Debug)]
pub enum Take<T> {
    Idle(T),
    /// None is idle: wait in the queue.
    None,
    /// The function was deployed anew, or deleted.
    Closed,
}

/// Why nobody else may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWait {
    Full,
    Closed,
}

/// What becomes of a waiter whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It left the queue.
    Left,
    /// A start that is under way will serve it, or tell it why not: it may stay.
    Stay,
    /// It is not in the queue: its grant is on the way.
    Served,
}

#[derive(Debug)]
pub struct Roster<T, W> {
    rules: Rules,
    /// The longest idle in front.
    idle: VecDeque<(Instant, T)>,
    /// How many of them are frozen: the first ones.
    frozen: usize,
    waiters: VecDeque<(Ticket, W)>,
    tickets: u64,
    starting: u32,
    busy: u32,
    closed: bool,
    failures: u32,
    refill_after: Option<Instant>,
}

// === impl Roster ===

impl<T, W> Roster<T, W> {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            idle: VecDeque::new(),
            frozen: 0,
            waiters: VecDeque::new(),
            tickets: 0,
            starting: 0,
            busy: 0,
            closed: false,
            failures: 0,
            refill_after: None,
        }
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Instances that exist or are being made.
    pub fn total(&self) -> u32 {
        self.starting + self.busy + self.idle.len() as u32
    }

    /// Whether it is the function's own maximum, not the machine, that keeps its waiters waiting.
    pub fn at_max(&self) -> bool {
        self.total() >= self.rules.max
    }

    /// The instance used last, which becomes busy.
    pub fn take(&mut self) -> Take<T> {
        if self.closed {
            return Take::Closed;
        }
        match self.idle.pop_back() {
            Some((_, instance)) => {
                self.frozen = self.frozen.min(self.idle.len());
                self.busy += 1;
                Take::Idle(instance)
            }
            None => Take::None,
        }
    }

    /// Puts a waiter at the end of the queue.
    pub fn wait(&mut self, waiter: W) -> Result<Ticket, NoWait> {
        if self.closed {
            return Err(NoWait::Closed);
        }
        if self.waiters.len() >= self.rules.queue {
            return Err(NoWait::Full);
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiters.push_back((ticket, waiter));
        Ok(ticket)
    }

    /// A waiter's time is over.
    pub fn late(&mut self, ticket: Ticket) -> Late {
        match self.waiters.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
            Ok(place) if place < self.starting as usize => Late::Stay,
            Ok(place) => {
                self.waiters.remove(place);
                Late::Left
            }
            Err(_) => Late::Served,
        }
    }

    /// How many instances to start now, memory allowing: [`Roster::began`] for each that is.
    pub fn wanted(&self, now: Instant) -> u32 {
        if self.closed {
            return 0;
        }
        let waiting = (self.waiters.len() as u32).saturating_sub(self.starting);
        let refill = match self.refill_after {
            Some(after) if now < after => 0,
            // After a failure one at a time, until one succeeds.
            Some(_) => self.rules.min.saturating_sub(self.total()).min(1).saturating_sub(self.starting),
            None => self.rules.min.saturating_sub(self.total()),
        };
        waiting.max(refill).min(self.rules.max.saturating_sub(self.total()))
    }

    pub fn began(&mut self) {
        self.starting += 1;
    }

    /// A start succeeded: the instance counts as busy, and is to be given to a waiter or parked.
    pub fn ready(&mut self) {
        self.starting -= 1;
        self.busy += 1;
        self.failures = 0;
        self.refill_after = None;
    }

    /// A start failed: returns the one waiter who is told.
    pub fn start_failed(&mut self, now: Instant) -> Option<W> {
        self.starting -= 1;
        let pause = REFILL_FIRST.saturating_mul(1 << self.failures.min(16)).min(REFILL_LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.refill_after = Some(now + pause);
        self.next_waiter()
    }

    /// A start came to nothing, and another may be tried at once.
    pub fn start_lost(&mut self) {
        self.starting -= 1;
    }

    /// There is no memory to keep instances warm: that is tried again later.
    pub fn postpone(&mut self, now: Instant) {
        self.refill_after = Some(now + REFILL_FIRST);
    }

    /// The waiter whose turn it is.
    pub fn next_waiter(&mut self) -> Option<W> {
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }

    /// A busy instance has nothing to do.
    pub fn park(&mut self, instance: T, now: Instant) {
        self.busy -= 1;
        self.idle.push_back((now, instance));
    }

    /// A busy instance is gone, or shall go.
    pub fn lost(&mut self) {
        self.busy -= 1;
    }

    /// Takes out idle instances that were kept long enough, down to the number kept always.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((since, _)) = self.idle.front() {
            if now < *since + self.rules.keep || self.total() <= self.rules.min {
                break;
            }
            expired.extend(self.pop_oldest());
        }
        expired
    }

    fn pop_oldest(&mut self) -> Option<T> {
        let (_, instance) = self.idle.pop_front()?;
        self.frozen = self.frozen.saturating_sub(1);
        Some(instance)
    }

    /// The idle instances whose time it is to be frozen; each is given out once.
    pub fn freezable(&mut self, now: Instant) -> impl Iterator<Item = &mut T> {
        let (from, freeze) = (self.frozen, self.rules.freeze);
        let ripe = self.idle.iter().skip(from).take_while(|(since, _)| now >= *since + freeze).count();
        self.frozen += ripe;
        self.idle.iter_mut().skip(from).take(ripe).map(|(_, instance)| instance)
    }

    /// Idle instances that may be evicted, the longest idle first: those above the number kept always.
    pub fn evictable(&self) -> impl Iterator<Item = (Instant, &T)> {
        let spare = self.total().saturating_sub(self.rules.min) as usize;
        self.idle.iter().take(spare).map(|(since, instance)| (*since, instance))
    }

    /// Takes out the longest idle instance if it may be evicted.
    pub fn evict(&mut self) -> Option<T> {
        if self.total() <= self.rules.min {
            return None;
        }
        self.pop_oldest()
    }

    /// Takes out the idle instance that `is` it.
    pub fn remove(&mut self, is: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.idle.iter().position(|(_, instance)| is(instance))?;
        if place < self.frozen {
            self.frozen -= 1;
        }
        self.idle.remove(place).map(|(_, instance)| instance)
    }

    /// When [`Roster::expire`], [`Roster::freezable`] or [`Roster::wanted`] will have something that they do not have now.
    pub fn due(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let expiry =
            self.idle.front().filter(|_| self.total() > self.rules.min).map(|(since, _)| *since + self.rules.keep);
        let refill = self.refill_after.filter(|_| self.total() < self.rules.min);
        let freeze = self.idle.get(self.frozen).map(|(since, _)| *since + self.rules.freeze);
        [expiry, freeze, refill].into_iter().flatten().min()
    }

    /// Nothing is taken or started any more. Returns who was idle, and who waited; busy ones come back by
    /// themselves.
    pub fn close(&mut self) -> (Vec<T>, Vec<W>) {
        self.closed = true;
        self.frozen = 0;
        let idle = self.idle.drain(..).map(|(_, instance)| instance).collect();
        (idle, self.waiters.drain(..).map(|(_, waiter)| waiter).collect())
    }

    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Call,
        Finish { well: bool },
        Started { well: bool },
        Late(prop::sample::Index),
        Evict,
        Gone(prop::sample::Index),
        Tick(u64),
        Close,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => Just(Op::Call),
            5 => any::<bool>().prop_map(|well| Op::Finish { well }),
            5 => prop::bool::weighted(0.8).prop_map(|well| Op::Started { well }),
            2 => any::<prop::sample::Index>().prop_map(Op::Late),
            1 => Just(Op::Evict),
            1 => any::<prop::sample::Index>().prop_map(Op::Gone),
            2 => (0u64..5000).prop_map(Op::Tick),
            1 => prop::bool::weighted(0.1).prop_map(|close| if close { Op::Close } else { Op::Call }),
        ]
    }

    /// Does with a roster what the pool does, and keeps its own books.
    struct Model {
        roster: Roster<u32, u32>,
        now: Instant,
        instances: u32,
        starting: u32,
        busy: Vec<u32>,
        idle: Vec<u32>,
        /// Of the idle: those that were given out to be frozen.
        frozen: Vec<u32>,
        calls: u32,
        waiting: Vec<(Ticket, u32)>,
    }

    impl Model {
        fn scale(&mut self) {
            while self.roster.wanted(self.now) > 0 {
                self.roster.began();
                self.starting += 1;
            }
        }

        fn place(&mut self, instance: u32) {
            if self.roster.is_closed() {
                self.roster.lost();
                return;
            }
            match self.roster.next_waiter() {
                Some(waiter) => {
                    let (_, first) = self.waiting.remove(0);
                    assert_eq!(waiter, first, "first come, first served");
                    self.busy.push(instance);
                }
                None => {
                    self.roster.park(instance, self.now);
                    self.idle.push(instance);
                }
            }
        }

        fn run(&mut self, op: Op) {
            match op {
                Op::Call => match self.roster.take() {
                    Take::Idle(instance) => {
                        assert_eq!(Some(instance), self.idle.pop(), "the one used last");
                        self.frozen.retain(|one| *one != instance);
                        self.busy.push(instance);
                    }
                    Take::None => {
                        assert!(self.idle.is_empty());
                        self.calls += 1;
                        if let Ok(ticket) = self.roster.wait(self.calls) {
                            self.waiting.push((ticket, self.calls));
                        }
                    }
                    Take::Closed => {}
                },
                Op::Finish { well } if !self.busy.is_empty() => {
                    let instance = self.busy.remove(0);
                    if well { self.place(instance) } else { self.roster.lost() }
                }
                Op::Started { well } if self.starting > 0 => {
                    self.starting -= 1;
                    if well {
                        self.instances += 1;
                        self.roster.ready();
                        self.place(self.instances);
                    } else if let Some(told) = self.roster.start_failed(self.now) {
                        assert_eq!(told, self.waiting.remove(0).1);
                    }
                }
                Op::Late(index) if !self.waiting.is_empty() => {
                    let place = index.index(self.waiting.len());
                    match self.roster.late(self.waiting[place].0) {
                        Late::Left => drop(self.waiting.remove(place)),
                        Late::Stay => assert!(place < self.starting as usize),
                        Late::Served => panic!("it still waits"),
                    }
                }
                Op::Evict => {
                    if let Some(instance) = self.roster.evict() {
                        assert_eq!(instance, self.idle.remove(0), "the longest idle");
                    }
                }
                Op::Gone(index) if !self.idle.is_empty() => {
                    let instance = self.idle.remove(index.index(self.idle.len()));
                    assert_eq!(self.roster.remove(|one| *one == instance), Some(instance));
                }
                Op::Tick(millis) => {
                    self.now += Duration::from_millis(millis);
                    for instance in self.roster.expire(self.now) {
                        assert_eq!(instance, self.idle.remove(0));
                    }
                    for instance in self.roster.freezable(self.now) {
                        assert!(self.idle.contains(instance) && !self.frozen.contains(instance), "once, while idle");
                        self.frozen.push(*instance);
                    }
                }
                Op::Close => {
                    let (idle, waiters) = self.roster.close();
                    assert_eq!(idle, std::mem::take(&mut self.idle));
                    let waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().map(|(_, call)| call).collect();
                    assert_eq!(waiters, waiting, "everyone is told");
                }
                Op::Finish { .. } | Op::Started { .. } | Op::Late(_) | Op::Gone(_) => {}
            }
            self.scale();
        }

        fn check(&self) {
            let rules = self.roster.rules();
            let frozen = self.idle.iter().filter(|one| self.frozen.contains(one)).count();
            assert_eq!(self.roster.frozen, frozen);
            assert!(self.idle[..frozen].iter().all(|one| self.frozen.contains(one)), "the longest idle first");
            if frozen < self.idle.len() {
                let freeze = self.roster.idle[frozen].0 + rules.freeze;
                assert!(self.roster.due().is_some_and(|due| due <= freeze), "what runs idle will be frozen");
            }
            let count = self.starting + self.busy.len() as u32 + self.idle.len() as u32;
            assert_eq!(self.roster.total(), count);
            assert!(count <= rules.max);
            assert_eq!(self.roster.waiting(), self.waiting.len());
            assert!(self.waiting.len() <= rules.queue);
            assert!(self.idle.is_empty() || self.waiting.is_empty(), "nobody waits beside an idle instance");
            // Nobody waits in vain: for each waiter a start is under way, or all instances there may be exist.
            assert!(self.waiting.len() as u32 <= self.starting || count == rules.max);
            if !self.roster.is_closed() && self.idle.len() as u32 > 0 && count > rules.min {
                assert!(self.roster.due().is_some(), "an idle instance will be reaped");
            }
        }
    }

    proptest! {
        #[test]
        fn the_books_are_right_whatever_happens(
            max in 1u32..6,
            min in 0u32..3,
            keep in 0u64..4000,
            freeze in 0u64..4000,
            ops in prop::collection::vec(op(), 0..300),
        ) {
            let (keep, freeze) = (Duration::from_millis(keep), Duration::from_millis(freeze));
            let rules = Rules { max, min: min.min(max), keep, freeze, queue: 5 };
            let mut model = Model {
                roster: Roster::new(rules),
                now: Instant::now(),
                instances: 0,
                starting: 0,
                busy: Vec::new(),
                idle: Vec::new(),
                frozen: Vec::new(),
                calls: 0,
                waiting: Vec::new(),
            };
            for op in ops {
                model.run(op);
                model.check();
            }
        }
    }

    #[test]
    fn a_broken_function_is_kept_warm_less_and_less_often() {
        let rules = Rules { max: 5, min: 2, keep: Duration::ZERO, freeze: Duration::ZERO, queue: 5 };
        let (mut roster, mut now) = (Roster::<(), ()>::new(rules), Instant::now());
        assert_eq!(roster.wanted(now), 2);
        let mut starts = 0;
        let end = now + Duration::from_secs(3600);
        while now < end {
            for _ in 0..roster.wanted(now) {
                roster.began();
                starts += 1;
                roster.start_failed(now);
            }
            now = roster.due().unwrap();
        }
        assert!((50..80).contains(&starts), "{starts} in an hour");
        roster.began();
        roster.ready();
        assert_eq!(roster.wanted(now), 1, "a success ends the waiting");
    }
}
