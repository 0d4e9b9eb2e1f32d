//! Dispatch, pools, scaler, admission, and the life of instances.
//!
//! ```text
//!            lookup          take │ wait                       release
//! Invocation ──────► catalogue ─────────► pool ──► lease ──► call ──────► pool
//!                        ▲                 │ ▲                │
//!              functions.changes()   start │ │ ready          └ timeout, exit, not the protocol: kill
//!                                          ▼ │
//!                          driver.start → HELLO → INIT → READY
//! ```
//!
//! What decides is pure and lives in `decide`. What runs an invocation is one future that owns the instance's
//! streams while it runs: on a warm call there is no other task, no channel and no lock held over an await.

#![forbid(unsafe_code)]

mod attach;
mod bound;
mod call;
mod catalogue;
mod code;
pub mod decide;
mod entry;
mod failure;
mod flow;
mod fork_point;
mod heir;
mod image;
mod instance;
mod invoke;
mod io;
mod java;
mod laps;
mod ledger;
mod limits;
mod log;
mod pool;
mod recall;
mod refusal;
mod report;
mod runtime;
mod secrets;
mod shared;
mod socket;
mod start;
mod stems;
mod timer;
mod traffic;
mod web;

use std::sync::Arc;
use std::time::Duration;

use model::{
    Fault, FaultCode, Function, FunctionName, InstanceId, InstanceView, Invocation, Isolation, Outcome, Qualifier,
};

pub use attach::Attached;
pub use code::SoundCode;
pub use decide::stems::Rules as StemRules;
pub use flow::{Streamed, Streaming};
pub use image::{ImageRun, Images, NoImages};
pub use java::BOOTSTRAP as JAVA_BOOTSTRAP;
pub use limits::EngineLimits;
pub use runtime::{AGENT, Base as RuntimeBase, TASK_ROOT, base as runtime_base};
pub use secrets::NoSecrets;
pub use stems::StemView;
pub use web::{ReplyBody, WebBody, WebCall};

use crate::invoke::Unstoppable;
use crate::shared::Shared;

/// What an engine is made of.
pub struct Options {
    /// One for each isolation that this machine may offer.
    pub drivers: Vec<Arc<dyn driver::Driver>>,
    pub runtimes: Vec<driver::InstalledRuntime>,
    pub images: Arc<dyn Images>,
    pub functions: Arc<dyn store::Functions>,
    pub telemetry: Arc<dyn store::Telemetry>,
    pub secrets: Arc<dyn store::SecretValues>,
    pub code: Arc<dyn store::CodeIntegrity>,
    /// What all instances together may use, bytes.
    pub memory_budget: u64,
    pub region: String,
    pub account: String,
    pub limits: EngineLimits,
    /// A server before this one hands its instances over: until [`Engine::begin`] none is made but for calls.
    pub inherits: bool,
}

/// Runs functions. A cheap handle; when the last one is dropped everything is killed, but [`Engine::drain`] is
/// the proper end.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

// === impl Engine ===

impl Engine {
    /// Loads the catalogue, and follows it from then on. Needs a Tokio runtime with I/O and time.
    pub async fn start(options: Options) -> Result<Engine, Fault> {
        let (shared, wakeups) = Shared::new(options);
        catalogue::follow(&shared).await?;
        shared.spawn(timer::keep_house(Arc::downgrade(&shared), wakeups));
        shared.spawn(stems::keep(Arc::downgrade(&shared)));
        shared.spawn(recall::recall(Arc::downgrade(&shared)));
        Ok(Engine { shared })
    }

    /// Runs an invocation. Once polled it runs to its end even when the future is dropped. Poll it promptly: it
    /// is the caller's task that moves it while the caller is there.
    ///
    /// `Err` means that the function's code did not run, or that the server ended before it did.
    pub async fn invoke(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        Unstoppable::new(&self.shared, invocation).await
    }

    /// Runs an invocation, and gives its answer as it comes where the function streams it. Resolves when the answer begins.
    /// It runs to its end even when the answer is dropped.
    ///
    /// `Err` as with [`Engine::invoke`].
    pub async fn stream(&self, invocation: Invocation) -> Result<Streamed, Fault> {
        let (source, streaming) = flow::pair();
        self.shared.spawn(invoke::stream(self.shared.clone(), invocation, source));
        streaming.begun().await
    }

