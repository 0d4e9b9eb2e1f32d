//! The mount table, as far as control groups are in it, and the mount option that makes joining groups quick.

use std::path::{Path, PathBuf};

use rustix::mount as api;

use super::detect::Version;

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub version: Version,
    /// Which part of the hierarchy is seen here.
    pub root: String,
    pub point: PathBuf,
    pub read_only: bool,
    /// The hierarchy's own: controllers in version 1.
    pub options: String,
}

/// Lets processes change groups without waiting for all processors, at some cost to every fork and exit (lost
/// in the noise of 45 µs for a fork with exit and wait). Whichever hierarchy it is set on, it holds for all.
const QUICK: &str = "favordynmods";

// === impl Mount ===

impl Mount {
    pub fn table(mountinfo: &str) -> Vec<Self> {
        mountinfo.lines().filter_map(Self::parse).collect()
    }

    /// `31 23 0:28 /root /point options [tags…] - type source options`
    fn parse(line: &str) -> Option<Self> {
        let (mount, hierarchy) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point, flags) = (mount.next()?, mount.next()?, mount.next()?);
        let mut hierarchy = hierarchy.split(' ');
        let version = match hierarchy.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = hierarchy.nth(1)?.to_owned();
        let read_only = [flags, &options].iter().any(|list| list.split(',').any(|flag| flag == "ro"));
        Some(Self { version, root: plain(root), point: plain(point).into(), read_only, options })
    }

    pub fn is_quick(&self) -> bool {
        self.options.split(',').any(|option| option == QUICK)
    }

    /// Sets or clears the option on the hierarchy, and leaves its others as they are: the kernel clears what is
    /// not named.
    pub fn make_quick(&self, quick: bool) -> rustix::io::Result<()> {
        let hierarchy = api::fspick(rustix::fs::CWD, &self.point, api::FsPickFlags::FSPICK_CLOEXEC)?;
        let others = self.options.split(',').filter(|option| !matches!(*option, "rw" | "ro" | QUICK));
        for option in others.chain(quick.then_some(QUICK)) {
            api::fsconfig_set_flag(&hierarchy, option)?;
        }
        api::fsconfig_reconfigure(&hierarchy)
    }
}

/// Undoes the table's escapes: `\040` is a space.
fn plain(field: &str) -> String {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Where a path of `/proc/self/cgroup` lies under a mount that shows `root`; none if outside.
pub fn under(point: &Path, root: &str, path: &str) -> Option<PathBuf> {
    let rest = if root == "/" { path } else { path.strip_prefix(root)? };
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let rest = rest.trim_start_matches('/');
    // Outside the cgroup namespace: /../other
    if rest.split('/').any(|part| part == "..") {
        return None;
    }
    Some(if rest.is_empty() { point.to_owned() } else { point.join(rest) })
}
