//! What the management API asks of the running platform, answered by engine and drivers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use control::{AwsCredentials, BoxFuture, FindingView, IsolationView, RuntimeView, Severity, StemView};
use driver::{Capability, InstalledRuntime};
use engine::Engine;
use model::InstanceView;

use crate::keys::Keys;
use crate::server::REGION;

/// The running platform.
pub struct Platform {
    engine: Engine,
    isolations: Vec<IsolationView>,
    runtimes: Vec<RuntimeView>,
    keys: Arc<Keys>,
    endpoint: String,
    ready: Arc<AtomicBool>,
    data: PathBuf,
}

impl Platform {
    pub fn new(
        engine: Engine,
        capabilities: Vec<Capability>,
        runtimes: Vec<InstalledRuntime>,
        keys: Arc<Keys>,
        endpoint: String,
        ready: Arc<AtomicBool>,
        data: PathBuf,
    ) -> Self {
        let isolations = capabilities.into_iter().map(isolation_view).collect();
        let runtime_view = |r: InstalledRuntime| RuntimeView { name: r.runtime, works: true, program: r.program };
        let runtimes = runtimes.into_iter().map(runtime_view).collect();
        Self { engine, isolations, runtimes, keys, endpoint, ready, data }
    }
}

fn isolation_view(capability: Capability) -> IsolationView {
    let findings = capability.findings.into_iter().map(finding_view).collect();
    IsolationView { isolation: capability.isolation, works: capability.works, findings }
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
}
