//! One container's life, from the request to its removal.
//!
//! Code that is known at the start is bound to `/var/task` by Docker. A stem has a slot for its `/var` instead, and
//! gets its code mounted there ([`linux::slots`]). Either way it is looked at, inside, that it is the code that was
//! meant.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent::{Launch, Report};
use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use driver::{
    BoxFuture, Exit, ExitCause, Freezer, FreezerKind, Handle, RootFs, Sandbox, SandboxFiles, SandboxSpec, StartError,
    Streams, Usage, User,
};
use futures_util::StreamExt;
use linux::code;
use linux::folders::{self, Viewer};
use linux::net::{Attached, Lease, Space};
use linux::seccomp::SockFilter;
use linux::sentry::NO_DEVICE;
use linux::slots::{Shelf, Slot};
use model::metric::Traffic;
use model::{CodeHash, InstanceId, Isolation, MOUNTS_FOLDER};
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use crate::Inner;
use crate::cgroup::Figures;
use crate::container::{self, Bind, MEETING};
use crate::meeting::{Agent, Meeting, log_pipe, watched};
use crate::wall::{Kind, Wall};

/// From the container's start to the agent's call.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// After this much of it, it is asked whether the container has ended meanwhile.
const CALL_GRACE: Duration = Duration::from_secs(1);

/// How long containerd may take to notice that processes which Docker never knew of are gone.
const STRAYS_LIMIT: Duration = Duration::from_millis(500);

/// How often a killed container is thawed until it is gone: its freezer is in the server's hands too, which may freeze it
/// in the same moment.
const THAW_AGAIN: Duration = Duration::from_millis(100);

/// A container that has been asked for, and is removed with its folder when this is dropped.
struct Made {
    inner: Arc<Inner>,
    name: String,
    wall: Wall,
    /// Docker's own name for it, once it is created.
    container: String,
    /// Docker has said that it runs, and so knows what to end.
    ran: AtomicBool,
    meeting: Option<Meeting>,
    /// A stem's.
    slot: Option<Arc<Slot>>,
    /// Its `/mnt`, if it has one.
    _shelf: Option<Shelf>,
    busy: Option<mpsc::Sender<Infallible>>,
    /// Given back when it is gone.
    network: Option<Lease>,
}

struct Held {
    id: InstanceId,
    kill: watch::Sender<bool>,
    exit: watch::Receiver<Option<Exit>>,
    files: SandboxFiles,
    stem: Option<Arc<Stem>>,
}

/// What it takes to give a container its code.
struct Stem {
    inner: Arc<Inner>,
    slot: Arc<Slot>,
    /// A process whose root folder is the container's.
    pid: i32,
}

/// As the kernel reads it.
pub fn instruction_bytes(one: &SockFilter) -> [u8; 8] {
    let ([a, b], [e, f, g, h]) = (one.code.to_ne_bytes(), one.k.to_ne_bytes());
    [a, b, one.jt, one.jf, e, f, g, h]
}

