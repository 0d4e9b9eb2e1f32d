//! What the management API asks of the running platform, answered by engine and drivers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use control::{
    AwsCredentials, BoxFuture, Comparison, ComparisonOrder, Duplex, FindingView, IsolationView, KeepingSpan,
    KeepingView, Machine, MemoryView, ProcessView, RuntimeView, Severity, SpanCounts, StemView,
};
use driver::{Capability, InstalledRuntime};
use engine::Engine;
use model::{
    AllowedMount, ComparisonId, Fault, FunctionName, InstanceId, InstanceView, Invocation, Outcome, Timestamp,
};

use crate::callers::Followed;
use crate::compare::{Calls, Comparer, machine};
use crate::keys::Keys;

/// What the platform's readings are of.
pub struct Options {
    pub engine: Engine,
    /// How far routes and keys are those of the store.
    pub followed: Followed,
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
    /// The certificate of its listeners.
    pub tls: Option<gateway::Tls>,
    /// How spans fare, where traces are exported.
    pub traces: Option<TraceCounts>,
}

pub type TraceCounts = Box<dyn Fn() -> otlp::Counts + Send + Sync>;

/// The running platform.
pub struct Platform {
    engine: Engine,
    followed: Followed,
    comparer: Comparer<Direct>,
    isolations: Vec<IsolationView>,
    runtimes: Vec<RuntimeView>,
    keys: Arc<Keys>,
    endpoint: String,
    ready: Arc<AtomicBool>,
    host: Machine,
    data: PathBuf,
    allowed_mounts: Vec<AllowedMount>,
    tls: Option<gateway::Tls>,
    traces: Option<TraceCounts>,
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
        let Options {
            engine,
            followed,
            comparisons,
            capabilities,
            runtimes,
            keys,
            endpoint,
            ready,
            data,
            allowed_mounts,
            tls,
            traces,
        } = options;
        let isolations = capabilities.into_iter().map(isolation_view).collect();
        let runtime_view = |r: InstalledRuntime| RuntimeView { name: r.runtime, works: true, program: r.program };
        let runtimes = runtimes.into_iter().map(runtime_view).collect();
        let comparer = Comparer::new(Direct(engine.clone()), comparisons);
        Self {
            engine,
            followed,
            comparer,
            isolations,
            runtimes,
            keys,
            endpoint,
            ready,
            host: machine(),
            data,
            allowed_mounts,
            tls,
            traces,
        }
    }
}

/// What is to be known of the certificate.
fn tls_finding(status: gateway::TlsStatus, now: &str) -> FindingView {
    let names = if status.names.is_empty() { "no name".to_owned() } else { status.names.join(", ") };
    let until = status.until.as_deref().unwrap_or("a time that is not understood");
    let state = format!("a certificate for {names}, valid until {until}");
    let over = status.is_over(now);
    let (severity, state, advice) = match status.problem {
        Some(problem) => {
            let state = format!("{state}; the files are others now and cannot be used: {problem}");
            (Severity::Missing, state, "put a certificate and its key there that belong together".to_owned())
        }
        None if over => {
            (Severity::Missing, state, "it is over: renew it; the new one is taken when it is there".into())
        }
        None => (Severity::Ok, state, String::new()),
    };
    FindingView { severity, subject: "TLS".into(), state, advice }
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

    fn attach(&self, instance: &InstanceId, port: u16) -> BoxFuture<'_, Result<Box<dyn Duplex>, Fault>> {
        let instance = instance.clone();
        Box::pin(async move {
            let attached = self.engine.attach(&instance, port).await?;
            Ok(Box::new(attached) as Box<dyn Duplex>)
        })
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
        let machine = linux::host::findings(Path::new("/"), &self.data).into_iter().map(finding_view);
        let now = Timestamp::now().rfc3339();
        machine.chain(self.tls.as_ref().map(|tls| tls_finding(tls.status(), &now))).collect()
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
        Box::pin(async move {
            self.engine.settled(change).await;
            self.followed.settled(change).await;
        })
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn aws_credentials(&self) -> AwsCredentials {
        let (access_key_id, secret_access_key) = self.keys.own_key();
        AwsCredentials {
            endpoint: self.endpoint.clone(),
            access_key_id,
            secret_access_key,
            region: model::place().0.into(),
        }
    }
    fn host(&self) -> Machine {
        self.host.clone()
    }

    fn memory(&self) -> MemoryView {
        let (budget, used) = self.engine.memory();
        MemoryView { budget, used }
    }

    fn traces(&self) -> Option<SpanCounts> {
        let otlp::Counts { exported, overflowed, failed, refused, waiting } = self.traces.as_ref()?();
        Some(SpanCounts { exported, overflowed, failed, refused, waiting })
    }

    fn process(&self) -> ProcessView {
        crate::process::view()
    }

    fn keeping(&self, function: &FunctionName) -> Vec<KeepingView> {
        let view = |(isolation, decision): (_, engine::decide::habit::Decision)| {
            let spans = decision.kept.iter().map(|span| KeepingSpan { from: span.from, to: span.to }).collect();
            KeepingView::new(isolation, spans, decision.seen)
        };
        self.engine.keeping(function).into_iter().map(view).collect()
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, Fault>> {
        Box::pin(self.engine.invoke(invocation))
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
