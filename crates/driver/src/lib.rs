//! What it takes to make sandboxes: the traits, the specification, the capability report. No implementation.
//!
//! A driver never sees an invocation. It yields sandboxes, and byte streams into them; what flows over the
//! streams is `wire`, and is the engine's business. So every isolation shares one path.
//!
//! There are two traits because there are two sides of a wall. [`Driver`] is what the engine calls, inside the
//! unprivileged server. [`Host`] is what the spawner calls, inside the privileged process, for isolations that
//! need its privilege; the spawner's client is the [`Driver`] for all of them.

#![forbid(unsafe_code)]

mod host;
mod steps;

pub use host::{Freezer, FreezerKind, GuestStreams, Host, SandboxFiles, Started, UsageFiles};
pub use steps::{Step, Steps, monotonic_us};

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use model::metric::Traffic;
use model::{CodeHash, Cpu, Egress, ImageDigest, InstanceId, Isolation, MAX_MOUNTS, Memory, Mount};
use serde::{Deserialize, Serialize};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a sandbox shall be. Plain data: it crosses from the server to the spawner, which believes none of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxSpec {
    pub id: InstanceId,
    /// What its processes see as `/`.
    pub root: RootFs,
    /// Program and arguments, as seen inside.
    pub command: Vec<String>,
    /// The process environment. What the function itself is configured with comes later, over `wire`, so that
    /// no secret passes through the spawner.
    pub env: Vec<(String, String)>,
    /// Where the command starts, as seen inside.
    pub work_dir: String,
    /// Whom it runs as, as seen inside.
    pub user: User,
    /// The unpacked package that appears read-only at `/var/task`. None: the sandbox is a stem, and gets its code by
    /// [`Handle::adopt`].
    pub code: Option<CodeHash>,
    /// The unpacked package that appears read-only at `/opt`, from the start and in stems too.
    #[serde(default)]
    pub layers: Option<CodeHash>,
    pub limits: Limits,
    /// Whether it has a small folder at `/run/secrets` that it may write to, in its own memory.
    #[serde(default)]
    pub secret_files: bool,
    /// Folders of the host's. Whether they are allowed is for whoever mounts them to see to.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// How many invoke streams are opened into it.
    pub invoke_streams: u16,
    /// What it may reach over the network.
    #[serde(default)]
    pub egress: Egress,
}

/// A root file system, read-only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootFs {
    /// Made of the host's own `/usr`.
    Host,
    /// Of an image that was pulled and unpacked before.
    Image(ImageDigest),
}

/// A user id and a group id. Never root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// What the sandbox's processes together may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub memory: Memory,
    /// Never more than this, even on an idle machine.
    pub cpu_cap: Cpu,
    /// Share in proportion when processors are short.
    pub cpu_share: Cpu,
    /// Processes and threads.
    pub pids: u32,
    /// Size of `/tmp`.
    pub tmp: Memory,
}

/// The host's ends of the streams into a sandbox.
#[derive(Debug)]
pub struct Streams {
    /// Connected stream socket.
    pub control: OwnedFd,
    /// Connected stream sockets, one invocation at a time on each.
    pub invoke: Vec<OwnedFd>,
    /// Read end of the pipe that is the sandbox's stdout and stderr.
    pub log: OwnedFd,
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub cause: ExitCause,
    pub usage: Usage,
}

/// Why the sandbox's main process is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// It exited with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
    /// It, or any process beside it, went over the memory limit.
    OutOfMemory,
    /// Hearth killed it.
    Killed,
    /// It could not be set up: which step failed, and how.
    Setup(String),
}

/// What a sandbox has used so far. None where this machine cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Highest memory use, bytes.
    pub memory_peak: Option<u64>,
    pub cpu: Option<Duration>,
}

/// A running sandbox.
pub struct Sandbox {
    pub id: InstanceId,
    pub streams: Streams,
    pub handle: Arc<dyn Handle>,
    /// What making it took, as far as the driver tells; in order.
    pub steps: Vec<Step>,
}

/// Holds a sandbox. Dropping the last handle kills the sandbox: none is forgotten.
pub trait Handle: Send + Sync {
    /// Kills every process in the sandbox. Returns at once, may be called often; [`Handle::exited`] tells when
    /// it is gone.
    fn kill(&self);

    /// Resolves when the sandbox is gone and has been cleaned up, at once if it is already. Cancel-safe.
    fn exited(&self) -> BoxFuture<'static, Exit>;

    /// A reading, cheap enough (microseconds) to be taken at both ends of every call.
    fn usage(&self) -> Usage;

    /// The processor time of such a reading alone: half the cost.
    fn cpu(&self) -> Option<Duration> {
        self.usage().cpu
    }

    /// What it has sent and received over its network; none without one. As cheap. What it was is told also when the
    /// sandbox has exited.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Gives a stem, whose command must have begun to run, its code, which is there for the sandbox's processes when this resolves; once for each stem. When
    /// it fails, the sandbox is of no use any more. Bounded in time as [`Driver::start`] is.
    fn adopt(&self, code: CodeHash) -> BoxFuture<'static, Result<(), StartError>>;

