//! The server's side: a [`Driver`] for each isolation that the spawner hosts, over one socket.
//!
//! One task reads the spawner's events; starts wait on a channel each, exits on a watch each. When the spawner is
//! gone, every wait ends with an error, and the server is about to be killed anyway.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{
    BoxFuture, Capability, Driver, Exit, ExitCause, Handle, Sandbox, SandboxFiles, SandboxSpec, StartError, Step,
    Streams, Usage,
};
use model::metric::Traffic;
use model::{CodeHash, InstanceId, Isolation};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

use crate::protocol::{Event, Files, PROTOCOL, Request};
use crate::socket;

/// Nothing is said for longer than this at the beginning: isolations are tried meanwhile.
const HELLO_LIMIT: Duration = Duration::from_secs(20);

/// What a sandbox takes of this process's descriptors: control, log, three usage files, a freezer and an invoke stream.
const DESCRIPTORS: usize = 7;

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
    /// A server is there, whose successor this one is to be.
    heir: bool,
    /// Sandboxes can be given to another server.
    keeps: bool,
}

/// What the spawner says that is about the server itself.
pub enum Order {
    /// Another server is to meet the helper, see [`Client::introduce`].
    Introduce(OwnedFd),
    Yield,
    Open,
    Give,
    /// A sandbox of the server before, and what that one says about it.
    Given(String, Sandbox),
    GivenAll,
}

struct Shared {
    /// A sandbox is made within this time, or its start has failed.
    start_limit: Duration,
    socket: AsyncFd<OwnedFd>,
    /// One sender at a time: a packet that must wait for room must not be overtaken by half of another's wait.
    sending: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// As many as there are upgrades and instances.
    orders: mpsc::UnboundedSender<Order>,
    for_server: Mutex<ForServer>,
}

/// What came for the server, and is taken once.
struct ForServer {
    orders: Option<mpsc::UnboundedReceiver<Order>>,
    listeners: Vec<OwnedFd>,
}

#[derive(Default)]
struct State {
    starting: HashMap<InstanceId, oneshot::Sender<Result<Live, StartError>>>,
    live: HashMap<InstanceId, watch::Sender<Option<Exit>>>,
    adopting: HashMap<InstanceId, oneshot::Sender<Result<(), StartError>>>,
    /// Who waits for a socket of a sandbox's, in the order in which they asked.
    sockets: HashMap<InstanceId, VecDeque<oneshot::Sender<Result<OwnedFd, StartError>>>>,
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
        let (capabilities, heir, keeps, listeners) = match hello
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
        {
            Some((Event::Hello { protocol, .. }, _)) if !protocol.serves() => {
                let (theirs, ours) = (protocol, PROTOCOL);
                let text = format!(
                    "the spawner that runs speaks protocol {}.{}, this version {}.{}: it can only be started anew, with its \
                     spawner (restart Hearth)",
                    theirs.spawner, theirs.wire, ours.spawner, ours.wire
                );
                // It need not understand this, but may.
                let packet = socket::encode(&Request::CannotStart { why: text.clone() })?;
                let _ = socket::send(socket.get_ref().as_fd(), &packet, &[]);
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            Some((Event::Hello { capabilities, heir, keeps, .. }, fds)) => (capabilities, heir, keeps, fds),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the spawner did not say hello")),
        };
        let (orders, received) = mpsc::unbounded_channel();
        let for_server = Mutex::new(ForServer { orders: Some(received), listeners });
        let sending = tokio::sync::Mutex::new(());
        let shared = Shared { start_limit, socket, sending, state: Mutex::default(), orders, for_server };
        let client = Self { shared: Arc::new(shared), capabilities: Arc::new(capabilities), heir, keeps };
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

    /// Whether a server is there, from which this one is to take over.
    pub fn is_heir(&self) -> bool {
        self.heir
    }

    /// What the spawner says to the server; once.
    pub fn orders(&self) -> Option<mpsc::UnboundedReceiver<Order>> {
        self.for_server().orders.take()
    }

    /// What a server before this one listened on: control and ingress; once, and empty if there was none.
    pub fn listeners(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.for_server().listeners)
    }

    fn for_server(&self) -> MutexGuard<'_, ForServer> {
        self.shared.for_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the spawner keep what this server listens on for the next one.
    pub async fn keep_listeners(&self, control: BorrowedFd<'_>, ingress: BorrowedFd<'_>) -> io::Result<()> {
        self.request_with(&Request::Listeners {}, &[control, ingress]).await
    }

    /// Tells the spawner that this server has started well.
    pub async fn ready(&self) -> io::Result<()> {
        self.request(&Request::Ready {}).await
    }

    /// All is done that could be without the data.
    pub async fn prepared(&self, version: &str) -> io::Result<()> {
        self.request(&Request::Prepared { version: version.into() }).await
    }

    /// Why this server will end before it was ready.
    pub async fn cannot_start(&self, why: String) -> io::Result<()> {
        self.request(&Request::CannotStart { why }).await
    }

    /// No connection was taken for so long.
    pub async fn yielded(&self, paused: Duration) -> io::Result<()> {
        self.request(&Request::Yielded { paused_ms: paused.as_millis() as u64 }).await
    }

