//! The yardstick: an HTTP server that does nothing, in one thread with one epoll, as plain C would. What Hearth adds
//! is what it adds to this.
//!
//! It runs as a process of its own (`bench noop`), so that it is scheduled like any server. It answers every
//! request head with the same bytes and understands nothing else: no bodies, no errors, no end.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::event::epoll;

use crate::http::find;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const END: &[u8] = b"\r\n\r\n";
/// The listener's mark among the events; connections have their slot.
const LISTENER: u64 = u64::MAX;

/// The server as a child process; it ends with this value, and with its parent.
#[derive(Debug)]
pub struct Noop {
    child: Child,
    pub address: SocketAddr,
}

/// What `bench noop` does: prints where it listens, then answers until its parent is gone.
pub fn main() -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    println!("{}", listener.local_addr()?);
    serve(&listener)
}

/// Answers until something fails.
pub fn serve(listener: &TcpListener) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
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
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
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
fn answer(stream: &mut TcpStream, rest: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    let count = match stream.read(&mut chunk) {
        Ok(0) => return false,
        Ok(count) => count,
        Err(error) => return error.kind() == ErrorKind::WouldBlock,
    };
    // The usual case needs no copy: one whole request.
    if rest.is_empty() && find(&chunk[..count], END) == Some(count - END.len()) {
        return stream.write_all(ANSWER).is_ok();
    }
    rest.extend_from_slice(&chunk[..count]);
    while let Some(end) = find(rest, END) {
        rest.drain(..end + END.len());
        if stream.write_all(ANSWER).is_err() {
            return false;
        }
    }
    true
}

// === impl Noop ===

impl Noop {
    pub fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let child = Command::new(program).arg("noop").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.context("start the no-op server")?;
        let stdout = child.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().context("the no-op server did not say where it listens")?;
        Ok(Self { child, address })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Noop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A no-op server in a thread that lasts as long as the test process.
    pub fn in_thread() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
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