    /// A TCP socket of the sandbox's own network, connected to nothing yet: what it is connected to on the loopback is what
    /// listens in there. For debuggers; calls go over the streams.
    fn socket(&self) -> BoxFuture<'static, Result<OwnedFd, StartError>> {
        Box::pin(async { Err(StartError::NoSocket) })
    }

    /// Stops every process in the sandbox where it stands, or lets all go on: one write to a file. False where this
    /// machine cannot. A frozen sandbox can be killed like any other.
    fn freeze(&self, frozen: bool) -> bool;

    /// Passes the sandbox to the server that comes after this one, with the host's ends of its streams and what there is to
    /// say `about` it. From then on this handle has no sandbox: it has exited, and a kill does nothing.
    fn give(&self, streams: Streams, about: String) -> BoxFuture<'static, Result<(), StartError>> {
        drop((streams, about));
        Box::pin(async { Err(StartError::System("this sandbox cannot be given to another server".into())) })
    }

    /// Copies of the files that [`Handle::usage`] and [`Handle::freeze`] use, for a process that hands the sandbox on
    /// to another one.
    fn files(&self) -> SandboxFiles {
        SandboxFiles::default()
    }
}

/// Makes sandboxes with one isolation.
pub trait Driver: Send + Sync {
    fn isolation(&self) -> Isolation;

    /// Whether it works on this machine and, if not or not wholly, why. Constant while the process lives.
    fn capability(&self) -> Capability;

    /// Makes a sandbox and starts its command. Bounded in time by the implementation (10 s). When the future
    /// is dropped before it resolves, the sandbox is killed.
    fn start(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<Sandbox, StartError>>;
}

/// Why no sandbox came to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum StartError {
    #[error("the sandbox specification is not valid: {0}")]
    Spec(String),
    #[error("the {isolation} isolation does not work here: {reason}")]
    Unavailable { isolation: Isolation, reason: String },
    #[error("functions cannot have a network (egress) with the {isolation} isolation here: {reason}")]
    NoEgress { isolation: Isolation, reason: String },
    #[error("image {0} is not on this machine any more: pull it again with `hearth image pull`")]
    NoImage(ImageDigest),
    /// For the caller to read: what is wrong with a folder of the host's, and what to do.
    #[error("{0}")]
    Mount(String),
    #[error("making the sandbox failed: {0}")]
    System(String),
    #[error("what listens in a sandbox of this isolation cannot be reached from outside: only `namespace` offers that")]
    NoSocket,
    #[error("the spawner is gone")]
    SpawnerGone,
    #[error("the sandbox was not ready within {0:?}")]
    TimedOut(Duration),
}

/// What a driver can do on this machine, in words for `hearth doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    pub isolation: Isolation,
    pub works: bool,
    /// What each sandbox takes beside its processes, bytes of memory: a kernel of its own, say. It comes on top of the
    /// function's limit.
    #[serde(default)]
    pub overhead: u64,
    /// Why functions that mount folders of the host's cannot run with it; none: they can.
    #[serde(default)]
    pub no_mounts: Option<String>,
    /// Why its sandboxes can have no network; none where they can.
    #[serde(default)]
    pub no_egress: Option<String>,
    /// One finding each: what was looked at, how it is, what to do.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at: `user namespaces`, `memory limit`.
    pub subject: String,
    /// How it is.
    pub state: String,
    /// What to install or set; empty when there is nothing to do.
    pub advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Ok,
    /// Works, but weaker than it should be.
    Weaker,
    /// Does not work.
    Missing,
}

/// A runtime that this machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRuntime {
    pub runtime: model::Runtime,
    /// The interpreter, as seen inside a sandbox.
    pub program: String,
}

// === impl StartError ===

impl StartError {
    pub fn no_egress(isolation: Isolation, reason: &str) -> Self {
        Self::NoEgress { isolation, reason: reason.to_owned() }
    }
}

// === impl User ===

impl User {
    /// Whom function code runs as unless its image says otherwise: AWS Lambda's.
    pub const SANDBOX: User = User { uid: 993, gid: 993 };
}

// === impl SandboxSpec ===

impl SandboxSpec {
    /// What the spawner checks before it does anything: sizes and characters that system calls would choke on.
    pub fn validate(&self) -> Result<(), StartError> {
        let refuse = |why: &str| Err(StartError::Spec(why.to_owned()));
        let texts = self.command.iter().chain(self.env.iter().flat_map(|(name, value)| [name, value]));
        let mut bytes = 0;
        for text in texts {
            if text.contains('\0') {
                return refuse("a NUL byte in command or environment");
            }
            bytes += text.len() + 1;
        }
        if bytes > 64 * 1024 {
            return refuse("command and environment are over 64 KiB");
        }
        if !self.command.first().is_some_and(|program| program.starts_with('/')) {
            return refuse("the program is not an absolute path");
        }
        if self.env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
            return refuse("an environment name is empty or holds =");
        }
        if !self.work_dir.starts_with('/') || self.work_dir.contains('\0') || self.work_dir.len() > 4096 {
            return refuse("the working directory is not an absolute path");
        }
        // All bits set means nobody to the kernel.
        if [self.user.uid, self.user.gid].iter().any(|id| [0, u32::MAX].contains(id)) {
            return refuse("the user is root, or nobody at all");
        }
        if !(1..=64).contains(&self.invoke_streams) {
            return refuse("invoke streams: expected 1 to 64");
        }
        let paths: BTreeSet<_> = self.mounts.iter().map(|mount| &mount.path).collect();
        if self.mounts.len() > MAX_MOUNTS || paths.len() != self.mounts.len() {
            return refuse("too many mounts, or two at one path");
        }
        let Limits { memory, cpu_cap, cpu_share, pids, tmp } = self.limits;
        if memory < Memory::mib(16) || tmp < Memory::mib(1) {
            return refuse("memory below 16 MB or /tmp below 1 MB");
        }
        if cpu_cap.as_millis() < 10 || cpu_share.as_millis() < 1 {
            return refuse("cpu cap below 0.01 or share below 0.001 cores");
        }
        if !(8..=65_536).contains(&pids) {
            return refuse("pids: expected 8 to 65536");
        }
        Ok(())
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("id", &self.id).finish_non_exhaustive()
    }
}