impl Inner {
    /// Makes a container and starts the command in it.
    pub async fn launch(
        self: Arc<Self>,
        spec: SandboxSpec,
        Kind { wall, bare }: Kind,
        busy: Option<mpsc::Sender<Infallible>>,
    ) -> Result<Sandbox, StartError> {
        let system = |what: &'static str| move |error: io::Error| StartError::System(format!("{what}: {error}"));
        let meeting = Meeting::make(self.options.run_dir.join(spec.id.as_str())).map_err(system("make its folder"))?;
        let image = match &spec.root {
            RootFs::Host => None,
            RootFs::Image(digest) => Some(self.images.get(digest, &self.api).await?),
        };
        let base = image.as_ref().map_or(&self.image, |image| &image.base);
        let mut binds = base.binds.clone();
        let (code, slot) = match &spec.code {
            Some(hash) => {
                binds.push(Bind::of(self.options.code_dir.join(hash.as_str()), "/var/task"));
                (Some(code::open(self.code_dir.as_fd(), hash).map_err(system("open its code"))?), None)
            }
            None if bare => (None, None),
            None => {
                let slot = self.slots(wall.isolation())?.make(spec.id.as_str()).map_err(system("make its slot"))?;
                if let Some(image) = &image {
                    image.var.make_in(slot.path()).map_err(system("make its slot"))?;
                }
                // Before what is bound in it.
                binds.insert(0, Bind::following(slot.path(), "/var"));
                (None, Some(Arc::new(slot)))
            }
        };
        let layers = match &spec.layers {
            Some(hash) => {
                binds.push(Bind::of(self.options.code_dir.join(hash.as_str()), "/opt"));
                Some(code::open(self.code_dir.as_fd(), hash).map_err(system("open its layers"))?)
            }
            None => None,
        };
        let shelf = self.shelf(&spec, &wall)?;
        binds.extend(shelf.iter().map(|shelf| Bind::holding(shelf.path(), MOUNTS_FOLDER)));
        binds.push(Bind::of(&self.options.runtime_dir, "/var/runtime"));
        binds.push(Bind::of(meeting.path(), MEETING));
        if wall != Wall::Host {
            // A device that the sandbox's kernel makes: of no use without capabilities; still, nobody need reach that code.
            binds.push(Bind::of(self.nothing(), NO_DEVICE));
        }
        let body = container::body(&spec, &self.options.name, &base.name, &binds, self.processors, &wall);
        let name = format!("{}-{}", self.options.name, spec.id);
        let refused = |step| refused(wall.isolation(), step);
        let container = String::new();
        let mut made = Made {
            inner: self.clone(),
            name,
            wall: wall.clone(),
            container,
            ran: AtomicBool::new(false),
            meeting: Some(meeting),
            slot,
            _shelf: shelf,
            busy,
            network: None,
        };

        let options = CreateContainerOptions { name: Some(made.name.clone()), ..CreateContainerOptions::default() };
        let mut created = self.api.create_container(Some(options.clone()), body.clone()).await;
        if matches!(&created, Err(Error::DockerResponseServerError { status_code: 404, .. })) {
            // Another Hearth, of another build, took the image for one that nobody needs any more.
            self.image.ensure(&self.api).await.map_err(refused("make the image again"))?;
            created = self.api.create_container(Some(options), body).await;
        }
        made.container = created.map_err(refused("create the container"))?.id;
        let agent = made.start().await?;
        if let Some(code) = &code {
            self.has(agent.pid, "var/task", code.as_fd())?;
        }
        if let Some(layers) = &layers {
            self.has(agent.pid, "opt", layers.as_fd())?;
        }
        for bound in image.iter().flat_map(|image| &image.layout.binds) {
            self.has(agent.pid, &bound.path, bound.what.as_fd())?;
        }
        let traffic = self.connect(&spec, &wall, agent.pid)?.and_then(|Attached { lease, traffic }| {
            made.network = Some(lease);
            traffic
        });
        let (streams, guest) = streams(spec.invoke_streams, spec.user).map_err(system("make its streams"))?;
        let launch = Launch {
            filter: self.filter.clone(),
            work_dir: spec.work_dir,
            args: spec.command,
            env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        };
        let guest: Vec<_> = guest.iter().map(AsFd::as_fd).collect();
        // Before anything of the function's runs: it sets limits, too.
        let mut figures = Figures::of(agent.pid, &made.container);
        agent.launch(&launch, &guest).map_err(system("tell the agent what to run"))?;

        let oom = figures.oom.take().map(watched).transpose().map_err(system("watch its memory"))?;
        let (kill, killed) = watch::channel(false);
        let (tell, exit) = watch::channel(None);
        let mut files = SandboxFiles { usage: figures.usage.duplicate(), freezer: figures.freezer.take() };
        let stem = made.slot.clone().map(|slot| Stem { inner: self.clone(), slot, pid: agent.pid });
        let thaw = files.duplicate();
        files.usage.network = traffic;
        let held = Held { id: spec.id.clone(), kill, exit, files, stem: stem.map(Arc::new) };
        tokio::spawn(made.live(agent, figures, thaw, oom, killed, tell));
        Ok(Sandbox { id: spec.id, streams, handle: Arc::new(held), steps: vec![] })
    }

