//! One task for all that is due later or elsewhere: reaping idle instances, trying again to keep instances
//! warm, handing memory that came free to who waits for it.
//!
//! A pool has at most one entry. On a warm call nothing is written here: the entry that is there comes due too
//! early, finds nothing to do, and is set to the right time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::ledger;
use crate::pool::Pool;
use crate::shared::{Shared, lock};

/// How often the line for memory is looked at while more than one stands in it.
const TURN: Duration = Duration::from_millis(500);

/// Wakes the task.
#[derive(Clone)]
pub struct Wakeups(Arc<Notify>);

pub struct Timers {
    due: Mutex<BTreeMap<(Instant, u64), Weak<Pool>>>,
    wakeups: Wakeups,
}

// === impl Wakeups ===

impl Wakeups {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

// === impl Timers ===

impl Timers {
    pub fn new() -> (Self, Wakeups) {
        let wakeups = Wakeups(Arc::new(Notify::new()));
        (Self { due: Mutex::default(), wakeups: wakeups.clone() }, wakeups)
    }

    pub fn set(&self, at: Instant, pool: &Arc<Pool>) {
        let mut due = lock(&self.due);
        let earliest = due.first_key_value().is_none_or(|((first, _), _)| at < *first);
        due.insert((at, pool.id), Arc::downgrade(pool));
        drop(due);
        if earliest {
            self.wakeups.wake();
        }
    }

    pub fn clear(&self, at: Instant, pool: u64) {
        lock(&self.due).remove(&(at, pool));
    }

    fn next(&self) -> Option<Instant> {
        lock(&self.due).first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&self, now: Instant) -> Vec<Weak<Pool>> {
        let mut due = lock(&self.due);
        // A key at exactly `now` is due too: no pool has this number.
        let later = due.split_off(&(now, u64::MAX));
        std::mem::replace(&mut *due, later).into_values().collect()
    }
}

/// Runs until the engine is gone.
pub async fn keep_house(shared: Weak<Shared>, wakeups: Wakeups) {
    loop {
        let next = {
            let Some(shared) = shared.upgrade() else { return };
            let now = tokio::time::Instant::now().into_std();
            for pool in shared.timers.take_due(now) {
                if let Some(pool) = pool.upgrade() {
                    pool.tick(&shared, now);
                }
            }
            ledger::serve(&shared);
            let turn = shared.ledger.has_line().then_some(now + TURN);
            [shared.timers.next(), turn].into_iter().flatten().min()
        };
        let woken = wakeups.0.notified();
        match next {
            Some(next) => {
                let _ = tokio::time::timeout_at(next.into(), woken).await;
            }
            None => woken.await,
        }
    }
}
