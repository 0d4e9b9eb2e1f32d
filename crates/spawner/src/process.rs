//! The spawner's event loop.
//!
//! ```text
//! up ─► server runs ──(it dies)──► its sandboxes killed ─► back-off ─► server runs again
//!          │ SIGTERM, SIGINT                                   └─ it never could start: give up
//!          ▼
//!       draining: SIGTERM to the server ──(it exits, or the limit passes: SIGKILL)──► sandboxes killed ─► end
//! ```

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use driver::{GuestStreams, Host, StartError, Steps, Streams};
use model::{InstanceId, Isolation};
use rustix::event::epoll;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::launch::{self, HelperOptions, ServerUser};
use crate::protocol::{Event, Files, Request};
use crate::socket;
use crate::supervise::Helper;

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
/// Messages to a server that does not read them; more than it may have sandboxes, so reaching it means that it
/// hangs.
const MAX_BACKLOG: usize = 65_536;

/// What the spawner is given by the composition root.
pub struct Options {
    pub hosts: Vec<Box<dyn Host>>,
    /// Program and arguments of the server. It inherits [`crate::launch::SPAWNER_FD`] and
    /// [`crate::launch::HELPER_FD`].
    pub server: Vec<String>,
    /// A second process beside the server, which talks to it alone, and lives as long.
    pub helper: Option<HelperOptions>,
    /// None: the same user; there is no privilege to drop.
    pub user: Option<ServerUser>,
    /// When its other end is closed, that is a SIGTERM. A signal at the parent's death would be the kernel's way, which
    /// forgets it as soon as this process changes its user, as making sandboxes does.
    pub leash: Option<OwnedFd>,
}

/// Why [`run`] came back.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asked to, and drained.
    Drained,
    /// The server cannot start, and has said why on stderr.
    ServerFailed,
}

struct Spawner {
    hosts: Vec<Box<dyn Host>>,
    leash: Option<OwnedFd>,
    helper: Helper,
    poll: OwnedFd,
    sandboxes: HashMap<InstanceId, Sandbox>,
    by_token: HashMap<u64, Watch>,
    next_token: u64,
    socket: Option<OwnedFd>,
    backlog: VecDeque<Packet>,
    buffer: Vec<u8>,
    tidying: bool,
    /// The running server has said so.
    server_ready: bool,
}

struct Sandbox {
    host: usize,
    pidfd: OwnedFd,
    oom: Option<OwnedFd>,
    tokens: Vec<u64>,
}

/// What a readiness event is about.
enum Watch {
    Gone(InstanceId),
    OutOfMemory(InstanceId),
}

/// A message that waits for the server to read, with the descriptors it carries.
struct Packet {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

const SIGNALS: u64 = 1;
const SERVER: u64 = 2;
const SOCKET: u64 = 3;
pub(crate) const HELPER: u64 = 4;
const LEASH: u64 = 5;
const FIRST_TOKEN: u64 = 16;

/// Runs until told to end. The process must have one thread, and be in the namespaces that its drivers need.
pub fn run(options: Options) -> io::Result<Ended> {
    // Six descriptors for each sandbox, which sets a limit of its own.
    launch::raise_descriptors()?;
    // Children must not get the signals that are blocked for the pipe below, so exec resets them (see `launch.rs`).
    let signals = signal_pipe()?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&poll, &signals, SIGNALS)?;
    if let Some(leash) = &options.leash {
        watch(&poll, leash, LEASH)?;
    }
    let mut spawner = Spawner {
        hosts: options.hosts,
        leash: options.leash,
        helper: Helper::new(options.helper),
        poll,
        sandboxes: HashMap::new(),
        by_token: HashMap::new(),
        next_token: FIRST_TOKEN,
        socket: None,
        backlog: VecDeque::new(),
        buffer: Vec::new(),
        tidying: false,
        server_ready: false,
    };
    for host in &mut spawner.hosts {
        if let Err(error) = host.sweep() {
            tracing::warn!(isolation = %host.isolation(), %error, "could not remove what an earlier run left");
        }
    }
    let ended = spawner.supervise(&options.server, options.user, &signals);
    spawner.kill_all();
    for host in &mut spawner.hosts {
        host.close();
    }
    ended
}

