//! One server, as the spawner sees it: a process, a socket, and what it has not read yet. There are two of them while one
//! takes over from the other.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::launch;
use crate::process::{Spawner, Watch, watch};
use crate::protocol::{Event, PROTOCOL};
use crate::socket;

/// Messages to a server that does not read them; more than it may have sandboxes, so reaching it means that it
/// hangs.
const MAX_BACKLOG: usize = 65_536;

pub struct Server {
    pub number: u64,
    pub pidfd: OwnedFd,
    /// What the loop watches its end, and its socket, as.
    pub tokens: [u64; 2],
    pub socket: Option<OwnedFd>,
    backlog: VecDeque<Packet>,
    /// It has said so.
    pub ready: bool,
    /// As it says itself.
    pub version: String,
    /// Why it could not start, if it said that.
    pub why: Option<String>,
}

/// A message that waits for the server to read, with the descriptors it carries.
struct Packet {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

// === impl Server ===

impl Server {
    pub fn new(number: u64, pidfd: OwnedFd, socket: OwnedFd, tokens: [u64; 2]) -> Self {
        let (backlog, version) = (VecDeque::new(), String::new());
        Self { number, pidfd, tokens, socket: Some(socket), backlog, ready: false, version, why: None }
    }

    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    pub fn tell(&mut self, poll: &OwnedFd, event: &Event, fds: Vec<OwnedFd>) {
        match socket::encode(event) {
            Ok(bytes) => self.backlog.push_back(Packet { bytes, fds }),
            Err(error) => tracing::error!(%error, "a message to the server was lost"),
        }
        self.flush(poll);
    }

    /// Writes what it was too slow to take.
    pub fn flush(&mut self, poll: &OwnedFd) {
        let Some(socket) = &self.socket else { return self.backlog.clear() };
        while let Some(packet) = self.backlog.front() {
            let fds: Vec<_> = packet.fds.iter().map(AsFd::as_fd).collect();
            match socket::send(socket.as_fd(), &packet.bytes, &fds) {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.hang_up(poll),
            }
        }
        if self.backlog.len() > MAX_BACKLOG {
            tracing::error!("the server does not read its messages: closing its socket");
            return self.hang_up(poll);
        }
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, !self.backlog.is_empty());
        let _ = epoll::modify(poll, socket, epoll::EventData::new_u64(self.tokens[1]), flags);
    }

    pub fn hang_up(&mut self, poll: &OwnedFd) {
        if let Some(socket) = self.socket.take() {
            let _ = epoll::delete(poll, &socket);
        }
        self.backlog.clear();
    }
}

// === impl Spawner ===

impl Spawner {
    /// Starts a server; its number.
    pub(crate) fn launch(&mut self, command: &[String], helper: Option<OwnedFd>, heir: bool) -> io::Result<u64> {
        let (ours, theirs) = socket::pair()?;
        let pidfd = launch::server(command, &self.environment, self.user, theirs, helper)?;
        self.next_server += 1;
        let number = self.next_server;
        let tokens = [self.next_token, self.next_token + 1];
        self.next_token += 2;
        watch(&self.poll, &pidfd, tokens[0])?;
        watch(&self.poll, &ours, tokens[1])?;
        self.by_token.insert(tokens[0], Watch::Server(number));
        self.by_token.insert(tokens[1], Watch::Socket(number));
        self.servers.push(Server::new(number, pidfd, ours, tokens));
        let capabilities = self.hosts.iter().map(|host| host.capability()).collect();
        let listeners = self.listeners.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>()?;
        self.tell(number, &Event::Hello { protocol: PROTOCOL, capabilities, heir, keeps: true }, listeners);
        Ok(number)
    }

    pub(crate) fn server(&mut self, number: u64) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.number == number)
    }

    /// Waits for the end of a server that is about to; its exit code.
    pub(crate) fn reap_server(&mut self, mut server: Server) -> Option<i32> {
        server.hang_up(&self.poll);
        for token in server.tokens {
            self.by_token.remove(&token);
        }
        let status = rustix::process::waitid(WaitId::PidFd(server.pidfd.as_fd()), WaitIdOptions::EXITED);
        let _ = epoll::delete(&self.poll, &server.pidfd);
        status.ok().flatten().and_then(|status| status.exit_status())
    }
}
