//! One maximum over several rosters: those of a version, and of the aliases that lead to it with variables of their own.
//!
//! Each says how many instances it has, and asks before it makes one more. Who has callers waiting and gets none stands in
//! line; as many as come free go to the first in it, whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// So long others go on with what they have while one stands in line, before they give it up: each change of hands is a
/// start.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Bound {
    max: u32,
    counts: BTreeMap<u64, u32>,
    line: VecDeque<(u64, Instant)>,
}

// === impl Bound ===

impl Bound {
    pub fn new(max: u32) -> Self {
        Self { max, counts: BTreeMap::new(), line: VecDeque::new() }
    }

    /// That one has so many. True: somebody in line may try again.
    pub fn set(&mut self, id: u64, count: u32) -> bool {
        let before = self.counts.insert(id, count).unwrap_or(0);
        count < before && !self.line.is_empty()
    }

    /// Whether one that has `count` may make another, which then counts. One that callers wait for stands in line if not.
    pub fn ask(&mut self, id: u64, count: u32, awaited: bool, now: Instant) -> bool {
        let others: u32 = self.counts.iter().filter(|(other, _)| **other != id).map(|(_, count)| count).sum();
        let free = self.max.saturating_sub(others.saturating_add(count)) as usize;
        let place = self.line.iter().position(|(other, _)| *other == id);
        if free > place.unwrap_or(self.line.len()) {
            self.line.retain(|(other, _)| *other != id);
            self.counts.insert(id, count + 1);
            return true;
        }
        if awaited && place.is_none() {
            self.line.push_back((id, now));
        }
        false
    }

    /// It has no callers waiting any more. True: somebody else in line may try again.
    pub fn leave_line(&mut self, id: u64) -> bool {
        let before = self.line.len();
        self.line.retain(|(other, _)| *other != id);
        self.line.len() < before && !self.line.is_empty()
    }

    /// It is gone.
    pub fn leave(&mut self, id: u64) -> bool {
        let had = self.counts.remove(&id).unwrap_or(0) > 0;
        self.leave_line(id) || had && !self.line.is_empty()
    }

    /// Those in line, the first in front.
    pub fn line(&self) -> impl Iterator<Item = u64> {
        self.line.iter().map(|(id, _)| *id)
    }

    /// Whether another one has stood in line for so long that this one is to give up what comes free.
    pub fn is_due(&self, id: u64, now: Instant) -> bool {
        self.line.front().is_some_and(|(first, since)| *first != id && now >= *since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_stands_in_line_comes_before_who_asks_again() {
        let (mut bound, now) = (Bound::new(1), Instant::now());
        assert!(bound.ask(1, 0, true, now));
        assert!(!bound.ask(2, 0, true, now));
        assert!(!bound.is_due(1, now) && bound.is_due(1, now + PATIENCE) && !bound.is_due(2, now + PATIENCE));
        assert!(bound.set(1, 0));
        assert!(!bound.ask(1, 0, true, now), "the other one was first");
        assert!(bound.ask(2, 0, true, now));
        assert_eq!(bound.line().collect::<Vec<_>>(), [1]);
        assert!(!bound.leave_line(1));
        assert!(!bound.leave(2), "nobody waits");
        assert!(bound.ask(1, 0, false, now));
    }

    #[test]
    fn what_nobody_waits_for_takes_no_place_in_line() {
        let (mut bound, now) = (Bound::new(1), Instant::now());
        assert!(bound.ask(1, 0, false, now));
        assert!(!bound.ask(2, 0, false, now));
        assert_eq!(bound.line().count(), 0);
    }

    proptest! {
        #[test]
        fn together_they_never_have_more(max in 0u32..6, steps in prop::collection::vec((0u64..4, any::<bool>()), 0..200)) {
            let (mut bound, now, mut has) = (Bound::new(max), Instant::now(), [0u32; 4]);
            for (id, more) in steps {
                let mine = &mut has[id as usize];
                if more {
                    *mine += u32::from(bound.ask(id, *mine, true, now));
                } else if *mine > 0 {
                    *mine -= 1;
                    bound.set(id, *mine);
                }
                prop_assert!(has.iter().sum::<u32>() <= max);
            }
            // All that stand in line get one in the end, in its order.
            if max > 0 {
                for id in 0..4 {
                    bound.set(id, 0);
                }
                let mut first = bound.line().next();
                while let Some(id) = first {
                    prop_assert!(bound.ask(id, 0, true, now));
                    bound.set(id, 0);
                    first = bound.line().next();
                }
            }
        }
    }
}
