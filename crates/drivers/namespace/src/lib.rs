//! The built-in isolation: Linux namespaces, a root file system made of the host's own `/usr`, seccomp and
//! cgroups. It needs nothing installed, and lives in the spawner.
//!
//! ```text
//! start ─► running ─► pidfd readable ─► reap: report, figures, cgroup removed
//!             │ kill (SIGKILL to init: the kernel kills the pid namespace)      └─ busy ─► tidy, until it is gone
//!             └─ out of memory (cgroup v1: event; v2: the kernel kills all)
//! ```
//!
//! Nothing of a sandbox is on the host but its processes and its cgroup: its mounts live in its own mount
//! namespace, its network in its own network namespace, and both go when its last process goes. The first process
//! is tied to the spawner's life, so that a killed spawner takes every sandbox along; the cgroups that it leaves
//! are removed by the next start's [`Host::sweep`].

mod child;
mod fork_arenas;
mod fork_pages;
pub mod fork_server;
mod fork_start;
mod forks;
mod ground;
mod marks;
mod order;
mod probe;
mod report;

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use driver::{
    Capability, Exit, ExitCause, GuestStreams, Host, RootFs, SandboxSpec, Severity, StartError, Started, Steps, Usage,
    User,
};
use model::{AllowedMount, CodeHash, InstanceId, Isolation};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use child::{Command, Plan};
pub use forks::ForkKind;
use forks::{Forks, KindId};
pub use ground::{bind, enter, unbind};
use linux::cgroup::{Cgroups, Group};
use linux::folders::{self, Viewer};
use linux::net::{Attached, Lease, Network, Space};
use linux::root::at;
use linux::roots::Roots;
use linux::{code, seccomp, sys};
use report::Report;

/// First host uid of sandboxes, above what useradd, container tools and systemd's dynamic users give out. Each
/// installation has one of 256 ranges of its own from there on, by its name.
const FIRST_UID: u32 = 0x7000_0000;
/// Host uids are used in turn, so that one comes back only long after its last files are gone.
const UIDS: u32 = 1 << 20;

/// What the driver is given by the composition root.
#[derive(Debug)]
pub struct Options {
    /// Names this installation's cgroups on the host.
    pub name: String,
    /// A folder of the spawner's own, not writable by the server.
    pub run_dir: PathBuf,
    /// Where unpacked packages lie, named by their hash.
    pub code_dir: PathBuf,
    /// The server's folder, in which images' roots lie.
    pub data_dir: PathBuf,
    /// The bootstraps: what sandboxes see as `/var/runtime`. Not writable by the server either.
    pub runtime_dir: PathBuf,
    /// Folders of the host's that functions may mount.
    pub allowed_mounts: Vec<AllowedMount>,
    /// The runtimes that sandboxes may be forked of, instead of running their program anew.
    pub fork_servers: Vec<ForkKind>,
}

/// The driver.
pub struct Namespace {
    code_dir: OwnedFd,
    dev_null: OwnedFd,
    /// The spawner's own mount namespace.
    mounts: OwnedFd,
    roots: Option<Roots>,
    cgroups: Cgroups,
    allowed_mounts: Vec<AllowedMount>,
    seccomp: seccomp::Program,
    arguments: Option<sys::ArgumentArea>,
    capability: Capability,
    rootless: bool,
    first_uid: u32,
    next_uid: u32,
    running: HashMap<InstanceId, Running>,
    /// Groups whose removal failed because the kernel was not done with their processes.
    removing: Vec<Group>,
    forks: Forks,
    /// None: no sandbox reaches anything.
    network: Option<Network>,
}

struct Running {
    pidfd: OwnedFd,
    status: OwnedFd,
    group: Option<Group>,
    /// Hearth asked for its death.
    killed: bool,
    /// The kernel said that its memory ran out.
    out_of_memory: bool,
    /// It has no code yet.
    stem: bool,
    /// Given back when it is gone.
    _network: Option<Lease>,
}

// === impl Namespace ===

