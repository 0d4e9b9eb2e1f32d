//! A trace replayed against the engine's deciders: the same rosters, budget and habits, with time that is made up.
//!
//! ```text
//! minute ──► arrive ──► take: warm ─────────────► end ──► park, or the next who waits
//!                 └──► wait ──► start ──► ready ────▲
//!                                      house (when a roster says it is due): let go, make ahead
//! ```
//!
//! Idle time is counted from the moment an instance is ready and has nothing to do until it is called, let go, or the
//! trace ends. So what is made ahead of a call counts as any other, and if no call comes it counts as wasted. A call
//! that finds no idle instance is cold, whoever serves it in the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use engine::decide::budget::{Budget, Candidate, Verdict, victims};
use engine::decide::roster::{Keep, Roster, Rules, Take};

use super::trace::Trace;

/// How long a cold start takes, microseconds.
const START: u64 = 100_000;

const MINUTE: u64 = 60_000_000;

/// One part of so many of the budget stays free of what is made ahead of calls, as in the engine.
const AHEAD_SHARE: u64 = 16;

/// Never: nothing is frozen here, for nothing is different then.
const NO_FREEZE: Duration = Duration::from_secs(365 * 86_400);

/// Where in a minute its calls are, which the trace does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// Evenly, each function with an offset of its own
    Even,
    /// Anywhere
    Random,
    /// Those of timers evenly, all others anywhere
    Timers,
}

pub struct Settings {
    pub keep: Keep,
    pub spread: Spread,
    pub seed: u64,
    /// Bytes; none: as much as is wanted.
    pub budget: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Of each function: calls, and how many of them were cold.
    pub functions: Vec<(u64, u64)>,
    /// Cold starts in the first and the second half of the trace.
    pub cold: [u64; 2],
    /// Idle memory × time in each half, MiB × s.
    pub idle: [f64; 2],
    /// Of it, what was idle until it was let go.
    pub wasted: f64,
    /// Instances that were made ahead of calls.
    pub ahead: u64,
    pub evicted: u64,
    /// Calls that waited when the trace was over, or that no budget would do for.
    pub unserved: u64,
}

/// An instance: since when it is idle, microseconds.
type Idle = u64;
/// A call: how long it will run, microseconds.
type Call = u64;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ready,
    End,
    Arrive(Call),
    House,
}

struct World<'a> {
    trace: &'a Trace,
    settings: &'a Settings,
    zero: Instant,
    now: u64,
    end: u64,
    rosters: Vec<Roster<Idle, Call>>,
    /// When each roster is looked at next.
    house: Vec<Option<u64>>,
    budget: Budget<usize>,
    /// What is idle, bytes.
    idle: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize, Event)>>,
    count: u64,
    outcome: Outcome,
}

/// SplitMix64: the same numbers everywhere.
struct Dice(u64);

// === impl Dice ===

