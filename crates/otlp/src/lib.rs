//! Traces by OpenTelemetry's protocol, OTLP over HTTP.
//!
//! ```text
//! call ends ─► Queue (bounded) ─► task: batches ─► spans ─► POST …/v1/traces
//!                │ full: dropped, counted              └ refused or out of time: dropped, counted
//! ```
//!
//! A call pays for putting its record into the queue and for nothing else: spans are made of it, and encoded, by the task.

#![forbid(unsafe_code)]

mod config;
mod encode;
mod export;
mod queue;
mod spans;

pub use config::{Config, ConfigError};
pub use export::{Counts, Exporter};