impl Spawner {
    fn supervise(&mut self, command: &[String], user: Option<ServerUser>, signals: &UnixStream) -> io::Result<Ended> {
        let mut back_off = FIRST_BACK_OFF;
        let mut failed_starts = 0;
        let mut ever_ready = false;
        loop {
            let (code, asked) = self.serve(command, user, signals)?;
            if asked {
                return Ok(Ended::Drained);
            }
            if self.server_ready {
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

    /// One life of the server: its exit code, and whether the end was asked for.
    fn serve(
        &mut self,
        command: &[String],
        user: Option<ServerUser>,
        signals: &UnixStream,
    ) -> io::Result<(Option<i32>, bool)> {
        self.server_ready = false;
        let (ours, theirs) = socket::pair()?;
        let helper = self.helper.connect()?;
        let pidfd = launch::server(command, user, theirs, helper)?;
        self.helper.start(&self.poll);
        watch(&self.poll, &pidfd, SERVER)?;
        watch(&self.poll, &ours, SOCKET)?;
        self.socket = Some(ours);
        let capabilities = self.hosts.iter().map(|host| host.capability()).collect();
        self.tell(&Event::Hello { capabilities }, vec![]);

        let mut drain_by: Option<Instant> = None;
        let code = loop {
            let mut gone = false;
            let helper_due = self.helper.start_due(&self.poll);
            for token in self.wait(drain_by.into_iter().chain(helper_due).min())? {
                match token {
                    SIGNALS => {
                        let again = drain_by.is_some();
                        drain_signals(signals);
                        let signal = if again { Signal::KILL } else { Signal::TERM };
                        drain_by.get_or_insert_with(|| Instant::now() + DRAIN_LIMIT);
                        let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
                    }
                    SERVER => gone = true,
                    HELPER => self.helper.ended(&self.poll),
                    SOCKET => self.converse(),
                    token => self.sandbox_event(token),
                }
            }
            if gone {
                let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
                break status.and_then(|status| status.exit_status());
            }
            if drain_by.is_some_and(|by| Instant::now() >= by) {
                tracing::warn!("the server did not drain within {DRAIN_LIMIT:?}: killing it");
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                drain_by = Some(Instant::now() + DRAIN_LIMIT);
            }
        };
        self.socket = None;
        self.backlog.clear();
        self.helper.finish(&self.poll);
        // Their streams are closed at the server's end, perhaps in the middle of a call: they are of no use.
        self.kill_all();
        Ok((code, drain_by.is_some()))
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
                    drain_signals(signals);
                    return Ok(true);
                }
                self.sandbox_event(token);
            }
        }
        Ok(false)
    }

    /// Reads what the server asks for, and writes what it was too slow to take.
    fn converse(&mut self) {
        self.flush();
        loop {
            let Some(socket) = &self.socket else { return };
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = socket::receive::<Request>(socket, &mut buffer);
            self.buffer = buffer;
            match received {
                Ok(Some((request, _no_fds))) => self.obey(request),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The server is going, or broken: its exit, which follows when the socket closes, is handled.
                Ok(None) => return self.hang_up(),
                Err(error) => {
                    tracing::error!(%error, "the server's message is not understood: closing its socket");
                    return self.hang_up();
                }
            }
        }
    }

