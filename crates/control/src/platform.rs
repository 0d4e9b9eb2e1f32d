//! What the API must know of the running platform, and the shapes it is told in.
//!
//! The trait is declared here, where it is needed; the composition root implements it over engine and drivers,
//! which this crate may not import.

use std::pin::Pin;

use model::{
    AllowedMount, ComparisonId, Fault, FunctionName, InstanceId, InstanceView, Invocation, Isolation, Outcome, Runtime,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use utoipa::ToSchema;

use crate::comparisons::{Comparison, ComparisonOrder};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The running platform. All but `settled` and `invoke` return at once, and all but `invoke` and those about comparisons are
/// readings.
pub trait Platform: Send + Sync + 'static {
    /// Every instance that lives now.
    fn instances(&self) -> Vec<InstanceView>;

    /// Connects to what listens on a port of the loopback in an instance.
    fn attach(&self, instance: &InstanceId, port: u16) -> BoxFuture<'_, Result<Box<dyn Duplex>, Fault>>;

    /// What is ready to become instances, and what is being made ready.
    fn stems(&self) -> Vec<StemView>;

    /// What of the machine weakens every isolation, or could; looked at now.
    fn machine(&self) -> Vec<FindingView>;

    /// One entry for each isolation that this program knows, working or not.
    fn isolations(&self) -> Vec<IsolationView>;

    /// Runtimes that functions can use here, oldest first within a language.
    fn runtimes(&self) -> Vec<RuntimeView>;

    /// Folders of the host's that functions may mount.
    fn allowed_mounts(&self) -> Vec<AllowedMount>;

    /// Whether a sandbox without an image finds a file at that absolute path, in what it sees of this machine.
    fn has_program(&self, path: &str) -> bool;

    /// Resolves when calls see the store's change of this number (`Functions::changes`). Cancel-safe.
    fn settled(&self, change: u64) -> BoxFuture<'_, ()>;

    /// Whether new calls are taken.
    fn ready(&self) -> bool;

    /// What points AWS's tools here.
    fn aws_credentials(&self) -> AwsCredentials;

    /// What it runs on.
    fn host(&self) -> Machine;

    /// What `idle = "auto"` does at present with instances of a function that have no work, on each isolation that it
    /// runs on; empty if it does not say `auto`, or nobody calls it yet that way.
    fn keeping(&self, function: &FunctionName) -> Vec<KeepingView>;

    /// The memory budget now.
    fn memory(&self) -> MemoryView;

    /// How spans fare, where traces are exported.
    fn traces(&self) -> Option<SpanCounts>;

    /// What the server itself takes; looked at now.
    fn process(&self) -> ProcessView;

    /// Calls a function as a door does. Runs to its end, also if what it gives is dropped.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, Fault>>;

    /// Begins a comparison, and returns. `Conflict` while another one runs.
    fn compare(&self, order: ComparisonOrder) -> Result<(), Fault>;

    /// The comparison of that id, if it runs or was the last that did.
    fn comparison(&self, id: ComparisonId) -> Option<Comparison>;

    /// Ends the comparison of that id; false if it does not run.
    fn cancel_comparison(&self, id: ComparisonId) -> bool;
}

/// When there is an instance of a function that says `idle = "auto"`, after a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeepingView {
    #[schema(value_type = String, example = "namespace")]
    pub isolation: Isolation,
    /// In order; the first begins when the call ends. Before each of the others an instance is made ahead of calls.
    pub spans: Vec<KeepingSpan>,
    /// Idle times of ten seconds and more that this rests on.
    pub seen: u64,
    /// The same for a person.
    #[schema(example = "kept 4 min after a call, and from 13 min to 17 min (auto: 96 idle times seen)")]
    pub text: String,
}

/// Seconds after a call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeepingSpan {
    pub from: f64,
    pub to: f64,
}

// === impl KeepingView ===

impl KeepingView {
    pub fn new(isolation: Isolation, spans: Vec<KeepingSpan>, seen: u64) -> Self {
        let time = |seconds: f64| match seconds.round() as u64 {
            seconds if seconds < 120 => format!("{seconds} s"),
            seconds => format!("{} min", (seconds + 30) / 60),
        };
        let mut text = format!("kept {} after a call", time(spans.first().map_or(0.0, |span| span.to)));
        for (place, span) in spans.iter().enumerate().skip(1).take(3) {
            let joint = if place == 1 { ", and" } else { "," };
            text += &format!("{joint} from {} to {}", time(span.from), time(span.to));
        }
        if spans.len() > 4 {
            text += ", …";
        }
        text += &match seen {
            0 => " (auto: no idle times seen yet)".to_owned(),
            1 => " (auto: 1 idle time seen)".to_owned(),
            seen => format!(" (auto: {seen} idle times seen)"),
        };
        Self { isolation, spans, seen, text }
    }
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
    /// Why functions that mount folders of the host's cannot run with it; none: they can.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub no_mounts: Option<String>,
    /// Why its functions can have no network (egress); none where they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_egress: Option<String>,
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

/// The memory that all instances together may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryView {
    /// Bytes.
    pub budget: u64,
    /// What instances and stems are charged of it, bytes.
    pub used: u64,
}

/// Spans since the start, by how they fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    pub exported: u64,
    /// Dropped: they came faster than they could be sent.
    pub overflowed: u64,
    /// Dropped: the collector could not take them for too long.
    pub failed: u64,
    /// Dropped: the collector did not want them.
    pub refused: u64,
    pub waiting: u64,
}

/// The server's process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessView {
    /// Processor time since its start.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub open_fds: u64,
    /// Microseconds since 1970.
    pub started_us: i64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_as_a_sentence() {
        let text = |spans: &[(f64, f64)], seen| {
            let spans = spans.iter().map(|(from, to)| KeepingSpan { from: *from, to: *to }).collect();
            KeepingView::new(Isolation::Namespace, spans, seen).text
        };
        assert_eq!(text(&[(0.0, 240.0)], 96), "kept 4 min after a call (auto: 96 idle times seen)");
        assert_eq!(
            text(&[(0.0, 25.0), (770.0, 1030.0)], 1),
            "kept 25 s after a call, and from 13 min to 17 min (auto: 1 idle time seen)"
        );
    }
}
