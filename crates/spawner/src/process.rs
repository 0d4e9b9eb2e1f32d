//! The spawner's event loop.
//!
//! ```text
//! up ─► server runs ──(it dies)──► its sandboxes killed ─► back-off ─► server runs again
//!          │ SIGTERM, SIGINT                                   └─ it never could start: give up
//!          ▼
//!       draining: SIGTERM to the server ──(it exits, or the limit passes: SIGKILL)──► sandboxes killed ─► end
//! ```
//!
//! How one server takes over from another is in `upgrade.rs`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use driver::{GuestStreams, Host, StartError, Steps, Streams};
use model::{InstanceId, Isolation};
use rustix::event::epoll;
use rustix::process::Signal;

use crate::door;
use crate::launch::{self, HelperOptions, ServerUser};
use crate::protocol::{Event, Files, Request};
use crate::servers::Server;
use crate::signals;
use crate::socket;
use crate::supervise::Helper;
use crate::upgrade::{Program, Upgrade};

/// The exit code of a server that could not start (`EX_CONFIG` of sysexits.h).
pub const CANNOT_START: i32 = 78;

/// How long a draining server may take before it is killed: beyond the longest that the engine waits.
const DRAIN_LIMIT: Duration = Duration::from_secs(35);
/// How long killed sandboxes are waited for, and how often they are killed again meanwhile.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const KILL_AGAIN: Duration = Duration::from_millis(100);
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
const FAILED_STARTS: u32 = 5;
/// What the spawner is given by the composition root.
pub struct Options {
    pub hosts: Vec<Box<dyn Host>>,
    /// Program and arguments of the server. It inherits [`crate::launch::SPAWNER_FD`] and
    /// [`crate::launch::HELPER_FD`].
    pub server: Vec<String>,
    /// Variables of the server's, beside those of this process.
    pub environment: Vec<(String, String)>,
    /// A second process beside the server, which talks to it alone, and lives as long.
    pub helper: Option<HelperOptions>,
    /// None: the same user; there is no privilege to drop.
    pub user: Option<ServerUser>,
    /// When its other end is closed, that is a SIGTERM. A signal at the parent's death would be the kernel's way, which
    /// forgets it as soon as this process changes its user, as making sandboxes does.
    pub leash: Option<OwnedFd>,
    /// Where [`crate::ask`] reaches this spawner.
    pub door: PathBuf,
    /// Where the program of this process lies: an upgrade is to what is there by then.
    pub program: PathBuf,
}

/// Why [`run`] came back.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asked to, and drained.
    Drained,
    /// The server cannot start, and has said why on stderr.
    ServerFailed,
}

pub(crate) struct Spawner {
    pub(crate) hosts: Vec<Box<dyn Host>>,
    leash: Option<OwnedFd>,
    pub(crate) helper: Helper,
    pub(crate) poll: OwnedFd,
    sandboxes: HashMap<InstanceId, Sandbox>,
    pub(crate) by_token: HashMap<u64, Watch>,
    pub(crate) next_token: u64,
    buffer: Vec<u8>,
    tidying: bool,
    pub(crate) user: Option<ServerUser>,
    pub(crate) environment: Vec<(String, String)>,
    /// What servers are started of.
    pub(crate) program: Program,
    pub(crate) servers: Vec<Server>,
    pub(crate) next_server: u64,
    /// The number of the server that takes connections, or is about to.
    pub(crate) current: u64,
    /// What it listens on, for the next one.
    pub(crate) listeners: Vec<OwnedFd>,
    door: Option<OwnedFd>,
    pub(crate) upgrade: Option<Upgrade>,
    /// The end was asked for: it is there at this time at the latest.
    pub(crate) drain_by: Option<Instant>,
    /// The server ended that all depends on: its exit code.
    pub(crate) ended: Option<Option<i32>>,
}

pub(crate) struct Sandbox {
    host: usize,
    /// The server that has it.
    pub(crate) owner: u64,
    pidfd: OwnedFd,
    oom: Option<OwnedFd>,
    tokens: Vec<u64>,
}

/// What a readiness event is about.
pub(crate) enum Watch {
    Gone(InstanceId),
    OutOfMemory(InstanceId),
    Server(u64),
    Socket(u64),
    /// Somebody has come to the door and not said yet what for.
    Caller(OwnedFd),
}

