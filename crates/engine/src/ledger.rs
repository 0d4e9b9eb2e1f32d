//! The memory budget at work: charges that give themselves back, evictions, and the line of pools that wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crate::decide::budget::{Budget, Verdict, victims};
use crate::fork_point::ForkPoint;
use crate::pool::Pool;
use crate::shared::{Shared, lock};
use crate::timer::Wakeups;

pub struct Ledger {
    book: Mutex<Book>,
    wakeups: Wakeups,
}

struct Book {
    budget: Budget<u64>,
    /// The pools in the budget's line.
    waiting: HashMap<u64, Weak<Pool>>,
}

/// One instance's memory. Given back when dropped, which must be when its sandbox is gone.
pub struct Charge {
    ledger: Arc<Ledger>,
    bytes: AtomicU64,
    dying: AtomicBool,
}

/// What came of asking for memory.
pub enum Asked {
    Charged(Charge),
    /// The pool stands in line, and this much is to be evicted for it.
    Evict(u64),
    Wait,
    /// It never fits.
    Never,
}

// === impl Ledger ===

impl Ledger {
    /// For so many bytes, and so many instances.
    pub fn new(total: u64, places: usize, wakeups: Wakeups) -> Self {
        let budget = Budget::new(total).with_places(places);
        Self { book: Mutex::new(Book { budget, waiting: HashMap::new() }), wakeups }
    }

    pub fn ask(self: &Arc<Self>, pool: &Arc<Pool>, bytes: u64, now: Instant) -> Asked {
        let mut book = lock(&self.book);
        let verdict = book.budget.ask(pool.id, bytes, now);
        match verdict {
            Verdict::Start | Verdict::Never => book.waiting.remove(&pool.id),
            Verdict::Evict(_) | Verdict::Wait => book.waiting.insert(pool.id, Arc::downgrade(pool)),
        };
        match verdict {
            Verdict::Start => {
                let (bytes, dying) = (AtomicU64::new(bytes), AtomicBool::new(false));
                Asked::Charged(Charge { ledger: self.clone(), bytes, dying })
            }
            Verdict::Evict(bytes) => Asked::Evict(bytes),
            Verdict::Wait => Asked::Wait,
            Verdict::Never => Asked::Never,
        }
    }

    /// Charges for a stem, if that leaves all but a `share`-th of the budget to instances and nobody waits for memory.
    pub fn spare(self: &Arc<Self>, bytes: u64, share: u64) -> Option<Charge> {
        let mut book = lock(&self.book);
        if !book.budget.spare(bytes, share) {
            return None;
        }
        let (bytes, dying) = (AtomicU64::new(bytes), AtomicBool::new(false));
        Some(Charge { ledger: self.clone(), bytes, dying })
    }

    /// A charge for what is there in any case, if need be beyond the budget: others are evicted for it.
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Charge {
        let over = lock(&self.book).budget.hold(bytes);
        if over > 0 {
            self.wakeups.wake();
        }
        Charge { ledger: self.clone(), bytes: AtomicU64::new(bytes), dying: AtomicBool::new(false) }
    }

    /// Charges more for a stem that is to become an instance of this pool, if that fits and nobody is before it in line.
    pub fn raise(&self, pool: u64, charge: &Charge, to: u64, now: Instant) -> bool {
        let mut book = lock(&self.book);
        let before = charge.bytes();
        let more = to.saturating_sub(before);
        let fits = more == 0 || book.budget.raise(pool, more, now);
        if fits {
            charge.bytes.store(before + more, Ordering::Relaxed);
        }
        fits
    }

    /// The pool wants nothing any more.
    pub fn leave(&self, pool: u64) {
        let mut book = lock(&self.book);
        book.budget.leave(pool);
        let others = book.waiting.remove(&pool).is_some() && !book.waiting.is_empty();
        drop(book);
        if others {
            self.wakeups.wake();
        }
    }

    /// Whether there are as many instances as there may be, whatever they use.
    pub fn is_crowded(&self) -> bool {
        lock(&self.book).budget.is_crowded()
    }

    /// Whether somebody waits for a turn, which comes with time alone.
    pub fn has_line(&self) -> bool {
        lock(&self.book).waiting.len() > 1
    }

    pub fn reading(&self) -> (u64, u64) {
        lock(&self.book).budget.reading()
    }

    fn line(&self) -> Vec<Arc<Pool>> {
        let book = lock(&self.book);
        book.budget.line().iter().filter_map(|id| book.waiting.get(id)?.upgrade()).collect()
    }

    fn over(&self) -> u64 {
        lock(&self.book).budget.over()
    }
}

/// Evicts what is over the budget, and lets those in line try again.
pub fn serve(shared: &Arc<Shared>) {
    let over = shared.ledger.over();
    if over > 0 {
        evict(shared, over);
    }
    for pool in shared.ledger.line() {
        pool.scale(shared);
    }
}

/// Kills the idle instances of any function that are least worth their memory, `need` bytes of them.
pub fn evict(shared: &Shared, need: u64) {
    // Nobody called them yet.
    let need = need.saturating_sub(shared.stems.evict(need));
    if need == 0 {
        return;
    }
    let pools = || shared.catalogue.entries().into_iter().flat_map(|entry| entry.pools());
    let mut chosen = victims(need, pools(), |pool, place| pool.evictable(place));
    if chosen.is_empty() {
        // Last, since what is made anew runs a function's init again.
        let mut left = need;
        for pool in pools() {
            if left == 0 {
                return;
            }
            left = left.saturating_sub(pool.fork_point.as_ref().map_or(0, ForkPoint::evict));
        }
        chosen = victims(left, pools(), |pool, place| pool.evictable(place));
    }
    for pool in chosen {
        pool.evict();
    }
}

// === impl Charge ===

impl Charge {
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The instance was seen to use this much.
    pub fn at_least(&self, bytes: u64) {
        if bytes <= self.bytes() {
            return;
        }
        let mut book = lock(&self.ledger.book);
        let before = self.bytes();
        if bytes <= before || self.dying.load(Ordering::Relaxed) {
            return;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        if book.budget.grow(bytes - before) > 0 {
            self.ledger.wakeups.wake();
        }
    }

    /// The instance is believed to need no more than this, beside what it was seen to use.
    pub fn at_most(&self, bytes: u64) {
        if self.bytes() <= bytes {
            return;
        }
        let mut book = lock(&self.ledger.book);
        let before = self.bytes();
        if before <= bytes || self.dying.load(Ordering::Relaxed) {
            return;
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        book.budget.shrink(before - bytes);
        let waiting = !book.waiting.is_empty();
        drop(book);
        if waiting {
            self.ledger.wakeups.wake();
        }
    }

    /// The instance was killed.
    pub fn dies(&self) {
        let mut book = lock(&self.ledger.book);
        if !self.dying.swap(true, Ordering::Relaxed) {
            book.budget.dies(self.bytes());
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut book = lock(&self.ledger.book);
        book.budget.release(*self.bytes.get_mut(), *self.dying.get_mut());
        let waiting = !book.waiting.is_empty();
        drop(book);
        if waiting {
            self.ledger.wakeups.wake();
        }
    }
}
