//! The privileged process, and the server's client for it.
//!
//! ```text
//! hearth up (spawner: one thread, one epoll)
//!    │ socketpair: typed messages, descriptors with them
//!    ├── server (unprivileged)         restarted when it dies, with back-off; its sandboxes go with it
//!    ├── helper, if wanted             a driver that waits or has threads; the same messages, to the server alone
//!    └── sandboxes                     tied to the spawner's life
//! ```
//!
//! The spawner reads messages from the server, which is not trusted: every field is validated before use, and no
//! path crosses the wall. It never reads a byte that came from a network.

mod client;
mod door;
mod helper;
#[cfg(test)]
mod hostile_tests;
mod launch;
mod process;
mod protocol;
mod servers;
mod signals;
mod socket;
mod supervise;
mod upgrade;

pub use client::{Client, Order, places};
pub use door::{Answer, Ask, DOOR, ask};
pub use helper::serve;
pub use launch::{HELPER_FD, HelperOptions, SPAWNER_FD, ServerUser};
pub use process::{CANNOT_START, Ended, Options, run};