const SIGNALS: u64 = 1;
const DOOR: u64 = 2;
pub(crate) const HELPER: u64 = 4;
const LEASH: u64 = 5;
const FIRST_TOKEN: u64 = 16;

/// Runs until told to end. The process must have one thread, and be in the namespaces that its drivers need.
pub fn run(options: Options) -> io::Result<Ended> {
    // Six descriptors for each sandbox, which sets a limit of its own.
    launch::raise_descriptors()?;
    // Children must not get the signals that are blocked for the pipe below, so exec resets them (see `launch.rs`).
    let signals = signals::pipe()?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&poll, &signals, SIGNALS)?;
    if let Some(leash) = &options.leash {
        watch(&poll, leash, LEASH)?;
    }
    let door = door::open(&options.door)?;
    watch(&poll, &door, DOOR)?;
    let mut spawner = Spawner {
        hosts: options.hosts,
        leash: options.leash,
        helper: Helper::new(options.helper),
        poll,
        sandboxes: HashMap::new(),
        by_token: HashMap::new(),
        next_token: FIRST_TOKEN,
        buffer: Vec::new(),
        tidying: false,
        user: options.user,
        environment: options.environment,
        program: Program::new(options.server, options.program),
        servers: Vec::new(),
        next_server: 0,
        current: 0,
        listeners: Vec::new(),
        door: Some(door),
        upgrade: None,
        drain_by: None,
        ended: None,
    };
    for host in &mut spawner.hosts {
        if let Err(error) = host.sweep() {
            tracing::warn!(isolation = %host.isolation(), %error, "could not remove what an earlier run left");
        }
    }
    let ended = spawner.supervise(&signals);
    let _ = std::fs::remove_file(&options.door);
    spawner.kill_all();
    for host in &mut spawner.hosts {
        host.close();
    }
    ended
}

