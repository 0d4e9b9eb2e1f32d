//! The memory that all functions together may use.
//!
//! Each instance is charged from before its start until its sandbox is gone. A start that does not fit evicts
//! idle instances, those first that are least worth their memory; if that does not help, its function stands in line until
//! memory is given back. Others may pass it in line, with starts that fit, for [`PATIENCE`] only: then what
//! comes free is its, for [`TURN`]; after that it goes to the end of the line, so that one who is too big for
//! what others hold does not stop everybody else.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long smaller starts may pass one that waits for memory.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How long all others are held up for the first in line.
pub const TURN: Duration = Duration::from_secs(5);

/// What to do about a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was charged: start.
    Start,
    /// Evict idle instances with this many bytes together, if there are that many; it stands in line.
    Evict(u64),
    /// Memory that will suffice is being given back, or is another's turn; it stands in line.
    Wait,
    /// It would not fit into an empty machine.
    Never,
}

/// `K` names who asks.
#[derive(Debug)]
pub struct Budget<K> {
    total: u64,
    used: u64,
    /// Of `used`: killed, and not gone yet.
    dying: u64,
    line: VecDeque<(Instant, K)>,
}

// === impl Budget ===

impl<K: Copy + Eq> Budget<K> {
    pub fn new(total: u64) -> Self {
        Self { total, used: 0, dying: 0, line: VecDeque::new() }
    }

    /// `who` wants to start an instance that is charged `bytes`.
    pub fn ask(&mut self, who: K, bytes: u64, now: Instant) -> Verdict {
        if bytes > self.total {
            self.leave(who);
            return Verdict::Never;
        }
        if let Some((since, first)) = self.line.front().copied()
            && now >= since + PATIENCE + TURN
        {
            self.line.pop_front();
            self.line.push_back((now, first));
        }
        let passes = self.passes(who, now);
        if passes && self.used.saturating_add(bytes) <= self.total {
            self.used += bytes;
            self.leave(who);
            return Verdict::Start;
        }
        if !self.line.iter().any(|(_, waiting)| *waiting == who) {
            self.line.push_back((now, who));
        }
        let missing = (self.used - self.dying).saturating_add(bytes).saturating_sub(self.total);
        if passes && missing > 0 { Verdict::Evict(missing) } else { Verdict::Wait }
    }

    /// Whether `who` may have memory before those in line.
    fn passes(&self, who: K, now: Instant) -> bool {
        match self.line.front() {
            Some((since, first)) => *first == who || now < *since + PATIENCE,
            None => true,
        }
    }

    /// `who` takes over what is charged already, and needs `more`; true if it was charged.
    pub fn raise(&mut self, who: K, more: u64, now: Instant) -> bool {
        let fits = self.passes(who, now) && self.used.saturating_add(more) <= self.total;
        if fits {
            self.used += more;
        }
        fits
    }

    /// Charges `bytes` for something that nobody waits for: only if nobody stands in line, and a `share`-th of the
    /// budget stays free beside it.
    pub fn spare(&mut self, bytes: u64, share: u64) -> bool {
        let free = self.total.saturating_sub(self.used);
        let fits = self.line.is_empty() && free >= bytes.saturating_add(self.total / share.max(1));
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// `who` wants nothing any more.
    pub fn leave(&mut self, who: K) {
        self.line.retain(|(_, waiting)| *waiting != who);
    }

    /// Who stands in line, first come first.
    pub fn line(&self) -> Vec<K> {
        self.line.iter().map(|(_, who)| *who).collect()
    }

    /// An instance proved to be bigger than it was charged for. Returns what must be evicted to be within the
    /// budget again.
    pub fn grow(&mut self, by: u64) -> u64 {
        self.used += by;
        self.over()
    }

    /// What must be evicted to be within the budget.
    pub fn over(&self) -> u64 {
        (self.used - self.dying).saturating_sub(self.total)
    }

    /// An instance was killed: its memory will come free.
    pub fn dies(&mut self, bytes: u64) {
        self.dying += bytes;
    }

    /// An instance is gone.
    pub fn release(&mut self, bytes: u64, was_dying: bool) {
        self.used -= bytes;
        if was_dying {
            self.dying -= bytes;
        }
    }
}

/// An idle instance that may be evicted.
#[derive(Debug, Clone)]
pub struct Candidate<V> {
    /// How likely it is called soon.
    pub chance: f64,
    pub since: Instant,
    pub bytes: u64,
    pub who: V,
}

/// Chooses whom to evict to give back `need` bytes: first whose loss costs least for what it gives back, which is the
/// chance of a cold start for each byte; of equals the one longest idle. None if all of them together would not do:
/// then evicting some would be in vain.
pub fn victims<V>(need: u64, mut idle: Vec<Candidate<V>>) -> Vec<V> {
    let together: u64 = idle.iter().map(|one| one.bytes).sum();
    if together < need {
        return Vec::new();
    }
    let worth = |one: &Candidate<V>| one.chance / one.bytes.max(1) as f64;
    idle.sort_by(|a, b| worth(a).total_cmp(&worth(b)).then(a.since.cmp(&b.since)));
    let mut freed = 0;
    let mut chosen = Vec::new();
    for Candidate { bytes, who, .. } in idle {
        if freed >= need {
            break;
        }
        freed += bytes;
        chosen.push(who);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Ask(u8, u64),
        Leave(u8),
        /// Of the instances there are.
        Kill(prop::sample::Index),
        Gone(prop::sample::Index),
        Pass(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u8..6, 1u64..40).prop_map(|(who, bytes)| Op::Ask(who, bytes)),
            1 => (0u8..6).prop_map(Op::Leave),
            2 => any::<prop::sample::Index>().prop_map(Op::Kill),
            3 => any::<prop::sample::Index>().prop_map(Op::Gone),
            1 => (0u64..9000).prop_map(Op::Pass),
        ]
    }

