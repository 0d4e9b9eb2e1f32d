//! gVisor's kernel in user space (the sentry), as the host sees it: what it takes beside its function, and where it is
//! less than Linux. For everybody who makes sandboxes with one, by whatever means.

use driver::{Finding, Limits, Severity};
use model::Memory;

/// Where sandboxes have no device of this name: an empty file covers it.
pub const NO_DEVICE: &str = "/dev/fuse";

/// What runsc's own processes take for each sandbox, beside what the function takes, and what its limit is therefore
/// raised by. Measured with release 20221219 and the ptrace platform, as charged to the control group: 25 MiB for the
/// sentry, the gofer and `runsc run` of a function that waits, and half a MiB more for each process of the function's.
/// The rest is for what grows with its use: open files, page tables, the sentry's garbage before it is collected.
pub const OVERHEAD: Memory = Memory::mib(64);

/// What of it a sandbox takes while its processes wait: measured, 25 MiB with release 20221219.
pub const WAITING: u64 = 25 << 20;

/// What to do about an old release.
pub const NEWER: &str = "install a runsc of 2024 or later: https://gvisor.dev/docs/user_guide/install/";

/// Releases of 2022 and before answer `EINVAL` to the flag `AT_NO_AUTOMOUNT`, which `ls` and `stat` of coreutils 9 set. So
/// a trial runs `stat`, whose status 1 means that the sandbox works.
pub const SNAG: &str = "`ls` and `stat` of current distributions fail with `Invalid argument`: this release does not \
                        know a flag that they set";

/// What the sandbox's processes on the host together may use: the function's, and the sentry's that runs them.
pub fn host_limits(limits: &Limits) -> Limits {
    let memory = Memory::mib(limits.memory.as_mib() + OVERHEAD.as_mib());
    // The sentry counts the function's own processes, and ends when the host refuses it a thread. It was seen to take up
    // to ten for each of 256 busy ones. So this limit is for a sentry that is not itself any more.
    let pids = limits.pids.saturating_mul(24).saturating_add(512);
    Limits { memory, pids, ..*limits }
}

/// That limits are higher on the host, for whoever reads them there.
pub fn memory_of_its_own() -> Finding {
    let state = format!("each sandbox may use {OVERHEAD} more than its function, for a kernel of its own");
    Finding { severity: Severity::Ok, subject: "memory of its own".into(), state, advice: String::new() }
}
