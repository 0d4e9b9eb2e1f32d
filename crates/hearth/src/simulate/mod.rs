//! What keep-alive policies would have done with a recorded trace of calls, by the very code that decides in the engine.

pub mod run;
pub mod trace;

#[cfg(test)]
mod tests;
