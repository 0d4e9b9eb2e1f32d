//! The privileged process, and the server's client for it.
//!
//! ```text
//! hearth up (spawner: one thread, one epoll)
//!    │ socketpair: typed messages, descriptors with them
//!    └── server (unprivileged)         restarted when it dies, with back-off; its sandboxes go with it
//!    └── sandboxes                     tied to the spawner's life
//! ```
//!
//! The spawner reads messages from the server, which is not trusted: every field is validated before use, and no
//! path crosses the wall. It never reads a byte that came from a network.

mod client;
mod process;
mod protocol;
mod socket;

pub use client::Client;
pub use process::{CANNOT_START, Ended, Options, SERVER_FD, ServerUser, run};
