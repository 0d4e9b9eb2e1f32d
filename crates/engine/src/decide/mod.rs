//! Deciders: pure state and rules, with time passed in. No clock, no lock, no I/O.

pub mod budget;
pub mod habit;
pub mod roster;
pub mod share;
pub mod stems;
pub mod times;
