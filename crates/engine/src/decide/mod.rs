//! Deciders: pure state and rules, with time passed in. No clock, no lock, no I/O.

pub mod bound;
pub mod budget;
pub mod habit;
mod line;
pub mod roster;
pub mod share;
pub mod stems;
pub mod times;
