//! Sandboxes with a kernel of their own: gVisor's `runsc`, used directly as an OCI runtime on Hearth's own root file
//! system. Lives in the spawner; nothing but `runsc` need be installed.
//!
//! ```text
//! start ─► group, bundle, slot, code ─► runsc run ─► the agent in it reads what to run ─► running
//!             │ any step fails: removed, refused          └─ runsc fails: set-up error       │ kill, out of memory
//!             ▼                                                                              ▼
//!          refused             tidy, until it is gone ◄─ reap: report, figures ◄─ pidfd of `runsc run` readable
//! ```
//!
//! The agent's socket is made before the sandbox is, and what it is to be told waits in it: nothing here waits for
//! runsc. The function's command and environment are told there alone, and its streams go the same way, as descriptors.
//!
//! What a sandbox has on the host: a control group, in which are runsc, its file server (gofer) and the kernel (sentry);
//! a folder; a slot (see [`slots`]), mounted in the spawner's mount namespace only. `runsc run` dies with the spawner,
//! and the others with it; what a killed spawner leaves are groups and folders, and the next one's
//! [`Gvisor::new`] and [`Host::sweep`] remove them.

mod bundle;
mod probe;
mod runsc;
mod slots;

use std::collections::HashMap;
use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::{Launch, MAX_FDS, Report};
use driver::{
    Capability, Exit, ExitCause, GuestStreams, Host, SandboxFiles, SandboxSpec, Severity, StartError, Started, Usage,
    User,
};
use linux::cgroup::{Cgroups, Group};
use linux::folders::{self, Viewer};
use linux::net::{Attached, Lease, Network, Space};
use linux::root::at;
use linux::roots::{Extra, Roots, Var};
use linux::{seccomp, sentry, sys};
use model::{AllowedMount, CodeHash, InstanceId, Isolation};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use bundle::Files;
use runsc::{Place, Platform, Runsc};
use slots::Slots;

/// What the driver is given by the composition root.
#[derive(Debug)]
pub struct Options {
    /// Names this installation's control groups: another name than other drivers' there.
    pub name: String,
    /// A folder of the driver's own, which it makes and removes, not writable by the server.
    pub run_dir: PathBuf,
    /// Where unpacked packages lie, named by their hash.
    pub code_dir: PathBuf,
    /// The server's folder, in which images' roots lie.
    pub data_dir: PathBuf,
    /// What sandboxes see as `/var/runtime`.
    pub runtime_dir: PathBuf,
    /// Folders of the host's that functions may mount.
    pub allowed_mounts: Vec<AllowedMount>,
    /// Without root: as root of a user namespace, in which the caller is.
    pub rootless: bool,
    /// The program, where somebody says; else it is looked for.
    pub runsc: Option<PathBuf>,
}

/// The driver.
pub struct Gvisor {
    capability: Capability,
    /// None where it does not work.
    works: Option<Works>,
    running: HashMap<InstanceId, Running>,
    removing: Vec<Remains>,
    /// None: no sandbox reaches anything.
    network: Option<Network>,
}

/// What all sandboxes share.
struct Works {
    options: Options,
    runsc: Runsc,
    platform: Platform,
    code_dir: OwnedFd,
    roots: Roots,
    slots: Slots,
    /// What sandboxes see as `/mnt`, of those that have one.
    shelves: slots::Shelves,
    cgroups: Cgroups,
    /// The system-call filter, for the agent to load.
    filter: Vec<u8>,
}

struct Running {
    /// Of `runsc run`.
    pidfd: OwnedFd,
    /// To the agent.
    socket: OwnedFd,
    remains: Remains,
    files: SandboxFiles,
    killed: bool,
    out_of_memory: bool,
    /// It has no code yet.
    stem: bool,
}

/// A start that did not come about.
struct Failed(StartError);

/// What is to be removed of a sandbox.
struct Remains {
    id: InstanceId,
    group: Arc<Group>,
    /// Its network namespace and its place in the network; none: runsc makes it one with loopback only.
    network: Option<(Space, Lease)>,
}

// === impl Gvisor ===

impl Gvisor {
    /// Looks for runsc, and tries it: at most 3 s, mostly half a second; without runsc, no time at all. The caller must
    /// be in a mount namespace of its own. What does not work here is in the capability.
    pub fn new(options: Options) -> Self {
        let no_mounts = options
            .rootless
            .then(|| "Hearth was started as an ordinary user, whose files belong to nobody in gVisor".into());
        let (works, mut findings) = match probe::look(&options) {
            Ok((runsc, findings)) => match Works::prepare(options, runsc) {
                Ok((works, more)) => (Some(works), [findings, more].concat()),
                Err(error) => (None, [findings, vec![probe::missing("start", &error.to_string(), "")]].concat()),
            },
            Err(findings) => (None, findings),
        };
        let mut driver = Self {
            capability: Capability {
                isolation: Isolation::Gvisor,
                works: false,
                overhead: sentry::WAITING,
                no_mounts,
                no_egress: None,
                findings: vec![],
            },
            works,
            running: HashMap::new(),
            removing: Vec::new(),
            network: None,
        };
        if driver.works.is_some() {
            findings.extend(probe::choose(&mut driver));
        }
        let works = driver.works.is_some() && findings.iter().all(|one| one.severity != Severity::Missing);
        if !works {
            driver.close();
        }
        driver.capability.works = works;
        driver.capability.findings = findings;
        driver
    }

