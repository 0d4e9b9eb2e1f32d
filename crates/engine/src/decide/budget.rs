//! The memory that all functions together may use, and how many instances there may be.
//!
//! Each instance is charged from before its start until its sandbox is gone. A start that does not fit evicts
//! idle instances, those first that are least worth their memory; if that does not help, its function stands in line until
//! memory is given back. Others may pass it in line, with starts that fit, for [`PATIENCE`] only: then what
//! comes free is its, for [`TURN`]; after that it goes to the end of the line, so that one who is too big for
//! what others hold does not stop everybody else.
//!
//! Each instance has a place, too, of which there are as many as the server has descriptors for: where there is none,
//! it is as if a byte were missing.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
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
    places: usize,
    taken: usize,
    /// Of `taken`: killed, and not gone yet.
    leaving: usize,
    line: VecDeque<(Instant, K)>,
}

// === impl Budget ===

impl<K: Copy + Eq> Budget<K> {
    pub fn new(total: u64) -> Self {
        Self { total, used: 0, dying: 0, places: usize::MAX, taken: 0, leaving: 0, line: VecDeque::new() }
    }

    /// With no more instances than this, whatever they use.
    pub fn with_places(self, places: usize) -> Self {
        Self { places: places.max(1), ..self }
    }

    /// Whether it is places that are short.
    pub fn is_crowded(&self) -> bool {
        self.taken >= self.places
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
        if passes && !self.is_crowded() && self.used.saturating_add(bytes) <= self.total {
            self.used += bytes;
            self.taken += 1;
            self.leave(who);
            return Verdict::Start;
        }
        if !self.line.iter().any(|(_, waiting)| *waiting == who) {
            self.line.push_back((now, who));
        }
        let missing = (self.used - self.dying).saturating_add(bytes).saturating_sub(self.total);
        let missing = missing.max(u64::from(self.taken - self.leaving >= self.places));
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
        let places = self.places.saturating_sub(self.taken);
        let fits = self.line.is_empty()
            && free >= bytes.saturating_add(self.total / share.max(1))
            && places > self.places / usize::try_from(share.max(1)).unwrap_or(1);
        if fits {
            self.used += bytes;
            self.taken += 1;
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

    /// Takes a place and this much for what is there in any case; returns by how much that is over the budget.
    pub fn hold(&mut self, bytes: u64) -> u64 {
        self.taken += 1;
        self.grow(bytes)
    }

    /// An instance proved to be bigger than it was charged for. Returns what must be evicted to be within the
    /// budget again.
    pub fn grow(&mut self, by: u64) -> u64 {
        self.used += by;
        self.over()
    }

    /// An instance proved to be smaller than it was charged for.
    pub fn shrink(&mut self, by: u64) {
        self.used -= by;
    }

    /// All there is, and what is charged of it.
    pub fn reading(&self) -> (u64, u64) {
        (self.total, self.used)
    }

    /// What must be evicted to be within the budget.
    pub fn over(&self) -> u64 {
        (self.used - self.dying).saturating_sub(self.total)
    }

    /// An instance was killed: its memory will come free.
    pub fn dies(&mut self, bytes: u64) {
        self.dying += bytes;
        self.leaving += 1;
    }

    /// An instance is gone.
    pub fn release(&mut self, bytes: u64, was_dying: bool) {
        self.used -= bytes;
        self.taken -= 1;
        if was_dying {
            self.dying -= bytes;
            self.leaving -= 1;
        }
    }
}

/// An idle instance that may be evicted.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// How likely it is called soon.
    pub chance: f64,
    pub since: Instant,
    pub bytes: u64,
}

/// The next candidate of one of those who have some.
struct Next<V> {
    candidate: Candidate,
    place: usize,
    who: V,
}

/// Chooses whose instances to evict to give back `need` bytes: first whose loss costs least for what it gives back, which
/// is the chance of a cold start for each byte; of equals the one longest idle. None if all of them together would not do:
/// then evicting some would be in vain.
///
/// `candidate(who, n)` is the one that goes n-th, from 0 on, of those that `who` has; the later ones are not worth less.
/// Few are looked at of many: there may be thousands, and it takes one to go for one to come.
pub fn victims<V>(
    need: u64,
    all: impl IntoIterator<Item = V>,
    mut candidate: impl FnMut(&V, usize) -> Option<Candidate>,
) -> Vec<V>
where
    V: Clone,
{
    let mut heap: BinaryHeap<Next<V>> =
        all.into_iter().filter_map(|who| Some(Next { candidate: candidate(&who, 0)?, place: 0, who })).collect();
    let mut freed = 0;
    let mut chosen = Vec::new();
    while freed < need {
        let Some(Next { candidate: Candidate { bytes, .. }, place, who }) = heap.pop() else { return Vec::new() };
        freed += bytes;
        let next = candidate(&who, place + 1);
        heap.extend(next.map(|candidate| Next { candidate, place: place + 1, who: who.clone() }));
        chosen.push(who);
    }
    chosen
}

// === impl Next ===

impl<V> Ord for Next<V> {
    /// The greatest goes first.
    fn cmp(&self, other: &Self) -> Ordering {
        let worth = |one: &Candidate| one.chance / one.bytes.max(1) as f64;
        let (a, b) = (&self.candidate, &other.candidate);
        worth(b).total_cmp(&worth(a)).then(b.since.cmp(&a.since))
    }
}

impl<V> PartialOrd for Next<V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<V> PartialEq for Next<V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<V> Eq for Next<V> {}

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
            let of = |who: &usize, place: usize| {
                let (since, bytes, _) = idle[*who];
                let since = zero + Duration::from_millis(since);
                (place == 0).then_some(Candidate { chance: chance(*who), since, bytes })
            };
            let chosen = victims(need, 0..idle.len(), of);
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
    fn who_has_many_gives_them_in_their_order() {
        let now = Instant::now();
        let of = |who: &&str, place: usize| {
            let chance = 0.1 * (place + 1) as f64 + if *who == "b" { 0.15 } else { 0.0 };
            (place < 3).then_some(Candidate { chance, since: now, bytes: 10 })
        };
        assert_eq!(victims(35, ["a", "b"], of), ["a", "a", "b", "a"]);
        assert_eq!(victims(60, ["a", "b"], of).len(), 6);
        assert!(victims(61, ["a", "b"], of).is_empty());
    }

    #[test]
    fn without_a_place_one_goes_for_one_to_come() {
        let (mut budget, now) = (Budget::new(100).with_places(2), Instant::now());
        assert_eq!(budget.ask(1, 10, now), Verdict::Start);
        assert!(!budget.spare(10, 2), "one of two places stays free");
        assert_eq!(budget.ask(1, 10, now), Verdict::Start);
        assert_eq!(budget.ask(2, 10, now), Verdict::Evict(1));
        budget.dies(10);
        assert_eq!(budget.ask(2, 10, now), Verdict::Wait, "one is going already");
        budget.release(10, true);
        assert_eq!(budget.ask(2, 10, now), Verdict::Start);
        assert!(budget.is_crowded());
    }

    #[test]
    fn what_is_held_takes_a_place_and_gives_back_its_own() {
        let (mut budget, now) = (Budget::new(100).with_places(1), Instant::now());
        assert_eq!(budget.hold(150), 50);
        assert!(budget.is_crowded());
        budget.release(150, false);
        assert!(!budget.is_crowded());
        assert_eq!(budget.ask(1, 100, now), Verdict::Start);
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
