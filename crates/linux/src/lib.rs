//! What every isolation made of Linux's own parts is built from: control groups, the system-call filter, the root
//! file system made of the host's `/usr`, and the system calls that no safe crate wraps.
//!
//! The drivers decide when; this crate knows how. It makes no sandbox and knows no driver.

pub mod cgroup;
pub mod root;
pub mod seccomp;
pub mod sys;