    /// Lets sandboxes have a network that ask for one.
    pub fn with_network(mut self, network: Network) -> Self {
        if self.capability.works {
            self.capability.findings.push(network.finding());
        }
        self.capability.no_egress = network.why_not();
        self.network = Some(network);
        self
    }

    /// A namespace with the network in it that it asked for. runsc takes over what it finds there when it starts.
    fn connect(&self, spec: &SandboxSpec) -> Result<Option<(Space, Attached)>, StartError> {
        if spec.egress.is_none() {
            return Ok(None);
        }
        let refused = |why: &str| StartError::no_egress(Isolation::Gvisor, why);
        let Some(network) = &self.network else { return Err(refused("it has none")) };
        let made = Space::current().and_then(|home| Space::make(&home));
        let space = made.map_err(|error| StartError::System(format!("make its network namespace: {error}")))?;
        let attached = network.attach(&spec.egress, &space).map_err(|why| refused(&why))?;
        Ok(attached.map(|attached| (space, attached)))
    }

    fn unavailable(&self) -> StartError {
        let missing = self.capability.findings.iter().filter(|finding| finding.severity == Severity::Missing);
        let reason =
            missing.map(|f| format!("{}: {}. {}", f.subject, f.state, f.advice)).collect::<Vec<_>>().join("; ");
        StartError::Unavailable { isolation: Isolation::Gvisor, reason }
    }

    /// [`Host::start`], also on another platform than the one that is used.
    fn spawn(
        &mut self,
        spec: &SandboxSpec,
        streams: GuestStreams,
        platform: Option<Platform>,
    ) -> Result<Started, StartError> {
        let system = |what: &'static str| move |error: io::Error| StartError::System(format!("{what}: {error}"));
        let connected = self.connect(spec)?;
        let (network, traffic) =
            connected.map(|(space, Attached { lease, traffic })| ((space, lease), traffic)).unzip();
        let Some(works) = &mut self.works else { return Err(self.unavailable()) };
        let code = spec.code.as_ref().map(|code| works.code(code)).transpose()?;
        let layers = spec.layers.as_ref().map(|layers| works.code(layers)).transpose()?;
        let limits = sentry::host_limits(&spec.limits);
        let group = Arc::new(works.cgroups.create(&spec.id, &limits).map_err(system("make its cgroup"))?);
        let remains = Remains { id: spec.id.clone(), group, network };
        let begun = works.begin(spec, &remains, [code, layers], streams, platform).and_then(|(pidfd, socket)| {
            let started = Started {
                steps: vec![],
                pidfd: pidfd.try_clone()?,
                files: remains.group.files(),
                oom: remains.group.oom_eventfd().transpose()?,
            };
            Ok((pidfd, socket, started))
        });
        match begun {
            Ok((pidfd, socket, mut started)) => {
                let (files, stem) = (started.files.duplicate(), spec.code.is_none());
                let running = Running { pidfd, socket, remains, files, killed: false, out_of_memory: false, stem };
                self.running.insert(spec.id.clone(), running);
                started.files.usage.network = traffic.flatten();
                Ok(started)
            }
            Err(error) => {
                self.removing.push(remains);
                Err(error.0)
            }
        }
    }
}

// === impl Failed ===

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        Self(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(StartError::System(error.to_string()))
    }
}