    /// Attaches what is mounted in the container, for Docker to bind.
    fn shelf(&self, spec: &SandboxSpec, wall: &Wall) -> Result<Option<Shelf>, StartError> {
        if spec.mounts.is_empty() {
            return Ok(None);
        }
        let User { uid, gid } = spec.user;
        let viewer = match wall {
            Wall::Host => Viewer::Ids { uid, gid },
            Wall::Gvisor(_) => Viewer::Served { uid, gid },
        };
        let folders = folders::open_all(&self.options.allowed_mounts, &spec.mounts, viewer)?;
        let shelf = self.slots(wall.isolation())?.shelve(spec.id.as_str(), &folders);
        shelf.map(Some).map_err(|error| StartError::System(format!("mount folders of the host's: {error}")))
    }

    /// Gives the container its network from outside, before anything of the function's runs in it. Docker itself gives it
    /// none.
    fn connect(&self, spec: &SandboxSpec, wall: &Wall, pid: i32) -> Result<Option<Attached>, StartError> {
        if spec.egress.is_none() {
            return Ok(None);
        }
        let refused = |why: &str| StartError::no_egress(wall.isolation(), why);
        if *wall != Wall::Host {
            return Err(refused(crate::gvisor::NO_NETWORK));
        }
        let space = Space::of_process(pid).map_err(|error| refused(&format!("hold its network: {error}")))?;
        self.network.attach(&spec.egress, &space).map_err(|why| refused(&why))
    }

    /// Whether the container has that folder at this path. Docker was given a path, in whose place the server could
    /// have put a link meanwhile; and whether a stem's slot reaches into it is up to how Docker was set up. What is
    /// mounted now stays.
    fn has(&self, pid: i32, path: &str, meant: BorrowedFd<'_>) -> Result<(), StartError> {
        if self.options.rootless {
            // No wall between the server and this process: and the container's root is not ours to look into.
            return Ok(());
        }
        // Not through a link: folders of ours lead there.
        let look = || Ok((rustix::fs::fstat(meant)?, rustix::fs::lstat(format!("/proc/{pid}/root/{path}"))?));
        let (meant, there) =
            look().map_err(|error: io::Error| StartError::System(format!("look at its /{path}: {error}")))?;
        match (meant.st_dev, meant.st_ino) == (there.st_dev, there.st_ino) {
            true => Ok(()),
            false => Err(StartError::System(format!("another folder than the one meant is mounted at /{path}"))),
        }
    }

    async fn kill(&self, agent: &Agent, name: &str) {
        let result = rustix::process::pidfd_send_signal(agent.pidfd.get_ref(), Signal::KILL);
        if result != Err(rustix::io::Errno::PERM) {
            return;
        }
        let options = KillContainerOptions { signal: "SIGKILL".into() };
        if let Err(error) = self.api.kill_container(name, Some(options)).await {
            tracing::warn!(container = name, %error, "a container could not be killed");
        }
    }

    /// Waits until a container has ended; its exit status, or what was said instead.
    async fn ended(&self, name: &str) -> String {
        let mut waiting = std::pin::pin!(self.api.wait_container(name, None::<WaitContainerOptions>));
        match waiting.next().await {
            Some(Ok(ended)) => ended.status_code.to_string(),
            // That is how a status other than 0 comes.
            Some(Err(Error::DockerContainerWaitError { code, .. })) => code.to_string(),
            Some(Err(error)) => format!("unknown ({error})"),
            None => std::future::pending().await,
        }
    }

    /// Whether Docker has seen memory run out.
    async fn oom_killed(&self, name: &str) -> bool {
        let asked = self.api.inspect_container(name, None::<InspectContainerOptions>).await;
        asked.ok().and_then(|container| container.state).and_then(|state| state.oom_killed).unwrap_or(false)
    }
}

/// The host's ends, and the guest's: log, control, invoke.
fn streams(invoke_streams: u16, user: User) -> io::Result<(Streams, Vec<OwnedFd>)> {
    let (log, guest_log) = log_pipe(user)?;
    let (control, guest_control) = UnixStream::pair()?;
    let mut streams = Streams { control: control.into(), invoke: vec![], log };
    let mut guest = vec![guest_log, guest_control.into()];
    for _ in 0..invoke_streams {
        let (ours, theirs) = UnixStream::pair()?;
        streams.invoke.push(ours.into());
        guest.push(theirs.into());
    }
    Ok((streams, guest))
}

