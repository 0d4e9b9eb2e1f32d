//! The figures and the freezer of a container, from the cgroups that Docker put it in. Found by way of its first process,
//! and its own only if they are named after it; where they are not found, or may not be written, less is known and
//! nothing fails.
//!
//! The freezer is the one that `docker pause` writes to, without the 30 ms that asking the engine takes.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use driver::{Freezer, FreezerKind, UsageFiles};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Access, AtFlags, CWD};

/// Open files of one container.
#[derive(Debug, Default)]
pub struct Figures {
    pub usage: UsageFiles,
    pub freezer: Option<Freezer>,
    /// `oom_kill N` is one of its lines.
    kills: Option<File>,
    /// Becomes readable when memory ran out, or the group is removed: version 1, which kills one process only.
    pub oom: Option<OwnedFd>,
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Empty: version 2.
    controllers: Vec<String>,
    /// The group that is mounted, and where.
    root: PathBuf,
    at: PathBuf,
}

// === impl Figures ===

impl Figures {
    /// Of the container with this id and first process.
    pub fn of(pid: i32, id: &str) -> Self {
        let groups = groups(pid, id);
        let mounts = mounts();
        let mut found = Self { freezer: freezer(&groups, &mounts), ..Self::default() };
        let open = |path: PathBuf| File::open(path).ok();
        if let Some(group) = group(&groups, &mounts, "cpuacct") {
            found.usage.cpu = open(group.join("cpuacct.usage")).map(OwnedFd::from);
        }
        if let Some(group) = group(&groups, &mounts, "memory") {
            found.usage.memory_peak = open(group.join("memory.max_usage_in_bytes")).map(OwnedFd::from);
            found.kills = open(group.join("memory.oom_control"));
            found.oom = notice(&group);
            bound_sockets(&group);
        } else if let Some(group) = group(&groups, &mounts, "") {
            found.usage.cpu = open(group.join("cpu.stat")).map(OwnedFd::from);
            found.usage.memory_peak = open(group.join("memory.peak")).map(OwnedFd::from);
            found.kills = open(group.join("memory.events"));
            // The kernel then kills the container whole, or not at all.
            let _ = fs::write(group.join("memory.oom.group"), "1");
        }
        found
    }

    /// Whether a process was killed for lack of memory; none if the files cannot tell, or not any more.
    pub fn oom_killed(&self) -> Option<bool> {
        let mut buffer = [0u8; 512];
        let len = rustix::io::pread(self.kills.as_ref()?, &mut buffer, 0).ok()?;
        let text = std::str::from_utf8(&buffer[..len]).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        Some(count.trim() != "0")
    }
}

/// The freezer of the container with this id and first process.
pub fn freezer_of(pid: i32, id: &str) -> Option<Freezer> {
    freezer(&groups(pid, id), &mounts())
}

/// Whether containers' freezers can be written to, as far as can be told before there is one.
pub fn freezes() -> bool {
    let mounts = mounts();
    let of = |controller: &str| mounts.iter().find(|one| one.controllers.iter().any(|known| known == controller));
    // Beside trees of version 1, Docker leaves that of version 2 alone.
    let whole = || mounts.iter().find(|one| one.controllers.is_empty() && mounts.len() == 1);
    let writable = |at: &Path| rustix::fs::accessat(CWD, at, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    of("freezer").or_else(whole).is_some_and(|tree| writable(&tree.at))
}

fn freezer(groups: &str, mounts: &[Hierarchy]) -> Option<Freezer> {
    let open = |path: PathBuf| File::options().write(true).open(path).ok().map(OwnedFd::from);
    let (kind, file) = match group(groups, mounts, "freezer") {
        Some(group) => (FreezerKind::V1, open(group.join("freezer.state"))?),
        None => (FreezerKind::V2, open(group(groups, mounts, "")?.join("cgroup.freeze"))?),
    };
    Some(Freezer { kind, file })
}

/// Whether the process is in a control group of this container's own.
pub fn is_in(pid: i32, id: &str) -> bool {
    !groups(pid, id).is_empty()
}

/// The groups of a process, as far as they are this container's own. Another's figures would be wrong, and another's
/// freezer a catastrophe: beside version 1, that of version 2 may be the engine's own.
fn groups(pid: i32, id: &str) -> String {
    own(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(), id)
}

fn own(groups: &str, id: &str) -> String {
    groups.lines().filter(|line| !id.is_empty() && line.contains(id)).map(|line| format!("{line}\n")).collect()
}

fn mounts() -> Vec<Hierarchy> {
    hierarchies(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn notice(group: &Path) -> Option<OwnedFd> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    let control = File::open(group.join("memory.oom_control")).ok()?;
    let order = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    fs::write(group.join("cgroup.event_control"), order).ok()?;
    Some(event)
}

/// Version 1 counts what TCP and UDP sockets hold only where it is limited, and by itself; Docker does not. As much as a
/// sandbox of the `namespace` isolation may have. Before anything of the function's runs: what was opened earlier is not
/// counted.
fn bound_sockets(group: &Path) {
    let memory = fs::read_to_string(group.join("memory.limit_in_bytes")).unwrap_or_default();
    if let Ok(memory) = memory.trim().parse::<u64>() {
        let _ = fs::write(group.join("memory.kmem.tcp.limit_in_bytes"), (memory / 4).to_string());
    }
}

/// The folder of a process's group in the hierarchy with this controller; version 2's for the empty name.
fn group(groups: &str, mounts: &[Hierarchy], controller: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|one| one == controller).then_some(path)
    })?;
    let mounted = mounts.iter().find(|one| match controller {
        "" => one.controllers.is_empty(),
        _ => one.controllers.iter().any(|known| known == controller),
    })?;
    Some(mounted.at.join(Path::new(path).strip_prefix(&mounted.root).ok()?))
}

fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, at) = (PathBuf::from(left.next()?), PathBuf::from(left.next()?));
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let controllers = match kind {
            "cgroup" => options.split(',').map(str::to_owned).collect(),
            "cgroup2" => vec![],
            _ => return None,
        };
        Some(Hierarchy { controllers, root, at })
    };
    mountinfo.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_group_on_version_1() {
        let mounts = hierarchies(
            "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        let groups = "9:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n";
        let found = |controller| group(groups, &mounts, controller);
        assert_eq!(found("memory"), Some("/sys/fs/cgroup/memory/docker/ab".into()));
        assert_eq!(found("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/docker/ab".into()));
        assert_eq!(found("pids"), None);
    }

    #[test]
    fn a_group_that_is_not_named_after_the_container_is_not_its_own() {
        let groups = "4:freezer:/docker/ab\n3:memory:/system.slice/docker.service\n0::/system.slice/docker.service\n";
        assert_eq!(own(groups, "ab"), "4:freezer:/docker/ab\n");
        assert_eq!(own("0::/system.slice/docker-ab.scope\n", "ab"), "0::/system.slice/docker-ab.scope\n");
        assert_eq!(own(groups, ""), "", "no id is nobody's");
    }

    #[test]
    fn finds_the_group_on_version_2() {
        let mounts = hierarchies("25 24 0:22 /machine /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        let groups = "0::/machine/system.slice/docker-ab.scope\n";
        assert_eq!(group(groups, &mounts, "memory"), None);
        assert_eq!(group(groups, &mounts, ""), Some("/sys/fs/cgroup/system.slice/docker-ab.scope".into()));
        assert_eq!(group("0::/elsewhere\n", &mounts, ""), None, "outside of what is mounted here");
    }
}
