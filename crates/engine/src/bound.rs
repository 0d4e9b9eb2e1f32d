//! The maximum of a version over all its pools: its own, and those of aliases with variables of their own. What is decided
//! is decided by [`decide::bound`](crate::decide::bound).
//!
//! A version without such aliases has one pool that counts for itself, and pays one look at a flag.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crate::decide::bound;
use crate::pool::Pool;
use crate::shared::{Shared, lock};

pub struct Bound {
    /// Whether there is more than one pool, or ever was.
    shared: AtomicBool,
    state: Mutex<State>,
}

struct State {
    bound: bound::Bound,
    pools: BTreeMap<u64, Weak<Pool>>,
}

// === impl Bound ===

impl Bound {
    pub fn new(max: u32) -> Arc<Self> {
        let state = State { bound: bound::Bound::new(max), pools: BTreeMap::new() };
        Arc::new(Self { shared: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// Another pool is to count with the first one.
    pub fn share(&self, first: &Arc<Pool>, other: &Arc<Pool>) {
        {
            let mut state = lock(&self.state);
            for pool in [first, other] {
                state.pools.insert(pool.id, Arc::downgrade(pool));
            }
        }
        self.shared.store(true, Ordering::SeqCst);
        // A start that did not see the flag yet holds the pool's lock, and is counted here.
        first.tell_bound();
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::SeqCst)
    }

    /// Whether that pool, which has `count` instances, may make another, which then counts.
    pub fn ask(&self, pool: u64, count: u32, awaited: bool, now: Instant) -> bool {
        !self.is_shared() || lock(&self.state).bound.ask(pool, count, awaited, now)
    }

    /// That pool has so many instances. Called with its lock held.
    pub fn set(&self, shared: Option<&Arc<Shared>>, pool: u64, count: u32) {
        self.change(shared, |bound| bound.set(pool, count));
    }

    /// Nobody waits for that pool.
    pub fn leave_line(&self, shared: &Arc<Shared>, pool: u64) {
        self.change(Some(shared), |bound| bound.leave_line(pool));
    }

    /// That pool is closed: its busy instances are of the past.
    pub fn leave(&self, shared: Option<&Arc<Shared>>, pool: u64) {
        self.change(shared, |bound| bound.leave(pool));
        if self.is_shared() {
            lock(&self.state).pools.remove(&pool);
        }
    }

    /// An idle instance of that pool may go for others in line.
    pub fn offer(&self, shared: Option<&Arc<Shared>>, pool: u64) {
        self.change(shared, |bound| bound.line().any(|id| id != pool));
    }

    /// Whether that pool is to give up an instance that comes free, because another one waits for long.
    pub fn is_due(&self, pool: u64, now: Instant) -> bool {
        self.is_shared() && lock(&self.state).bound.is_due(pool, now)
    }

    /// Whether it is others with the same maximum that keep that pool's callers waiting.
    pub fn holds(&self, pool: u64) -> bool {
        self.is_shared() && lock(&self.state).bound.line().any(|id| id == pool)
    }

    /// Has another pool give up an idle instance. Called without any pool's lock.
    pub fn make_room(&self, pool: u64) -> bool {
        let others: Vec<_> = {
            let state = lock(&self.state);
            state.pools.iter().filter(|(id, _)| **id != pool).filter_map(|(_, pool)| pool.upgrade()).collect()
        };
        others.iter().any(Pool::give_up_idle)
    }

    /// Changes what is counted, and has those in line try again if that says so.
    fn change(&self, shared: Option<&Arc<Shared>>, change: impl FnOnce(&mut bound::Bound) -> bool) {
        if !self.is_shared() {
            return;
        }
        let mut state = lock(&self.state);
        if !change(&mut state.bound) {
            return;
        }
        let waiting: Vec<_> = state.bound.line().filter_map(|id| state.pools.get(&id)?.upgrade()).collect();
        drop(state);
        let Some(shared) = shared else { return };
        // In a task: the caller holds a pool's lock.
        let engine = Arc::downgrade(shared);
        shared.spawn(async move {
            let Some(shared) = engine.upgrade() else { return };
            for pool in waiting {
                pool.scale(&shared);
            }
        });
    }
}
