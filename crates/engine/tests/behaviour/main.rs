//! What the engine promises, over a fake driver: real sockets and frames, no sandboxes.

mod calls;
mod ends;
mod fake;
mod isolation;
mod keeping;
mod memory;
mod scaling;
mod secrets;
mod stems;
mod streams;
mod traffic;
mod turns;
mod waterfall;
mod world;