    proptest! {
        #[test]
        fn never_over_the_budget_and_never_evicting_for_what_comes_free_anyway(ops in prop::collection::vec(op(), 0..200)) {
            const TOTAL: u64 = 100;
            let mut budget = Budget::new(TOTAL);
            let mut now = Instant::now();
            // What an instance is charged, and whether it was killed.
            let mut instances: Vec<(u64, bool)> = Vec::new();
            for op in ops {
                match op {
                    Op::Ask(who, bytes) => {
                        let used: u64 = instances.iter().map(|(bytes, _)| bytes).sum();
                        let dying: u64 = instances.iter().filter(|(_, dies)| *dies).map(|(bytes, _)| bytes).sum();
                        match budget.ask(who, bytes, now) {
                            Verdict::Start => {
                                prop_assert!(used + bytes <= TOTAL);
                                prop_assert!(!budget.line().contains(&who));
                                instances.push((bytes, false));
                            }
                            Verdict::Evict(need) => {
                                prop_assert_eq!(need, used - dying + bytes - TOTAL);
                                prop_assert!(budget.line().contains(&who));
                            }
                            Verdict::Wait => {
                                let first = budget.line()[0];
                                prop_assert!(used - dying + bytes <= TOTAL || first != who);
                                prop_assert!(budget.line().contains(&who));
                            }
                            Verdict::Never => prop_assert!(bytes > TOTAL),
                        }
                    }
                    Op::Leave(who) => {
                        budget.leave(who);
                        prop_assert!(!budget.line().contains(&who));
                    }
                    Op::Kill(index) if !instances.is_empty() => {
                        let place = index.index(instances.len());
                        let (bytes, dies) = &mut instances[place];
                        if !std::mem::replace(dies, true) {
                            budget.dies(*bytes);
                        }
                    }
                    Op::Gone(index) if !instances.is_empty() => {
                        let (bytes, dies) = instances.remove(index.index(instances.len()));
                        budget.release(bytes, dies);
                    }
                    Op::Kill(_) | Op::Gone(_) => {}
                    Op::Pass(millis) => now += Duration::from_millis(millis),
                }
                let line = budget.line();
                prop_assert!(line.iter().all(|who| line.iter().filter(|other| *other == who).count() == 1));
                prop_assert_eq!(budget.used, instances.iter().map(|(bytes, _)| bytes).sum::<u64>());
                prop_assert_eq!(budget.over(), 0);
            }
        }

        #[test]
        fn victims_are_those_that_cost_least_and_no_more_than_needed(
            need in 1u64..200,
            idle in prop::collection::vec((0u64..1000, 1u64..50, 0u8..4), 0..20),
        ) {
            let zero = Instant::now();
            let chance = |place: usize| f64::from(idle[place].2) / 4.0;
            let of = |(who, (since, bytes, _)): (usize, &(u64, u64, u8))| {
                Candidate { chance: chance(who), since: zero + Duration::from_millis(*since), bytes: *bytes, who }
            };
            let chosen = victims(need, idle.iter().enumerate().map(of).collect());
            let freed: u64 = chosen.iter().map(|place| idle[*place].1).sum();
            if idle.iter().map(|(_, bytes, _)| bytes).sum::<u64>() < need {
                prop_assert!(chosen.is_empty());
            } else {
                prop_assert!(freed >= need);
                let last = chosen[chosen.len() - 1];
                prop_assert!(freed - idle[last].1 < need);
                let cost = |place: usize| (chance(place) / idle[place].1 as f64, idle[place].0);
                let mut kept = (0..idle.len()).filter(|place| !chosen.contains(place));
                prop_assert!(kept.all(|place| cost(place) >= cost(last)));
            }
        }

        /// Small ones come and go all the time, all of them within a turn, and a big one asks whenever something
        /// comes free.
        #[test]
        fn a_big_one_gets_its_turn_among_small_ones(big in 30u64..=100, small in 1u64..30) {
            let mut budget = Budget::new(100);
            let mut now = Instant::now();
            let mut running = std::collections::VecDeque::new();
            while budget.ask(1, small, now) == Verdict::Start {
                running.push_back(small);
            }
            let mut waited = 0;
            while budget.ask(9, big, now) != Verdict::Start {
                now += Duration::from_millis(40);
                waited += 1;
                prop_assert!(waited < 200, "starved");
                if let Some(bytes) = running.pop_front() {
                    budget.release(bytes, false);
                }
                while budget.ask(1, small, now) == Verdict::Start {
                    running.push_back(small);
                }
            }
        }
    }

    #[test]
    fn one_who_is_too_big_for_now_does_not_hold_up_all_others_for_ever() {
        let mut budget = Budget::new(100);
        let start = Instant::now();
        assert_eq!(budget.ask(1, 60, start), Verdict::Start);
        assert_eq!(budget.ask(2, 80, start), Verdict::Evict(40));
        assert_eq!(budget.ask(3, 20, start), Verdict::Start, "in its first second it may be passed");
        assert_eq!(budget.ask(3, 20, start + PATIENCE), Verdict::Wait);
        assert_eq!(budget.ask(3, 20, start + PATIENCE + TURN), Verdict::Start);
        assert_eq!(budget.line(), [2]);
    }

    #[test]
    fn an_instance_that_grew_is_to_be_made_room_for() {
        let mut budget = Budget::new(100);
        assert_eq!(budget.ask(1, 60, Instant::now()), Verdict::Start);
        assert_eq!(budget.grow(70), 30);
        budget.dies(130);
        assert_eq!(budget.over(), 0);
        budget.release(130, true);
        assert_eq!(budget.ask(1, 100, Instant::now()), Verdict::Start);
    }
}