fn met(error: io::Error) -> StartError {
    StartError::System(format!("meet the agent: {error}"))
}

fn refused(isolation: Isolation, step: &'static str) -> impl FnOnce(bollard::errors::Error) -> StartError {
    move |error| match error {
        Error::SocketNotFoundError(_) | Error::HyperLegacyError { .. } => {
            StartError::Unavailable { isolation, reason: format!("Docker does not answer any more: {step}: {error}") }
        }
        error => StartError::System(format!("{step}: {error}")),
    }
}

// === impl Stem ===

impl Stem {
    /// Mounts the code, which the container has when this returns. Waits for nobody: some 100 µs.
    fn adopt(&self, hash: &CodeHash) -> Result<(), StartError> {
        let system = |what: &'static str| move |error: io::Error| StartError::System(format!("{what}: {error}"));
        let folder = code::open(self.inner.code_dir.as_fd(), hash).map_err(system("open its code"))?;
        let mount = code::mount(folder.as_fd()).map_err(system("copy the mount of its code"))?;
        self.slot.fill(mount.as_fd()).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StartError::Spec(error.to_string()),
            _ => system("give it its code")(error),
        })?;
        self.inner.has(self.pid, "var/task", folder.as_fd())
    }
}

// === impl Made ===

impl Made {
    /// Starts the container and waits for the agent's call.
    async fn start(&self) -> Result<Agent, StartError> {
        let (inner, name) = (self.inner.clone(), self.name.clone());
        // Seen to its end, though the agent calls before Docker has answered.
        let mut starting =
            tokio::spawn(async move { inner.api.start_container(&name, None::<StartContainerOptions>).await });
        let Some(meeting) = &self.meeting else { return Err(StartError::System("no folder".into())) };
        let answered = |answer| match answer {
            Ok(Ok(())) => {
                self.ran.store(true, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(error)) => Err(refused(self.wall.isolation(), "start the container")(error)),
            Err(error) => Err(met(io::Error::other::<tokio::task::JoinError>(error))),
        };
        let early = tokio::select! {
            agent = meeting.agent() => Some(agent.map_err(met)?),
            answer = &mut starting => answered(answer).map(|()| None)?,
        };
        let Wall::Gvisor(runtime) = &self.wall else {
            return match early {
                Some(agent) => Ok(agent),
                None => self.called(meeting).await,
            };
        };
        let agent = match early {
            Some(agent) => {
                let answer = tokio::time::timeout(CALL_LIMIT, starting).await;
                answered(answer.map_err(|_| StartError::TimedOut(CALL_LIMIT))?)?;
                agent
            }
            None => self.called(meeting).await?,
        };
        self.inner.behind_wall(agent, &self.container, runtime).await
    }

    /// The agent's call, once Docker has started the container.
    async fn called(&self, meeting: &Meeting) -> Result<Agent, StartError> {
        if let Ok(agent) = tokio::time::timeout(CALL_GRACE, meeting.agent()).await {
            return agent.map_err(met);
        }
        tokio::select! {
            agent = meeting.agent() => agent.map_err(met),
            status = self.inner.ended(&self.name) => Err(StartError::System(format!(
                "the container ended with status {status} before the agent in it could call"
            ))),
            () = tokio::time::sleep(CALL_LIMIT - CALL_GRACE) => Err(StartError::TimedOut(CALL_LIMIT)),
        }
    }

    /// Until the container is gone.
    async fn live(
        self,
        agent: Agent,
        figures: Figures,
        files: SandboxFiles,
        oom: Option<AsyncFd<OwnedFd>>,
        mut kill: watch::Receiver<bool>,
        tell: watch::Sender<Option<Exit>>,
    ) {
        let (mut killed, mut out_of_memory) = (false, false);
        // Version 1 keeps the killed while they are frozen; version 2 does not, and then there is nothing to do. But behind
        // gVisor's wall the one that is killed is the kernel, and others end because it did.
        let needed = |one: &&Freezer| one.kind == FreezerKind::V1 || self.wall != Wall::Host;
        let let_die = || files.freezer.as_ref().filter(needed).map(|one| one.set(false));
        loop {
            let memory = async {
                match &oom {
                    Some(oom) => drop(oom.readable().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // First: the end of a container's memory group is readable too.
                _ = agent.pidfd.readable() => break,
                // An error means that the handle was dropped, which asks for the same.
                () = async { drop(kill.wait_for(|asked| *asked).await) }, if !killed => {
                    killed = true;
                    self.inner.kill(&agent, &self.name).await;
                    // Not before it is killed: nothing inside shall go on.
                    let_die();
                }
                () = memory, if !out_of_memory => {
                    out_of_memory = true;
                    self.inner.kill(&agent, &self.name).await;
                    let_die();
                }
                () = tokio::time::sleep(THAW_AGAIN), if killed || out_of_memory => drop(let_die()),
            }
        }
        // At once: Docker is about to remove the groups.
        let (usage, counted) = (files.usage.read(), figures.oom_killed());
        let report = agent.report();
        let out_of_memory = out_of_memory
            || match counted {
                Some(counted) => counted,
                None => self.inner.oom_killed(&self.name).await,
            };
        let cause = match report {
            Some(Report::Setup { step, errno }) => {
                ExitCause::Setup(format!("{}: {}", step.text(), io::Error::from_raw_os_error(errno)))
            }
            _ if out_of_memory => ExitCause::OutOfMemory,
            // It had ended by itself before any kill could: the agent was alive to tell.
            Some(Report::Exit { wait_status }) if libc::WIFSIGNALED(wait_status) => {
                ExitCause::Signal(libc::WTERMSIG(wait_status))
            }
            Some(Report::Exit { wait_status }) => ExitCause::Status(libc::WEXITSTATUS(wait_status)),
            None if killed => ExitCause::Killed,
            None => ExitCause::Signal(libc::SIGKILL),
        };
        // All its processes are gone, and nobody need wait for Docker to notice.
        tell.send_replace(Some(Exit { cause, usage }));
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        drop(self.meeting.take());
        self.slot.iter().for_each(|slot| slot.remove());
        let (inner, name, busy) = (self.inner.clone(), std::mem::take(&mut self.name), self.busy.take());
        let walled = self.wall != Wall::Host && !self.container.is_empty();
        let strays = walled && !self.ran.load(Ordering::Relaxed);
        let container = std::mem::take(&mut self.container);
        tokio::spawn(async move {
            if strays && inner.kill_strays(&container) {
                tokio::time::sleep(STRAYS_LIMIT).await;
            }
            match walled {
                true => inner.bury(&name, &container).await,
                false => inner.remove(&name).await,
            }
            drop(busy);
        });
    }
}

impl Handle for Held {
    fn kill(&self) {
        self.kill.send_replace(true);
    }

    fn exited(&self) -> BoxFuture<'static, Exit> {
        let mut exit = self.exit.clone();
        let gone = || Exit { cause: ExitCause::Killed, usage: Usage::default() };
        Box::pin(async move {
            match exit.wait_for(Option::is_some).await {
                Ok(exit) => exit.clone().unwrap_or_else(gone),
                Err(_) => gone(),
            }
        })
    }

    fn usage(&self) -> Usage {
        self.files.usage.read()
    }

    fn traffic(&self) -> Option<Traffic> {
        self.files.usage.read_traffic()
    }

    fn adopt(&self, code: CodeHash) -> BoxFuture<'static, Result<(), StartError>> {
        let (stem, id) = (self.stem.clone(), self.id.clone());
        Box::pin(async move {
            match stem {
                Some(stem) => stem.adopt(&code),
                None => Err(StartError::Spec(format!("there is no stem {id}"))),
            }
        })
    }

    fn freeze(&self, frozen: bool) -> bool {
        self.files.freeze(frozen)
    }

    fn files(&self) -> SandboxFiles {
        self.files.duplicate()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        Handle::kill(self);
    }
}
