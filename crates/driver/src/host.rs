//! The privileged side: what a driver that lives in the spawner implements.
//!
//! The spawner is one thread with one event loop, so nothing here may wait: a step that takes time happens in
//! the sandbox's own first process, which reports by exiting.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use model::{InstanceId, Isolation};

use crate::{Capability, Exit, SandboxSpec, StartError, Usage};

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
    /// Files that the server reads for [`crate::Usage`] without asking the spawner; none where this machine
    /// does not measure.
    pub usage: UsageFiles,
    /// Becomes readable when the sandbox has run out of memory and must be killed whole; none where the kernel
    /// does that itself.
    pub oom: Option<OwnedFd>,
}

/// Open read-only files with a sandbox's figures.
#[derive(Debug, Default)]
pub struct UsageFiles {
    /// Highest memory use: a decimal number of bytes.
    pub memory_peak: Option<OwnedFd>,
    /// Processor time: `usage_usec N` as its first line (cgroup v2), or a bare number of nanoseconds (v1).
    pub cpu: Option<OwnedFd>,
}

// === impl UsageFiles ===

impl UsageFiles {
    /// Two `pread`s; what cannot be read or parsed is not known.
    pub fn read(&self) -> Usage {
        let mut buffer = [0u8; 64];
        let mut first_line = |file: &Option<OwnedFd>| -> Option<(bool, u64)> {
            let len = rustix::io::pread(file.as_ref()?, &mut buffer, 0).ok()?;
            let line = std::str::from_utf8(&buffer[..len]).ok()?.lines().next()?;
            let number = line.strip_prefix("usage_usec ");
            Some((number.is_some(), number.unwrap_or(line).trim().parse().ok()?))
        };
        let cpu = first_line(&self.cpu).map(|(micros, n)| match micros {
            true => Duration::from_micros(n),
            false => Duration::from_nanos(n),
        });
        Usage { memory_peak: first_line(&self.memory_peak).map(|(_, bytes)| bytes), cpu }
    }

    /// The same files again; those that cannot be duplicated are left out.
    pub fn duplicate(&self) -> Self {
        let again = |file: &Option<OwnedFd>| file.as_ref()?.try_clone().ok();
        Self { memory_peak: again(&self.memory_peak), cpu: again(&self.cpu) }
    }
}

/// A driver inside the spawner.
pub trait Host {
    fn isolation(&self) -> Isolation;

    fn capability(&self) -> Capability;

    /// Starts a sandbox. Must not block on the sandbox's own progress: what fails later comes as
    /// [`crate::ExitCause::Setup`] from [`Host::reap`].
    fn start(&mut self, spec: &SandboxSpec, streams: GuestStreams) -> Result<Started, StartError>;

    /// Kills every process of the sandbox; unknown ids are ignored. Its pidfd becomes readable soon after.
    fn kill(&mut self, id: &InstanceId);

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
