//! What all parts of the engine share, and the end of it all.
//!
//! ```text
//! open ──drain──► draining (no new work; queue and calls go on) ──all done│limit──► stopped (all killed)
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{Driver, InstalledRuntime};
use model::{InstanceId, InstanceView, Isolation};
use store::{CodeIntegrity, Functions, SecretValues, Telemetry};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::catalogue::Catalogue;
use crate::image::Images;
use crate::instance::Info;
use crate::ledger::Ledger;
use crate::limits::EngineLimits;
use crate::stems::Stems;
use crate::timer::{Timers, Wakeups};
use crate::traffic::Sums;
use crate::{Options, draining};

pub struct Shared {
    pub drivers: HashMap<Isolation, Arc<dyn Driver>>,
    /// Those of them that work here, with what each sandbox takes beside its processes, bytes.
    working: HashMap<Isolation, u64>,
    pub runtimes: Vec<InstalledRuntime>,
    pub images: Arc<dyn Images>,
    pub functions: Arc<dyn Functions>,
    pub telemetry: Arc<dyn Telemetry>,
    pub secrets: Arc<dyn SecretValues>,
    pub code: Arc<dyn CodeIntegrity>,
    pub region: String,
    pub account: String,
    pub limits: EngineLimits,
    pub catalogue: Catalogue,
    pub ledger: Arc<Ledger>,
    pub timers: Timers,
    pub starts: Semaphore,
    /// Of those, what nobody waits for.
    pub ahead: Semaphore,
    pub stems: Stems,
    pub traffic: Sums,
    /// Fork points that are made before a call asks: one at a time.
    pub early: Semaphore,
    pub pools: AtomicU64,
    /// A successor takes over what has no work.
    pub handing_over: AtomicBool,
    /// Instances of a server before this one are awaited.
    pub inherits: AtomicBool,
    /// Every instance from its start until its sandbox is gone.
    instances: Mutex<HashMap<InstanceId, Arc<Info>>>,
    /// Changes whenever an instance went.
    gone: Notify,
    gate: Gate,
    stopped: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    runtime: tokio::runtime::Handle,
}

/// Counts the invocations inside.
#[derive(Default)]
struct Gate {
    inside: AtomicUsize,
    closed: AtomicBool,
    empty: Notify,
}

/// An invocation inside the engine.
pub struct Inside<'a>(&'a Gate);

/// The same, for what outlives the task that entered.
pub struct Within(Arc<Shared>);

/// Locks, also after a panic elsewhere: what is kept under these locks is whole between any two statements
/// that can panic.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Shared ===

impl Shared {
    pub fn new(options: Options) -> (Arc<Self>, Wakeups) {
        let (timers, wakeups) = Timers::new();
        let limits = options.limits;
        let working = options.drivers.iter().map(|driver| driver.capability()).filter(|one| one.works);
        let shared = Self {
            working: working.map(|one| (one.isolation, one.overhead)).collect(),
            drivers: options.drivers.into_iter().map(|driver| (driver.isolation(), driver)).collect(),
            runtimes: options.runtimes,
            images: options.images,
            functions: options.functions,
            telemetry: options.telemetry,
            secrets: options.secrets,
            code: options.code,
            region: options.region,
            account: options.account,
            catalogue: Catalogue::default(),
            ledger: Arc::new(Ledger::new(options.memory_budget, limits.instances, wakeups.clone())),
            timers,
            starts: Semaphore::new(limits.starts.max(1)),
            ahead: Semaphore::new(limits.ahead.max(1)),
            stems: Stems::new(limits.stems),
            traffic: Sums::default(),
            limits,
            early: Semaphore::new(1),
            pools: AtomicU64::new(0),
            handing_over: AtomicBool::new(false),
            inherits: AtomicBool::new(options.inherits),
            instances: Mutex::default(),
            gone: Notify::new(),
            gate: Gate::default(),
            stopped: watch::Sender::new(false),
            tasks: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        };
        (Arc::new(shared), wakeups)
    }

