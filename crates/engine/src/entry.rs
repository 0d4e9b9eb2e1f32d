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
    calls: AtomicU64,
    /// Made for measurements, when they ask. None once the entry is closed.
    probes: Mutex<Option<HashMap<Probe, Arc<Pool>>>>,
}

// === impl Entry ===

impl Entry {
    /// `before` is the function as it was, from which is taken over what was learnt of its calls.
    pub fn new(shared: &Arc<Shared>, function: Function, secrets: Versions, before: Option<&Entry>) -> Self {
        let function = Arc::new(function);
        let works = |isolation: Isolation| shared.works(isolation);
        let chosen = function.spec.isolation.resolve(function.spec.at_least, works);
        let shares: Vec<u8> = chosen.iter().map(|(_, share)| *share).collect();
        let (min, max) = (function.spec.scale.min, function.spec.scale.max);
        let limits = share::split(min, &shares).into_iter().zip(share::split(max, &shares));
        let pool = |((isolation, share), (min, max)): ((Isolation, u8), (u32, u32))| {
            // A minimum of one may fall to a share whose maximum is less.
            (Pool::new(shared, &function, isolation, min.min(max)..=max), share)
        };
        let shares: Vec<_> = chosen.into_iter().zip(limits).map(pool).collect();
        for (pool, _) in &shares {
            let same = |other: &&(Arc<Pool>, u8)| other.0.isolation == pool.isolation;
            if let Some((other, _)) = before.and_then(|before| before.shares.iter().find(same)) {
                pool.inherit(other);
            }
        }
        Self { shares, secrets, calls: AtomicU64::new(0), probes: Mutex::new(Some(HashMap::new())), function }
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
        for (pool, _) in &self.shares {
            pool.join(shared);
            pool.scale(shared);
            fork_point::make_early(shared, pool);
        }
    }

    /// It is in the catalogue no more.
    pub fn close(&self, shared: &Arc<Shared>, fault: Option<Fault>) {
        let probes = lock(&self.probes).take().into_iter().flatten().map(|(_, pool)| pool);
        for (pool, _) in &self.shares {
            pool.leave(shared);
        }
        for pool in self.shares.iter().map(|(pool, _)| pool.clone()).chain(probes) {
            pool.close(fault.clone());
        }
    }
}