    pub async fn opened(&self) -> io::Result<()> {
        self.request(&Request::Opened {}).await
    }

    pub async fn gave_all(&self) -> io::Result<()> {
        self.request(&Request::GaveAll {}).await
    }

    /// Has the helper at the other end serve another server too, at the other end of `socket`.
    pub async fn introduce(&self, socket: OwnedFd) -> io::Result<()> {
        self.request_with(&Request::Next {}, &[socket.as_fd()]).await
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
            Event::Introduce => fds.into_iter().for_each(|socket| self.order(Order::Introduce(socket))),
            Event::Yield => self.order(Order::Yield),
            Event::Open => self.order(Order::Open),
            Event::Give => self.order(Order::Give),
            Event::GivenAll => self.order(Order::GivenAll),
            Event::Given { id, files, about } => {
                let (sender, exit) = watch::channel(None);
                self.state().live.insert(id.clone(), sender);
                match files.unpack(fds) {
                    Some((streams, files)) => {
                        let handle = SandboxHandle { id: id.clone(), client: self.clone(), files, exit };
                        let sandbox = Sandbox { id, streams, handle: Arc::new(handle), steps: vec![] };
                        self.order(Order::Given(about, sandbox));
                    }
                    None => self.kill(&id),
                }
            }
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
            Event::Socket { id, error } => {
                let mut state = self.state();
                let Some(waiting) = state.sockets.get_mut(&id) else { return };
                let first = waiting.pop_front();
                if waiting.is_empty() {
                    state.sockets.remove(&id);
                }
                drop(state);
                let lost = || StartError::System("the server has no descriptor left for it".into());
                let made = error.map_or_else(|| fds.into_iter().next().ok_or_else(lost), Err);
                let _ = first.map(|first| first.send(made));
            }
            Event::Exited { id, exit } => {
                self.state().sockets.remove(&id);
                if let Some(waiting) = self.state().adopting.remove(&id) {
                    let _ = waiting.send(Err(StartError::System("the sandbox ended".into())));
                }
                if let Some(sender) = self.state().live.remove(&id) {
                    sender.send_replace(Some(exit));
                }
            }
        }
    }

    fn order(&self, order: Order) {
        // A server that is over heeds none: what came with it is killed by its drop.
        let _ = self.shared.orders.send(order);
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
        // Each hears that nobody answers any more.
        state.sockets.clear();
        for (_, sender) in state.live.drain() {
            sender.send_replace(Some(killed()));
        }
    }

    async fn request(&self, request: &Request) -> io::Result<()> {
        self.request_with(request, &[]).await
    }

    async fn request_with(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = socket::encode(request)?;
        let _turn = self.shared.sending.lock().await;
        loop {
            let mut ready = self.shared.socket.writable().await?;
            match ready.try_io(|socket| socket::send(socket.get_ref().as_fd(), &packet, fds)) {
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

/// How long the spawner may take to answer about one socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(5);

impl Client {
    async fn socket(self, id: InstanceId) -> Result<OwnedFd, StartError> {
        let (sender, made) = oneshot::channel();
        {
            let mut state = self.state();
            if state.gone {
                return Err(StartError::SpawnerGone);
            }
            if !state.live.contains_key(&id) {
                return Err(StartError::System("the sandbox ended".into()));
            }
            state.sockets.entry(id.clone()).or_default().push_back(sender);
        }
        let sent = async {
            self.request(&Request::Socket { id })
                .await
                .map_err(|error| StartError::System(format!("ask the spawner: {error}")))?;
            made.await.map_err(|_| StartError::System("the sandbox ended".into()))?
        };
        tokio::time::timeout(SOCKET_LIMIT, sent).await.map_err(|_| StartError::TimedOut(SOCKET_LIMIT))?
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

    fn cpu(&self) -> Option<Duration> {
        self.files.usage.read_cpu()
    }

    fn traffic(&self) -> Option<Traffic> {
        self.files.usage.read_traffic()
    }

    fn adopt(&self, code: CodeHash) -> BoxFuture<'static, Result<(), StartError>> {
        Box::pin(self.client.clone().adopt(self.id.clone(), code))
    }

    fn socket(&self) -> BoxFuture<'static, Result<OwnedFd, StartError>> {
        Box::pin(self.client.clone().socket(self.id.clone()))
    }

    fn give(&self, streams: Streams, about: String) -> BoxFuture<'static, Result<(), StartError>> {
        let (client, id, files) = (self.client.clone(), self.id.clone(), self.files.duplicate());
        Box::pin(async move {
            if !client.keeps {
                return Err(StartError::System("its sandboxes live as long as the server".into()));
            }
            let request = Request::Give { id: id.clone(), files: Files::of(&files), about };
            let fds = Files::pack(streams, files);
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            let sent = client.request_with(&request, &fds).await;
            sent.map_err(|error| StartError::System(format!("ask the spawner: {error}")))?;
            // It is somebody else's from now on; what is said of it here is not heeded.
            client.state().live.remove(&id);
            Ok(())
        })
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
