//! The arms that need more than a Hearth, a function and a baseline: one file for each.

pub mod burst;
pub mod catalogue;
pub mod density;
pub mod keepalive;
pub mod latency;
pub mod native;
pub mod nginx;
pub mod tail;
pub mod tax;
pub mod tools;

use std::path::{Path, PathBuf};

/// Where a program of Debian's is, if it is installed.
fn installed(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}
