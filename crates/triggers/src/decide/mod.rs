//! Deciders: pure rules, with time passed in. No clock, no lock, no I/O.

pub mod backoff;
pub mod batch;
pub mod deal;
pub mod partial;
pub mod plan;
pub mod settled;
pub mod verdict;
