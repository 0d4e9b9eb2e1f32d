//! One call of a function, and what came of it. Every door makes the same [`Invocation`] and awaits one
//! [`Outcome`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::id::{FunctionName, InstanceId, RequestId};
use crate::isolation::Isolation;
use crate::record::Record;
use crate::time::Timestamp;
use crate::trace::Trace;
use crate::version::Qualifier;

/// Longest request payload of a synchronous invocation, bytes: AWS Lambda's 6 MB.
pub const MAX_REQUEST_BYTES: usize = 6 * 1024 * 1024;

/// Longest response payload, bytes: what AWS Lambda allows, 100 bytes over 6 MB.
pub const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

/// Longest response that is passed on as it comes, bytes: AWS Lambda's 200 MB.
pub const MAX_STREAM_BYTES: u64 = 200 * 1024 * 1024;

/// Where an invocation came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// AWS's Invoke API.
    Invoke,
    /// HTTP on the ingress.
    Http,
    /// The queue of asynchronous events.
    Async,
    /// `hearth compare`, which measures.
    Compare,
}

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub id: RequestId,
    pub function: FunctionName,
    /// The version or alias that was asked for; none: what calls without one get.
    pub qualifier: Option<Qualifier>,
    /// The event, JSON.
    pub payload: Bytes,
    pub door: Door,
    /// When it entered Hearth.
    pub received: Timestamp,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// AWS's `X-Amz-Client-Context`, decoded JSON, or empty.
    pub client_context: String,
    /// Whether the caller wants the last lines of the log back.
    pub tail: bool,
    /// Says where and how it is to run, for comparisons; none: as the function is configured.
    pub probe: Option<Probe>,
    /// The invocation whose event this is once more.
    pub replay_of: Option<RequestId>,
}

/// An instance that measurements want, whatever the function's configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Probe {
    pub isolation: Isolation,
    pub start: ProbeStart,
}

/// Whether an instance is made for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeStart {
    /// One is kept, and used again.
    Warm,
    /// One is made from nothing, and is gone afterwards.
    Scratch,
    /// One is made of a stem where there is one, and is gone afterwards.
    Stem,
}

/// What the function answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The handler's result, JSON.
    Success(Bytes),
    /// The function failed, and this is what its caller is told.
    Failure(FunctionError),
}

/// A failure of the function itself, in AWS Lambda's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// `{"errorMessage": …, "errorType": …, …}`
    pub payload: Bytes,
    /// What kind of failure it was, for records and metrics.
    pub fault: Fault,
}

/// What came of an invocation that reached the engine. `Err(Fault)` beside it: it never ran.
#[derive(Debug)]
pub struct Outcome {
    pub reply: Reply,
    pub instance: InstanceId,
    /// The last 4 KB of the invocation's log, if asked for.
    pub tail: Option<Vec<u8>>,
    pub record: Record,
}
