//! The helper's life, as the spawner sees it.
//!
//! ```text
//! connect ─► started ──(it dies)──► back-off ─► started        its end of the socket is kept here meanwhile, so
//!               │                                              that the server's end stays connected
//!               └─ finish: the server is gone, so it ends ──(not in time)──► killed
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::launch::{self, HelperOptions};
use crate::process::{HELPER, watch};
use crate::socket;

const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
/// A helper that lived this long had started well.
const LIVED: Duration = Duration::from_secs(5);
/// How long it may take to remove what it has on the host.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// The helper, if there is one.
pub struct Helper {
    options: Option<HelperOptions>,
    /// Its end of the socket to the server: kept, so that the next one goes on with it.
    socket: Option<OwnedFd>,
    /// The same for a server that is to follow.
    next: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    born: Instant,
    back_off: Duration,
    due: Option<Instant>,
}

// === impl Helper ===

impl Helper {
    pub fn new(options: Option<HelperOptions>) -> Self {
        Self {
            options,
            socket: None,
            next: None,
            pidfd: None,
            born: Instant::now(),
            back_off: FIRST_BACK_OFF,
            due: None,
        }
    }

    /// Makes the socket between it and a new server, and returns the server's end.
    pub fn connect(&mut self) -> io::Result<Option<OwnedFd>> {
        if self.options.is_none() {
            return Ok(None);
        }
        let (server, helper) = socket::pair()?;
        self.socket = Some(helper);
        Ok(Some(server))
    }

    /// Makes the socket between it and a server that is to follow: that one's end, and its own, which the present server
    /// passes on.
    pub fn introduce(&mut self) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
        if self.options.is_none() {
            return Ok(None);
        }
        let (server, helper) = socket::pair()?;
        self.next = Some(helper.try_clone()?);
        Ok(Some((server, helper)))
    }

    /// The server that was to follow is the present one, or will not be.
    pub fn followed(&mut self, done: bool) {
        if let Some(next) = self.next.take().filter(|_| done) {
            self.socket = Some(next);
        }
    }

    /// Starts it; what fails is tried again after a pause.
    pub fn start(&mut self, poll: &OwnedFd) {
        let (Some(options), Some(socket)) = (&self.options, &self.socket) else { return };
        self.born = Instant::now();
        self.due = None;
        let started = launch::helper(options, socket.as_fd()).and_then(|pidfd| {
            watch(poll, &pidfd, HELPER)?;
            Ok(pidfd)
        });
        match started {
            Ok(pidfd) => self.pidfd = Some(pidfd),
            Err(error) => {
                tracing::error!(%error, "the helper process could not be started");
                self.pause();
            }
        }
    }

    /// Starts it if it is time to; when that will be, if not yet.
    pub fn start_due(&mut self, poll: &OwnedFd) -> Option<Instant> {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.start(poll);
        }
        self.due
    }

    /// Its pidfd is readable.
    pub fn ended(&mut self, poll: &OwnedFd) {
        let status = self.reap(poll);
        // It ends well when the server has hung up, which is most often the server's own end.
        match status {
            Some(0) => tracing::debug!("the helper process ended with the server"),
            status => tracing::warn!(?status, "the helper process ended; starting it again"),
        }
        self.pause();
    }

    fn pause(&mut self) {
        if self.born.elapsed() > LIVED {
            self.back_off = FIRST_BACK_OFF;
        }
        self.due = Some(Instant::now() + self.back_off);
        self.back_off = (self.back_off * 2).min(LONGEST_BACK_OFF);
    }

    fn reap(&mut self, poll: &OwnedFd) -> Option<i32> {
        let pidfd = self.pidfd.take()?;
        let _ = epoll::delete(poll, &pidfd);
        let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        status.ok().flatten()?.exit_status()
    }

    /// Waits for its end, which follows the server's.
    pub fn finish(&mut self, poll: &OwnedFd) {
        (self.socket, self.next) = (None, None);
        self.due = None;
        let Some(pidfd) = &self.pidfd else { return };
        let until = Instant::now() + FINISH_LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
            match rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(ready) if ready > 0 => break,
                _ => {
                    tracing::warn!("the helper process did not end within {FINISH_LIMIT:?}: killing it");
                    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
                    break;
                }
            }
        }
        self.reap(poll);
    }
}
