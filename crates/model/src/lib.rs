//! The nouns of Hearth: functions, invocations, limits, faults. No I/O, no async, no clock.
//!
//! A type lives here only when two rooms need it. Parsing is validation: a value of these types has been
//! checked, and the error of a failed parse names what was wrong and what was expected.

#![forbid(unsafe_code)]

mod egress;
mod event;
mod fault;
mod function;
mod id;
mod invocation;
mod isolation;
mod mount;
pub mod price;
mod quantity;
mod record;
mod runtime;
mod schedule;
mod secret;
mod time;
pub mod waterfall;

pub use egress::{Destination, Destinations, Egress, InvalidEgress, NEVER, PRIVATE};
pub use event::{AsyncRules, MAX_EVENT_BYTES};
pub use fault::{Blame, Fault, FaultCode};
pub use function::{
    Function, FunctionSpec, Idle, InvalidSpec, MAX_ENV_BYTES, RESERVED_ENV, RUNTIME_API_PORT, Scale, WEB_CONCURRENCY,
    Web, is_early_env,
};
pub use id::{
    CodeHash, ComparisonId, FunctionName, ImageDigest, InstanceId, InvalidId, PinnedImage, RequestId, Revision,
    SecretName,
};
pub use invocation::{
    Door, FunctionError, Invocation, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Outcome, Probe, ProbeStart, Reply,
};
pub use isolation::{InvalidChoice, Isolation, IsolationChoice, Strength};
pub use mount::{
    AllowedMount, HostFolder, InvalidMount, MAX_MOUNTS, MOUNTS_FOLDER, Mount, MountPath, MountRefused,
    allowed as allowed_mount,
};
pub use price::{Cloud, Currency, Hardware, InvalidPrices, Lifetime, Prices};
pub use quantity::{Cpu, InvalidQuantity, Memory, parse_duration, show_duration};
pub use record::{InstanceState, InstanceView, LogLevel, LogLine, Record, RecordOutcome};
pub use runtime::{Language, Runtime};
pub use schedule::{MAX_MISSED, MAX_SCHEDULES, Missed, Overlap, Schedule, Timetable};
pub use secret::{EnvValue, InvalidSecret, MAX_SECRET_BYTES, MAX_SECRETS, SECRETS_FOLDER, SecretRef, SecretValue};
pub use time::Timestamp;
pub use waterfall::Stage;
