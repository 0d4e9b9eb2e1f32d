//! Warm instances on their way from a server that ends to its successor.
//!
//! ```text
//! the old server: idle ones at once, busy ones after their call ─► Handle::give ─► spawner ─► the new one: Engine::adopt
//! ```
//!
//! An instance is taken by a function that is in everything what it was made for, or killed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use driver::Sandbox;
use model::metric::Traffic;
use model::{FunctionName, Isolation, RequestId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::instance::{Info, Instance};
use crate::io::Io;
use crate::log::Sink;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::start;

/// What the successor has to know of an instance beside its sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct About {
    function: FunctionName,
    /// Of the function, with all that it is configured to be, and the versions of its secrets.
    made_for: u64,
    isolation: Isolation,
    pub started: Timestamp,
    pub invocations: u64,
    pub peak: u64,
    /// How far it was counted here.
    #[serde(default)]
    pub traffic: Traffic,
    previous: Option<RequestId>,
}

/// Nobody takes an instance for another function's by mistake: names are compared, and a version that writes functions
/// down in another way finds none of its own.
fn made_for(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&*entry.function).unwrap_or_default().hash(&mut hasher);
    entry.secrets.hash(&mut hasher);
    hasher.finish()
}

/// Gives up all that is idle; what is busy follows when its call has ended.
pub async fn hand_over(shared: &Arc<Shared>) {
    shared.handing_over.store(true, Ordering::SeqCst);
    shared.stems.close();
    for pool in shared.catalogue.entries().into_iter().flat_map(|entry| entry.pools()) {
        for instance in pool.take_idle() {
            give(shared, &pool, instance).await;
        }
    }
}

/// Gives one to the successor, or kills it.
pub async fn give(shared: &Arc<Shared>, pool: &Arc<Pool>, mut instance: Box<Instance>) {
    let entry = shared.catalogue.entries().into_iter().find(|entry| entry.has(pool));
    let Some(entry) = entry else { return instance.kill(pool) };
    instance.thaw();
    let info = instance.info.clone();
    let mut sink = Sink::new(&*pool.telemetry, &pool.function.spec.name, &info.id);
    if instance.io.catch_up(&mut sink).is_err() || !instance.is_usable() || !instance.io.is_open() {
        return instance.kill(pool);
    }
    shared.traffic.add(&info);
    let about = About {
        function: pool.function.spec.name.clone(),
        made_for: made_for(&entry),
        isolation: pool.isolation,
        started: info.started(),
        invocations: info.invocations(),
        peak: info.peak().unwrap_or(0),
        traffic: info.leave_traffic(),
        previous: instance.previous,
    };
    let Instance { io, .. } = *instance;
    let given = match (io.into_streams(), serde_json::to_string(&about)) {
        (Ok(streams), Ok(about)) => info.give(streams, about).await,
        _ => false,
    };
    if !given {
        info.kill();
    }
}

/// Has a function go on with an instance of the server before. What nobody can use is killed, with its handle.
pub fn adopt(shared: &Arc<Shared>, about: &str, sandbox: Sandbox) -> bool {
    let Ok(about) = serde_json::from_str::<About>(about) else { return false };
    let Sandbox { id, streams, handle, .. } = sandbox;
    let entries = shared.catalogue.entries().into_iter().filter(|entry| entry.function.spec.name == about.function);
    let pool =
        entries.filter(|entry| made_for(entry) == about.made_for).find_map(|entry| entry.on(about.isolation).cloned());
    let (Some(pool), Ok(io)) = (pool, Io::new(streams)) else { return false };
    let charge = shared.ledger.hold(pool.estimate(shared).max(about.peak));
    let info = Arc::new(Info::adopted(id, &pool, charge, &about));
    let exited = handle.exited();
    info.hold(handle);
    shared.register(&info);
    let exit = start::watch(shared, &pool, &info, exited);
    let mut instance = Box::new(Instance::new(info, io, exit));
    instance.previous = about.previous;
    pool.join_in(shared, instance)
}
