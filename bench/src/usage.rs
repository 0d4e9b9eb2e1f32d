//! What a server has used: its lasting processes by `/proc`, its sandboxes by the control group that holds them all.
//!
//! `/proc` alone does not do. A sandbox ends by the kernel killing its pid namespace, and the kernel counts processes
//! that end so for no parent. The group that is the parent of every sandbox's group counts the dead too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::tree::own_cpu;

/// Counts one server's processor time.
#[derive(Debug, Clone)]
pub struct Meter {
    lasting: Vec<u32>,
    sandboxes: Option<PathBuf>,
}

// === impl Meter ===

impl Meter {
    /// Of a server without sandboxes.
    pub fn of_process(pid: u32) -> Self {
        Self { lasting: vec![pid], sandboxes: None }
    }

    /// Of these processes, and of all whose group is beside that of `sandboxed`.
    ///
    /// # Errors
    /// When the sandbox has no group of its own: then nothing counts what sandboxes use.
    pub fn of_sandboxes(lasting: &[u32], sandboxed: u32) -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
        let groups = read(&format!("/proc/{sandboxed}/cgroup"))?;
        let shared = shared_group(&read("/proc/self/mounts")?, &read("/proc/self/cgroup")?, &groups);
        let shared = shared.context("the sandboxes have no control group that counts: run as root")?;
        // What lasts within that group, like a server that forks sandboxes, is counted with them.
        let within = |pid: &u32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            group(&groups, shared.controller).is_some_and(|path| Path::new(&path).starts_with(&shared.path))
        };
        let lasting = lasting.iter().copied().filter(|pid| !within(pid)).collect();
        let meter = Self { lasting, sandboxes: Some(shared.file) };
        ensure!(meter.sandboxes()? > Duration::ZERO, "the sandboxes' control group counts nothing");
        Ok(meter)
    }

    /// Processor time up to now.
    pub fn read(&self) -> anyhow::Result<Duration> {
        let lasting: Duration = self.lasting.iter().map(|pid| own_cpu(*pid)).sum();
        Ok(lasting + self.sandboxes()?)
    }

    fn sandboxes(&self) -> anyhow::Result<Duration> {
        let Some(path) = &self.sandboxes else { return Ok(Duration::ZERO) };
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let micros = text.lines().next().and_then(|line| line.strip_prefix("usage_usec "));
        let used = match micros {
            Some(micros) => micros.trim().parse().map(Duration::from_micros),
            None => text.trim().parse().map(Duration::from_nanos),
        };
        used.with_context(|| format!("expected a processor time in {}, got {text:?}", path.display()))
    }
}

/// The group above the sandboxes'.
#[derive(Debug, PartialEq, Eq)]
struct Shared {
    /// `cpuacct`, or empty for version 2's tree.
    controller: &'static str,
    /// Its path in that tree.
    path: PathBuf,
    /// What counts its processor time.
    file: PathBuf,
}

/// Where a process is in a controller's tree, by its `/proc/PID/cgroup`.
fn group(text: &str, controller: &str) -> Option<String> {
    let mut lines = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let of = |line: &Vec<&str>| line.len() == 3 && line[1].split(',').any(|name| name == controller);
    lines.find(of).map(|line| line[2].to_owned())
}

/// The group above the sandbox's: in version 2's tree, or in version 1's for cpuacct. Only where the sandbox is not in
/// the group that we are in ourselves.
fn shared_group(mounts: &str, ours: &str, theirs: &str) -> Option<Shared> {
    let mount = |controller: &str| {
        let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let of = |line: &Vec<&str>| match controller {
            "" => line.get(2) == Some(&"cgroup2"),
            _ => line.get(2) == Some(&"cgroup") && line.get(3).is_some_and(|o| o.split(',').any(|o| o == controller)),
        };
        lines.find(of).and_then(|line| line.get(1).map(|point| point.to_string()))
    };
    [("", "cpu.stat"), ("cpuacct", "cpuacct.usage")].into_iter().find_map(|(controller, file)| {
        let theirs = group(theirs, controller).filter(|path| Some(path) != group(ours, controller).as_ref())?;
        let path = Path::new(&theirs).parent().filter(|path| *path != Path::new("/"))?.to_owned();
        let file = Path::new(&mount(controller)?).join(path.strip_prefix("/").ok()?).join(file);
        Some(Shared { controller, path, file })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "cgroup /cg/cpu cgroup rw,cpu,cpuacct 0 0\ncgroup2 /cg/unified cgroup2 rw 0 0\n";

    #[test]
    fn the_group_above_the_sandbox_counts() {
        let at = |theirs| shared_group(HYBRID, "4:cpu,cpuacct:/\n0::/\n", theirs).map(|shared| shared.file);
        assert_eq!(at("4:cpu,cpuacct:/h/1\n0::/h/1\n"), Some("/cg/unified/h/cpu.stat".into()));
        assert_eq!(at("4:cpu,cpuacct:/h/1\n0::/\n"), Some("/cg/cpu/h/cpuacct.usage".into()));
        assert_eq!(at("4:cpu,cpuacct:/\n0::/\n"), None);
        assert_eq!(at("0::/1\n"), None, "everything on the machine is in the root group");
    }

    #[test]
    fn both_kinds_of_files_are_read() {
        let path = std::env::temp_dir().join(format!("hearth-bench-usage-{}", std::process::id()));
        let meter = Meter { lasting: Vec::new(), sandboxes: Some(path.clone()) };
        for (text, nanos) in [("usage_usec 12\nuser_usec 4\n", Some(12_000)), ("12\n", Some(12)), ("x", None)] {
            fs::write(&path, text).unwrap();
            assert_eq!(meter.read().ok(), nanos.map(Duration::from_nanos));
        }
        fs::remove_file(&path).unwrap();
        assert!(meter.read().is_err());
    }
}
