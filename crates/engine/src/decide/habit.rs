//! When instances of a function will be wanted that nobody wants now.
//!
//! What is looked at is not the instances there are, but those there would be if none were ever let go: one for each
//! of the most calls that there were at once. They are a stack. A call takes the one that was used last, so the first
//! one down the stack is idle between any two calls, and the tenth one between any two crowds of ten. How long, is
//! learnt in a histogram for each height ([`Times`]), heights above the first by powers of two; and each of them has
//! its own spans of idle time in which there shall be an instance. So it is known of an instance that was let go, too,
//! when to make it again.
//!
//! Bounded: as many idle times as there were calls at once within the range, and eight histograms.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::times::{Span, Times, range, unknown};

/// Heights 0, 1, 2 to 3, 4 to 7, … and 64 and more.
const CLASSES: usize = 8;

/// What is asked about when somebody has to go: whether it will be called within this.
const SOON: Duration = Duration::from_secs(600);

#[derive(Debug, Clone)]
pub struct Habit {
    /// By class; empty until somebody calls, for most functions of many are never called.
    times: Vec<Option<Times>>,
    /// Since when those of the stack that no call holds are idle, the longest first.
    idle: VecDeque<Instant>,
    /// Calls that run or wait.
    calls: usize,
    /// What an instance takes.
    mebibytes: f64,
}

/// How many idle instances there shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub idle: u32,
    /// When that changes, if nobody calls.
    pub until: Option<Instant>,
}

/// For a person: what is done with an instance that has no work.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The spans of idle time in which there is one.
    pub kept: Vec<Span>,
    /// How many idle times that rests on.
    pub seen: u64,
}

fn class(height: usize) -> usize {
    ((usize::BITS - height.leading_zeros()) as usize).min(CLASSES - 1)
}

// === impl Habit ===

impl Habit {
    pub fn new(bytes: u64) -> Self {
        let mut new = Self { times: Vec::new(), idle: VecDeque::new(), calls: 0, mebibytes: 0.0 };
        new.weigh(bytes);
        new
    }

    /// What an instance is seen to take.
    pub fn weigh(&mut self, bytes: u64) {
        self.mebibytes = bytes as f64 / (1024.0 * 1024.0);
    }

    /// Takes over what another one learnt. Its instances are not this one's: nothing is wished for because of them.
    pub fn inherit(&mut self, other: &Habit) {
        self.times.clone_from(&other.times);
        let mebibytes = self.mebibytes;
        self.times.iter_mut().flatten().for_each(|times| times.replan(mebibytes));
    }

    /// So many calls run or wait now.
    pub fn calls(&mut self, calls: usize, now: Instant) {
        while self.calls < calls {
            if let Some(since) = self.idle.pop_back() {
                self.learn(self.calls, now.saturating_duration_since(since));
            }
            self.calls += 1;
        }
        for _ in calls..self.calls {
            self.idle.push_back(now);
        }
        self.calls = calls;
    }

    /// A call came after so long, to one at this height.
    pub fn learn(&mut self, height: usize, idle: Duration) {
        let mebibytes = self.mebibytes;
        self.times(height).learn(idle, mebibytes);
    }

    fn known(&self, height: usize) -> Option<&Times> {
        self.times.get(class(height))?.as_ref()
    }

    fn times(&mut self, height: usize) -> &mut Times {
        let (mebibytes, class) = (self.mebibytes, class(height));
        if self.times.len() <= class {
            self.times.resize_with(class + 1, || None);
        }
        self.times[class].get_or_insert_with(|| Times::new(mebibytes))
    }

    /// How long one is kept at least that has just become idle, if it was called and not made ahead of a call.
    pub fn first(&mut self) -> Duration {
        let place = self.calls;
        Duration::from_secs_f64(self.times(place).plan().first().map_or(0.0, |span| span.to))
    }

