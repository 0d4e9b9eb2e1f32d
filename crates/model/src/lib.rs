//! The nouns of Hearth: functions, invocations, limits, faults. No I/O, no async, no clock.
//!
//! A type lives here only when two rooms need it. Parsing is validation: a value of these types has been
//! checked, and the error of a failed parse names what was wrong and what was expected.

#![forbid(unsafe_code)]

mod fault;
mod function;
mod id;
mod invocation;
mod isolation;
pub mod price;
mod quantity;
mod record;
mod runtime;
mod time;
pub mod waterfall;

pub use fault::{Blame, Fault, FaultCode};
pub use function::{
    Egress, Function, FunctionSpec, Idle, InvalidSpec, MAX_ENV_BYTES, RESERVED_ENV, RUNTIME_API_PORT, Scale,
    WEB_CONCURRENCY, Web,
};
pub use id::{
    CodeHash, ComparisonId, FunctionName, ImageDigest, InstanceId, InvalidId, PinnedImage, RequestId, Revision,
};
pub use invocation::{
    Door, FunctionError, Invocation, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Outcome, Probe, ProbeStart, Reply,
};
pub use isolation::{InvalidChoice, Isolation, IsolationChoice, Strength};
pub use price::{Cloud, Currency, Hardware, InvalidPrices, Lifetime, Prices};
pub use quantity::{Cpu, InvalidQuantity, Memory, parse_duration, show_duration};
pub use record::{InstanceState, InstanceView, LogLevel, LogLine, Record, RecordOutcome};
pub use runtime::{Language, Runtime};
pub use time::Timestamp;
pub use waterfall::Stage;