impl Namespace {
    /// Prepares everything that sandboxes share. `rootless`: [`enter`] was called by an ordinary user. What does
    /// not work here is in the capability, not an error: Hearth starts and says so.
    pub fn new(options: &Options, rootless: bool) -> io::Result<Self> {
        // Its parent belongs to the server: a link put in its place is not followed.
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let code_dir = rustix::fs::open(&options.code_dir, folder, Mode::empty())
            .map_err(|error| at("open", &options.code_dir)(error.into()))?;
        let dev_null = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
        let (cgroups, mut findings) = Cgroups::detect(&options.name);
        if rootless {
            probe::limit_processes_without_cgroups(&mut findings);
        }
        findings.splice(0..0, probe::findings(rootless));
        let roots = match Roots::build(&options.run_dir.join("root"), &options.data_dir, &options.runtime_dir, &[]) {
            Ok(roots) => Some(roots),
            Err(error) => {
                findings.push(probe::missing("root file system", &error.to_string(), ""));
                None
            }
        };
        let works = roots.is_some() && findings.iter().all(|finding| finding.severity != Severity::Missing);
        let mut driver = Self {
            code_dir,
            dev_null,
            mounts: File::open("/proc/self/ns/mnt")?.into(),
            roots,
            cgroups,
            allowed_mounts: options.allowed_mounts.clone(),
            seccomp: seccomp::Program::compile(&seccomp::Policy::default()),
            arguments: sys::ArgumentArea::of_self(),
            capability: Capability {
                isolation: Isolation::Namespace,
                works,
                overhead: 0,
                no_mounts: None,
                no_egress: None,
                findings,
            },
            rootless,
            first_uid: FIRST_UID + UIDS * u32::from(options.name.bytes().fold(0u8, |sum, b| sum.wrapping_mul(31) ^ b)),
            next_uid: 0,
            running: HashMap::new(),
            removing: Vec::new(),
            forks: Forks::default(),
            network: None,
        };
        if works && let Err(reason) = probe::trial(&mut driver) {
            driver.capability.works = false;
            driver.capability.findings.push(probe::missing("a trial sandbox", &reason, ""));
        }
        if driver.capability.works && !options.fork_servers.is_empty() {
            driver.forks = Forks::new(options.fork_servers.clone());
            // An ordinary user's are cloned right into their groups; root's are moved there.
            if !rootless && !driver.cgroups.expect_joins() {
                driver.forks.give_up("it takes Linux 6.0, or control groups of version 1, to join a group quickly");
            }
        }
        Ok(driver)
    }

    /// Lets sandboxes have a network that ask for one.
    pub fn with_network(mut self, network: Network) -> Self {
        self.capability.findings.push(network.finding());
        self.capability.no_egress = network.why_not();
        self.network = Some(network);
        self
    }

    /// Gives a new sandbox its network, from outside: its own first process need not know.
    fn connect(&self, spec: &SandboxSpec, pid: i32) -> Result<Option<Attached>, StartError> {
        if spec.egress.is_none() {
            return Ok(None);
        }
        let Some(network) = &self.network else {
            return Err(StartError::no_egress(Isolation::Namespace, "it has none"));
        };
        let space = Space::of_process(pid).map_err(|error| StartError::System(format!("hold its network: {error}")))?;
        network.attach(&spec.egress, &space).map_err(|why| StartError::no_egress(Isolation::Namespace, &why))
    }

    /// The package's folder, as a mount of its own that can be attached inside.
    fn code_mount(&self, hash: &CodeHash) -> Result<OwnedFd, StartError> {
        let failed = |error: io::Error| StartError::System(format!("open the code {hash}: {error}"));
        let folder = code::open(self.code_dir.as_fd(), hash).map_err(failed)?;
        code::mount(folder.as_fd()).map_err(failed)
    }