    fn hang_up(&mut self) {
        if let Some(socket) = self.socket.take() {
            let _ = epoll::delete(&self.poll, &socket);
        }
        self.backlog.clear();
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Start { isolation, spec } => {
                let id = spec.id.clone();
                match self.start(isolation, &spec) {
                    Ok((event, fds)) => self.tell(&event, fds),
                    Err(error) => self.tell(&Event::Refused { id, error }, vec![]),
                }
            }
            Request::Ready => self.server_ready = true,
            Request::Adopt { id, code } => {
                let adopted = match self.sandboxes.get(&id) {
                    Some(sandbox) => self.hosts[sandbox.host].adopt(&id, &code),
                    None => Err(StartError::Spec(format!("there is no sandbox {id}"))),
                };
                self.tell(&Event::Adopted { id, error: adopted.err() }, vec![]);
            }
            Request::Kill { id } => {
                if let Some(sandbox) = self.sandboxes.get(&id) {
                    self.hosts[sandbox.host].kill(&id);
                }
            }
        }
    }

    fn start(&mut self, isolation: Isolation, spec: &driver::SandboxSpec) -> Result<(Event, Vec<OwnedFd>), StartError> {
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
        let sandbox = Sandbox { host, pidfd: started.pidfd, oom: started.oom, tokens: vec![] };
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
            None => {}
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
        self.tell(&Event::Exited { id: id.clone(), exit }, vec![]);
        self.tidying = true;
    }

    /// Kills every sandbox and waits for each to be gone. SIGKILL to a pid namespace's init takes milliseconds; but it is
    /// said again and again, since whoever has the server's freezers could freeze what was thawed to die, and never
    /// waited for without a bound.
    fn kill_all(&mut self) {
        let until = Instant::now() + KILL_LIMIT;
        while !self.sandboxes.is_empty() && Instant::now() < until {
            let ids: Vec<InstanceId> = self.sandboxes.keys().cloned().collect();
            for id in &ids {
                let host = self.sandboxes[id].host;
                self.hosts[host].kill(id);
            }
            let round = Instant::now() + KILL_AGAIN;
            for id in &ids {
                if self.is_gone(id, round.saturating_duration_since(Instant::now())) {
                    self.bury(id);
                }
            }
        }
        if !self.sandboxes.is_empty() {
            tracing::error!(left = self.sandboxes.len(), "sandboxes do not die: the next start tries again");
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

    fn tell(&mut self, event: &Event, fds: Vec<OwnedFd>) {
        match socket::encode(event) {
            Ok(bytes) => self.backlog.push_back(Packet { bytes, fds }),
            Err(error) => tracing::error!(%error, "a message to the server was lost"),
        }
        self.flush();
    }

    fn flush(&mut self) {
        let Some(socket) = &self.socket else { return self.backlog.clear() };
        while let Some(packet) = self.backlog.front() {
            let fds: Vec<_> = packet.fds.iter().map(AsFd::as_fd).collect();
            match socket::send(socket.as_fd(), &packet.bytes, &fds) {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.hang_up(),
            }
        }
        if self.backlog.len() > MAX_BACKLOG {
            tracing::error!("the server does not read its messages: closing its socket");
            return self.hang_up();
        }
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, !self.backlog.is_empty());
        let _ = epoll::modify(&self.poll, socket, epoll::EventData::new_u64(SOCKET), flags);
    }
}

pub(crate) fn watch(poll: &OwnedFd, fd: impl AsFd, token: u64) -> io::Result<()> {
    epoll::add(poll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
    Ok(())
}

/// A socket that becomes readable when SIGTERM, SIGINT or SIGHUP arrives.
fn signal_pipe() -> io::Result<UnixStream> {
    static WRITE_END: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);
    extern "C" fn note(_signal: libc::c_int) {
        let fd = WRITE_END.load(std::sync::atomic::Ordering::Relaxed);
        // SAFETY: write is async-signal-safe; the descriptor is never closed. errno is put back for the code
        // that was interrupted.
        unsafe {
            let errno = *libc::__errno_location();
            libc::write(fd, c"s".as_ptr().cast(), 1);
            *libc::__errno_location() = errno;
        }
    }
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    WRITE_END.store(write.as_raw_fd(), std::sync::atomic::Ordering::Relaxed);
    // Lives as long as the process, like the handler that writes to it.
    let _ = std::os::fd::IntoRawFd::into_raw_fd(write);
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: the handler does only what a handler may; the structure is zeroed, then filled.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(read)
}

fn drain_signals(signals: &UnixStream) {
    let mut buffer = [0; 16];
    while matches!(rustix::io::read(signals, &mut buffer), Ok(n) if n == buffer.len()) {}
}
