//! What a pool knows of its function's calls, and where it has it from.

use super::Pool;
use crate::decide::habit::{Decision, Habit};
use crate::shared::lock;

impl Pool {
    /// Goes on with what the pool of the revision before learnt of the function.
    pub fn inherit(&self, other: &Pool) {
        // One lock at a time: the other's are not held while this one's is taken.
        let habit = lock(&other.state).roster.habit().cloned();
        if let Some(habit) = habit {
            lock(&self.state).roster.inherit(&habit);
        }
    }

    /// Takes over what records say of calls before this server began, unless there is newer knowledge.
    pub fn recall(&self, past: &Habit) {
        let mut state = lock(&self.state);
        if state.roster.habit().is_some_and(|habit| !habit.knows()) {
            state.roster.inherit(past);
        }
    }

    /// What is done with its instances when they have no work; none if the function says that itself.
    pub fn decision(&self) -> Option<Decision> {
        lock(&self.state).roster.habit().map(Habit::decision)
    }
}