    fn spawn(
        &mut self,
        spec: &SandboxSpec,
        streams: GuestStreams,
        [code, layers]: [Option<OwnedFd>; 2],
        mut steps: Steps,
    ) -> Result<Started, StartError> {
        let system = |what: &'static str| move |error: io::Error| StartError::System(format!("{what}: {error}"));
        let outside = self.next_uid();
        // What a fork server is asked for has neither.
        let plain = spec.mounts.is_empty() && !spec.secret_files;
        let fork = self.forks.kind_of(spec).filter(|&kind| plain && self.forks.serves(kind));
        let viewer = if self.rootless { Viewer::Unmapped } else { Viewer::Ids { uid: outside, gid: outside } };
        let folders = folders::open_all(&self.allowed_mounts, &spec.mounts, viewer)?;
        let Some(roots) = self.roots.as_mut() else { return Err(self.unavailable()) };
        let root = roots.get(&spec.root)?;
        let root = root.copy().map_err(system("copy the root file system"))?;
        steps.lap("root");
        let (go_read, mut go_write) = pipe(PipeFlags::CLOEXEC).map_err(system("make a pipe"))?;
        let (mut status_read, status_write) = status_pipe().map_err(system("make a pipe"))?;
        let c = |text: &str| CString::new(text).map_err(|_| StartError::Spec("a NUL byte".into()));
        let program = spec.command.first().ok_or_else(|| StartError::Spec("no program".into()))?;
        let mut plan = Plan {
            go: go_read,
            status: status_write,
            parents: None,
            root,
            code,
            layers,
            dev_null: self.dev_null.as_fd(),
            streams,
            host_name: c(spec.id.as_str())?,
            limits: spec.limits,
            user: spec.user,
            work_dir: c(&spec.work_dir)?,
            folders,
            secret_files: spec.secret_files,
            seccomp: &self.seccomp,
            rootless: self.rootless,
            put_back: Vec::new(),
            own_session_late: false,
        };
        let command = Command {
            program: c(program)?,
            args: spec.command.iter().map(|arg| c(arg)).collect::<Result<_, _>>()?,
            env: spec.env.iter().map(|(name, value)| c(&format!("{name}={value}"))).collect::<Result<_, _>>()?,
        };
        // Before the control group is made: that and the clone are done at the same time. Only without root is a fork
        // server one that may clone right into the group.
        let (early, late) = if self.rootless { (None, fork) } else { (fork, None) };
        let ordered = early.filter(|&kind| self.forks.order(kind, &plan, None));
        steps.lap("plan");
        let group = match self.cgroups.create(&spec.id, &spec.limits) {
            Ok(group) => group,
            Err(error) => {
                self.forget(ordered);
                return Err(system("make its cgroup")(error));
            }
        };
        steps.lap("cgroup");
        let mut into = group.dir_fd_for_clone();
        let ordered = ordered.or(late.filter(|&kind| self.forks.order(kind, &plan, into)));
        let cloned = match ordered.and_then(|kind| self.forks.cloned(kind)) {
            Some(cloned) => {
                into = into.filter(|_| late.is_some());
                Ok(cloned)
            }
            None => {
                if ordered.is_some() {
                    // Somebody may have been cloned who has the old ones: he ends with them.
                    let pipes = pipe(PipeFlags::CLOEXEC).and_then(|go| Ok((go, status_pipe()?)));
                    match pipes {
                        Ok((go, status)) => {
                            (plan.go, go_write) = go;
                            (status_read, plan.status) = status;
                        }
                        Err(error) => {
                            self.removing.push(group);
                            return Err(system("make a pipe")(error));
                        }
                    }
                }
                // What the kernel counts for each user (inotify, pending signals, message queues, namespaces) it also
                // counts for whoever made the user namespace: were that root, one function could use up what the
                // host's root has.
                let owner = if self.rootless { None } else { Some(outside) };
                plan.parents = Some([go_write.as_raw_fd(), status_read.as_raw_fd()]);
                // SAFETY: the spawner has one thread.
                match sys::owned_by(owner, || unsafe { sys::clone(child::NEW, into) }) {
                    Ok(sys::Cloned::Child) => child::run(&plan, &command, self.arguments),
                    Ok(sys::Cloned::Parent { pidfd, pid }) => Ok((pidfd, pid)),
                    Err(error) => Err(error),
                }
            }
        };
        let in_v2_group = into.is_some();
        let (pidfd, pid) = match cloned {
            Ok(cloned) => cloned,
            Err(error) => {
                self.removing.push(group);
                return Err(StartError::System(format!("clone its first process: {error}")));
            }
        };
        drop(plan);
        steps.lap("clone");

        // Not kept: this process has the group, and a clone takes the longer the more descriptors there are.
        let (mut files, stem) = (group.files(), spec.code.is_none());
        let mut running = Running {
            pidfd,
            status: status_read,
            group: Some(group),
            killed: false,
            out_of_memory: false,
            stem,
            _network: None,
        };
        match self.connect(spec, pid) {
            Ok(None) => {}
            Ok(Some(Attached { lease, traffic })) => (running._network, files.usage.network) = (Some(lease), traffic),
            Err(error) => {
                self.abandon(running);
                return Err(error);
            }
        }
        if !spec.egress.is_none() {
            steps.lap("network");
        }
        let result = self.release(pid, (spec.user, outside), &running, in_v2_group, go_write);
        steps.lap("ids");
        let running = match result {
            Ok(()) => running,
            Err(error) => {
                self.abandon(running);
                return Err(StartError::System(error.to_string()));
            }
        };
        let started = (|| {
            Ok(Started {
                steps: steps.done(),
                pidfd: running.pidfd.try_clone()?,
                files,
                oom: running.group.as_ref().and_then(Group::oom_eventfd).transpose()?,
            })
        })();
        match started {
            Ok(started) => {
                self.running.insert(spec.id.clone(), running);
                Ok(started)
            }
            Err(error) => {
                self.abandon(running);
                Err(system("duplicate its descriptors")(error))
            }
        }
    }

