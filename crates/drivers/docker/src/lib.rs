//! Containers of a Docker Engine on this machine, over its API. Lives in a helper process of the spawner's, which
//! holds the engine's socket: whoever may use that is as good as root.
//!
//! ```text
//! start ─► folder, create, start ─► the agent calls ─► streams handed in ─► running ─► gone: figures, exit told,
//!            │ any step fails          │ 10 s                                  │          container and folder removed
//!            └─────────────────────────┴──► removed, refused                   ├ kill, out of memory: SIGKILL, thaw
//!                                                                              └ a stem's claim: code into its slot
//! ```
//!
//! It offers one isolation, or two: where one of the engine's runtimes is gVisor's, and it was asked for, the same
//! containers with a kernel of their own ([`wall`]).
//!
//! What a sandbox has outside of this process is a container with our label, a folder, and a stem's slot; all are
//! removed with it, and what a killed process left of any, the next one's [`Docker::open`] finds.
//!
//! Refuses engines on other machines and inside others' mount namespaces: containers must see this machine's files.

mod bases;
mod capability;
mod cgroup;
mod container;
mod gvisor;
mod image;
mod meeting;
mod sandbox;
mod wall;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::SystemInfo;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions, RemoveContainerOptions};
use driver::{BoxFuture, Capability, Driver, Sandbox, SandboxSpec, Severity, StartError};
use linux::net::Network;
use linux::seccomp;
use linux::slots::{self, Slots};
use model::{AllowedMount, Isolation};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use bases::Bases;
use capability::{Engine, missing};
use image::Base;
use wall::{Kind, Wall};

pub use gvisor::GvisorRuntime;

/// Where stems' slots are, in the driver's folder.
const SLOTS: &str = "slots";

/// What covers a file that shall not be seen, in the driver's folder.
const NOTHING: &str = "nothing";

/// Where Docker listens when nobody says otherwise.
pub const SOCKET: &str = "/var/run/docker.sock";

/// Containers that are created and started at once: the engine works on few at a time, and more would only make each
/// of them later.
const STARTS: usize = 4;

/// How long the removal of all that is left may take at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(8);

/// What the driver is given by the composition root; it crosses to the process that the driver lives in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Names this installation's containers.
    pub name: String,
    /// A folder of the driver's own, which it makes and removes, not writable by the server.
    pub run_dir: PathBuf,
    /// Where unpacked packages lie, named by their hash.
    pub code_dir: PathBuf,
    /// The server's folder, in which images' roots lie.
    pub data_dir: PathBuf,
    /// What containers see as `/var/runtime`.
    pub runtime_dir: PathBuf,
    /// Folders of the host's that functions may mount.
    pub allowed_mounts: Vec<AllowedMount>,
    /// Without root: there is no wall between this process and the server.
    pub rootless: bool,
    /// How containers get a network, if they do.
    pub network: linux::net::Options,
    /// Offers the isolation `gvisor` too, by this runtime of the engine's. None: somebody else does.
    pub gvisor: Option<GvisorRuntime>,
}

/// What is driven: one engine, with an isolation or two.
pub struct Docker {
    offered: Vec<Arc<dyn Driver>>,
    /// None where it does not work.
    inner: Option<Arc<Inner>>,
    /// Ends when the last task of ours has.
    idle: Mutex<Option<mpsc::Receiver<Infallible>>>,
}

/// An isolation, and what makes it one.
struct Offered {
    capability: Capability,
    wall: Wall,
    /// None where Docker does not work.
    inner: Option<Arc<Inner>>,
}

struct Inner {
    options: Options,
    network: Network,
    api: bollard::Docker,
    code_dir: OwnedFd,
    /// Or why there can be no stems.
    slots: Result<Slots, String>,
    image: Base,
    images: Bases,
    filter: Vec<u8>,
    processors: usize,
    starts: Semaphore,
    /// Held by every task that has something to remove at its end. None once the driver closes.
    busy: Mutex<Option<mpsc::Sender<Infallible>>>,
}

// === impl Docker ===