impl Dice {
    fn of(seed: u64, function: usize, minute: usize) -> Self {
        let mut dice = Self(seed ^ (function as u64) << 40 ^ (minute as u64) << 20);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to less than 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Replays a trace. `progress` is told each minute that is done.
pub fn run(trace: &Trace, settings: &Settings, mut progress: impl FnMut(usize)) -> Outcome {
    let rules = Rules {
        max: u32::MAX / 2,
        min: 0,
        keep: settings.keep,
        freeze: NO_FREEZE,
        queue: usize::MAX,
        patience: NO_FREEZE,
    };
    let count = trace.functions.len();
    let mut world = World {
        trace,
        settings,
        zero: Instant::now(),
        now: 0,
        end: trace.minutes as u64 * MINUTE,
        rosters: trace.functions.iter().map(|one| Roster::new(rules, bytes(one.mebibytes))).collect(),
        house: vec![None; count],
        // Far from where its sums would overflow.
        budget: Budget::new(settings.budget.unwrap_or(u64::MAX / 4)),
        idle: 0,
        events: BinaryHeap::new(),
        count: 0,
        outcome: Outcome { functions: vec![(0, 0); count], ..Outcome::default() },
    };
    for minute in 0..trace.minutes {
        world.arrivals(minute);
        world.until((minute as u64 + 1) * MINUTE);
        progress(minute + 1);
    }
    world.finish()
}

fn bytes(mebibytes: f64) -> u64 {
    (mebibytes * 1024.0 * 1024.0) as u64
}

// === impl World ===

impl World<'_> {
    fn instant(&self) -> Instant {
        self.zero + Duration::from_micros(self.now)
    }

    fn at(&mut self, when: u64, function: usize, event: Event) {
        self.count += 1;
        self.events.push(Reverse((when, self.count, function, event)));
    }

    /// The calls of a minute.
    fn arrivals(&mut self, minute: usize) {
        let trace = self.trace;
        for (function, traced) in trace.functions.iter().enumerate() {
            let calls = u64::from(traced.calls[minute]);
            let offset = Dice::of(self.settings.seed, function, usize::MAX >> 24).next() % MINUTE;
            let mut dice = Dice::of(self.settings.seed, function, minute);
            let even = match self.settings.spread {
                Spread::Even => true,
                Spread::Random => false,
                Spread::Timers => traced.timer,
            };
            for call in 0..calls {
                let within = if even { (call * MINUTE + offset) / calls } else { dice.next() % MINUTE };
                let takes = traced.duration(dice.part());
                self.at(minute as u64 * MINUTE + within, function, Event::Arrive(takes));
            }
        }
    }

    fn until(&mut self, end: u64) {
        while let Some(Reverse((when, ..))) = self.events.peek()
            && *when < end
        {
            let Some(Reverse((when, _, function, event))) = self.events.pop() else { return };
            self.now = when;
            let freed = match event {
                Event::Arrive(takes) => self.arrive(function, takes),
                Event::Ready => {
                    let now = self.instant();
                    self.rosters[function].ready(now);
                    self.place(function)
                }
                Event::End => self.place(function),
                Event::House => self.house(function),
            };
            if freed {
                for function in self.budget.line() {
                    self.scale(function);
                    self.schedule(function);
                }
            }
            self.schedule(function);
        }
        self.now = end;
    }

    /// A call comes. Like all that may free memory, says whether others may get some now.
    fn arrive(&mut self, function: usize, takes: Call) -> bool {
        let now = self.instant();
        self.outcome.functions[function].0 += 1;
        match self.rosters[function].take(now) {
            Take::Idle(since) => {
                self.idled(function, since);
                self.at(self.now + takes, function, Event::End);
            }
            Take::None | Take::Closed => {
                self.outcome.functions[function].1 += 1;
                self.outcome.cold[self.half()] += 1;
                if self.rosters[function].wait(takes, now).is_ok() {
                    self.scale(function);
                }
            }
        }
        false
    }

    /// A busy instance has nothing to do.
    fn place(&mut self, function: usize) -> bool {
        let now = self.instant();
        match self.rosters[function].next_waiter(now) {
            Some(takes) => self.at(self.now + takes, function, Event::End),
            None => {
                self.rosters[function].park(self.now, now);
                self.idle += bytes(self.trace.functions[function].mebibytes);
            }
        }
        true
    }

    fn house(&mut self, function: usize) -> bool {
        if self.house[function] != Some(self.now) {
            return false;
        }
        self.house[function] = None;
        let now = self.instant();
        self.rosters[function].review(now);
        let expired = self.rosters[function].expire(now);
        let freed = !expired.is_empty();
        expired.into_iter().for_each(|since| self.gone(function, since));
        self.scale(function);
        freed
    }

    fn schedule(&mut self, function: usize) {
        let Some(due) = self.rosters[function].due() else { return };
        // Rounded up: what is due then must be due.
        let due = due.saturating_duration_since(self.zero).as_nanos().div_ceil(1000) as u64;
        let due = due.max(self.now + 1);
        if self.house[function].is_none_or(|set| due < set) {
            self.house[function] = Some(due);
            self.at(due, function, Event::House);
        }
    }

    /// Starts what is wanted and fits, as the engine's pools do.
    fn scale(&mut self, function: usize) {
        let bytes = bytes(self.trace.functions[function].mebibytes);
        let now = self.instant();
        let mut evicted = false;
        while self.rosters[function].wanted(now) > 0 {
            if self.rosters[function].is_ahead() {
                if self.budget.spare(bytes, AHEAD_SHARE) {
                    self.outcome.ahead += 1;
                    self.begin(function);
                } else {
                    self.rosters[function].forgo();
                }
                continue;
            }
            match self.budget.ask(function, bytes, now) {
                Verdict::Start => self.begin(function),
                Verdict::Evict(need) if !evicted => {
                    self.evict(need);
                    evicted = true;
                }
                Verdict::Evict(_) | Verdict::Wait => return,
                Verdict::Never => {
                    self.rosters[function].next_waiter(now);
                    self.outcome.unserved += 1;
                }
            }
        }
        self.budget.leave(function);
    }

    fn begin(&mut self, function: usize) {
        self.rosters[function].began();
        self.at(self.now + START, function, Event::Ready);
    }

    fn evict(&mut self, need: u64) {
        if self.idle < need {
            return; // In vain, and this is where all the time would go.
        }
        let now = self.instant();
        let idle = |who: &usize, place: usize| {
            let (chance, since, _) = self.rosters[*who].evictable(now).nth(place)?;
            Some(Candidate { chance, since, bytes: bytes(self.trace.functions[*who].mebibytes) })
        };
        for function in victims(need, 0..self.rosters.len(), idle) {
            if let Some(since) = self.rosters[function].evict() {
                self.outcome.evicted += 1;
                self.gone(function, since);
            }
        }
    }

    /// An idle instance is no more.
    fn gone(&mut self, function: usize, since: Idle) {
        self.outcome.wasted += self.idled(function, since);
        self.budget.release(bytes(self.trace.functions[function].mebibytes), false);
    }

    /// An instance was idle until now: returns MiB × s.
    fn idled(&mut self, function: usize, since: Idle) -> f64 {
        let mebibytes = self.trace.functions[function].mebibytes;
        self.idle -= bytes(mebibytes);
        let middle = self.end / 2;
        let parts = [self.now.min(middle).saturating_sub(since), self.now.saturating_sub(since.max(middle))];
        let parts = parts.map(|micros| micros as f64 / 1e6 * mebibytes);
        self.outcome.idle[0] += parts[0];
        self.outcome.idle[1] += parts[1];
        parts[0] + parts[1]
    }

    fn half(&self) -> usize {
        usize::from(self.now >= self.end / 2)
    }

    /// The trace is over: what is idle was so until now, and nobody knows what for.
    fn finish(mut self) -> Outcome {
        for function in 0..self.rosters.len() {
            let (idle, waiters) = self.rosters[function].close();
            for since in idle {
                self.idled(function, since);
            }
            self.outcome.unserved += waiters.len() as u64;
        }
        self.outcome
    }
}
