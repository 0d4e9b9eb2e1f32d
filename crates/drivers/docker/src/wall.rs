//! Whose kernel a container runs on, and that it is the one that was asked for: looked at after each start, since a name
//! among Docker's runtimes can come to mean something else while Hearth runs.
//!
//! With gVisor the agent is a process of the sandbox's kernel (sentry) only, and the host has none of that number. It is
//! the sandbox's file server (gofer) that connects to the socket for it, so the caller is the gofer, whose root folder is
//! the container's; and Docker's first process is the sentry, with which all in the sandbox ends.

use std::fs;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::InspectContainerOptions;
use driver::StartError;
use model::Isolation;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::meeting::{Agent, watched};
use crate::{Inner, cgroup};

/// How long a removal may take before what watches over the container is ended too.
const BURIAL_LIMIT: Duration = Duration::from_secs(2);

/// Where a container's system calls end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wall {
    /// In the host's kernel.
    Host,
    /// In gVisor's, which the engine's runtime of this name makes.
    Gvisor(Arc<str>),
}

/// What a container shall be, beside its specification.
#[derive(Debug, Clone)]
pub struct Kind {
    pub wall: Wall,
    /// Without code it is no stem either: it never gets any.
    pub bare: bool,
}

// === impl Wall ===

impl Wall {
    pub fn isolation(&self) -> Isolation {
        match self {
            Self::Host => Isolation::Docker,
            Self::Gvisor(_) => Isolation::Gvisor,
        }
    }
}

impl Inner {
    /// The agent behind gVisor's wall, if that is what this container is; `runtime` was asked for. Docker must have
    /// answered that it has started it.
    ///
    /// The call counts because it came from the container: out of a folder that is mounted nowhere else, and from a
    /// process in the container's own control group, which Docker named after it. Which process it is tells that there
    /// is a wall: without one the agent would have called itself, being the first process.
    pub async fn behind_wall(&self, mut agent: Agent, container: &str, runtime: &str) -> Result<Agent, StartError> {
        let other = |what: String| StartError::System(format!("the sandbox is not what was asked for: {what}"));
        let system = |what: &'static str| move |error: io::Error| StartError::System(format!("{what}: {error}"));
        let asked = self.api.inspect_container(container, None::<InspectContainerOptions>).await;
        let found = asked.map_err(|error| StartError::System(format!("look at the container: {error}")))?;
        let its = found.host_config.and_then(|host| host.runtime).unwrap_or_default();
        if its != runtime {
            return Err(other(format!("Docker made it with the runtime `{its}`, expected `{runtime}`")));
        }
        let first = found.state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        let gone = || StartError::System("it ended before it was looked at".into());
        // Held before they are looked at, so that a number cannot become a stranger's: the caller is, since it called.
        let pidfd = pidfd_open(Pid::from_raw(first).ok_or_else(gone)?, PidfdFlags::empty());
        let pidfd = pidfd.map_err(|errno| system("hold its kernel's process")(errno.into()))?;
        if ![agent.pid, first].iter().all(|pid| cgroup::is_in(*pid, container)) {
            return Err(other(format!(
                "the runtime `{runtime}` keeps its processes out of the container's control groups, which are to limit \
                 them: take --ignore-cgroups from its runtimeArgs, if it is there"
            )));
        }
        if agent.pid == first {
            return Err(other(format!("the runtime `{runtime}` ran it on the host's kernel, expected one of its own")));
        }
        agent.pidfd = watched(pidfd).map_err(system("watch its kernel's process"))?;
        Ok(agent)
    }

    /// Removes a container, whatever holds that up. With the sentry die the processes by which it ran the function's,
    /// and containerd's shim (1.6) was seen to take minutes to bury 250 of them, while Docker showed a dead container as
    /// running.
    pub async fn bury(&self, name: &str, container: &str) {
        let mut gone = pin!(self.remove(name));
        if tokio::time::timeout(BURIAL_LIMIT, &mut gone).await.is_err() {
            self.kill_strays(container);
            gone.await;
        }
    }

    /// Kills what runs in a container's control groups, and what watches over it. runsc leaves its processes behind when
    /// a start fails after they have begun; Docker never heard of them, and containerd's shim, which has nothing but this
    /// one container, would wait for them for ever. When it is gone containerd forgets them. Whether there was something.
    pub fn kill_strays(&self, container: &str) -> bool {
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let stray = |pid: i32| cgroup::is_in(pid, container) || is_shim(pid, container);
        let mut found = false;
        for pid in pids.filter(|pid| stray(*pid)) {
            let held = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // Again, now that the number stays its own.
            if let Some(held) = held.filter(|_| stray(pid)) {
                found |= pidfd_send_signal(&held, Signal::KILL).is_ok();
            }
        }
        found
    }
}

fn is_shim(pid: i32, container: &str) -> bool {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split('\0');
    let program = words.next().and_then(|path| path.rsplit('/').next());
    program.is_some_and(|name| name.starts_with("containerd-shim")) && words.any(|word| word == container)
}
