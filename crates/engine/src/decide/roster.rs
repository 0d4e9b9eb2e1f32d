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
//! How long idle ones are kept is a fixed time, or for the function's [`Habit`] to say, which may also wish for
//! instances ahead of calls. What is wished for is looked at by [`Roster::review`], not with each call.
//!
//! Idle instances are a stack: the latest used goes out first, so that the others age and can be reaped.
//! Waiters are a queue. `T` is an idle instance, `W` a waiter; both are only moved about in here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::habit::{Habit, chance_of_any};
use super::line::Line;
pub use super::line::Ticket;

/// First wait before a failed start of a kept-warm instance is tried again; doubles with each failure.
const REFILL_FIRST: Duration = Duration::from_secs(1);

/// Longest such wait: a function whose initialisation is broken costs one start a minute.
const REFILL_LONGEST: Duration = Duration::from_secs(60);

/// No more failures than this are remembered.
const REFILL_FAILURES: u32 = 32;

/// What a function's configuration says.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Instances at once at most.
    pub max: u32,
    /// Instances kept although nothing calls.
    pub min: u32,
    /// How long an idle instance is kept.
    pub keep: Keep,
    /// How long an instance is idle before it is frozen.
    pub freeze: Duration,
    /// Waiters at once at most.
    pub queue: usize,
    /// How long each may wait.
    pub patience: Duration,
}

/// How long an idle instance is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// This long; zero: none is used twice.
    For(Duration),
    /// As it is worth, by what is known of the function.
    Auto,
}

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
    waiters: Line<W>,
    starting: u32,
    busy: u32,
    closed: bool,
    failures: u32,
    refill_after: Option<Instant>,
    /// What is known of the function, with [`Keep::Auto`].
    habit: Option<Habit>,
    /// Idle instances that the habit wished for when it was last asked, less the calls that came since.
    wished: u32,
    /// None is made ahead of calls until one comes: the last try ended in nothing, or there is no memory.
    quiet: bool,
    /// When it is to be asked again.
    review: Option<Instant>,
    /// A call is known to come, by then.
    expected: Option<Instant>,
}

// === impl Roster ===

