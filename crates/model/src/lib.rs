//! The nouns of Hearth: functions, invocations, limits, faults. No I/O, no async, no clock.
//!
//! A type lives here only when two rooms need it. Parsing is validation: a value of these types has been
//! checked, and the error of a failed parse names what was wrong and what was expected.

#![forbid(unsafe_code)]

mod aws;
mod egress;
mod event;
mod fault;
mod function;
mod id;
mod invocation;
mod isolation;
mod layer;
mod message;
pub mod metric;
mod mount;
mod pattern;
mod place;
pub mod price;
mod quantity;
mod record;
mod route;
mod runtime;
mod schedule;
mod secret;
mod source;
mod time;
pub mod trace;
mod url;
mod version;
pub mod waterfall;

pub use aws::AwsNotes;
pub use egress::{Destination, Destinations, Egress, InvalidEgress, NEVER, PRIVATE};
pub use event::{AsyncRules, MAX_EVENT_BYTES};
pub use fault::{Blame, Fault, FaultCode};
pub use function::{
    Function, FunctionSpec, Idle, InvalidSpec, InvokeMode, KeepPayloads, MAX_ENV_BYTES, RESERVED_ENV, RUNTIME_API_PORT,
    RecordRules, Scale, WEB_CONCURRENCY, Web, WebProtocol, is_early_env,
};
pub use id::{
    CodeHash, ComparisonId, FunctionName, ImageDigest, InstanceId, InvalidId, LayerName, PinnedImage, QueueName,
    RequestId, Revision, SecretName, TokenId,
};
pub use invocation::{
    Door, FunctionError, Invocation, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, MAX_STREAM_BYTES, Outcome, Probe,
    ProbeStart, Reply,
};
pub use isolation::{InvalidChoice, Isolation, IsolationChoice, Strength};
pub use layer::{LayerUse, Layers, MAX_LAYERS, MAX_UNPACKED};
pub use message::{
    MAX_ATTRIBUTES, MAX_MESSAGE_BYTES, MessageAttribute, MessageAttributes, QueueNotes, QueueRules, message_bytes,
};
pub use mount::{
    AllowedMount, HostFolder, InvalidMount, MAX_MOUNTS, MOUNTS_FOLDER, Mount, MountPath, MountRefused,
    allowed as allowed_mount,
};
pub use pattern::{EventPattern, MAX_PATTERN_BYTES};
pub use place::{DEFAULT_PLACE, choose_place, parse_account, parse_region, place};
pub use price::{Cloud, Currency, Hardware, InvalidPrices, Lifetime, Prices};
pub use quantity::{Cpu, InvalidQuantity, Memory, parse_duration, show_duration};
pub use record::{InstanceState, InstanceView, Kept, LogLevel, LogLine, Payloads, Record, RecordOutcome, billed_ms};
pub use route::{
    BodyLimit, Cors, HttpRoute, InvalidRoute, MAX_ROUTES, ROUTE_METHODS, Rate, RouteAuth, RouteHost, RoutePattern,
    Segment, Signature,
};
pub use runtime::{Language, Runtime};
pub use schedule::{MAX_MISSED, MAX_SCHEDULES, Missed, Overlap, Schedule, Timetable};
pub use secret::{EnvValue, InvalidSecret, MAX_SECRET_BYTES, MAX_SECRETS, SECRETS_FOLDER, SecretRef, SecretValue};
pub use source::{
    After, FolderSource, MAX_BATCH, MAX_SOURCES, MqttSource, QueueSource, Source, SourceState, SourceStatus, Target,
};
pub use time::Timestamp;
pub use trace::Trace;
pub use url::{UrlAuth, UrlRules};
pub use version::{
    Alias, AliasName, Canary, CanaryEnd, CanaryRules, CanaryStep, Change, InvalidCanary, InvalidWeight, LATEST,
    PublishedVersion, Qualifier, Tally, Version, Weight, changes, env_changes,
};
pub use waterfall::Stage;