    /// How many instances shall be idle, and until when.
    pub fn wish(&mut self, now: Instant) -> Wish {
        let range = range();
        while self.idle.front().is_some_and(|since| now.saturating_duration_since(*since) > range) {
            self.idle.pop_front();
            self.learn(self.calls + self.idle.len(), Duration::MAX);
        }
        let mebibytes = self.mebibytes;
        self.times.iter_mut().flatten().for_each(|times| times.refresh(mebibytes));
        let mut wish = Wish { idle: 0, until: None };
        for place in 0..self.idle.len() {
            let since = self.idle[self.idle.len() - 1 - place];
            let (kept, next) = self.times(self.calls + place).at(now.saturating_duration_since(since));
            wish.idle += u32::from(kept);
            let next = next.and_then(|next| since.checked_add(next));
            wish.until = [wish.until, next].into_iter().flatten().min();
        }
        wish
    }

    fn down(&self, place: usize) -> Option<Instant> {
        self.idle.get(self.idle.len().checked_sub(place + 1)?).copied()
    }

    /// How likely the one that is so far down the stack of idle ones is called soon; `since` says how long it is idle,
    /// if it is not known here.
    pub fn chance(&self, place: usize, since: Instant, now: Instant) -> f64 {
        let since = self.down(place).unwrap_or(since);
        let idle = now.saturating_duration_since(since);
        match self.known(self.calls + place) {
            Some(times) => times.chance(idle, SOON),
            None => unknown(idle, SOON),
        }
    }

    /// Whether something was learnt.
    pub fn knows(&self) -> bool {
        self.times.iter().flatten().any(|times| times.seen() > 0)
    }

    pub fn decision(&self) -> Decision {
        let unseen;
        let times = match self.known(0) {
            Some(times) => times,
            None => {
                unseen = Times::new(self.mebibytes);
                &unseen
            }
        };
        Decision { kept: times.plan().to_vec(), seen: times.seen() }
    }
}

/// How likely an instance is called soon of which only the idle time is known.
pub fn chance_of_any(idle: Duration) -> f64 {
    unknown(idle, SOON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_there_were_calls_at_once_and_nothing_for_ever(
            steps in prop::collection::vec((0usize..20, -50_000i64..2_000_000), 0..200),
            bytes in 0u64..1 << 40,
        ) {
            let mut now = Instant::now() + Duration::from_secs(1 << 20);
            let mut habit = Habit::new(bytes);
            let mut most = 0;
            for (calls, millis) in steps {
                // The clock may go back.
                let step = Duration::from_millis(millis.unsigned_abs());
                now = if millis < 0 { now - step } else { now + step };
                habit.calls(calls, now);
                most = most.max(calls);
                let wish = habit.wish(now);
                prop_assert!(wish.idle as usize <= habit.idle.len());
                prop_assert!(habit.idle.len() + calls <= most, "one for each call at once");
                prop_assert!(habit.idle.is_empty() || wish.until.is_some_and(|until| until > now) || wish.idle == 0);
                for place in 0..3 {
                    prop_assert!((0.0..=1.0).contains(&habit.chance(place, now, now)));
                }
            }
            habit.calls(0, now);
            let mut times = 0;
            while let Some(until) = habit.wish(now).until {
                prop_assert!(until > now);
                now = until;
                times += 1;
                prop_assert!(times < 100_000);
            }
            prop_assert_eq!(habit.wish(now + Duration::from_secs(86_400)), Wish { idle: 0, until: None });
        }
    }

    #[test]
    fn a_crowd_that_comes_every_hour_finds_its_instances() {
        let mut now = Instant::now();
        let mut habit = Habit::new(200 << 20);
        for _ in 0..12 {
            habit.calls(10, now);
            now += Duration::from_secs(2);
            habit.calls(0, now);
            now += Duration::from_secs(3598);
        }
        let ended = now - Duration::from_secs(3598);
        assert_eq!(habit.wish(ended + Duration::from_secs(1800)).idle, 0);
        assert_eq!(habit.wish(ended + Duration::from_secs(3590)).idle, 10);
        assert!(habit.chance(9, ended, now) > habit.chance(9, ended, ended + Duration::from_secs(1800)));
    }

    #[test]
    fn a_revision_knows_what_the_one_before_learnt() {
        let mut old = Habit::new(1 << 20);
        (0..20).for_each(|_| old.learn(0, Duration::from_secs(60)));
        let mut new = Habit::new(1 << 20);
        new.inherit(&old);
        assert_eq!(new.decision(), old.decision());
        assert_eq!(new.wish(Instant::now()), Wish { idle: 0, until: None });
    }
}
