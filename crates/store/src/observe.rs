//! What those ask who look on: figures of many calls over time, and records by what happened to them.

use std::time::Duration;

use async_trait::async_trait;
use model::metric::{Aggregate, Traffic};
use model::{Blame, Door, FaultCode, FunctionName, InstanceState, Isolation, Record, Revision, Timestamp, Version};

use crate::StoreError;

/// How long instances of one kind were in a state, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceTime {
    pub function: FunctionName,
    pub revision: Revision,
    pub version: Version,
    pub isolation: Isolation,
    pub state: InstanceState,
    pub millis: u64,
}

/// What instances of one kind sent and received over their networks, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceTraffic {
    pub function: FunctionName,
    pub revision: Revision,
    pub version: Version,
    pub isolation: Isolation,
    pub traffic: Traffic,
}

/// Which figures to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsQuery {
    pub function: Option<FunctionName>,
    /// Seconds since 1970; what is kept in coarser steps is read from the step's begin on.
    pub from: i64,
    pub to: i64,
    /// Seconds, a multiple of [`FINEST`].
    pub step: i64,
    pub by: MetricsBy,
}

/// What figures are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsBy {
    Nothing,
    Function,
    Revision,
    /// `$LATEST`, or the number of a published one; [`UNKNOWN`] for calls of before that was kept.
    Version,
    /// An alias and the version that a call through it came to, `prod:3`; calls through none by their version alone.
    Alias,
    Isolation,
    Door,
}

/// Figures of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSeries {
    /// Empty if they are of all; [`OTHER`] for what was too much to be told apart.
    pub key: String,
    /// By the second that they begin with; those without anything are left out.
    pub points: Vec<(i64, Aggregate)>,
}

/// Figures of all time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// A function's name, or [`OTHER`].
    pub function: String,
    pub isolation: Option<Isolation>,
    /// None for figures of instances, which no door has.
    pub door: Option<Door>,
    pub figures: Aggregate,
}

/// What no function can be named: figures beyond the bound on how many are told apart.
pub const OTHER: &str = "(other)";

/// The version of calls that were counted before versions were told apart.
pub const UNKNOWN: &str = "(unknown)";

/// The shortest step, seconds.
pub const FINEST: i64 = 10;

/// Steps that figures are kept in, and for how long: seconds.
pub const KEPT: [(i64, i64); 3] = [(FINEST, 86_400), (60, 14 * 86_400), (3600, 365 * 86_400)];

/// Which records to look for, newest first.
#[derive(Debug, Clone, Default)]
pub struct RecordSearch {
    pub function: Option<FunctionName>,
    /// Whether it went well.
    pub ok: Option<bool>,
    pub code: Option<FaultCode>,
    pub blame: Option<Blame>,
    pub cold: Option<bool>,
    pub isolation: Option<Isolation>,
    pub door: Option<Door>,
    /// In the handler and waiting before it, together.
    pub min_duration: Option<Duration>,
    /// A text in the error's, in any case.
    pub text: Option<String>,
    /// When the call came in.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// What the page before gave as `next`.
    pub before: Option<u64>,
    pub limit: usize,
}

/// Some of the records that were looked for.
#[derive(Debug, Clone, Default)]
pub struct RecordPage {
    pub records: Vec<Record>,
    /// Where to go on; none at the end. There may be none on a page, and yet some on the next: a page looks at so many only.
    pub next: Option<u64>,
}

/// Figures are counted where records are written, in the same transaction: neither knows of a call that the other does not.
#[async_trait]
pub trait Observe: Send + Sync {
    /// Counts how long instances were in their states. Never waits, never fails.
    fn instances(&self, times: Vec<InstanceTime>);

    /// Counts what instances sent and received. Never waits, never fails.
    fn traffic(&self, traffic: Vec<InstanceTraffic>);

    /// Sees every record given before the call.
    async fn metrics(&self, query: MetricsQuery) -> Result<Vec<MetricsSeries>, StoreError>;

    /// Of all time, but for what was kept of functions' revisions, versions and aliases. Never goes down, over restarts too.
    async fn totals(&self) -> Result<Vec<Total>, StoreError>;

    async fn search(&self, search: RecordSearch) -> Result<RecordPage, StoreError>;
}
