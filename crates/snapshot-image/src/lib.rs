//! Both halves of fork points as bytes: Hearth carries them, and puts them beside the bootstraps.

#![forbid(unsafe_code)]

/// The library with which an interpreter writes an image of itself: for the C library that Hearth itself was built for.
pub const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth_snapshot.so"));

/// The program that goes on from one, linked statically.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth-restore"));
