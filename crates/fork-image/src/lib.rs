//! The library that makes an interpreter a fork server, as bytes: Hearth carries it, and puts it beside the bootstraps.

#![forbid(unsafe_code)]

/// A shared library for the C library that Hearth itself was built for.
pub const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth_fork.so"));