impl From<Errno> for Failed {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

// === impl Works ===

impl Works {
    fn prepare(options: Options, runsc: Runsc) -> io::Result<(Self, Vec<driver::Finding>)> {
        let private = |path: &PathBuf| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        private(&options.run_dir).map_err(at("make", &options.run_dir))?;
        // What a killed spawner left: files only, since its mounts went with it.
        let sandboxes = options.run_dir.join("sandboxes");
        if sandboxes.exists() {
            fs::remove_dir_all(&sandboxes).map_err(at("empty", &sandboxes))?;
        }
        private(&sandboxes).map_err(at("make", &sandboxes))?;
        // Its parent belongs to the server: a link put in its place is not followed.
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let code_dir = rustix::fs::open(&options.code_dir, folder, Mode::empty())
            .map_err(|error| at("open", &options.code_dir)(error.into()))?;
        let (cgroups, mut findings) = Cgroups::detect(&options.name);
        probe::processes_are_limited(&mut findings);
        let files: [Extra; 2] = [(bundle::AGENT, agent_image::BYTES), (sentry::NO_DEVICE, b"")];
        let roots = Roots::build(&options.run_dir.join("root"), &options.data_dir, &options.runtime_dir, &files)?;
        let made = slots::Shelves::open(options.run_dir.join("mounts"))
            .and_then(|shelves| Ok((Slots::make(options.run_dir.join("slots"))?, shelves)));
        let (slots, shelves) = match made {
            Ok(made) => made,
            Err(error) => {
                roots.close();
                return Err(error);
            }
        };
        let filter = seccomp::Program::compile(&seccomp::Policy::default()).bytes();
        let works =
            Self { options, runsc, platform: Platform::Ptrace, code_dir, roots, slots, shelves, cgroups, filter };
        Ok((works, findings))
    }

    /// The package's folder, as a read-only mount of its own that can be attached anywhere.
    fn code(&self, hash: &CodeHash) -> Result<OwnedFd, StartError> {
        let opened = || {
            // The folder belongs to the server, which is not trusted here: no link is followed out of it.
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let folder = rustix::fs::openat2(&self.code_dir, hash.as_str(), flags, Mode::empty(), resolve)?;
            let tree = sys::open_tree(folder.as_fd(), c"", false)?;
            let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
            sys::mount_setattr(tree.as_fd(), c"", false, attributes)?;
            Ok(tree)
        };
        opened().map_err(|error: io::Error| StartError::System(format!("open the code {hash}: {error}")))
    }

    fn folder(&self, id: &InstanceId) -> PathBuf {
        self.options.run_dir.join("sandboxes").join(id.as_str())
    }

    /// Everything of a start that may fail half-way: pidfd and the agent's socket.
    fn begin(
        &mut self,
        spec: &SandboxSpec,
        remains: &Remains,
        [code, layers]: [Option<OwnedFd>; 2],
        streams: GuestStreams,
        platform: Option<Platform>,
    ) -> Result<(OwnedFd, OwnedFd), Failed> {
        let folder = self.folder(&spec.id);
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(at("make", &folder))?;
        let (root, var) = self.roots.get_with_var(&spec.root)?;
        let (root, nothing) = (root.path(), Var::default());
        let slot = self.slots.add(&spec.id, var)?;
        if let Some(code) = code {
            self.slots.give(&spec.id, code.as_fd()).map_err(at("mount its code in", &slot))?;
        }
        let layers = layers.map(|layers| self.slots.give_layers(&spec.id, layers.as_fd())).transpose()?;
        let User { uid, gid } = spec.user;
        let folders = folders::open_all(&self.options.allowed_mounts, &spec.mounts, Viewer::Served { uid, gid })?;
        let shelf = self.shelves.add(&spec.id, &folders)?;
        let in_var = &var.unwrap_or(&nothing).binds;
        let (runtimes, layers, shelf) = (&*self.options.runtime_dir, layers.as_deref(), shelf.as_deref());
        let files = Files { root, in_var, slot: &slot, runtimes, layers, shelf };
        let config = bundle::config(spec, &files, remains.network.as_ref().map(|(space, _)| space.path()).as_deref());
        fs::write(folder.join("config.json"), config.to_string()).map_err(at("describe it in", &folder))?;

        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        self.tell(&ours, spec, streams)?;
        // Theirs, the other open file, stays one that waits.
        rustix::io::ioctl_fionbio(&ours, true)?;
        let place = Place { folder: &folder, id: &spec.id, network: remains.network.is_some() };
        let platform = platform.unwrap_or(self.platform);
        let pidfd = self.runsc.run(platform, &place, remains.group.clone(), theirs);
        Ok((pidfd.map_err(at("run", self.runsc.program()))?, ours))
    }

    /// Leaves in the socket what the agent is to run, and the streams.
    fn tell(&self, socket: &OwnedFd, spec: &SandboxSpec, streams: GuestStreams) -> io::Result<()> {
        let launch = Launch {
            filter: self.filter.clone(),
            work_dir: spec.work_dir.clone(),
            args: spec.command.clone(),
            env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        };
        let packet = launch.encode();
        let fds: Vec<_> =
            [&streams.log, &streams.control].into_iter().chain(&streams.invoke).map(AsFd::as_fd).collect();
        rustix::net::sockopt::set_socket_send_buffer_size(socket, 2 * agent::MAX_PACKET)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many streams"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(socket, &[IoSlice::new(&packet)], &mut ancillary, flags)?;
        Ok(())
    }

