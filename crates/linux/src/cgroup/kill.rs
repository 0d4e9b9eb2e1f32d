//! Killing a group's processes one by one, where the kernel has no `cgroup.kill` (version 1, and 2 before
//! Linux 5.14).
//!
//! A number read from `cgroup.procs` may belong to a stranger by the time the signal goes out. So each process
//! is held by a pidfd first, and the list is read again: whoever is still on it is the one that is held, or one
//! whose predecessor is held and dead, whom the signal then misses.

use std::collections::HashSet;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that forks between two readings escapes one round. Forking on and on, it meets its process limit.
const ROUNDS: usize = 16;

/// Kills everyone on the list, and looks again for those forked meanwhile. Does not wait for anyone to die.
pub fn each(list: impl Fn() -> io::Result<String>) {
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS {
        let Ok(before) = list() else { return };
        let held: Vec<_> = pids(&before)
            .filter(|pid| !killed.contains(pid))
            .filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
            .collect();
        if held.is_empty() {
            return;
        }
        let Ok(after) = list() else { return };
        let after: HashSet<Pid> = pids(&after).collect();
        for (pid, pidfd) in held.iter().filter(|(pid, _)| after.contains(pid)) {
            if pidfd_send_signal(pidfd, Signal::KILL).is_ok() {
                killed.insert(*pid);
            }
        }
    }
}

/// Processes of other pid namespaces are listed as 0: not ours to kill.
fn pids(list: &str) -> impl Iterator<Item = Pid> {
    list.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw)
}
