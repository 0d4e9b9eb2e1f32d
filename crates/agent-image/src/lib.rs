//! The agent's program as bytes, for the drivers that bring it into their sandboxes. A room of its own, because the
//! agent cannot hold itself, and two drivers shall not build it twice.

#![forbid(unsafe_code)]

/// An ELF file that is linked statically: it runs where there is nothing else.
pub const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hearth-agent"));
