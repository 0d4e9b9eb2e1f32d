//! A program that is an HTTP server. The host's sockets are joined with connections to it; of what goes through, nothing
//! is looked at here: requests, streams and WebSockets are the host's and the program's.
//!
//! One thread and one epoll for all of them, so that a thousand open WebSockets are a thousand pairs of sockets.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use wire::{Init, Run};

use super::child;
use super::connect::{Came, Connects};
use super::host::{Host, Invokes};
use super::ready;
use super::tunnel::{Go, PIECE, Tunnel};

const STACK: usize = 128 * 1024;

/// What epoll calls the invoke stream.
const STREAM: u64 = u64::MAX;

const EVENTS: usize = 64;

pub fn serve(host: Arc<Host>, invokes: Invokes, init: &Init, run: &Run) -> io::Result<Infallible> {
    let connects = Connects::new(invokes.into_stream());
    host.follow()?;
    let port = run
        .port
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "INIT does not say a web function's port"))?;
    let mut command = match child::command(init, run) {
        Ok(command) => command,
        Err(error) => host.init_error(error),
    };
    command.env("PORT", port.to_string()).env("AWS_LAMBDA_HTTP_ENDPOINT", format!("127.0.0.1:{port}"));
    let mut program = match command.spawn() {
        Ok(program) => program,
        Err(error) => host.init_error(child::not_started(&command, &error)),
    };
    std::thread::Builder::new().stack_size(STACK).spawn(move || match program.wait() {
        Ok(status) => child::end_like(status),
        Err(_) => super::end(1),
    })?;
    let address = ready::listening(port);
    if let Some(path) = &run.health {
        ready::healthy(address, path);
    }
    host.ready()?;
    Join { epoll: epoll()?, connects, address, tunnels: HashMap::new(), next: 0 }.run()
}

/// All tunnels.
struct Join {
    epoll: OwnedFd,
    connects: Connects,
    address: std::net::SocketAddr,
    tunnels: HashMap<u64, Tunnel>,
    next: u64,
}

impl Join {
    fn run(mut self) -> io::Result<Infallible> {
        self.watch(self.connects.fd(), STREAM, 0, libc::EPOLLIN as u32)?;
        let mut scratch = vec![0; PIECE];
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            // SAFETY: the array is as long as is said.
            let got = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, -1) };
            if got < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            for event in &events[..got as usize] {
                match event.u64 {
                    STREAM => self.accept(&mut scratch)?,
                    key => self.turn(key, &mut scratch)?,
                }
            }
        }
    }

    /// Takes the sockets that the host sent.
    fn accept(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            let socket = match self.connects.next()? {
                Came::Socket(socket) => socket,
                Came::Nothing => return Ok(()),
                Came::End => super::end(0),
            };
            // A program that takes no connection: the socket is closed, and the host sees that.
            let Ok(tunnel) = Tunnel::open(socket, self.address) else { continue };
            let key = self.next;
            self.next += 1;
            self.tunnels.insert(key, tunnel);
            self.turn(key, scratch)?;
        }
    }

    fn turn(&mut self, key: u64, scratch: &mut [u8]) -> io::Result<()> {
        // Both of its sockets may have told at once, and the first turn have ended it.
        let Some(tunnel) = self.tunnels.get_mut(&key) else { return Ok(()) };
        if tunnel.turn(scratch) == Go::Gone {
            self.tunnels.remove(&key);
            return Ok(());
        }
        let (fds, wanted) = (tunnel.fds(), tunnel.watch());
        for (fd, (before, now)) in fds.into_iter().zip(wanted) {
            self.watch(fd, key, before, now)?;
        }
        Ok(())
    }

    fn watch(&self, fd: RawFd, key: u64, before: u32, now: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: now, u64: key };
        let what = match (before, now) {
            (before, now) if before == now => return Ok(()),
            (0, _) => libc::EPOLL_CTL_ADD,
            (_, 0) => libc::EPOLL_CTL_DEL,
            _ => libc::EPOLL_CTL_MOD,
        };
        // SAFETY: `event` outlives the call, which copies it.
        let done = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &raw mut event) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; the result is checked and owned.
    unsafe {
        let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}
