//! The library that makes an interpreter a fork server, as bytes: Hearth carries it, and puts it beside the bootstraps.

#![forbid(unsafe_code)]

/// A shared library for the C library that Hearth itself was built for.
pub const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth_fork.so"));

/// A program for Linux alone, linked statically: what a forked sandbox's first process runs.
pub const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth_init"));