    /// Sends an HTTP request to a web function, and gives the answer as soon as its head is there. The call lasts until the
    /// answer's body is dropped; dropping it, or this future, ends the call.
    ///
    /// `Err`: there is no answer, because it could not run, or failed before it began to answer.
    pub async fn web(&self, call: WebCall) -> Result<http::Response<ReplyBody>, Fault> {
        web::call(&self.shared, call).await
    }

    pub fn function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        Some(self.shared.catalogue.find(name)?.function.clone())
    }

    /// All functions, in no order.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.shared.catalogue.functions()
    }

    /// What a name and a version or alias mean at present; of an alias with two versions, the first.
    pub fn resolve(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> Option<Arc<Function>> {
        self.shared.catalogue.resolve(name, qualifier)
    }

    /// A call of that function is known to come within `soon`: an instance is made ready for it, if none is idle and
    /// memory is to spare. It goes if the call does not come.
    pub fn expect(&self, name: &FunctionName, soon: Duration) {
        let Some(entry) = self.shared.catalogue.find(name) else { return };
        if let Some(pool) = entry.next_pool() {
            pool.expect(&self.shared, std::time::Instant::now() + soon);
        }
    }

    /// Resolves once calls see what `functions.changes()` counted as `change`; after a bounded time in any case.
    pub async fn settled(&self, change: u64) {
        self.shared.catalogue.settled(change, self.shared.limits.settle).await;
    }

    /// What is done with a function's instances that have no work, on each isolation that it runs on: empty if the
    /// function says so itself, or is not there.
    pub fn keeping(&self, name: &FunctionName) -> Vec<(Isolation, decide::habit::Decision)> {
        self.shared.catalogue.find(name).map(|entry| entry.decisions()).unwrap_or_default()
    }

    /// Every instance there is, the busy ones of replaced revisions included.
    pub fn instances(&self) -> Vec<InstanceView> {
        self.shared.views()
    }

    /// What instances sent and received over their networks since this was asked last, those that are gone among them: each
    /// byte is told once. One read of a file for each instance that has a network.
    pub fn traffic(&self) -> Vec<store::observe::InstanceTraffic> {
        self.shared.all().iter().for_each(|info| self.shared.traffic.add(info));
        self.shared.traffic.take()
    }

    /// Connects to what listens on a port of the loopback in an instance: a debugger. The instance is not frozen while the
    /// connection is there.
    pub async fn attach(&self, instance: &InstanceId, port: u16) -> Result<Attached, Fault> {
        attach::attach(&self.shared, instance, port).await
    }

    /// Sandboxes that are ready to become instances, and those that are being made.
    pub fn stems(&self) -> Vec<StemView> {
        self.shared.stems.views()
    }

    /// The memory budget, and what is charged of it to instances and stems, bytes.
    pub fn memory(&self) -> (u64, u64) {
        self.shared.ledger.reading()
    }

    /// Gives the idle instances to a successor, by their sandboxes' handles; those that are busy follow when their calls
    /// have ended. Calls go on, and none is made ahead of them.
    pub async fn hand_over(&self) {
        heir::hand_over(&self.shared).await;
    }

    /// Takes an instance over that a server before this one gave; false if nobody has use for it, and it is killed.
    pub fn adopt(&self, about: &str, sandbox: driver::Sandbox) -> bool {
        heir::adopt(&self.shared, about, sandbox)
    }

    /// All that there was to take over is here: from now on instances are made that nobody waits for, too.
    pub fn begin(&self) {
        self.shared.inherits.store(false, std::sync::atomic::Ordering::SeqCst);
        for pool in self.shared.catalogue.entries().into_iter().flat_map(|entry| entry.pools()) {
            pool.scale(&self.shared);
        }
    }

    /// Refuses new invocations, waits for those that came in before, at most `limit`, then kills every instance.
    /// What still runs then ends with a fault.
    pub async fn drain(&self, limit: Duration) {
        self.shared.drain(limit).await;
    }
}

fn draining() -> Fault {
    Fault::new(FaultCode::Draining, "the server is ending and takes no new work")
        .with_retry_after(Duration::from_secs(1))
}
