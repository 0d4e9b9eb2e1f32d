//! What a pool has to do with others that have one maximum with it.

use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use super::{Pool, State, now};
use crate::shared::{Shared, lock};

impl Pool {
    /// Others have as many instances as all may have together. Says whether to look again at once.
    pub(super) fn held_back(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        mut state: MutexGuard<'_, State>,
        awaited: bool,
        now: Instant,
    ) -> bool {
        if !awaited && state.roster.is_ahead() {
            state.roster.forgo();
            return true;
        }
        shared.ledger.leave(self.id);
        if awaited {
            drop(state);
            // Tried again when it has come free, if there was one.
            self.bound.make_room(self.id);
        } else {
            state.roster.postpone(now);
            self.schedule(&mut state);
        }
        false
    }

    /// Gives an idle instance up for another pool with the same maximum.
    pub fn give_up_idle(self: &Arc<Self>) -> bool {
        let mut state = lock(&self.state);
        let given = state.roster.give(now());
        self.count_in(&state, self.shared.upgrade().as_ref());
        self.schedule(&mut state);
        drop(state);
        let Some(instance) = given else { return false };
        instance.kill(self);
        true
    }

    /// Whether both have one maximum together.
    pub fn counts_with(&self, other: &Pool) -> bool {
        Arc::ptr_eq(&self.bound, &other.bound)
    }

    /// Says to those with the same maximum how many instances it has.
    pub fn tell_bound(&self) {
        self.count_in(&lock(&self.state), self.shared.upgrade().as_ref());
    }

    pub(super) fn count_in(&self, state: &State, shared: Option<&Arc<Shared>>) {
        if !state.roster.is_closed() {
            self.bound.set(shared, self.id, state.roster.total());
        }
    }
}
