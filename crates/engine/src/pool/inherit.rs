//! Instances that a successor of this server takes over, and those of the one before.

use std::sync::Arc;

use super::{Pool, now};
use crate::heir;
use crate::instance::Instance;
use crate::shared::{Shared, lock};

impl Pool {
    /// Takes everything out that is idle, for a successor.
    pub fn take_idle(&self) -> impl Iterator<Item = Box<Instance>> + Send + use<> {
        let mut state = lock(&self.state);
        let idle: Vec<_> = std::iter::from_fn(|| state.roster.give(now())).collect();
        self.count_in(&state, self.shared.upgrade().as_ref());
        idle.into_iter()
    }

    /// A call is over, and its instance is the successor's from now on.
    pub(super) fn pass_on(self: &Arc<Self>, shared: &Arc<Shared>, instance: Box<Instance>) {
        // Held until it is done, so that this server does not end before.
        let Some(within) = shared.enter_owned() else { return instance.kill(self) };
        let (shared, pool) = (shared.clone(), self.clone());
        shared.clone().spawn(async move {
            heir::give(&shared, &pool, instance).await;
            drop(within);
        });
    }

    /// An instance of the server before, as if its call had just ended here. False: it is one too many, and killed.
    pub fn join_in(self: &Arc<Self>, shared: &Arc<Shared>, instance: Box<Instance>) -> bool {
        let mut state = lock(&self.state);
        let full = state.roster.at_max() || !self.bound.ask(self.id, state.roster.total(), false, now());
        if full || state.roster.is_closed() {
            self.count_in(&state, Some(shared));
            drop(state);
            instance.kill(self);
            return false;
        }
        state.roster.began();
        state.roster.ready(now());
        self.count_in(&state, Some(shared));
        self.place(state, instance, None);
        true
    }
}