impl Docker {
    /// Looks for the engine, removes what an earlier process left, prepares the image. What does not work is in the
    /// capability. Bounded: a second or two where there is an engine, nothing where there is none.
    pub async fn open(options: Options) -> Self {
        let (busy, idle) = mpsc::channel(1);
        if !options.rootless
            && let Err(error) = slots::sweep(&options.run_dir.join(SLOTS))
        {
            tracing::warn!(%error, "could not take away what an earlier run left");
        }
        let wanted = options.gvisor.clone();
        let (inner, info, mut findings) = match capability::look(&options).await {
            Ok(Engine { api, mut findings, info }) => {
                match Inner::new(options, api, capability::has(&info, "rootless"), busy).await {
                    Ok(inner) => {
                        findings.push(capability::stems(inner.slots.as_ref().err()));
                        findings.push(capability::freezing(cgroup::freezes()));
                        (Some(Arc::new(inner)), info, findings)
                    }
                    Err(why) => (None, info, [findings, vec![missing("start", &why, "")]].concat()),
                }
            }
            Err(finding) => (None, SystemInfo::default(), vec![finding]),
        };
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let works = inner.is_some() && findings.iter().all(|finding| finding.severity != Severity::Missing);
        if let Some(inner) = &inner {
            // Not waited for: new containers have other names.
            tokio::spawn(inner.clone().sweep(inner.leftovers().await, inner.busy()));
        }
        let gvisor = match (&wanted, &inner) {
            (None, _) => None,
            (Some(wanted), Some(inner)) if works => Some(gvisor::offer(inner, &info, wanted).await),
            _ => Some(gvisor::without_engine(&findings)),
        };
        let no_mounts = match &inner {
            Some(_) if capability::has(&info, "userns") => {
                Some("Docker gives its containers other user ids".to_owned())
            }
            Some(inner) => inner.slots.as_ref().err().cloned(),
            None => None,
        };
        let gvisor = gvisor.map(|(capability, wall)| (Capability { no_mounts: no_mounts.clone(), ..capability }, wall));
        let why_no_network = inner.as_ref().and_then(|inner| inner.network.why_not());
        findings.extend(inner.as_ref().map(|inner| inner.network.finding()));
        let docker = Capability {
            isolation: Isolation::Docker,
            works,
            overhead: 0,
            no_mounts,
            no_egress: why_no_network,
            findings,
        };
        let docker = (docker, Wall::Host);
        let offer =
            |(capability, wall)| -> Arc<dyn Driver> { Arc::new(Offered { capability, wall, inner: inner.clone() }) };
        let offered = [docker].into_iter().chain(gvisor).map(offer).collect();
        Self { offered, inner, idle: Mutex::new(Some(idle)) }
    }

    /// `docker`, and `gvisor` if that was asked for.
    pub fn drivers(&self) -> Vec<Arc<dyn Driver>> {
        self.offered.clone()
    }

    /// Waits until all that was killed is removed, but not for ever. Every sandbox's handle must have been dropped.
    pub async fn close(&self) {
        if let Some(inner) = &self.inner {
            inner.busy.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut idle) = idle else { return };
        if tokio::time::timeout(CLOSE_LIMIT, idle.recv()).await.is_err() {
            tracing::warn!("containers are still being removed after {CLOSE_LIMIT:?}: the next start goes on with it");
        }
        if let Some(inner) = &self.inner {
            inner.network.close();
            inner.slots.iter().for_each(Slots::close);
            let _ = fs::remove_file(inner.nothing());
            let _ = fs::remove_dir(&inner.options.run_dir);
        }
    }
}

// === impl Offered ===

