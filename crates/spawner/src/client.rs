//! The server's side: a [`Driver`] for each isolation that the spawner hosts, over one socket.
//!
//! One task reads the spawner's events; starts wait on a channel each, exits on a watch each. When the spawner is
//! gone, every wait ends with an error, and the server is about to be killed anyway.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{
    BoxFuture, Capability, Driver, Exit, ExitCause, Handle, Sandbox, SandboxFiles, SandboxSpec, StartError, Step,
    Streams, Usage,
};
use model::{CodeHash, InstanceId, Isolation};
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use crate::protocol::{Event, Request};
use crate::socket;

/// Nothing is said for longer than this at the beginning: isolations are tried meanwhile.
const HELLO_LIMIT: Duration = Duration::from_secs(20);

/// What a sandbox takes of this process's descriptors: control, log, two usage files, a freezer and an invoke stream.
const DESCRIPTORS: usize = 6;

/// Descriptors that are for other things, beside one of eight: listeners, files of the store, this machine's own.
const OTHERS: usize = 256;

/// How many sandboxes this process may have at once, by its limit of open files. The spawner, whose limit is the same,
/// needs fewer of them for each.
pub fn places() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    // Callers have connections.
    (limit.saturating_sub(OTHERS) / 8 * 7 / DESCRIPTORS).max(1)
}

/// The connection to the spawner.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    capabilities: Arc<Vec<Capability>>,
}

struct Shared {
    /// A sandbox is made within this time, or its start has failed.
    start_limit: Duration,
    socket: AsyncFd<OwnedFd>,
    /// One sender at a time: a packet that must wait for room must not be overtaken by half of another's wait.
    sending: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    starting: HashMap<InstanceId, oneshot::Sender<Result<Live, StartError>>>,
    live: HashMap<InstanceId, watch::Sender<Option<Exit>>>,
    adopting: HashMap<InstanceId, oneshot::Sender<Result<(), StartError>>>,
    gone: bool,
}

/// A sandbox as the spawner reports it.
struct Live {
    streams: Streams,
    files: SandboxFiles,
    exit: watch::Receiver<Option<Exit>>,
    steps: Vec<Step>,
}

struct HostedDriver {
    client: Client,
    capability: Capability,
}

struct SandboxHandle {
    id: InstanceId,
    client: Client,
    files: SandboxFiles,
    exit: watch::Receiver<Option<Exit>>,
}

/// Kills a sandbox whose start nobody waits for any more.
struct StartGuard {
    id: InstanceId,
    client: Client,
    armed: bool,
}

// === impl Client ===

