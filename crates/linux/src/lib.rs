//! What every isolation made of Linux's own parts is built from: control groups, the system-call filter, the root
//! file system made of the host's `/usr`, packages mounted read-only, slots in which they appear in what runs already, and
//! the system calls that no safe crate wraps.
//!
//! The drivers decide when; this crate knows how. It makes no sandbox and knows no driver.

pub mod cgroup;
pub mod code;
pub mod root;
pub mod seccomp;
pub mod slots;
pub mod sys;
