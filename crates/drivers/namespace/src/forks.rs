//! Fork servers, seen from the spawner: one for each kind of runtime, started before it is needed, replaced when it ends.
//!
//! ```text
//! start ─► starting ─► Ready ─► serving ─► order ─► Cloned, in time ──► a sandbox, as if cloned here
//!             │ Broken              │ ended, no or a nonsensical answer
//!             ▼                     ▼
//!          never again here      killed, buried; another after a pause that doubles
//! ```
//!
//! Where there is none that serves, sandboxes start by exec: nothing waits for a fork server longer than [`PATIENCE`]. A
//! sandbox that one cloned is the spawner's own child, and outlives it.

use std::io;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, WouldBlock};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use driver::{RootFs, SandboxSpec};
use linux::cgroup::Group;
use linux::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::child::Plan;
use crate::order::{self, Answer, Order};
use crate::report::Report;

/// How long an answer may take. A clone takes a third of a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the imports may take.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The pause after the first end, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What stems are told by, and what INIT says again: neither makes a kind.
const APART: [&str; 2] = ["HEARTH_STEM", "TZ"];

/// A runtime that fork servers may be made of: exactly this command and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkKind {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// All kinds, with their servers.
#[derive(Default)]
pub struct Forks {
    kinds: Vec<Entry>,
    /// Servers that were killed, until all that they cloned and nobody heard of is gone too.
    ending: Vec<Server>,
}

struct Entry {
    kind: ForkKind,
    server: Option<Server>,
    pause: Duration,
    not_before: Option<Instant>,
    /// Why there will be none.
    never: Option<String>,
}

/// One process.
pub struct Server {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub control: OwnedFd,
    /// What it prints, which is nothing while all is well.
    pub log: OwnedFd,
    /// Where it says why it never ran.
    pub report: OwnedFd,
    pub group: Option<Group>,
    pub begun: Instant,
    pub serving: bool,
    /// Nobody of its process group is left.
    pub reaped: bool,
}

/// Which kind, of those that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindId(usize);

/// For people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Serving,
    Starting,
    Ended,
    Never(String),
}

// === impl ForkKind ===

impl ForkKind {
    fn is_of(&self, spec: &SandboxSpec) -> bool {
        let own = |env: &'_ &(String, String)| !APART.contains(&env.0.as_str());
        spec.root == RootFs::Host
            && spec.invoke_streams == 1
            && spec.command == self.command
            && spec.env.iter().filter(own).eq(self.env.iter().filter(own))
    }
}

// === impl Forks ===

impl Forks {
    pub fn new(kinds: Vec<ForkKind>) -> Self {
        let entry = |kind| Entry { kind, server: None, pause: PAUSES.0, not_before: None, never: None };
        Self { kinds: kinds.into_iter().map(entry).collect(), ending: Vec::new() }
    }

    /// The kind that a sandbox is of, if it is of any.
    pub fn kind_of(&self, spec: &SandboxSpec) -> Option<KindId> {
        self.kinds.iter().position(|entry| entry.kind.is_of(spec)).map(KindId)
    }

    /// Those that want a server now.
    pub fn wanted(&mut self) -> Vec<(KindId, ForkKind)> {
        let now = Instant::now();
        let due = |entry: &Entry| {
            entry.server.is_none() && entry.never.is_none() && entry.not_before.is_none_or(|until| until <= now)
        };
        let kinds = self.kinds.iter().enumerate().filter(|(_, entry)| due(entry));
        kinds.map(|(index, entry)| (KindId(index), entry.kind.clone())).collect()
    }

    pub fn started(&mut self, kind: KindId, server: io::Result<Server>) {
        let entry = &mut self.kinds[kind.0];
        match server {
            Ok(server) => entry.server = Some(server),
            Err(error) => {
                tracing::warn!(%error, program = entry.kind.command[0], "a fork server could not be started");
                entry.put_off();
            }
        }
    }

