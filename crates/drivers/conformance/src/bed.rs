//! A driver on folders of its own, and a sandbox's life in one call.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use driver::{Exit, GuestStreams, Host, Limits, RootFs, SandboxSpec, StartError, Started, User};
use model::{CodeHash, Cpu, Egress, InstanceId, Memory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Makes the driver to try.
pub type Make = fn(&Folders) -> io::Result<Box<dyn Host>>;

/// Where a driver finds and keeps its things.
pub struct Folders {
    /// The installation's, unique on this machine.
    pub name: String,
    pub data: PathBuf,
    pub run: PathBuf,
    pub code: PathBuf,
    pub runtime: PathBuf,
    /// Whether this is an ordinary user's.
    pub rootless: bool,
}

pub struct Bed {
    pub driver: Box<dyn Host>,
    pub folders: Folders,
}

/// What a finished sandbox printed, and how it ended.
pub struct Run {
    pub output: String,
    pub exit: Exit,
}

/// The digest of the package that every bed has: `hello.txt`.
pub const CODE: [u8; 32] = [7; 32];

/// Longer than anything here takes, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

pub fn limits() -> Limits {
    Limits {
        memory: Memory::mib(64),
        cpu_cap: Cpu::millis(1000),
        cpu_share: Cpu::millis(100),
        pids: 32,
        tmp: Memory::mib(4),
    }
}

/// A sandbox of the host's root with the bed's package, for a command.
pub fn spec(command: &[&str]) -> SandboxSpec {
    SandboxSpec {
        id: InstanceId::random(),
        root: RootFs::Host,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        work_dir: "/var/task".into(),
        user: User::SANDBOX,
        code: Some(CodeHash::from_digest(&CODE)),
        limits: limits(),
        layers: None,
        secret_files: false,
        mounts: vec![],
        invoke_streams: 1,
        egress: Egress::None,
    }
}

// === impl Bed ===

impl Bed {
    pub(crate) fn new(make: Make) -> io::Result<Self> {
        let data = std::env::temp_dir().join(format!("hearth-sandbox-test-{}", InstanceId::random()));
        let folders = Folders {
            name: format!("hearth-test-{}", std::process::id()),
            run: data.join("run"),
            code: data.join("code"),
            runtime: data.join("runtime"),
            rootless: !rustix::process::geteuid().is_root(),
            data,
        };
        let package = folders.code.join(CodeHash::from_digest(&CODE).as_str());
        std::fs::create_dir_all(&package)?;
        std::fs::write(package.join("hello.txt"), "hello from the package\n")?;
        std::fs::create_dir_all(folders.runtime.join("python"))?;
        std::fs::write(folders.runtime.join("python/bootstrap.py"), "print('bootstrap')\n")?;
        // Anybody might write to them, were they not mounted read-only.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&package, open.clone())?;
        std::fs::set_permissions(&folders.runtime, open)?;
        Ok(Self { driver: make(&folders)?, folders })
    }

    /// Starts what `spec` says, and gives its log as well.
    pub fn start(&mut self, spec: &SandboxSpec) -> Result<(Started, PipeReader), StartError> {
        let (control, _) = UnixStream::pair().expect("a socket pair");
        let invoke = (0..spec.invoke_streams).map(|_| UnixStream::pair().expect("a socket pair").0.into()).collect();
        let (log, guest_log) = io::pipe().expect("a pipe");
        let streams = GuestStreams { control: control.into(), invoke, log: guest_log.into() };
        Ok((self.driver.start(spec, streams)?, log))
    }

    /// Waits for its end, or kills it when that takes too long.
    pub fn end(&mut self, id: &InstanceId, started: &Started, mut log: PipeReader) -> Run {
        if !wait(started, LIMIT) {
            match &started.oom {
                Some(oom) if readable(oom, Duration::ZERO) => self.driver.out_of_memory(id),
                _ => self.driver.kill(id),
            }
        }
        let exit = self.driver.reap(id, started.pidfd.as_fd());
        // The pipe ends when the last process that holds it is gone.
        let mut output = String::new();
        log.read_to_string(&mut output).expect("text from the sandbox");
        Run { output, exit }
    }

    pub fn run_spec(&mut self, spec: &SandboxSpec) -> Run {
        let (started, log) = self.start(spec).expect("a sandbox");
        self.end(&spec.id, &started, log)
    }

    pub fn run(&mut self, script: &str) -> Run {
        self.run_spec(&spec(&["/bin/sh", "-c", script]))
    }

    /// Whether this machine lets it enforce that limit.
    pub(crate) fn enforces(&self, limit: &str) -> bool {
        let findings = self.driver.capability().findings;
        findings.iter().any(|one| one.state.contains(limit) && one.severity == driver::Severity::Ok)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.driver.close();
        let _ = std::fs::remove_dir_all(&self.folders.data);
    }
}

/// Whether the sandbox's end came in time, and before it ran out of memory.
pub fn wait(started: &Started, limit: Duration) -> bool {
    let mut fds = vec![PollFd::new(&started.pidfd, PollFlags::IN)];
    if let Some(oom) = &started.oom {
        fds.push(PollFd::new(oom, PollFlags::IN));
    }
    let limit = Timespec::try_from(limit).expect("a time");
    poll(&mut fds, Some(&limit)).expect("poll") > 0 && !fds[0].revents().is_empty()
}

/// Whether there is something to read in time, or an end.
pub fn readable(fd: impl AsFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).expect("a time");
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).expect("poll") > 0
}