impl Spawner {
    fn supervise(&mut self, signals: &UnixStream) -> io::Result<Ended> {
        let mut back_off = FIRST_BACK_OFF;
        let mut failed_starts = 0;
        let mut ever_ready = false;
        loop {
            let (code, was_ready) = match self.serve(signals)? {
                Some(ended) => ended,
                None => return Ok(Ended::Drained),
            };
            if was_ready {
                (failed_starts, back_off, ever_ready) = (0, FIRST_BACK_OFF, true);
            } else {
                failed_starts += 1;
                // One that cannot start says so by its exit code: a port in use, a broken store. Once there was one
                // that could, the cause may pass.
                if !ever_ready && (code == Some(CANNOT_START) || failed_starts >= FAILED_STARTS) {
                    return Ok(Ended::ServerFailed);
                }
            }
            tracing::warn!(code, back_off_ms = back_off.as_millis() as u64, "the server ended; starting it again");
            if self.pause(back_off, signals)? {
                return Ok(Ended::Drained);
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    /// Has a server run until it ends, or one that took over from it: the exit code, and whether it was ready. None: the
    /// end was asked for.
    fn serve(&mut self, signals: &UnixStream) -> io::Result<Option<(Option<i32>, bool)>> {
        let helper = self.helper.connect()?;
        self.current = self.launch(&self.program.command(), helper, false)?;
        self.helper.start(&self.poll);
        let mut was_ready = false;
        let ended = loop {
            let helper_due = self.helper.start_due(&self.poll);
            let due = self.drain_by.into_iter().chain(helper_due).chain(self.upgrade_due()).min();
            for token in self.wait(due)? {
                match token {
                    SIGNALS => self.end(signals),
                    HELPER => self.helper.ended(&self.poll),
                    token => self.on(token)?,
                }
            }
            self.hurry_upgrade()?;
            was_ready |= self.server(self.current).is_some_and(|server| server.ready);
            if self.drain_by.is_some() && self.servers.is_empty() {
                break None;
            }
            if let Some(code) = self.ended.take().filter(|_| self.drain_by.is_none()) {
                break Some((code, was_ready));
            }
            if self.drain_by.is_some_and(|by| Instant::now() >= by) {
                tracing::warn!("the server did not drain within {DRAIN_LIMIT:?}: killing it");
                self.servers.iter().for_each(|server| server.signal(Signal::KILL));
                self.drain_by = Some(Instant::now() + DRAIN_LIMIT);
            }
        };
        // One that finished calls for a server that is gone: what it needs goes, too.
        for server in std::mem::take(&mut self.servers) {
            server.signal(Signal::KILL);
            self.reap_server(server);
        }
        self.helper.finish(&self.poll);
        // Their streams are closed at the server's end, perhaps in the middle of a call: they are of no use.
        self.kill_all();
        Ok(ended)
    }

    /// Somebody wants the end.
    fn end(&mut self, signals: &UnixStream) {
        let again = self.drain_by.is_some();
        signals::drain(signals);
        let signal = if again { Signal::KILL } else { Signal::TERM };
        self.drain_by.get_or_insert_with(|| Instant::now() + DRAIN_LIMIT);
        self.refuse_upgrade("Hearth is ending");
        // Who connects now shall be refused, and not wait for a server that never comes.
        self.listeners.clear();
        self.servers.iter().for_each(|server| server.signal(signal));
    }

    fn on(&mut self, token: u64) -> io::Result<()> {
        match self.by_token.get(&token) {
            Some(Watch::Server(number)) => {
                let number = *number;
                let place = self.servers.iter().position(|server| server.number == number);
                let Some(server) = place.map(|place| self.servers.remove(place)) else { return Ok(()) };
                let why = server.why.clone();
                let code = self.reap_server(server);
                self.kill_those(|sandbox| sandbox.owner == number);
                self.server_ended(number, code, why)
            }
            Some(Watch::Socket(number)) => {
                let number = *number;
                self.converse(number)
            }
            Some(Watch::Caller(_)) => match self.by_token.remove(&token) {
                Some(Watch::Caller(caller)) => {
                    let _ = epoll::delete(&self.poll, &caller);
                    self.hear(caller)
                }
                _ => Ok(()),
            },
            Some(_) => {
                self.sandbox_event(token);
                Ok(())
            }
            None if token == DOOR => {
                self.open_door();
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn open_door(&mut self) {
        let Some(door) = &self.door else { return };
        match door::accept(door) {
            Ok(Some(caller)) => {
                if watch(&self.poll, &caller, self.next_token).is_ok() {
                    self.by_token.insert(self.next_token, Watch::Caller(caller));
                    self.next_token += 1;
                }
            }
            Ok(None) => tracing::warn!("somebody else's process came to the door of the spawner, and was sent away"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => tracing::warn!(%error, "somebody at the door of the spawner could not come in"),
        }
    }

    /// Waits for something to happen; the tokens of what did.
    fn wait(&mut self, until: Option<Instant>) -> io::Result<Vec<u64>> {
        let mut timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        if self.tidying {
            let soon = Duration::from_millis(100);
            timeout = Some(timeout.map_or(soon, |timeout| timeout.min(soon)));
        }
        let timeout =
            timeout.map(|t| rustix::event::Timespec { tv_sec: t.as_secs() as _, tv_nsec: t.subsec_nanos() as _ });
        let mut events = Vec::with_capacity(256);
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.tidying {
            self.tidy();
        }
        let mut tokens: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
        if tokens.contains(&LEASH)
            && let Some(leash) = self.leash.take()
        {
            epoll::delete(&self.poll, &leash)?;
            rustix::process::kill_process(rustix::process::getpid(), Signal::TERM)?;
        }
        tokens.retain(|token| *token != LEASH);
        Ok(tokens)
    }

    fn tidy(&mut self) {
        let mut left = false;
        for host in &mut self.hosts {
            left |= host.tidy();
        }
        self.tidying = left;
    }

    /// Between two lives of the server; true when asked to end.
    fn pause(&mut self, time: Duration, signals: &UnixStream) -> io::Result<bool> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            for token in self.wait(Some(until))? {
                if token == SIGNALS {
                    signals::drain(signals);
                    return Ok(true);
                }
                self.on(token)?;
            }
        }
        Ok(false)
    }

    /// Reads what a server asks for, and writes what it was too slow to take.
    fn converse(&mut self, number: u64) -> io::Result<()> {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let Some(server) = self.servers.iter_mut().find(|server| server.number == number) else { return Ok(()) };
            server.flush(&self.poll);
            let Some(socket) = &server.socket else { return Ok(()) };
            let received = socket::receive::<Request>(socket, &mut buffer);
            self.buffer = buffer;
            match received {
                Ok(Some((request, fds))) => self.obey(number, request, fds)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The server is going, or broken: its exit, which follows when the socket closes, is handled.
                Ok(None) => {
                    server.hang_up(&self.poll);
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(%error, "the server's message is not understood: closing its socket");
                    server.hang_up(&self.poll);
                    return Ok(());
                }
            }
        }
    }

    /// Of a server's sandboxes, the one of that name; servers know nothing of each other's.
    fn sandbox(&self, number: u64, id: &InstanceId) -> Result<usize, StartError> {
        let sandbox = self.sandboxes.get(id).filter(|sandbox| sandbox.owner == number);
        sandbox.map(|sandbox| sandbox.host).ok_or_else(|| StartError::Spec(format!("there is no sandbox {id}")))
    }

    fn obey(&mut self, number: u64, request: Request, fds: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Start { isolation, spec } => {
                let id = spec.id.clone();
                match self.start(number, isolation, &spec) {
                    Ok((event, fds)) => self.tell(number, &event, fds),
                    Err(error) => self.tell(number, &Event::Refused { id, error }, vec![]),
                }
            }
            Request::Adopt { id, code } => {
                let adopted = self.sandbox(number, &id).and_then(|host| self.hosts[host].adopt(&id, &code));
                self.tell(number, &Event::Adopted { id, error: adopted.err() }, vec![]);
            }
            Request::Socket { id } => {
                let made = self.sandbox(number, &id).and_then(|host| self.hosts[host].socket(&id));
                let (error, fds) = made.map_or_else(|error| (Some(error), vec![]), |socket| (None, vec![socket]));
                self.tell(number, &Event::Socket { id, error }, fds);
            }
            Request::Kill { id } => {
                if let Ok(host) = self.sandbox(number, &id) {
                    self.hosts[host].kill(&id);
                }
            }
            Request::Give { id, files, about } => {
                let heir = self.heir_of(number);
                if let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|sandbox| sandbox.owner == number) {
                    match heir {
                        Some(heir) => {
                            sandbox.owner = heir;
                            self.tell(heir, &Event::Given { id, files, about }, fds);
                        }
                        None => self.hosts[sandbox.host].kill(&id),
                    }
                }
            }
            Request::Listeners {} => {
                if number == self.current && self.listeners.is_empty() && self.drain_by.is_none() && fds.len() == 2 {
                    self.listeners = fds;
                }
            }
            Request::Ready {} => self.server_ready(number),
            Request::Prepared { version } => self.prepared(number, version),
            Request::CannotStart { why } => {
                if let Some(server) = self.server(number) {
                    server.why = Some(why);
                }
            }
            Request::Yielded { paused_ms } => self.yielded(number, Duration::from_millis(paused_ms)),
            Request::Opened {} => self.opened(number),
            Request::GaveAll {} => self.gave_all(number),
            // Said to a helper.
            Request::Next {} => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        owner: u64,
        isolation: Isolation,
        spec: &driver::SandboxSpec,
    ) -> Result<(Event, Vec<OwnedFd>), StartError> {
        spec.validate()?;
        let system = |error: io::Error| StartError::System(format!("make its streams: {error}"));
        let host = self.hosts.iter().position(|host| host.isolation() == isolation);
        let host = host.ok_or_else(|| StartError::Unavailable { isolation, reason: "no such driver".into() })?;
        if self.sandboxes.contains_key(&spec.id) {
            return Err(StartError::Spec(format!("sandbox {} exists already", spec.id)));
        }

        let mut steps = Steps::begin();
        let (control, guest_control) = UnixStream::pair().map_err(system)?;
        let (log, guest_log) = io::pipe().map_err(system)?;
        let mut invoke = Vec::new();
        let mut guest_invoke = Vec::new();
        for _ in 0..spec.invoke_streams {
            let (ours, theirs) = UnixStream::pair().map_err(system)?;
            invoke.push(OwnedFd::from(ours));
            guest_invoke.push(OwnedFd::from(theirs));
        }
        let streams = GuestStreams { control: guest_control.into(), invoke: guest_invoke, log: guest_log.into() };
        steps.lap("streams");
        let started = self.hosts[host].start(spec, streams)?;
        if started.steps.is_empty() {
            steps.lap("make");
        }
        let steps = steps.done().into_iter().chain(started.steps).collect();

        let event = Event::Started { id: spec.id.clone(), files: Files::of(&started.files), steps };
        let fds = Files::pack(Streams { control: control.into(), invoke, log: log.into() }, started.files);

        // In the table before anything else can fail: from here on it has an owner.
        let sandbox = Sandbox { host, owner, pidfd: started.pidfd, oom: started.oom, tokens: vec![] };
        self.sandboxes.insert(spec.id.clone(), sandbox);
        if let Err(error) = self.watch_sandbox(&spec.id) {
            self.hosts[host].kill(&spec.id);
            self.bury(&spec.id);
            return Err(StartError::System(format!("watch it: {error}")));
        }
        Ok((event, fds))
    }

    /// Has the loop told of its end, and of its running out of memory.
    fn watch_sandbox(&mut self, id: &InstanceId) -> io::Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return Ok(()) };
        let watched =
            [(Some(&sandbox.pidfd), Watch::Gone(id.clone())), (sandbox.oom.as_ref(), Watch::OutOfMemory(id.clone()))];
        for (fd, about) in watched {
            let Some(fd) = fd else { continue };
            watch(&self.poll, fd, self.next_token)?;
            self.by_token.insert(self.next_token, about);
            sandbox.tokens.push(self.next_token);
            self.next_token += 1;
        }
        Ok(())
    }

    fn sandbox_event(&mut self, token: u64) {
        match self.by_token.get(&token) {
            Some(Watch::Gone(id)) => {
                let id = id.clone();
                self.bury(&id);
            }
            Some(Watch::OutOfMemory(id)) => {
                let id = id.clone();
                if let Some(sandbox) = self.sandboxes.get(&id) {
                    self.hosts[sandbox.host].out_of_memory(&id);
                }
                // One notice is enough, and the counter behind it stays readable.
                self.by_token.remove(&token);
                if let Some(sandbox) = self.sandboxes.get(&id)
                    && let Some(oom) = &sandbox.oom
                {
                    let _ = epoll::delete(&self.poll, oom);
                }
            }
            _ => {}
        }
    }

    fn bury(&mut self, id: &InstanceId) {
        let Some(sandbox) = self.sandboxes.remove(id) else { return };
        for token in &sandbox.tokens {
            self.by_token.remove(token);
        }
        let exit = self.hosts[sandbox.host].reap(id, sandbox.pidfd.as_fd());
        // The server holds a copy of neither descriptor, but an explicit delete costs little and does not rely
        // on that.
        let _ = epoll::delete(&self.poll, &sandbox.pidfd);
        self.tell(sandbox.owner, &Event::Exited { id: id.clone(), exit }, vec![]);
        self.tidying = true;
    }

    fn kill_all(&mut self) {
        self.kill_those(|_| true);
    }

    /// Kills sandboxes and waits for each to be gone. SIGKILL to a pid namespace's init takes milliseconds; but it is
    /// said again and again, since whoever has the server's freezers could freeze what was thawed to die, and never
    /// waited for without a bound.
    fn kill_those(&mut self, which: impl Fn(&Sandbox) -> bool) {
        let until = Instant::now() + KILL_LIMIT;
        let mut left: Vec<InstanceId>;
        loop {
            let chosen = self.sandboxes.iter().filter(|(_, sandbox)| which(sandbox));
            left = chosen.map(|(id, _)| id.clone()).collect();
            if left.is_empty() || Instant::now() >= until {
                break;
            }
            for id in &left {
                let host = self.sandboxes[id].host;
                self.hosts[host].kill(id);
            }
            let round = Instant::now() + KILL_AGAIN;
            for id in &left {
                if self.is_gone(id, round.saturating_duration_since(Instant::now())) {
                    self.bury(id);
                }
            }
        }
        if !left.is_empty() {
            tracing::error!(left = left.len(), "sandboxes do not die: the next start tries again");
        }
        self.tidy();
    }

    /// Whether a sandbox's first process ends within a time.
    fn is_gone(&self, id: &InstanceId, limit: Duration) -> bool {
        let Some(sandbox) = self.sandboxes.get(id) else { return false };
        let limit = rustix::event::Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
        let mut poll = [rustix::event::PollFd::new(&sandbox.pidfd, rustix::event::PollFlags::IN)];
        matches!(rustix::event::poll(&mut poll, Some(&limit)), Ok(ready) if ready > 0)
    }

    pub(crate) fn tell(&mut self, number: u64, event: &Event, fds: Vec<OwnedFd>) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.number == number) {
            server.tell(&self.poll, event, fds);
        }
    }
}

pub(crate) fn watch(poll: &OwnedFd, fd: impl AsFd, token: u64) -> io::Result<()> {
    epoll::add(poll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
    Ok(())
}