    /// Whether its server can be asked.
    pub fn serves(&mut self, kind: KindId) -> bool {
        let entry = &mut self.kinds[kind.0];
        let Some(server) = &mut entry.server else { return false };
        if server.serving {
            return true;
        }
        let why = match order::receive::<Answer>(server.control.as_fd(), false) {
            Ok(Some((Answer::Ready, _))) => {
                server.serving = true;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match server.begun.elapsed() > START_LIMIT {
                false => return false,
                true => "it did not get ready".to_owned(),
            },
            Ok(Some((Answer::Broken(why), _))) => {
                entry.never = Some(why.clone());
                why
            }
            Ok(None) => "it ended".to_owned(),
            other => format!("its answer is none: {:?}", other.map(|answer| answer.map(|answer| answer.0))),
        };
        self.fail(kind, &why);
        false
    }

    /// Has a sandbox cloned; [`Forks::cloned`] waits for it. False: there is no server any more.
    pub fn order(&mut self, kind: KindId, plan: &Plan<'_>, group: Option<BorrowedFd<'_>>) -> bool {
        let Some(server) = &self.kinds[kind.0].server else { return false };
        match Order::send(server.control.as_fd(), plan, group) {
            Ok(()) => true,
            // What is wrong with this order, or short here for a moment, is not the server's fault.
            Err(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | WouldBlock) => {
                tracing::debug!(%error, "a fork server could not be given an order");
                false
            }
            Err(error) => {
                self.fail(kind, &format!("it takes no orders: {error}"));
                false
            }
        }
    }

    /// The first process of the sandbox that was ordered, a child of this process. `None`: the server failed, and is gone;
    /// what it may have cloned ends by itself when its `go` does.
    pub fn cloned(&mut self, kind: KindId) -> Option<(OwnedFd, i32)> {
        let server = self.kinds[kind.0].server.as_ref()?;
        let why = match answer(server) {
            Ok(Some((Answer::Cloned(pid), fds))) => match only(fds).filter(|pidfd| is_ours(server.pid, pidfd, pid)) {
                Some(pidfd) => {
                    self.kinds[kind.0].pause = PAUSES.0;
                    return Some((pidfd, pid));
                }
                None => "it names a process that is not its own".to_owned(),
            },
            Ok(Some((Answer::Refused(errno), _))) => {
                // Of memory or processes, perhaps: the spawner's own clone may do better, or say the same.
                tracing::debug!(errno, "a fork server could not clone");
                return None;
            }
            Ok(Some((answer, _))) => format!("it answers {answer:?}"),
            Ok(None) => "it ended".to_owned(),
            Err(error) => format!("it does not answer: {error}"),
        };
        self.fail(kind, &why);
        None
    }

    /// Kills a server that is of no use.
    fn fail(&mut self, kind: KindId, why: &str) {
        let entry = &mut self.kinds[kind.0];
        let Some(server) = entry.server.take() else { return };
        let said = server.said();
        let program = &entry.kind.command[0];
        match &entry.never {
            Some(why) => {
                tracing::info!(program, why, said, "no fork server for this runtime: its sandboxes start by exec")
            }
            None => tracing::warn!(
                program,
                why,
                said,
                "a fork server failed: sandboxes start by exec until another is there"
            ),
        }
        entry.put_off();
        let _ = rustix::process::pidfd_send_signal(&server.pidfd, Signal::KILL);
        self.ending.push(server);
    }

    /// Notices whose process has ended, and buries what is dead. True while something is not.
    pub fn tidy(&mut self) -> bool {
        for index in 0..self.kinds.len() {
            if self.kinds[index].server.as_ref().is_some_and(Server::has_ended) {
                self.fail(KindId(index), "it ended");
            }
        }
        self.ending.retain_mut(|server| !server.bury());
        !self.ending.is_empty()
    }

    /// How each kind's server is, as it was seen last.
    pub fn states(&self) -> Vec<(String, State)> {
        let state = |entry: &Entry| {
            let state = match (&entry.never, &entry.server) {
                (Some(why), _) => State::Never(why.clone()),
                (None, None) => State::Ended,
                (None, Some(server)) if server.serving => State::Serving,
                (None, Some(_)) => State::Starting,
            };
            (entry.kind.command[0].clone(), state)
        };
        self.kinds.iter().map(state).collect()
    }

    /// None will serve, for this reason.
    pub fn give_up(&mut self, why: &str) {
        for entry in &mut self.kinds {
            entry.never.get_or_insert_with(|| why.to_owned());
        }
    }

    /// The numbers of the processes, by kind; for tests.
    pub fn pids(&self) -> Vec<i32> {
        self.kinds.iter().filter_map(|entry| entry.server.as_ref()).map(|server| server.pid).collect()
    }

    /// Waits, within a bound, until every server serves or never will.
    pub fn settle(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        for index in 0..self.kinds.len() {
            let left = until.saturating_duration_since(Instant::now());
            if let Some(server) = self.kinds[index].server.as_ref().filter(|server| !server.serving) {
                readable(server.control.as_fd(), left);
            }
            self.serves(KindId(index));
        }
    }

    /// Kills all.
    pub fn close(&mut self) {
        self.give_up("Hearth is ending");
        for server in self.kinds.iter_mut().filter_map(|entry| entry.server.take()) {
            let _ = rustix::process::pidfd_send_signal(&server.pidfd, Signal::KILL);
            self.ending.push(server);
        }
    }
}

impl Entry {
    fn put_off(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

// === impl Server ===

impl Server {
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(None))
    }