    /// Starts the fork servers that are wanted and not there.
    fn keep_forks(&mut self) {
        let Some(roots) = self.roots.as_mut().filter(|_| self.capability.works) else { return };
        for (id, kind) in self.forks.wanted() {
            let ground = fork_start::Ground {
                root: roots.get(&RootFs::Host).map_err(io::Error::other).and_then(|root| root.copy()),
                cgroups: &mut self.cgroups,
                dev_null: self.dev_null.as_fd(),
                id: if self.rootless { None } else { Some(self.first_uid) },
            };
            self.forks.started(id, fork_start::start(ground, &kind));
        }
    }

    /// Has no sandbox forked, for this reason, which people are told.
    pub fn never_fork(&mut self, why: &str) {
        self.forks.give_up(why);
        self.forks.close();
    }

    /// The numbers of the fork servers' processes, for those who test that one may end.
    pub fn fork_servers(&self) -> Vec<i32> {
        self.forks.pids()
    }

    /// Waits, within a bound, until each fork server serves or is known not to; true when all serve.
    pub fn settle_fork_servers(&mut self, limit: Duration) -> bool {
        self.keep_forks();
        self.forks.settle(limit);
        self.forks.states().iter().all(|(_, state)| *state == forks::State::Serving)
    }

    /// What a fork server was ordered and nobody wants any more ends, before another order.
    fn forget(&mut self, ordered: Option<KindId>) {
        if let Some((pidfd, _)) = ordered.and_then(|kind| self.forks.cloned(kind)) {
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }

    /// The next sandbox's id on the host. The first of all is the fork servers'.
    fn next_uid(&mut self) -> u32 {
        if self.rootless {
            return 0;
        }
        self.next_uid = (self.next_uid + 1) % UIDS;
        self.next_uid += u32::from(self.next_uid == 0);
        self.first_uid + self.next_uid
    }

    /// Maps the ids, joins the cgroup, lets the child go on.
    fn release(
        &mut self,
        pid: i32,
        (user, outside): (User, u32),
        running: &Running,
        in_v2_group: bool,
        go: OwnedFd,
    ) -> io::Result<()> {
        let write = |file: &str, text: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::write(&path, text).map_err(at("write", &path))
        };
        if self.rootless {
            write("setgroups", "deny")?;
        }
        // Whoever it is inside, it is the sandbox's own id outside.
        write("gid_map", &format!("{} {outside} 1", user.gid))?;
        write("uid_map", &format!("{} {outside} 1", user.uid))?;
        if let Some(group) = running.group.as_ref().filter(|_| !in_v2_group) {
            group.add(pid)?;
        }
        rustix::io::write(&go, b"g")?;
        Ok(())
    }

    /// Ends a sandbox that nobody was told of.
    fn abandon(&mut self, running: Running) {
        let _ = rustix::process::pidfd_send_signal(&running.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED);
        self.removing.extend(running.group);
    }

    fn unavailable(&self) -> StartError {
        let missing = self.capability.findings.iter().filter(|finding| finding.severity == Severity::Missing);
        let reason =
            missing.map(|f| format!("{}: {}. {}", f.subject, f.state, f.advice)).collect::<Vec<_>>().join("; ");
        StartError::Unavailable { isolation: Isolation::Namespace, reason }
    }
}

fn status_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    pipe(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
}

fn pipe(flags: PipeFlags) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(flags)?)
}

impl Host for Namespace {
    fn isolation(&self) -> Isolation {
        Isolation::Namespace
    }

    fn capability(&self) -> Capability {
        let mut capability = self.capability.clone();
        capability.findings.extend(probe::fork_servers(&self.forks.states()));
        capability
    }

    fn start(&mut self, spec: &SandboxSpec, streams: GuestStreams) -> Result<Started, StartError> {
        let mut steps = Steps::begin();
        spec.validate()?;
        if !self.capability.works {
            return Err(self.unavailable());
        }
        if self.running.contains_key(&spec.id) {
            return Err(StartError::Spec(format!("sandbox {} exists already", spec.id)));
        }
        let mount = |folder: &Option<CodeHash>| folder.as_ref().map(|hash| self.code_mount(hash)).transpose();
        let code = [mount(&spec.code)?, mount(&spec.layers)?];
        steps.lap("code");
        let started = self.spawn(spec, streams, code, steps);
        self.keep_forks();
        started
    }

