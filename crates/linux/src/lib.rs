//! What every isolation made of Linux's own parts is built from: control groups, the system-call filter, Landlock, the root
//! file system made of the host's `/usr`, packages' mounts, sandboxes' networks, the system calls that no safe crate wraps, and what weakens
//! them all.
//!
//! The drivers decide when; this crate knows how. It makes no sandbox and knows no driver.

pub mod cgroup;
pub mod code;
pub mod folders;
pub mod host;
pub mod image;
pub mod inotify;
pub mod net;
pub mod reach;
pub mod root;
pub mod roots;
pub mod seccomp;
pub mod sentry;
pub mod slots;
pub mod split;
pub mod sys;