    /// Reaps it and what it cloned that nobody was told of: such a process is still in its process group, and ended
    /// when the pipe that it waits at did. True when all are gone, and its control group with them.
    ///
    /// Its number is no other's before: as long as somebody is in the process group, the kernel does not give it out. After
    /// that it may be, and is not asked for again.
    fn bury(&mut self) -> bool {
        while let Some(group) = Pid::from_raw(self.pid).filter(|_| !self.reaped) {
            match rustix::process::waitid(WaitId::Pgid(Some(group)), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => self.reaped = true,
            }
        }
        self.group.as_ref().is_none_or(|group| matches!(group.remove(), Ok(true)))
    }

    fn said(&self) -> String {
        if let Some(Report::Setup { step, errno }) = Report::receive(self.report.as_fd()) {
            return format!("{}: {}", step.text(), io::Error::from_raw_os_error(errno));
        }
        let mut text = [0; 2048];
        let length = rustix::io::read(&self.log, &mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..length]).trim_end().replace('\n', " | ")
    }
}

fn answer(server: &Server) -> io::Result<Option<(Answer, Vec<OwnedFd>)>> {
    let until = Instant::now() + PATIENCE;
    loop {
        match order::receive(server.control.as_fd(), false) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            answer => return answer,
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        readable(server.control.as_fd(), left);
    }
}

fn readable(fd: BorrowedFd<'_>, limit: Duration) {
    if let Ok(limit) = Timespec::try_from(limit) {
        let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit));
    }
}

fn only(fds: Vec<OwnedFd>) -> Option<OwnedFd> {
    let [fd] = <[OwnedFd; 1]>::try_from(fds).ok()?;
    Some(fd)
}

/// Whether a pidfd is one, of this number, and of a child of this process that this server has just cloned: until it is
/// let go it is in the server's process group, and no running sandbox is.
fn is_ours(server: i32, pidfd: &OwnedFd, pid: i32) -> bool {
    let child = rustix::process::waitid(
        WaitId::PidFd(pidfd.as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
    );
    let group = Pid::from_raw(pid).and_then(|pid| rustix::process::getpgid(Some(pid)).ok());
    child.is_ok() && pid != server && group == Pid::from_raw(server) && sys::pid_of(pidfd.as_fd()) == Some(pid)
}