impl<T, W> Roster<T, W> {
    /// `bytes` is what an instance is believed to take.
    pub fn new(rules: Rules, bytes: u64) -> Self {
        Self {
            rules,
            habit: (rules.keep == Keep::Auto).then(|| Habit::new(bytes)),
            wished: 0,
            quiet: false,
            review: None,
            expected: None,
            idle: VecDeque::new(),
            frozen: 0,
            waiters: Line::new(),
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

    /// From now on so many are always kept.
    pub fn set_min(&mut self, min: u32) {
        self.rules.min = min.min(self.rules.max);
        self.failures = 0;
        self.refill_after = None;
    }

    /// Whether as many are there as are always kept, or the last try to make one came to nothing.
    pub fn is_warm(&self) -> bool {
        self.closed || self.failures > 0 || self.total() - self.starting >= self.rules.min
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

    pub fn habit(&self) -> Option<&Habit> {
        self.habit.as_ref()
    }

    pub fn habit_mut(&mut self) -> Option<&mut Habit> {
        self.habit.as_mut()
    }

    /// Goes on with what the function's revision before learnt.
    pub fn inherit(&mut self, other: &Habit) {
        if let Some(mine) = &mut self.habit {
            mine.inherit(other);
        }
    }

    /// Calls came or went.
    fn count(&mut self, now: Instant) {
        if let Some(habit) = &mut self.habit {
            // More than there may be instances would teach it of instances that can never be.
            habit.calls((self.busy as usize + self.waiters.len()).min(self.rules.max as usize), now);
        }
    }

    /// Asks the habit how many idle instances there shall be: [`Roster::expire`] and [`Roster::wanted`] go by it.
    pub fn review(&mut self, now: Instant) {
        self.expected = self.expected.filter(|until| now < *until);
        let Some(habit) = &mut self.habit else { return };
        let wish = habit.wish(now);
        let idle = wish.idle.max(u32::from(self.expected.is_some()));
        self.wished = if self.quiet { idle.min(self.idle.len() as u32) } else { idle };
        // Those that nobody wished for are looked at again when this has passed.
        self.review = [wish.until, self.expected].into_iter().flatten().min();
    }

    /// A call is known to come, by `until`: one instance shall be idle for it. Not of a function of which none is used
    /// twice.
    pub fn expect(&mut self, until: Instant) {
        if self.closed || self.rules.keep == Keep::For(Duration::ZERO) {
            return;
        }
        self.expected = Some(until);
        self.quiet = false;
        self.wished = self.wished.max(1);
        self.review = Some(self.review.map_or(until, |set| set.min(until)));
    }

    /// The instance used last, which becomes busy.
    pub fn take(&mut self, now: Instant) -> Take<T> {
        if self.closed {
            return Take::Closed;
        }
        match self.idle.pop_back() {
            Some((_, instance)) => {
                self.frozen = self.frozen.min(self.idle.len());
                self.busy += 1;
                self.wished = self.wished.saturating_sub(1);
                self.quiet = false;
                self.expected = None;
                self.count(now);
                Take::Idle(instance)
            }
            None => Take::None,
        }
    }

    /// Puts a waiter at the end of the queue.
    pub fn wait(&mut self, waiter: W, now: Instant) -> Result<Ticket, NoWait> {
        if self.closed {
            return Err(NoWait::Closed);
        }
        // While instances start it will move faster than it did.
        let hopeless = self.starting == 0 && self.waiters.is_hopeless(self.rules.patience, now);
        if hopeless || self.waiters.len() >= self.rules.queue {
            return Err(NoWait::Full);
        }
        let ticket = self.waiters.join(waiter, now);
        self.wished = self.wished.saturating_sub(1);
        self.quiet = false;
        self.expected = None;
        self.count(now);
        Ok(ticket)
    }

    /// A waiter's time is over.
    pub fn late(&mut self, ticket: Ticket, now: Instant) -> Late {
        match self.waiters.place(ticket) {
            Some(place) if place < self.starting as usize => Late::Stay,
            Some(place) => {
                self.waiters.leave(place);
                self.count(now);
                Late::Left
            }
            None => Late::Served,
        }
    }

    /// How many instances to start now, memory allowing: [`Roster::began`] for each that is.
    pub fn wanted(&self, now: Instant) -> u32 {
        if self.closed {
            return 0;
        }
        let waiting = (self.waiters.len() as u32).saturating_sub(self.starting);
        let short = self.rules.min.saturating_sub(self.total()).max(self.ahead());
        let refill = match self.refill_after {
            Some(after) if now < after => 0,
            // After a failure one at a time, until one succeeds.
            Some(_) => short.min(1).saturating_sub(self.starting),
            None => short,
        };
        waiting.max(refill).min(self.rules.max.saturating_sub(self.total()))
    }

    /// How many more instances are wished for ahead of calls.
    fn ahead(&self) -> u32 {
        let coming = self.starting.saturating_sub(self.waiters.len() as u32);
        self.wished.saturating_sub(self.idle.len() as u32 + coming)
    }

    /// Whether the next start is one that nobody waits for and that is not of those kept always.
    pub fn is_ahead(&self) -> bool {
        self.waiters.len() as u32 <= self.starting && self.total() >= self.rules.min
    }

    /// Whether the next start is one that a caller waits for.
    pub fn is_awaited(&self) -> bool {
        self.waiters.len() as u32 > self.starting
    }

    /// No more instances are made ahead of calls until the next one comes: what does not live or does not fit would be
    /// tried without end.
    pub fn forgo(&mut self) {
        self.wished = self.wished.min(self.idle.len() as u32);
        self.quiet = true;
    }

    pub fn began(&mut self) {
        self.starting += 1;
    }

    /// A start succeeded: the instance counts as busy, and is to be given to a waiter or parked.
    pub fn ready(&mut self, now: Instant) {
        self.starting -= 1;
        self.busy += 1;
        // As many have to succeed as failed: where there is room for one more now and then, all that are missing would be
        // tried after each that was lucky.
        self.failures = self.failures.saturating_sub(1);
        self.refill_after = (self.failures > 0).then_some(now);
    }

    /// A start failed: returns the one waiter who is told.
    pub fn start_failed(&mut self, now: Instant) -> Option<W> {
        self.starting -= 1;
        let pause = REFILL_FIRST.saturating_mul(1 << self.failures.min(16)).min(REFILL_LONGEST);
        self.failures = self.failures.saturating_add(1).min(REFILL_FAILURES);
        self.refill_after = Some(now + pause);
        self.forgo();
        self.next_waiter(now)
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
    pub fn next_waiter(&mut self, now: Instant) -> Option<W> {
        let waiter = self.waiters.next(now)?;
        self.count(now);
        Some(waiter)
    }

    /// A busy instance has nothing to do.
    pub fn park(&mut self, instance: T, now: Instant) {
        self.busy -= 1;
        self.idle.push_back((now, instance));
        self.count(now);
        if let Some(habit) = &mut self.habit {
            // It is wished for until then at least, or it is one too many and goes then.
            let until = now + habit.first();
            self.wished = self.wished.max(self.idle.len() as u32);
            self.review = Some(self.review.map_or(until, |set| set.min(until)));
        }
    }

    /// A busy instance is gone, or shall go.
    pub fn lost(&mut self, now: Instant) {
        self.busy -= 1;
        self.forgo();
        self.count(now);
    }

    /// Takes out idle instances that were kept long enough, down to the number kept always.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((since, _)) = self.idle.front() {
            let kept = match self.rules.keep {
                Keep::For(time) => now < *since + time,
                Keep::Auto => self.idle.len() as u32 <= self.wished,
            };
            let expected = self.idle.len() == 1 && self.expected.is_some_and(|until| now < until);
            if kept || expected || self.total() <= self.rules.min {
                break;
            }
            expired.extend(self.pop_oldest());
        }
        if self.habit.is_none() {
            // What was expected did not come in the time that it is kept for: no other is made for that.
            self.wished = self.wished.min(self.idle.len() as u32 + self.starting);
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

    /// Idle instances that may be evicted, the longest idle first: those above the number kept always. With how
    /// likely each is called soon.
    pub fn evictable(&self, now: Instant) -> impl Iterator<Item = (f64, Instant, &T)> {
        let spare = self.total().saturating_sub(self.rules.min) as usize;
        self.idle.iter().enumerate().take(spare).map(move |(place, (since, instance))| {
            let chance = match &self.habit {
                Some(habit) => habit.chance(self.idle.len() - 1 - place, *since, now),
                None => chance_of_any(now.saturating_duration_since(*since)),
            };
            (chance, *since, instance)
        })
    }

    /// Takes out the longest idle instance if it may be evicted.
    pub fn evict(&mut self) -> Option<T> {
        if self.total() <= self.rules.min {
            return None;
        }
        let evicted = self.pop_oldest()?;
        self.forgo();
        Some(evicted)
    }

    /// Takes out the longest idle instance, also of those kept always: another roster with the same maximum has callers
    /// waiting.
    pub fn give(&mut self, now: Instant) -> Option<T> {
        let given = self.pop_oldest()?;
        self.forgo();
        self.postpone(now);
        Some(given)
    }

    /// Takes out the idle instance that `is` it.
    pub fn remove(&mut self, is: impl Fn(&T) -> bool, now: Instant) -> Option<T> {
        let place = self.idle.iter().position(|(_, instance)| is(instance))?;
        if place < self.frozen {
            self.frozen -= 1;
        }
        let (_, removed) = self.idle.remove(place)?;
        // It is not made again at once, also where some are kept always: it might end by itself again.
        self.forgo();
        self.postpone(now);
        Some(removed)
    }

    /// When [`Roster::expire`], [`Roster::freezable`] or [`Roster::wanted`] will have something that they do not have now.
    pub fn due(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let expiry = match self.rules.keep {
            Keep::For(time) => {
                let expected = self.expected.filter(|_| self.idle.len() == 1);
                let front = self.idle.front().filter(|_| self.total() > self.rules.min);
                front.map(|(since, _)| expected.map_or(*since + time, |until| until.max(*since + time)))
            }
            Keep::Auto => self.review,
        };
        // One that is under way says itself when to try again.
        let refill =
            self.refill_after.filter(|_| self.starting == 0 && (self.total() < self.rules.min || self.ahead() > 0));
        let freeze = self.idle.get(self.frozen).map(|(since, _)| *since + self.rules.freeze);
        [expiry, freeze, refill].into_iter().flatten().min()
    }

    /// Nothing is taken or started any more. Returns who was idle, and who waited; busy ones come back by
    /// themselves.
    pub fn close(&mut self) -> (Vec<T>, Vec<W>) {
        self.closed = true;
        self.frozen = 0;
        let idle = self.idle.drain(..).map(|(_, instance)| instance).collect();
        (idle, self.waiters.drain().collect())
    }

    /// Instances that have nothing to do.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests;
