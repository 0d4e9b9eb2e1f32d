//! What the management API asks of the running platform, answered by engine and drivers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use control::{
    AwsCredentials, BoxFuture, Comparison, ComparisonOrder, FindingView, IsolationView, KeepingSpan, KeepingView,
    Machine, RuntimeView, Severity, StemView,
};
use driver::{Capability, InstalledRuntime};
use engine::Engine;
use model::{AllowedMount, ComparisonId, Fault, FunctionName, InstanceView, Invocation, Outcome};

use crate::compare::{Calls, Comparer, machine};
use crate::keys::Keys;
use crate::server::REGION;

/// What the platform's readings are of.
pub struct Options {
    pub engine: Engine,
    /// Where comparisons are kept.
    pub comparisons: Arc<dyn store::Comparisons>,
    pub capabilities: Vec<Capability>,
    pub runtimes: Vec<InstalledRuntime>,
    pub keys: Arc<Keys>,
    pub endpoint: String,
    pub ready: Arc<AtomicBool>,
    /// Where the data is.
    pub data: PathBuf,
    /// What functions may mount.
    pub allowed_mounts: Vec<AllowedMount>,
}

/// The running platform.
pub struct Platform {
    engine: Engine,
    comparer: Comparer<Direct>,
    isolations: Vec<IsolationView>,
    runtimes: Vec<RuntimeView>,
    keys: Arc<Keys>,
    endpoint: String,
    ready: Arc<AtomicBool>,
    host: Machine,
    data: PathBuf,
    allowed_mounts: Vec<AllowedMount>,
}

/// The engine, as comparisons see it.
#[derive(Clone)]
struct Direct(Engine);

impl Calls for Direct {
    async fn call(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        self.0.invoke(invocation).await
    }
}

impl Platform {
    pub fn new(options: Options) -> Self {
        let Options { engine, comparisons, capabilities, runtimes, keys, endpoint, ready, data, allowed_mounts } =
            options;
        let isolations = capabilities.into_iter().map(isolation_view).collect();
        let runtime_view = |r: InstalledRuntime| RuntimeView { name: r.runtime, works: true, program: r.program };
        let runtimes = runtimes.into_iter().map(runtime_view).collect();
        let comparer = Comparer::new(Direct(engine.clone()), comparisons);
        Self { engine, comparer, isolations, runtimes, keys, endpoint, ready, host: machine(), data, allowed_mounts }
    }
}

fn isolation_view(capability: Capability) -> IsolationView {
    let findings = capability.findings.into_iter().map(finding_view).collect();
    let Capability { isolation, works, no_mounts, no_egress, .. } = capability;
    IsolationView { isolation, works, no_mounts, no_egress, findings }
}

fn finding_view(finding: driver::Finding) -> FindingView {
    FindingView {
        severity: match finding.severity {
            driver::Severity::Ok => Severity::Ok,
            driver::Severity::Weaker => Severity::Weaker,
            driver::Severity::Missing => Severity::Missing,
        },
        subject: finding.subject,
        state: finding.state,
        advice: finding.advice,
    }
}

impl control::Platform for Platform {
    fn instances(&self) -> Vec<InstanceView> {
        self.engine.instances()
    }

    fn stems(&self) -> Vec<StemView> {
        let view = |stems: engine::StemView| StemView {
            isolation: stems.isolation,
            runtime: stems.runtime,
            memory: stems.memory.to_string(),
            ready: stems.ready,
            starting: stems.starting,
            charged: stems.charged,
        };
        self.engine.stems().into_iter().map(view).collect()
    }

    fn machine(&self) -> Vec<FindingView> {
        linux::host::findings(Path::new("/"), &self.data).into_iter().map(finding_view).collect()
    }

    fn isolations(&self) -> Vec<IsolationView> {
        self.isolations.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeView> {
        self.runtimes.clone()
    }

    fn allowed_mounts(&self) -> Vec<AllowedMount> {
        self.allowed_mounts.clone()
    }

    fn has_program(&self, path: &str) -> bool {
        // Of the host's root they see /usr, and what leads there.
        let real = Path::new(path).canonicalize();
        real.is_ok_and(|real| real.starts_with("/usr") && real.is_file())
    }

    fn settled(&self, change: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.engine.settled(change))
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn aws_credentials(&self) -> AwsCredentials {
        let access_key_id = self.keys.access_key_id.clone();
        let secret_access_key = self.keys.secret(&access_key_id).unwrap_or_default();
        AwsCredentials { endpoint: self.endpoint.clone(), access_key_id, secret_access_key, region: REGION.into() }
    }
    fn host(&self) -> Machine {
        self.host.clone()
    }

    fn keeping(&self, function: &FunctionName) -> Vec<KeepingView> {
        let view = |(isolation, decision): (_, engine::decide::habit::Decision)| {
            let spans = decision.kept.iter().map(|span| KeepingSpan { from: span.from, to: span.to }).collect();
            KeepingView::new(isolation, spans, decision.seen)
        };
        self.engine.keeping(function).into_iter().map(view).collect()
    }

    fn compare(&self, order: ComparisonOrder) -> Result<(), Fault> {
        self.comparer.begin(order)
    }

    fn comparison(&self, id: ComparisonId) -> Option<Comparison> {
        self.comparer.comparison(id)
    }

    fn cancel_comparison(&self, id: ComparisonId) -> bool {
        self.comparer.cancel(id)
    }
}