    /// Runs a task that ends with the engine at the latest.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        // Those that ended are let go here, so that the set does not grow.
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a task of the engine panicked");
            }
        }
        tasks.spawn_on(task, &self.runtime);
    }

    /// Lets an invocation in; `None` when the engine is ending.
    pub fn enter(&self) -> Option<Inside<'_>> {
        self.gate.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(&self.gate);
        if self.gate.closed.load(Ordering::SeqCst) { None } else { Some(inside) }
    }

    /// The same, for what outlives the caller.
    pub fn enter_owned(self: &Arc<Self>) -> Option<Within> {
        self.gate.inside.fetch_add(1, Ordering::SeqCst);
        let within = Within(self.clone());
        if self.gate.closed.load(Ordering::SeqCst) { None } else { Some(within) }
    }

    pub fn is_draining(&self) -> bool {
        self.gate.closed.load(Ordering::SeqCst)
    }

    pub fn is_handing_over(&self) -> bool {
        self.handing_over.load(Ordering::SeqCst)
    }

    /// Whether instances are made for calls that wait and for nothing else.
    pub fn only_awaited(&self) -> bool {
        self.handing_over.load(Ordering::SeqCst) || self.inherits.load(Ordering::SeqCst)
    }

    /// Whether everything was killed because the engine ends.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Resolves when everything is to be killed.
    pub async fn stopping(&self) {
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Whether sandboxes can be made with it here.
    pub fn works(&self, isolation: Isolation) -> bool {
        self.working.contains_key(&isolation)
    }

    /// Whether calls wait for sandboxes and runtimes to come up.
    pub fn is_starting(&self) -> bool {
        self.starts.available_permits() < self.limits.starts.max(1)
    }

    /// What a sandbox takes beside its processes, bytes.
    pub fn overhead(&self, isolation: Isolation) -> u64 {
        self.working.get(&isolation).copied().unwrap_or(0)
    }

    pub fn register(&self, info: &Arc<Info>) {
        lock(&self.instances).insert(info.id.clone(), info.clone());
    }

    pub fn instance(&self, id: &InstanceId) -> Option<Arc<Info>> {
        lock(&self.instances).get(id).cloned()
    }

    pub fn forget(&self, id: &InstanceId) {
        lock(&self.instances).remove(id);
        self.gone.notify_waiters();
    }

    /// Those that there are, the dying among them.
    pub fn all(&self) -> Vec<Arc<Info>> {
        lock(&self.instances).values().cloned().collect()
    }

    pub fn views(&self) -> Vec<InstanceView> {
        let mut views: Vec<_> = lock(&self.instances).values().map(|info| info.view()).collect();
        views.sort_by(|a, b| (&a.function, a.started, &a.instance).cmp(&(&b.function, b.started, &b.instance)));
        views
    }

    pub async fn drain(self: &Arc<Self>, limit: Duration) {
        self.gate.closed.store(true, Ordering::SeqCst);
        let finished = tokio::time::timeout(limit, self.gate.emptied()).await.is_ok();
        self.stopped.send_replace(true);
        if !finished {
            tracing::warn!(left = self.gate.inside.load(Ordering::SeqCst), "invocations were ended by the shutdown");
        }
        for entry in self.catalogue.clear() {
            entry.close(self, Some(draining()));
        }
        self.stems.close();
        let killed = self.all();
        killed.iter().for_each(|info| info.kill());
        drop(killed);
        // Those cut short need a moment to tell their callers.
        let _ = tokio::time::timeout(self.limits.exit * 2, async {
            self.gate.emptied().await;
            self.all_gone().await;
        })
        .await;
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
        lock(&self.instances).clear();
    }

    async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if lock(&self.instances).is_empty() {
                return;
            }
            gone.await;
        }
    }
}

// === impl Gate ===

impl Gate {
    async fn emptied(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            empty.as_mut().enable();
            if self.inside.load(Ordering::SeqCst) == 0 {
                return;
            }
            empty.await;
        }
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        drop(Inside(&self.0.gate));
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.closed.load(Ordering::SeqCst) {
            self.0.empty.notify_waiters();
        }
    }
}
