//! The AWS dialect: request signatures, access keys, function references, HTTP events of payload format 2.0
//! and error shapes. Pure: no I/O, no clock, no state. Time and keys are passed in.

#![forbid(unsafe_code)]

pub mod checksum;
pub mod credentials;
pub mod destination;
pub mod errors;
pub mod event_stream;
pub mod function_ref;
pub mod http_event;
mod layer_ref;
pub mod log_filter;
pub mod scheduled;
pub mod service;
pub mod sigv4;
pub mod sqs_event;
pub mod xml;

mod text;

pub use errors::AwsError;
pub use function_ref::FunctionRef;
pub use layer_ref::{InvalidLayerRef, LayerRef};

/// Percent-encoded as AWS does it: all but RFC 3986's unreserved characters.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text::encode_into(&mut out, text.as_bytes(), false);
    out
}