    fn adopt(&mut self, id: &InstanceId, code: &CodeHash) -> Result<(), StartError> {
        let code = self.code_mount(code)?;
        let Some(running) = self.running.get_mut(id).filter(|running| running.stem) else {
            return Err(StartError::Spec(format!("there is no stem {id}")));
        };
        running.stem = false;
        // In place: the one thread goes there and comes back, some 20 µs.
        let mounted = sys::inside_mounts(running.pidfd.as_fd(), self.mounts.as_fd(), || {
            // The template's own folder, which nobody inside can change or put a link in place of.
            sys::move_mount(code.as_fd(), c"/var/task")
        });
        mounted.map_err(|error| StartError::System(format!("mount its code: {error}")))
    }

    fn socket(&mut self, id: &InstanceId) -> Result<OwnedFd, StartError> {
        let running = self.running.get(id).ok_or_else(|| StartError::Spec(format!("there is no sandbox {id}")))?;
        let made = || {
            let gone = || io::Error::other("its first process is gone");
            let theirs = Space::of_process(sys::pid_of(running.pidfd.as_fd()).ok_or_else(gone)?)?;
            // A socket belongs to the network that it is made in, wherever it is then.
            theirs.inside(&Space::current()?, || {
                let (domain, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM);
                Ok(rustix::net::socket_with(domain, kind, rustix::net::SocketFlags::CLOEXEC, None)?)
            })
        };
        made().map_err(|error: io::Error| StartError::System(format!("make a socket in its network: {error}")))
    }

    fn kill(&mut self, id: &InstanceId) {
        if let Some(running) = self.running.get_mut(id) {
            running.killed = true;
            let _ = rustix::process::pidfd_send_signal(&running.pidfd, Signal::KILL);
            running.group.iter().for_each(Group::let_die);
        }
    }

    fn out_of_memory(&mut self, id: &InstanceId) {
        self.kill(id);
        if let Some(running) = self.running.get_mut(id) {
            running.out_of_memory = true;
        }
    }

    fn reap(&mut self, id: &InstanceId, pidfd: BorrowedFd<'_>) -> Exit {
        // Its children were the pid namespace, which is empty once it can be waited for.
        let waited = rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
        let Some(mut running) = self.running.remove(id) else {
            return Exit { cause: ExitCause::Killed, usage: Usage::default() };
        };
        let usage = running.group.as_ref().map_or_else(Usage::default, |group| group.usage_files().read());
        let oom = running.out_of_memory || running.group.as_ref().is_some_and(Group::oom_killed);
        let cause = match Report::receive(running.status.as_fd()) {
            Some(Report::Setup { step, errno }) => {
                let error = io::Error::from_raw_os_error(errno);
                ExitCause::Setup(format!("{}: {error}", step.text()))
            }
            _ if oom => ExitCause::OutOfMemory,
            // It had ended by itself before any kill could: init was alive to tell.
            Some(Report::Exit { wait_status }) if libc::WIFSIGNALED(wait_status) => {
                ExitCause::Signal(libc::WTERMSIG(wait_status))
            }
            Some(Report::Exit { wait_status }) => ExitCause::Status(libc::WEXITSTATUS(wait_status)),
            None if running.killed => ExitCause::Killed,
            None => match waited.ok().flatten().and_then(|status| status.terminating_signal()) {
                Some(signal) => ExitCause::Signal(signal),
                None => ExitCause::Setup("its first process ended without a report".into()),
            },
        };
        self.removing.extend(running.group.take());
        self.tidy();
        Exit { cause, usage }
    }

    fn tidy(&mut self) -> bool {
        self.removing.retain(|group| !matches!(group.remove(), Ok(true)));
        let burying = self.forks.tidy();
        self.keep_forks();
        !self.removing.is_empty() || burying
    }

    fn sweep(&mut self) -> Result<(), StartError> {
        let swept = self.cgroups.sweep();
        swept.map_err(|error| StartError::System(format!("remove leftover cgroups: {error}")))?;
        // Only now: their groups would be leftovers.
        self.keep_forks();
        Ok(())
    }

    fn close(&mut self) {
        self.forks.close();
        for _ in 0..50 {
            if !self.tidy() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(roots) = self.roots.take() {
            roots.close();
        }
        self.cgroups.close();
    }
}