impl Client {
    /// The socket that the spawner left for its child at this number ([`crate::SPAWNER_FD`], [`crate::HELPER_FD`]), if
    /// this process was started by one. Called once for each.
    pub fn inherited_socket(number: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: only asks whether the number is open.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            return Err(io::Error::other("this command is started by `hearth up`, not by hand"));
        }
        // SAFETY: `launch.rs` put the socket at this number for this process, which has not used it yet.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        rustix::net::sockopt::socket_type(&socket)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        Ok(socket)
    }

    /// Takes over the socket that the server inherited, and waits for the hello of the spawner or its helper. A start
    /// that takes longer than `start_limit` has failed.
    pub async fn connect(
        socket: OwnedFd,
        start_limit: Duration,
    ) -> io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // SAFETY: an OwnedFd names the same open descriptor until it is dropped, which AsyncFd does last.
        let socket = unsafe { AsyncFd::register(socket)? };
        let mut buffer = Vec::new();
        let hello = tokio::time::timeout(HELLO_LIMIT, next_event(&socket, &mut buffer)).await;
        let capabilities = match hello.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            Some((Event::Hello { capabilities }, _)) => capabilities,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the spawner did not say hello")),
        };
        let shared = Shared { start_limit, socket, sending: tokio::sync::Mutex::new(()), state: Mutex::default() };
        let client = Self { shared: Arc::new(shared), capabilities: Arc::new(capabilities) };
        let reader = client.clone();
        let events = async move {
            let result = reader.read_events(buffer).await;
            tracing::debug!(?result, "the spawner's socket is closed");
            reader.lose_spawner();
        };
        Ok((client, events))
    }

    /// A driver for each isolation that the spawner hosts, working or not.
    pub fn drivers(&self) -> Vec<Arc<dyn Driver>> {
        let driver = |capability: &Capability| -> Arc<dyn Driver> {
            Arc::new(HostedDriver { client: self.clone(), capability: capability.clone() })
        };
        self.capabilities.iter().map(driver).collect()
    }

    /// Tells the spawner that this server has started well.
    pub async fn ready(&self) -> io::Result<()> {
        self.request(&Request::Ready).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one insert or remove: a panic in between leaves it whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_events(&self, mut buffer: Vec<u8>) -> io::Result<()> {
        while let Some((event, fds)) = next_event(&self.shared.socket, &mut buffer).await? {
            self.take(event, fds);
        }
        Ok(())
    }

    fn take(&self, event: Event, fds: Vec<OwnedFd>) {
        match event {
            // A new helper has taken the place of one that died, and of all that it had made.
            Event::Hello { .. } => self.lose_sandboxes(&StartError::System("the process that makes it died".into())),
            Event::Started { id, files, steps } => {
                let (sender, exit) = watch::channel(None);
                let mut state = self.state();
                let waiting = state.starting.remove(&id);
                state.live.insert(id.clone(), sender);
                drop(state);
                let live = files.unpack(fds).map(|(streams, files)| Live { streams, files, exit, steps });
                let live = live.ok_or_else(|| {
                    let text = "the server has no descriptors left for its streams: raise its limit of open files";
                    StartError::System(text.into())
                });
                let nobody = match waiting {
                    Some(waiting) => waiting.send(live).is_err(),
                    None => true,
                };
                if nobody {
                    self.kill(&id);
                }
            }
            Event::Refused { id, error } => {
                if let Some(waiting) = self.state().starting.remove(&id) {
                    let _ = waiting.send(Err(error));
                }
            }
            Event::Adopted { id, error } => {
                if let Some(waiting) = self.state().adopting.remove(&id) {
                    let _ = waiting.send(error.map_or(Ok(()), Err));
                }
            }
            Event::Exited { id, exit } => {
                if let Some(waiting) = self.state().adopting.remove(&id) {
                    let _ = waiting.send(Err(StartError::System("the sandbox ended".into())));
                }
                if let Some(sender) = self.state().live.remove(&id) {
                    sender.send_replace(Some(exit));
                }
            }
        }
    }

    fn lose_spawner(&self) {
        self.state().gone = true;
        self.lose_sandboxes(&StartError::SpawnerGone);
    }

    fn lose_sandboxes(&self, error: &StartError) {
        let mut state = self.state();
        for (_, waiting) in state.starting.drain() {
            let _ = waiting.send(Err(error.clone()));
        }
        for (_, waiting) in state.adopting.drain() {
            let _ = waiting.send(Err(error.clone()));
        }
        for (_, sender) in state.live.drain() {
            sender.send_replace(Some(killed()));
        }
    }

    async fn request(&self, request: &Request) -> io::Result<()> {
        let packet = socket::encode(request)?;
        let _turn = self.shared.sending.lock().await;
        loop {
            let mut ready = self.shared.socket.writable().await?;
            match ready.try_io(|socket| socket::send(socket.get_ref().as_fd(), &packet, &[])) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Asks for a sandbox's death without waiting: at once if the socket has room, else in the background.
    fn kill(&self, id: &InstanceId) {
        let request = Request::Kill { id: id.clone() };
        if let Ok(_turn) = self.shared.sending.try_lock()
            && let Ok(packet) = socket::encode(&request)
            && socket::send(self.shared.socket.get_ref().as_fd(), &packet, &[]).is_ok()
        {
            return;
        }
        let client = self.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Ends by itself: the socket takes the message, or breaks.
            runtime.spawn(async move {
                let _ = client.request(&request).await;
            });
        }
    }

    async fn start(&self, isolation: Isolation, spec: SandboxSpec) -> Result<Sandbox, StartError> {
        spec.validate()?;
        let id = spec.id.clone();
        let (sender, started) = oneshot::channel();
        {
            let mut state = self.state();
            if state.gone {
                return Err(StartError::SpawnerGone);
            }
            state.starting.insert(id.clone(), sender);
        }
        let mut guard = StartGuard { id: id.clone(), client: self.clone(), armed: true };
        let request = Request::Start { isolation, spec };
        let sent = async {
            self.request(&request).await.map_err(|error| StartError::System(format!("ask the spawner: {error}")))?;
            started.await.map_err(|_| StartError::SpawnerGone)?
        };
        let limit = self.shared.start_limit;
        let live = tokio::time::timeout(limit, sent).await.map_err(|_| StartError::TimedOut(limit))??;
        guard.armed = false;
        let handle = SandboxHandle { id: id.clone(), client: self.clone(), files: live.files, exit: live.exit };
        Ok(Sandbox { id, streams: live.streams, handle: Arc::new(handle), steps: live.steps })
    }

    async fn adopt(self, id: InstanceId, code: CodeHash) -> Result<(), StartError> {
        let (sender, adopted) = oneshot::channel();
        {
            let mut state = self.state();
            if state.gone {
                return Err(StartError::SpawnerGone);
            }
            if !state.live.contains_key(&id) {
                return Err(StartError::System("the sandbox ended".into()));
            }
            if state.adopting.insert(id.clone(), sender).is_some() {
                return Err(StartError::Spec(format!("sandbox {id} is getting its code already")));
            }
        }
        let _guard = AdoptGuard { id: id.clone(), client: self.clone() };
        let sent = async {
            let request = Request::Adopt { id, code };
            self.request(&request).await.map_err(|error| StartError::System(format!("ask the spawner: {error}")))?;
            adopted.await.map_err(|_| StartError::SpawnerGone)?
        };
        let limit = self.shared.start_limit;
        tokio::time::timeout(limit, sent).await.map_err(|_| StartError::TimedOut(limit))?
    }
}

/// Takes a stem's wait out of the state however it ends.
struct AdoptGuard {
    id: InstanceId,
    client: Client,
}

impl Drop for AdoptGuard {
    fn drop(&mut self) {
        self.client.state().adopting.remove(&self.id);
    }
}

async fn next_event(socket: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> io::Result<Option<(Event, Vec<OwnedFd>)>> {
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| socket::receive(socket.get_ref(), buffer)) {
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

fn killed() -> Exit {
    Exit { cause: ExitCause::Killed, usage: Usage::default() }
}

impl Drop for StartGuard {
    fn drop(&mut self) {
        if self.armed {
            // Whether it has been started already or is about to be: `take` finds nobody waiting.
            let known = self.client.state().starting.remove(&self.id).is_none();
            if known {
                self.client.kill(&self.id);
            }
        }
    }
}

impl Driver for HostedDriver {
    fn isolation(&self) -> Isolation {
        self.capability.isolation
    }

    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    fn start(&self, spec: SandboxSpec) -> BoxFuture<'_, Result<Sandbox, StartError>> {
        Box::pin(self.client.start(self.capability.isolation, spec))
    }
}

impl Handle for SandboxHandle {
    fn kill(&self) {
        if self.exit.borrow().is_none() {
            self.client.kill(&self.id);
        }
    }

    fn exited(&self) -> Pin<Box<dyn Future<Output = Exit> + Send>> {
        let mut exit = self.exit.clone();
        Box::pin(async move {
            match exit.wait_for(Option::is_some).await {
                Ok(exit) => exit.clone().unwrap_or_else(killed),
                Err(_spawner_gone) => killed(),
            }
        })
    }

    fn usage(&self) -> Usage {
        self.files.usage.read()
    }

    fn adopt(&self, code: CodeHash) -> BoxFuture<'static, Result<(), StartError>> {
        Box::pin(self.client.clone().adopt(self.id.clone(), code))
    }

    fn freeze(&self, frozen: bool) -> bool {
        self.files.freeze(frozen)
    }

    fn files(&self) -> SandboxFiles {
        self.files.duplicate()
    }
}

impl Drop for SandboxHandle {
    fn drop(&mut self) {
        Handle::kill(self);
    }
}
