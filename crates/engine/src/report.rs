//! AWS Lambda's lines around each invocation, in the log and in the tail that its caller may ask for.

use std::fmt::Write;
use std::time::Duration;

use model::{Memory, RequestId, Timestamp, Version};

use crate::log::Sink;

/// What REPORT says.
pub struct Report {
    pub took: Duration,
    pub memory: Memory,
    /// Highest memory use so far, bytes.
    pub peak: Option<u64>,
    /// Cold only: how long the start took.
    pub init: Option<Duration>,
    /// Cold, from a fork point: how long that took, and how much of it was the function's own.
    pub restore: Option<(Duration, Duration)>,
}

pub fn start(sink: &mut Sink<'_>, id: RequestId, version: Version) {
    sink.platform(format!("START RequestId: {id} Version: {version}"));
}

pub fn end(sink: &mut Sink<'_>, id: RequestId, report: &Report) {
    sink.platform(format!("END RequestId: {id}"));
    let millis = report.took.as_secs_f64() * 1e3;
    let mut text = String::with_capacity(200);
    let _ = write!(text, "REPORT RequestId: {id}\tDuration: {millis:.2} ms\tBilled Duration: {} ms", millis.ceil());
    let peak = report.peak.unwrap_or(0).div_ceil(1024 * 1024);
    let _ = write!(text, "\tMemory Size: {} MB\tMax Memory Used: {peak} MB\t", report.memory.as_mib());
    if let Some(init) = report.init {
        let _ = write!(text, "Init Duration: {:.2} ms\t", init.as_secs_f64() * 1e3);
    }
    if let Some((restore, own)) = report.restore {
        let (restore, own) = (restore.as_secs_f64() * 1e3, (own.as_secs_f64() * 1e3).ceil());
        let _ = write!(text, "Restore Duration: {restore:.2} ms\tBilled Restore Duration: {own} ms\t");
    }
    sink.platform(text);
}

/// AWS's line about a call that ran out of time.
pub fn timed_out(sink: &mut Sink<'_>, id: RequestId, limit: Duration) {
    let now = Timestamp::now().rfc3339();
    sink.platform(format!("{now} {id} Task timed out after {:.2} seconds", limit.as_secs_f64()));
}

/// AWS's lines about a runtime that ended.
pub fn exited(sink: &mut Sink<'_>, id: RequestId, text: &str, kind: &str) {
    sink.platform(format!("RequestId: {id} Error: {text}"));
    sink.platform(kind.to_owned());
}
