//! The AWS dialect: request signatures, access keys, function references, HTTP events of payload format 2.0
//! and error shapes. Pure: no I/O, no clock, no state. Time and keys are passed in.

#![forbid(unsafe_code)]

pub mod credentials;
pub mod destination;
pub mod errors;
pub mod function_ref;
pub mod http_event;
pub mod scheduled;
pub mod sigv4;

mod text;

pub use errors::AwsError;
pub use function_ref::FunctionRef;
