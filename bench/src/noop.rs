//! The yardstick: an HTTP server that does nothing, in one thread with one epoll, as plain C would. What Hearth adds
//! is what it adds to this.
//!
//! It runs as a process of its own (`bench noop`, on a Unix socket `bench noop --unix PATH`), so that it is scheduled
//! like any server. It answers every request head with the same bytes and understands nothing else: no bodies, no
//! errors, no end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use rustix::event::epoll;

use crate::http::find;
use crate::sock::{self, Listener};

pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const END: &[u8] = b"\r\n\r\n";
/// The listener's mark among the events; connections have their slot.
const LISTENER: u64 = u64::MAX;

/// A yardstick of ours as a child process; it ends with this value, and with its parent.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Meaningless for a server on a Unix socket.
    pub address: SocketAddr,
}

/// What `bench noop` does: prints where it listens, then answers until its parent is gone.
pub fn main(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let listener = match (args.next().as_deref(), args.next()) {
        (None, _) => Listener::tcp()?,
        (Some("--unix"), Some(path)) => Listener::unix(Path::new(&path))?,
        (Some(other), _) => bail!("bench noop: expected nothing or --unix PATH, got {other}"),
    };
    announce(&listener)?;
    serve(&listener)
}

/// Tells the parent where we listen, and ends with it.
pub fn announce(listener: &Listener) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    println!("{}", listener.says()?);
    Ok(())
}

/// Answers until something fails.
pub fn serve(listener: &Listener) -> anyhow::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener.socket(), epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<(OwnedFd, Vec<u8>)>> = Vec::new();
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let slot = event.data.u64();
            if slot == LISTENER {
                let Some(stream) = listener.accept()? else { continue };
                let slot = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                epoll::add(&poll, &stream, epoll::EventData::new_u64(slot as u64), epoll::EventFlags::IN)?;
                connections.resize_with(connections.len().max(slot + 1), || None);
                connections[slot] = Some((stream, Vec::new()));
            } else if let Some((stream, rest)) = &mut connections[slot as usize]
                && !answer(stream, rest)
            {
                // Closing takes it out of the epoll set.
                connections[slot as usize] = None;
            }
        }
    }
}

/// Reads what is there and answers every request head in it; false when the connection is over.
fn answer(stream: &OwnedFd, rest: &mut Vec<u8>) -> bool {
    if !sock::receive(stream, rest) {
        return false;
    }
    // The usual case moves nothing: one whole request.
    if find(rest, END) == rest.len().checked_sub(END.len()) {
        rest.clear();
        return sock::send(stream, ANSWER).is_ok();
    }
    while let Some(end) = find(rest, END) {
        rest.drain(..end + END.len());
        if sock::send(stream, ANSWER).is_err() {
            return false;
        }
    }
    true
}

// === impl Server ===

impl Server {
    /// The no-op server on the loopback.
    pub fn noop() -> anyhow::Result<Self> {
        Self::start(&["noop"])
    }

    /// This program with these arguments, as a server that says first where it listens.
    pub fn start(args: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("start bench {}", args.join(" ")))?;
        let stdout = child.stdout.take().context("its output")?;
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut line = String::new();
        let got = BufReader::new(stdout).read_line(&mut line)?;
        if got == 0 {
            bail!("bench {} ended before it listened: {}", args.join(" "), server.child.wait()?);
        }
        if !line.trim().is_empty() {
            server.address = line.trim().parse().with_context(|| format!("expected an address, got {line:?}"))?;
        }
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// A no-op server in a thread that lasts as long as the test process.
    pub fn in_thread() -> SocketAddr {
        let listener = Listener::tcp().unwrap();
        let address = listener.says().unwrap().parse().unwrap();
        std::thread::spawn(move || serve(&listener));
        address
    }

    #[test]
    fn answers_requests_in_pieces_and_in_heaps() {
        let mut stream = TcpStream::connect(in_thread()).unwrap();
        stream.write_all(b"GET / HT").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        stream.write_all(b"TP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3").unwrap();
        let mut got = vec![0; 2 * ANSWER.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, [ANSWER, ANSWER].concat());
    }
}
