//! What the API must know of the running platform, and the shapes it is told in.
//!
//! The trait is declared here, where it is needed; the composition root implements it over engine and drivers,
//! which this crate may not import.

use std::pin::Pin;
use std::time::Duration;

use model::{ComparisonId, Fault, InstanceView, Isolation, Runtime};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::comparisons::{Comparison, ComparisonOrder};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The running platform. All but `settled` return at once, and all but those about comparisons are readings.
pub trait Platform: Send + Sync + 'static {
    /// Every instance that lives now.
    fn instances(&self) -> Vec<InstanceView>;

    /// What is ready to become instances, and what is being made ready.
    fn stems(&self) -> Vec<StemView>;

    /// What of the machine weakens every isolation, or could; looked at now.
    fn machine(&self) -> Vec<FindingView>;

    /// One entry for each isolation that this program knows, working or not.
    fn isolations(&self) -> Vec<IsolationView>;

    /// Runtimes that functions can use here, oldest first within a language.
    fn runtimes(&self) -> Vec<RuntimeView>;

    /// Resolves when calls see the store's change of this number (`Functions::changes`). Cancel-safe.
    fn settled(&self, change: u64) -> BoxFuture<'_, ()>;

    /// Whether new calls are taken.
    fn ready(&self) -> bool;

    /// What points AWS's tools here.
    fn aws_credentials(&self) -> AwsCredentials;

    /// What it runs on.
    fn host(&self) -> Machine;

    /// How long `idle = "auto"` keeps an instance.
    fn idle_auto(&self) -> Duration;

    /// Begins a comparison, and returns. `Conflict` while another one runs.
    fn compare(&self, order: ComparisonOrder) -> Result<(), Fault>;

    /// The comparison of that id, if it runs or was the last that did.
    fn comparison(&self, id: ComparisonId) -> Option<Comparison>;

    /// Ends the comparison of that id; false if it does not run.
    fn cancel_comparison(&self, id: ComparisonId) -> bool;
}

/// Sandboxes with their runtime up and no function in them, of one shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StemView {
    #[schema(value_type = String, example = "namespace")]
    pub isolation: Isolation,
    #[schema(value_type = String, example = "python3.11")]
    pub runtime: Runtime,
    /// What an instance made of one may hold.
    #[schema(example = "128MB")]
    pub memory: String,
    pub ready: usize,
    pub starting: usize,
    /// What the ready ones are charged to the memory budget, bytes.
    pub charged: u64,
}

/// An isolation on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IsolationView {
    #[schema(value_type = String, example = "namespace")]
    pub isolation: Isolation,
    pub works: bool,
    pub findings: Vec<FindingView>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    pub severity: Severity,
    /// What was looked at: `user namespaces`, `memory limit`.
    pub subject: String,
    /// How it is.
    pub state: String,
    /// What to install or set; empty when there is nothing to do.
    pub advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Ok,
    /// Works, but weaker than it should be.
    Weaker,
    /// Does not work.
    Missing,
}

/// A runtime on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeView {
    /// Its AWS identifier.
    #[schema(value_type = String, example = "python3.11")]
    pub name: Runtime,
    pub works: bool,
    /// The interpreter, as functions see it.
    #[schema(example = "/usr/bin/python3.11")]
    pub program: String,
}

/// A machine that functions run on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    /// Its processor's name.
    #[schema(example = "Intel(R) N100")]
    pub cpu: String,
    /// As the operating system counts them.
    pub cores: u32,
    /// Bytes.
    pub memory: u64,
    #[schema(example = "Linux 6.12.9")]
    pub kernel: String,
}

/// What points AWS's tools at this Hearth.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AwsCredentials {
    #[schema(example = "http://127.0.0.1:7070")]
    pub endpoint: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    #[schema(example = "us-east-1")]
    pub region: String,
}

// === impl AwsCredentials ===

// Never into a log by accident.
impl std::fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsCredentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}
