//! Deciders: pure rules, with time passed in. No clock, no lock, no I/O.

pub mod deal;
pub mod plan;
pub mod verdict;