impl Driver for Offered {
    fn isolation(&self) -> Isolation {
        self.wall.isolation()
    }

    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    fn start(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<Sandbox, StartError>> {
        Box::pin(async move {
            let working = self.inner.as_ref().filter(|_| self.capability.works);
            let Some(inner) = working.cloned() else {
                let missing = self.capability.findings.iter().filter(|f| f.severity == Severity::Missing);
                let reason = missing.map(|f| format!("{}: {}", f.subject, f.state)).collect::<Vec<_>>().join("; ");
                return Err(StartError::Unavailable { isolation: self.isolation(), reason });
            };
            let kind = Kind { wall: self.wall.clone(), bare: false };
            let busy = inner.busy();
            // A task of its own: a request that Docker has begun with must be seen to its end. When nobody waits any
            // more, the sandbox's handle is dropped here, which kills it.
            let (tell, told) = oneshot::channel();
            tokio::spawn(async move {
                let gate = inner.clone();
                let _turn = gate.starts.acquire().await;
                // Killed while it stood in line: nothing was asked of Docker.
                if !tell.is_closed() {
                    let started = inner.launch(spec, kind, busy).await;
                    let _ = tell.send(started);
                }
            });
            told.await.unwrap_or_else(|_| Err(StartError::System("the start did not come to its end".into())))
        })
    }
}

// === impl Inner ===

impl Inner {
    async fn new(
        options: Options,
        api: bollard::Docker,
        rootless_engine: bool,
        busy: mpsc::Sender<Infallible>,
    ) -> Result<Self, String> {
        let io = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        fs::create_dir_all(&options.run_dir).map_err(io("make a folder"))?;
        // Sandboxes' folders below it are open to any id, since theirs may be any.
        fs::set_permissions(&options.run_dir, fs::Permissions::from_mode(0o700)).map_err(io("close a folder"))?;
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::write(options.run_dir.join(NOTHING), "").map_err(io("make an empty file"))?;
        let code_dir = rustix::fs::open(&options.code_dir, folder, Mode::empty());
        let code_dir = code_dir.map_err(|error| format!("open {}: {error}", options.code_dir.display()))?;
        let slots = match (options.rootless, rootless_engine) {
            (true, _) => Err("Hearth was started as an ordinary user, who may not mount code into a container".into()),
            (_, true) => Err("Docker runs as an ordinary user, with mounts of its own".into()),
            _ => Slots::open(options.run_dir.join(SLOTS)).map_err(|error| error.to_string()),
        };
        let data = rustix::fs::open(&options.data_dir, folder, Mode::empty());
        let data = data.map_err(|error| format!("open {}: {error}", options.data_dir.display()))?;
        let images = Bases::new(&options.data_dir, data);
        let image = Base::of_this_host().map_err(io("describe the image"))?;
        image.ensure(&api).await.map_err(|error| format!("make the image {}: {error}", image.name))?;
        image::remove_all(&api).await;
        let program = seccomp::Program::compile(&seccomp::Policy::default());
        let filter = program.instructions().iter().flat_map(sandbox::instruction_bytes).collect();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let starts = Semaphore::new(STARTS);
        let network = Network::new(options.network.clone());
        Ok(Self {
            options,
            network,
            api,
            code_dir,
            slots,
            image,
            images,
            filter,
            processors,
            starts,
            busy: Mutex::new(Some(busy)),
        })
    }

    /// The containers and folders that an earlier process left.
    async fn leftovers(&self) -> Vec<String> {
        let label = format!("{}={}", container::INSTALLATION, self.options.name);
        let options = ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), vec![label])].into()),
            ..ListContainersOptions::default()
        };
        let entries = fs::read_dir(&self.options.run_dir).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name() != SLOTS && entry.file_name() != NOTHING)
            .for_each(|entry| meeting::remove(&entry.path()));
        match self.api.list_containers(Some(options)).await {
            Ok(found) => found.into_iter().filter_map(|container| container.id).collect(),
            Err(error) => {
                tracing::warn!(%error, "could not list the containers that an earlier run left");
                vec![]
            }
        }
    }

    /// An empty file.
    fn nothing(&self) -> PathBuf {
        self.options.run_dir.join(NOTHING)
    }

    fn slots(&self, isolation: Isolation) -> Result<&Slots, StartError> {
        self.slots.as_ref().map_err(|why| StartError::Unavailable {
            isolation,
            reason: format!("no container can be started ahead of its code: {why}"),
        })
    }

    fn busy(&self) -> Option<mpsc::Sender<Infallible>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn sweep(self: Arc<Self>, left: Vec<String>, _busy: Option<mpsc::Sender<Infallible>>) {
        for container in left {
            tracing::info!(container, "removing a container that an earlier run left");
            self.kill_frozen(&container).await;
            self.bury(&container, &container).await;
        }
    }

    /// Kills a container that may have been left frozen. Where that keeps the killed alive (version 1 of cgroups), it is
    /// up to the engine's runtime whether Docker's own SIGKILL ends it: runc thaws what it kills, not all do.
    async fn kill_frozen(&self, container: &str) {
        let asked = self.api.inspect_container(container, None::<InspectContainerOptions>).await;
        let state = asked.ok().and_then(|found| found.state);
        let pid = state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        // Held first, so that the number cannot become a stranger's; one that it has become already is in none of the
        // container's groups.
        let held = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let (Some(held), Some(freezer)) = (held, cgroup::freezer_of(pid, container)) else { return };
        // Killed before it is thawed, so that nothing inside goes on.
        if pidfd_send_signal(&held, Signal::KILL).is_ok() {
            let _ = freezer.set(false);
        }
    }

    /// Removes a container, running or not, until it is gone or Docker does not want to.
    async fn remove(&self, container: &str) {
        let mut error = None;
        for pause in [0, 50, 100, 200, 400, 800, 1600] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
            match self.api.remove_container(container, Some(options)).await {
                Ok(()) => return,
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return,
                // Its removal is under way already, or it is still in use.
                Err(failed) => error = Some(failed),
            }
        }
        tracing::warn!(container, ?error, "a container could not be removed: the next start tries again");
    }
}
