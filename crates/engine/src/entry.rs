//! A function in the catalogue: its pools, one for each isolation that it runs on, and the way of each call among
//! them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use model::{Fault, Function, Isolation, Probe};

use crate::decide::habit::Decision;
use crate::decide::share;
use crate::fork_point;
use crate::pool::Pool;
use crate::secrets::Versions;
use crate::shared::{Shared, lock};

pub struct Entry {
    pub function: Arc<Function>,
    /// As they were when it was made.
    pub secrets: Versions,
    /// Each with its share of the calls, percent.
    shares: Vec<(Arc<Pool>, u8)>,
    kept: Mutex<Kept>,
    calls: AtomicU64,
    /// Made for measurements, when they ask. None once the entry is closed.
    probes: Mutex<Option<HashMap<Probe, Arc<Pool>>>>,
}

/// What is kept ready of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// As many instances as the function says: calls come without a qualifier, or an alias leads here.
    pub as_said: bool,
    /// At least so many, whatever it says: provisioned concurrency.
    pub provisioned: u32,
}

// === impl Entry ===

impl Entry {
    /// `before` is the function as it was, from which is taken over what was learnt of its calls.
    pub fn new(
        shared: &Arc<Shared>,
        function: Function,
        secrets: Versions,
        before: Option<&Entry>,
        kept: Kept,
    ) -> Self {
        Self::with(shared, function, secrets, before, kept, None)
    }

    /// For an alias with variables of its own: `function` is what `base` is, with them. Both have one maximum together.
    pub fn beside(shared: &Arc<Shared>, function: Function, secrets: Versions, before: &Entry, base: &Entry) -> Self {
        Self::with(shared, function, secrets, Some(before), Kept::AS_SAID, Some(base))
    }

    fn with(
        shared: &Arc<Shared>,
        function: Function,
        secrets: Versions,
        before: Option<&Entry>,
        kept: Kept,
        base: Option<&Entry>,
    ) -> Self {
        let function = Arc::new(function);
        let works = |isolation: Isolation| shared.works(isolation);
        let chosen = function.spec.isolation.resolve(function.spec.at_least, works);
        let shares: Vec<u8> = chosen.iter().map(|(_, share)| *share).collect();
        let limits = mins(&function, &shares, kept).into_iter().zip(share::split(function.spec.scale.max, &shares));
        let pool = |((isolation, share), (min, max)): ((Isolation, u8), (u32, u32))| {
            let base = base.and_then(|base| base.on(isolation));
            // A minimum of one may fall to a share whose maximum is less.
            (Pool::new(shared, &function, isolation, min.min(max)..=max, base), share)
        };
        let shares: Vec<_> = chosen.into_iter().zip(limits).map(pool).collect();
        for (pool, _) in &shares {
            if let Some(other) = before.and_then(|before| before.on(pool.isolation)) {
                pool.inherit(other);
            }
        }
        let (calls, probes) = (AtomicU64::new(0), Mutex::new(Some(HashMap::new())));
        Self { shares, kept: Mutex::new(kept), secrets, calls, probes, function }
    }

    /// Its pool on an isolation, for its calls.
    pub fn on(&self, isolation: Isolation) -> Option<&Arc<Pool>> {
        self.shares.iter().find(|(pool, _)| pool.isolation == isolation).map(|(pool, _)| pool)
    }

    /// Whether calls of it go to that pool; measurements' do not.
    pub fn has(&self, pool: &Arc<Pool>) -> bool {
        self.shares.iter().any(|(one, _)| Arc::ptr_eq(one, pool))
    }

    /// Whether it counts its instances with those of `base`.
    pub fn is_beside(&self, base: &Entry) -> bool {
        let together = |pool: &Arc<Pool>| base.on(pool.isolation).is_some_and(|other| other.counts_with(pool));
        self.shares.iter().all(|(pool, _)| together(pool))
    }

