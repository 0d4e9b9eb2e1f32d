//! The privileged side: what a driver that lives in the spawner implements.
//!
//! The spawner is one thread with one event loop, so nothing here may wait: a step that takes time happens in
//! the sandbox's own first process, which reports by exiting.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use model::metric::Traffic;
use model::{CodeHash, InstanceId, Isolation};
use serde::{Deserialize, Serialize};

use crate::{Capability, Exit, SandboxSpec, StartError, Step, Usage};

/// The guest's ends of the streams: handed to the sandbox's command as the descriptors that `docs/wire.md`
/// gives, and closed in the spawner afterwards.
#[derive(Debug)]
pub struct GuestStreams {
    pub control: OwnedFd,
    pub invoke: Vec<OwnedFd>,
    pub log: OwnedFd,
}

/// A sandbox that has been started.
#[derive(Debug)]
pub struct Started {
    /// Becomes readable when the sandbox's first process is gone, and everything in it with it.
    pub pidfd: OwnedFd,
    /// Files that the server uses without asking the spawner; none where this machine lacks what they control.
    pub files: SandboxFiles,
    /// Becomes readable when the sandbox has run out of memory and must be killed whole; none where the kernel
    /// does that itself.
    pub oom: Option<OwnedFd>,
    /// What making it took, as far as the driver tells; in order.
    pub steps: Vec<Step>,
}

/// A sandbox's files of the host's control groups.
#[derive(Debug, Default)]
pub struct SandboxFiles {
    pub usage: UsageFiles,
    pub freezer: Option<Freezer>,
}

/// Stops a sandbox's processes and lets them go on.
#[derive(Debug)]
pub struct Freezer {
    pub kind: FreezerKind,
    /// Open for writing.
    pub file: OwnedFd,
}

/// How it wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FreezerKind {
    /// `freezer.state` of control groups version 1.
    V1,
    /// `cgroup.freeze` of version 2.
    V2,
}

/// Open read-only files with a sandbox's figures.
#[derive(Debug, Default)]
pub struct UsageFiles {
    /// Highest memory use: a decimal number of bytes.
    pub memory_peak: Option<OwnedFd>,
    /// Processor time: `usage_usec N` as its first line (cgroup v2), or a bare number of nanoseconds (v1).
    pub cpu: Option<OwnedFd>,
    /// What its network's devices have carried, as `/proc/net/dev` has it; only of one that has a network. While it is
    /// open, that network's namespace stays, also without a process in it.
    pub network: Option<OwnedFd>,
}

/// Two lines of titles, loopback, the sandbox's device and what some kernels put into each namespace.
const MOST_DEVICES: usize = 4096;

// === impl UsageFiles ===

impl UsageFiles {
    /// Two `pread`s; what cannot be read or parsed is not known.
    pub fn read(&self) -> Usage {
        Usage { memory_peak: first_line(&self.memory_peak).map(|(_, bytes)| bytes), cpu: self.read_cpu() }
    }

    /// One of them.
    pub fn read_cpu(&self) -> Option<Duration> {
        first_line(&self.cpu).map(|(micros, n)| match micros {
            true => Duration::from_micros(n),
            false => Duration::from_nanos(n),
        })
    }

    /// What it has sent and received; also when it is gone, while this is there. One `pread`, and none without a network.
    pub fn read_traffic(&self) -> Option<Traffic> {
        let mut buffer = [0u8; MOST_DEVICES];
        let len = rustix::io::pread(self.network.as_ref()?, &mut buffer, 0).ok()?;
        traffic(std::str::from_utf8(&buffer[..len]).ok()?)
    }

    /// The same files again; those that cannot be duplicated are left out.
    pub fn duplicate(&self) -> Self {
        let again = |file: &Option<OwnedFd>| file.as_ref()?.try_clone().ok();
        Self { memory_peak: again(&self.memory_peak), cpu: again(&self.cpu), network: again(&self.network) }
    }
}

/// The sum over all devices but loopback. None where there is none.
fn traffic(devices: &str) -> Option<Traffic> {
    let device = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let mut numbers = numbers.split_ascii_whitespace();
        // Eight columns of what came, then those of what went.
        let received = numbers.next()?.parse().ok()?;
        let sent = numbers.nth(7)?.parse().ok()?;
        (name.trim() != "lo").then_some(Traffic { sent, received })
    };
    devices.lines().filter_map(device).reduce(|mut sum, one| {
        sum += one;
        sum
    })
}

/// The number in a file's first line, and whether it is one of microseconds.
fn first_line(file: &Option<OwnedFd>) -> Option<(bool, u64)> {
    let mut buffer = [0u8; 64];
    let len = rustix::io::pread(file.as_ref()?, &mut buffer, 0).ok()?;
    let line = std::str::from_utf8(&buffer[..len]).ok()?.lines().next()?;
    let number = line.strip_prefix("usage_usec ");
    Some((number.is_some(), number.unwrap_or(line).trim().parse().ok()?))
}