    /// Whether everything of it is gone.
    fn remove(&mut self, remains: &Remains) -> bool {
        // Its processes die by themselves when `runsc run` has, but not always at once.
        remains.group.kill_all();
        if !matches!(remains.group.remove(), Ok(true)) {
            return false;
        }
        self.slots.remove(&remains.id);
        self.shelves.remove(&remains.id);
        let _ = fs::remove_dir_all(self.folder(&remains.id));
        true
    }
}

// === impl Running ===

impl Running {
    /// Why it ended. Asked when runsc has.
    fn cause(&self, folder: &std::path::Path) -> ExitCause {
        let mut packet = [0u8; Report::SIZE + 1];
        let read = rustix::io::read(&self.socket, &mut packet);
        let oom = self.out_of_memory || self.remains.group.oom_killed();
        match read.ok().and_then(|length| Report::decode(&packet[..length])) {
            Some(Report::Setup { step, errno }) => {
                ExitCause::Setup(format!("{}: {}", step.text(), io::Error::from_raw_os_error(errno)))
            }
            _ if oom => ExitCause::OutOfMemory,
            // It had ended by itself before any kill could: the agent was alive to tell.
            Some(Report::Exit { wait_status }) if libc::WIFSIGNALED(wait_status) => {
                ExitCause::Signal(libc::WTERMSIG(wait_status))
            }
            Some(Report::Exit { wait_status }) => ExitCause::Status(libc::WEXITSTATUS(wait_status)),
            None if self.killed => ExitCause::Killed,
            // The other end was closed with our packet still in it.
            None if read == Err(Errno::CONNRESET) => ExitCause::Setup(runsc::last_words(folder)),
            None => {
                let words = runsc::last_words(folder);
                tracing::warn!(sandbox = %self.remains.id, words, "a sandbox's kernel ended before its function did");
                ExitCause::Signal(libc::SIGKILL)
            }
        }
    }
}

impl Host for Gvisor {
    fn isolation(&self) -> Isolation {
        Isolation::Gvisor
    }

    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    fn start(&mut self, spec: &SandboxSpec, streams: GuestStreams) -> Result<Started, StartError> {
        spec.validate()?;
        if !self.capability.works {
            return Err(self.unavailable());
        }
        if self.running.contains_key(&spec.id) {
            return Err(StartError::Spec(format!("sandbox {} exists already", spec.id)));
        }
        self.spawn(spec, streams, None)
    }

    fn adopt(&mut self, id: &InstanceId, code: &CodeHash) -> Result<(), StartError> {
        let Some(works) = &self.works else { return Err(self.unavailable()) };
        let code = works.code(code)?;
        let Some(running) = self.running.get_mut(id).filter(|running| running.stem) else {
            return Err(StartError::Spec(format!("there is no stem {id}")));
        };
        running.stem = false;
        let given = works.slots.give(id, code.as_fd());
        given.map_err(|error| StartError::System(format!("mount its code: {error}")))
    }

    fn kill(&mut self, id: &InstanceId) {
        if let Some(running) = self.running.get_mut(id) {
            running.killed = true;
            let _ = rustix::process::pidfd_send_signal(&running.pidfd, Signal::KILL);
            running.remains.group.kill_all();
        }
    }

    fn out_of_memory(&mut self, id: &InstanceId) {
        self.kill(id);
        if let Some(running) = self.running.get_mut(id) {
            running.out_of_memory = true;
        }
    }

    fn reap(&mut self, id: &InstanceId, pidfd: BorrowedFd<'_>) -> Exit {
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
        let gone = Exit { cause: ExitCause::Killed, usage: Usage::default() };
        let (Some(running), Some(works)) = (self.running.remove(id), &self.works) else { return gone };
        let exit = Exit { cause: running.cause(&works.folder(id)), usage: running.files.usage.read() };
        self.removing.push(running.remains);
        self.tidy();
        exit
    }

    fn tidy(&mut self) -> bool {
        if let Some(works) = &mut self.works {
            self.removing.retain(|remains| !works.remove(remains));
        }
        !self.removing.is_empty()
    }

    fn sweep(&mut self) -> Result<(), StartError> {
        // Without runsc, none of these groups shall come to be.
        let Some(works) = &mut self.works else { return Ok(()) };
        works.cgroups.sweep().map_err(|error| StartError::System(format!("remove leftover cgroups: {error}")))
    }

    fn close(&mut self) {
        for _ in 0..100 {
            if !self.tidy() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Some(mut works) = self.works.take() else { return };
        works.cgroups.close();
        works.slots.close();
        works.shelves.close();
        works.roots.close();
        for folder in [&works.options.run_dir.join("sandboxes"), &works.options.run_dir] {
            if let Err(error) = fs::remove_dir(folder) {
                tracing::warn!(folder = %folder.display(), %error, "a folder is left behind");
            }
        }
    }
}
