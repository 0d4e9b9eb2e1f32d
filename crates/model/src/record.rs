//! What is kept of invocations and of what functions print.

use serde::{Deserialize, Serialize};

use crate::fault::FaultCode;
use crate::id::{FunctionName, InstanceId, RequestId, Revision};
use crate::invocation::Door;
use crate::isolation::Isolation;
use crate::time::Timestamp;
use crate::waterfall::Stage;

/// How one invocation went. All durations are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub request_id: RequestId,
    pub function: FunctionName,
    pub revision: Revision,
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
    /// Cold only: where the time went, from the receipt to the answer. See [`Record::waterfall`].
    #[serde(default)]
    pub stages: Vec<Stage>,
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
    pub state: InstanceState,
    pub isolation: Isolation,
    pub started: Timestamp,
    pub invocations: u64,
    /// Highest memory use so far, bytes; none where it cannot be measured.
    pub memory_peak: Option<u64>,
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
    fn levels_survive_the_wire() {
        for level in ["trace", "debug", "info", "warn", "error", "fatal"] {
            let level = LogLevel::parse(level).unwrap();
            assert_eq!(LogLevel::from_u8(level.as_u8()), Some(level));
        }
        assert_eq!(LogLevel::from_u8(0), None);
        assert_eq!(LogLevel::from_u8(7), None);
    }
}
