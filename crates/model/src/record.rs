//! What is kept of invocations and of what functions print.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::fault::FaultCode;
use crate::id::{FunctionName, InstanceId, RequestId, Revision};
use crate::invocation::Door;
use crate::isolation::Isolation;
use crate::quantity::Memory;
use crate::time::Timestamp;
use crate::trace::TraceId;
use crate::version::{Qualifier, Version};
use crate::waterfall::Stage;

/// How one invocation went. All durations are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub request_id: RequestId,
    pub function: FunctionName,
    pub revision: Revision,
    /// The version that ran, or was to.
    #[serde(default)]
    pub version: Version,
    /// What was asked for behind the function's name: an alias, a version; none: nothing was.
    #[serde(default)]
    pub qualifier: Option<Qualifier>,
    /// None when no instance was reached.
    pub instance: Option<InstanceId>,
    pub door: Door,
    pub received: Timestamp,
    /// Whether the call waited for an instance to be made.
    pub cold: bool,
    /// Cold only: whether a stem was there to become that instance.
    pub stem: bool,
    /// What the instance's sandbox was made with, or was to be.
    pub isolation: Option<Isolation>,
    pub outcome: RecordOutcome,
    /// What a person is told of the fault, at most [`Record::MOST_ERROR`] bytes; none where it went well.
    #[serde(default)]
    pub error: Option<String>,
    /// Waiting for an instance, all of the cold start included.
    pub queued_us: u64,
    /// Cold only: making the sandbox, until its first process runs.
    pub sandbox_us: Option<u64>,
    /// Cold only: from there until the runtime said hello.
    pub runtime_us: Option<u64>,
    /// Cold only: loading the function's code.
    pub init_us: Option<u64>,
    /// From handing over the event to the answer.
    pub handler_us: u64,
    /// Highest memory use of the instance so far, bytes; none where it cannot be measured.
    pub memory_peak: Option<u64>,
    /// Processor time that the sandbox used during the call; none where it cannot be measured.
    pub cpu_us: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// What the sandbox might hold at most; none in records of before that was kept.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// Time in the handler as AWS Lambda bills it: [`billed_ms`].
    #[serde(default)]
    pub billed_ms: u64,
    /// The invocation whose event this was once more.
    #[serde(default)]
    pub replay_of: Option<RequestId>,
    /// Whether its event and answer were put aside.
    #[serde(default)]
    pub payloads: Kept,
    /// Cold only: where the time went, from the receipt to the answer. See [`Record::waterfall`].
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// The trace that the call belongs to, where its caller named one or Hearth records them.
    #[serde(default)]
    pub trace: Option<TraceId>,
}

/// What became of an invocation's event and answer. What was kept may be gone since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// The function does not ask for it, or not of calls that end so.
    #[default]
    No,
    Yes,
    /// They came faster than they could be written.
    Dropped,
}

/// The event and the answer of an invocation, each cut off at [`Payloads::MOST`] bytes; how long they were, its record
/// says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payloads {
    pub input: Bytes,
    /// None where there was no answer, or where it was passed on as it came.
    pub output: Option<Bytes>,
}

/// `ok`, or the code of what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status", content = "code")]
pub enum RecordOutcome {
    Ok,
    Fault(FaultCode),
}

/// Severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// One line that a function, or the platform about it, wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub time: Timestamp,
    pub function: FunctionName,
    pub instance: InstanceId,
    /// None for what was written outside an invocation.
    pub request_id: Option<RequestId>,
    /// None where the line does not say.
    pub level: Option<LogLevel>,
    pub message: String,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    Starting,
    Idle,
    /// Idle, and its processes are stopped.
    Frozen,
    Busy,
}

/// An instance as `hearth ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    pub instance: InstanceId,
    pub function: FunctionName,
    pub revision: Revision,
    pub version: Version,
    pub state: InstanceState,
    pub isolation: Isolation,
    pub started: Timestamp,
    pub invocations: u64,
    /// Highest memory use so far, bytes; none where it cannot be measured.
    pub memory_peak: Option<u64>,
}

// === impl Record ===

impl Record {
    /// Longest text of an error that is kept, bytes.
    pub const MOST_ERROR: usize = 500;

    /// The same in GB (2³⁰ bytes) times seconds.
    pub fn gb_seconds(&self) -> Option<f64> {
        self.mib_ms().map(crate::metric::gb_seconds)
    }

    /// What AWS Lambda would bill, in MB (2²⁰ bytes) times milliseconds; none where the memory is not known.
    pub fn mib_ms(&self) -> Option<u64> {
        Some(u64::from(self.memory?.as_mib()).saturating_mul(self.billed_ms))
    }
}

/// A time as AWS Lambda bills it: each millisecond that was begun.
pub fn billed_ms(took: Duration) -> u64 {
    u64::try_from(took.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

// === impl Payloads ===

impl Payloads {
    /// What is kept of one payload at most: the limit of AWS Lambda's asynchronous events.
    pub const MOST: usize = 256 << 10;

    pub fn new(input: &Bytes, output: Option<&Bytes>) -> Self {
        Self { input: cut(input), output: output.map(cut) }
    }

    pub fn bytes(&self) -> usize {
        self.input.len() + self.output.as_ref().map_or(0, Bytes::len)
    }
}

/// A copy: what it is a part of may be much longer, and would be held as long.
fn cut(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&payload[..payload.len().min(Payloads::MOST)])
}

// === impl LogLevel ===

impl LogLevel {
    /// The number that stands for it on the wire; 0 there is "not said".
    pub fn as_u8(self) -> u8 {
        self as u8 + 1
    }

    pub fn from_u8(number: u8) -> Option<Self> {
        use LogLevel::*;
        [Trace, Debug, Info, Warn, Error, Fatal].get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Reads the names that loggers use, in any case: `warning`, `ERROR`, `critical`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" | "notice" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" | "err" => Self::Error,
            "fatal" | "critical" | "panic" => Self::Fatal,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_millisecond_that_was_begun_is_billed() {
        let billed = |micros| billed_ms(Duration::from_micros(micros));
        assert_eq!([0, 1, 999, 1000, 1001, 2_500].map(billed), [0, 1, 1, 1, 2, 3]);
        assert_eq!(billed_ms(Duration::from_nanos(1_000_001)), 2);
    }

    #[test]
    fn payloads_are_cut_off_and_not_held_whole() {
        let long = Bytes::from(vec![b'x'; Payloads::MOST + 1]);
        let kept = Payloads::new(&long, Some(&Bytes::from_static(b"{}")));
        assert_eq!((kept.input.len(), kept.bytes()), (Payloads::MOST, Payloads::MOST + 2));
        assert!(long.is_unique(), "what was kept is a copy");
    }

    #[test]
    fn levels_survive_the_wire() {
        for level in ["trace", "debug", "info", "warn", "error", "fatal"] {
            let level = LogLevel::parse(level).unwrap();
            assert_eq!(LogLevel::from_u8(level.as_u8()), Some(level));
        }
        assert_eq!(LogLevel::from_u8(0), None);
        assert_eq!(LogLevel::from_u8(7), None);
    }
}