// === impl SandboxFiles ===

impl SandboxFiles {
    /// The same files again; those that cannot be duplicated are left out.
    pub fn duplicate(&self) -> Self {
        let freezer = self.freezer.as_ref();
        let freezer = freezer.and_then(|one| Some(Freezer { kind: one.kind, file: one.file.try_clone().ok()? }));
        Self { usage: self.usage.duplicate(), freezer }
    }

    /// Freezes or thaws; false where that cannot be.
    pub fn freeze(&self, frozen: bool) -> bool {
        self.freezer.as_ref().is_some_and(|freezer| freezer.set(frozen).is_ok())
    }
}

// === impl Freezer ===

impl Freezer {
    /// One write. Processes stop within microseconds, those in the kernel when they leave it; nothing here waits for
    /// them.
    pub fn set(&self, frozen: bool) -> io::Result<()> {
        let text: &[u8] = match (self.kind, frozen) {
            (FreezerKind::V1, true) => b"FROZEN",
            (FreezerKind::V1, false) => b"THAWED",
            (FreezerKind::V2, true) => b"1",
            (FreezerKind::V2, false) => b"0",
        };
        rustix::io::pwrite(&self.file, text, 0)?;
        Ok(())
    }
}

/// A driver inside the spawner.
pub trait Host {
    fn isolation(&self) -> Isolation;

    fn capability(&self) -> Capability;

    /// Starts a sandbox. Must not block on the sandbox's own progress: what fails later comes as
    /// [`crate::ExitCause::Setup`] from [`Host::reap`].
    fn start(&mut self, spec: &SandboxSpec, streams: GuestStreams) -> Result<Started, StartError>;

    /// Gives a stem its code, once its command runs. Must not wait for the sandbox's processes.
    fn adopt(&mut self, id: &InstanceId, code: &CodeHash) -> Result<(), StartError>;

    /// What [`crate::Handle::socket`] gives. Must not wait.
    fn socket(&mut self, _id: &InstanceId) -> Result<OwnedFd, StartError> {
        Err(StartError::NoSocket)
    }

    /// Kills every process of the sandbox, the frozen too; unknown ids are ignored. Its pidfd becomes readable soon after.
    fn kill(&mut self, id: &InstanceId);

    /// [`Started::oom`] became readable: kills the sandbox, and remembers why. It need not have lost a process yet, and
    /// the kernel counts none that was about to die anyway.
    fn out_of_memory(&mut self, id: &InstanceId);

    /// Called once the pidfd is readable: collects the exit, and removes what the sandbox had on the host
    /// (cgroups, mounts, files). What cannot be removed yet is retried in [`Host::tidy`].
    fn reap(&mut self, id: &InstanceId, pidfd: BorrowedFd<'_>) -> Exit;

    /// Retries removals that failed; true while some are left. Called every 100 ms while it says so.
    fn tidy(&mut self) -> bool;

    /// Removes everything that earlier processes, killed ones, left of this installation. Called once, before
    /// the first start.
    fn sweep(&mut self) -> Result<(), StartError>;

    /// Removes what the driver itself holds, when all sandboxes are gone. Called once, last.
    fn close(&mut self);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  840000    1000    0    0    0     0          0         0   840000    1000    0    0    0     0       0          0
  eth0:    1234      12    0    3    0     0          0         0    98765      45    0    0    0     0       0          0
";

    #[test]
    fn what_went_over_loopback_is_not_counted() {
        assert_eq!(traffic(DEVICES), Some(Traffic { sent: 98_765, received: 1_234 }));
        let more = format!(
            "{DEVICES} tunl0:       0       0    0    0    0     0          0         0        0       0    0\n"
        );
        assert_eq!(traffic(&more), traffic(DEVICES), "a device that nobody uses");
        let without: Vec<_> = DEVICES.lines().take(3).collect();
        assert_eq!(traffic(&without.join("\n")), None);
        assert_eq!(traffic("eth0: 1"), None);
        // As large numbers were written by kernels before 4.
        let large = DEVICES.replace("eth0:    1234 ", "eth0:9999991234 ");
        assert_eq!(traffic(&large).map(|one| one.received), Some(9_999_991_234));
    }

    #[test]
    fn only_what_has_a_network_has_traffic() {
        assert_eq!(UsageFiles::default().read_traffic(), None);
        let (read, _) = std::io::pipe().unwrap();
        let files = UsageFiles { network: Some(read.into()), ..UsageFiles::default() };
        assert_eq!(files.read_traffic(), None, "what cannot be read is not known");
        assert!(files.duplicate().network.is_some());
    }
}