    /// The pool that a call goes to.
    pub fn pool(&self, shared: &Arc<Shared>, probe: Option<Probe>) -> Option<Arc<Pool>> {
        if let Some(probe) = probe {
            let mut probes = lock(&self.probes);
            let pool = probes.as_mut()?.entry(probe);
            return Some(pool.or_insert_with(|| Pool::for_probe(shared, &self.function, probe)).clone());
        }
        match &self.shares[..] {
            [(pool, _)] => Some(pool.clone()),
            shares => {
                let call = self.calls.fetch_add(1, Ordering::Relaxed);
                let place = share::pick(call, shares.iter().map(|(_, share)| *share));
                Some(shares.get(place)?.0.clone())
            }
        }
    }

    /// The pool that the next call will go to, most likely.
    pub fn next_pool(&self) -> Option<&Arc<Pool>> {
        let place = share::pick(self.calls.load(Ordering::Relaxed), self.shares.iter().map(|(_, share)| *share));
        self.shares.get(place).map(|(pool, _)| pool)
    }

    /// What is done with its instances when they have no work, on each isolation; none if the function says so itself.
    pub fn decisions(&self) -> Vec<(Isolation, Decision)> {
        self.shares.iter().filter_map(|(pool, _)| Some((pool.isolation, pool.decision()?))).collect()
    }

    pub fn pools(&self) -> Vec<Arc<Pool>> {
        let probes = lock(&self.probes);
        let probes = probes.iter().flat_map(|probes| probes.values());
        self.shares.iter().map(|(pool, _)| pool).chain(probes).cloned().collect()
    }

    /// It is in the catalogue: its pools start what they keep.
    pub fn open(&self, shared: &Arc<Shared>) {
        if !lock(&self.kept).any() {
            return;
        }
        for (pool, _) in &self.shares {
            pool.join(shared);
            pool.scale(shared);
            fork_point::make_early(shared, pool);
        }
    }

    /// Has so many instances kept ready from now on, or none until calls come.
    pub fn keep(&self, shared: &Arc<Shared>, kept: Kept) {
        let mut now = lock(&self.kept);
        if *now == kept {
            return;
        }
        let before = std::mem::replace(&mut *now, kept);
        let shares: Vec<u8> = self.shares.iter().map(|(_, share)| *share).collect();
        for ((pool, _), min) in self.shares.iter().zip(mins(&self.function, &shares, kept)) {
            match (before.any(), kept.any()) {
                (false, true) => pool.join(shared),
                (true, false) => pool.leave(shared),
                _ => {}
            }
            pool.keep(shared, min);
            if kept.any() && !before.any() {
                fork_point::make_early(shared, pool);
            }
        }
    }

    /// Whether as many instances are ready as are always kept, or cannot be made now.
    pub fn is_warm(&self) -> bool {
        self.shares.iter().all(|(pool, _)| pool.is_warm())
    }

    /// It is in the catalogue no more.
    pub fn close(&self, shared: &Arc<Shared>, fault: Option<Fault>) {
        let probes = lock(&self.probes).take().into_iter().flatten().map(|(_, pool)| pool);
        if std::mem::take(&mut *lock(&self.kept)).any() {
            self.shares.iter().for_each(|(pool, _)| pool.leave(shared));
        }
        for pool in self.shares.iter().map(|(pool, _)| pool.clone()).chain(probes) {
            pool.close(fault.clone());
        }
    }
}

/// Instances that are always kept, on each isolation.
fn mins(function: &Function, shares: &[u8], kept: Kept) -> Vec<u32> {
    let said = if kept.as_said { function.spec.scale.min } else { 0 };
    share::split(said.max(kept.provisioned).min(function.spec.scale.max), shares)
}

// === impl Kept ===

impl Kept {
    /// As the function says.
    pub const AS_SAID: Self = Self { as_said: true, provisioned: 0 };

    fn any(self) -> bool {
        self != Self::default()
    }
}
