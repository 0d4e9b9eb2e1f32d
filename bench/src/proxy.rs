//! The yardstick of warm latency: the least that can be between an HTTP client and a process on a Unix socket. One
//! thread, one epoll, one upstream connection for each client's, no pool, no header touched, no log, no limit but one.
//!
//! ```text
//! client ──TCP──► bench proxy ──Unix socket──► upstream       a message goes on when it is whole
//! ```
//!
//! `bench proxy http PATH`: the upstream is an HTTP server on a Unix socket; head and body go on as they came.
//! `bench proxy wire RUNTIME TASK HANDLER`: the upstream is the function's own process ([`crate::bare`]), one for each
//! client; each request becomes one INVOKE with a prepared event, the answer's `body` the body.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use rustix::event::epoll;
use serde::Deserialize;
use wire::{Decoder, Side, Stream};

use crate::bare::{self, Bare, Kit};
use crate::http::{self, find};
use crate::noop::announce;
use crate::sock::{self, Listener};

/// Longest message: a yardstick, not a product.
const MOST: usize = 1 << 20;
const LISTENER: u64 = u64::MAX;

/// What is behind it.
enum Upstream {
    Http(PathBuf),
    Wire { kit: Kit, frame: Vec<u8>, spare: Vec<Bare> },
}

/// How an upstream's connection is spoken to.
enum Talk {
    Http,
    Wire { decoder: Decoder, process: Bare },
}

/// A client and its upstream.
struct Pair {
    client: OwnedFd,
    upstream: OwnedFd,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// The upstream owes an answer.
    waiting: bool,
    talk: Talk,
}

/// What a function of an HTTP door answers.
#[derive(Deserialize)]
struct HandlerAnswer {
    #[serde(rename = "statusCode")]
    status: u16,
    body: String,
}

/// What `bench proxy` does: prints where it listens, then forwards until its parent is gone.
pub fn main(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let upstream = match args.next().as_deref() {
        Some("http") => Upstream::Http(args.next().context("bench proxy http: expected the path of a socket")?.into()),
        Some("wire") => {
            let kit = Kit::from_args(args).context("bench proxy wire")?;
            let first = Bare::start(&kit)?;
            Upstream::Wire { kit, frame: bare::invoke_frame()?, spare: vec![first] }
        }
        other => bail!("bench proxy: expected http or wire, got {}", other.unwrap_or("nothing")),
    };
    let listener = Listener::tcp()?;
    announce(&listener)?;
    serve(&listener, upstream)
}

fn serve(listener: &Listener, mut upstream: Upstream) -> anyhow::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener.socket(), epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let mark = event.data.u64();
            if mark == LISTENER {
                let Some(client) = listener.accept()? else { continue };
                let pair = upstream.pair(client)?;
                let slot = pairs.iter().position(Option::is_none).unwrap_or(pairs.len());
                for (side, stream) in [&pair.client, &pair.upstream].into_iter().enumerate() {
                    let mark = epoll::EventData::new_u64((2 * slot + side) as u64);
                    epoll::add(&poll, stream, mark, epoll::EventFlags::IN)?;
                }
                pairs.resize_with(pairs.len().max(slot + 1), || None);
                pairs[slot] = Some(pair);
                continue;
            }
            let slot = (mark / 2) as usize;
            // A pair that ended within this round may have had a second event.
            let Some(pair) = &mut pairs[slot] else { continue };
            let goes_on = if mark % 2 == 0 { pair.ask(&upstream) } else { pair.answer() };
            match goes_on {
                Ok(true) => {}
                ended => {
                    if let Err(error) = ended {
                        eprintln!("bench proxy: {error:#}");
                    }
                    // Closing would not take it out of the set: a process that is used again keeps its socket.
                    epoll::delete(&poll, &pair.upstream)?;
                    // One that still owes an answer would give it to the next client.
                    if let Some(Pair { talk: Talk::Wire { process, .. }, waiting: false, .. }) = pairs[slot].take()
                        && let Upstream::Wire { spare, .. } = &mut upstream
                    {
                        spare.push(process);
                    }
                }
            }
        }
    }
}

// === impl Upstream ===

impl Upstream {
    fn pair(&mut self, client: OwnedFd) -> anyhow::Result<Pair> {
        let (upstream, talk) = match self {
            Self::Http(path) => (sock::connect_unix(path)?, Talk::Http),
            Self::Wire { kit, spare, .. } => {
                let process = match spare.pop() {
                    Some(process) => process,
                    None => Bare::start(kit)?,
                };
                let decoder = Decoder::new(Stream::Invoke, Side::Guest);
                (process.stream()?, Talk::Wire { decoder, process })
            }
        };
        Ok(Pair { client, upstream, request: Vec::new(), answer: Vec::new(), waiting: false, talk })
    }
}

// === impl Pair ===

impl Pair {
    /// The client said something; false at its end.
    fn ask(&mut self, upstream: &Upstream) -> anyhow::Result<bool> {
        if !sock::receive(&self.client, &mut self.request) {
            return Ok(false);
        }
        ensure!(self.request.len() <= MOST, "a request of over {MOST} bytes");
        let Some(len) = request_len(&self.request)? else { return Ok(true) };
        ensure!(len == self.request.len(), "a client that sends its next request before it has the answer to the last");
        match upstream {
            Upstream::Http(_) => sock::send(&self.upstream, &self.request)?,
            Upstream::Wire { frame, .. } => sock::send(&self.upstream, frame)?,
        }
        self.request.clear();
        self.waiting = true;
        Ok(true)
    }

    /// The upstream said something; false at its end.
    fn answer(&mut self) -> anyhow::Result<bool> {
        if !sock::receive(&self.upstream, &mut self.answer) {
            return Ok(false);
        }
        ensure!(self.answer.len() <= MOST, "an answer of over {MOST} bytes");
        match &mut self.talk {
            Talk::Http => {
                let Some(answer) = http::parse(&self.answer)? else { return Ok(true) };
                ensure!(answer.len == self.answer.len(), "an upstream that says more than it was asked");
                sock::send(&self.client, &self.answer)?;
                self.answer.clear();
            }
            Talk::Wire { decoder, .. } => {
                decoder.push(&self.answer);
                self.answer.clear();
                let Some(frame) = decoder.next_frame()? else { return Ok(true) };
                sock::send(&self.client, &http_answer(&bare::response(frame)?)?)?;
            }
        }
        self.waiting = false;
        Ok(true)
    }
}

/// How long the request at the front of `bytes` is, with its body; none while it is not whole.
fn request_len(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut body = 0;
    for line in bytes[..end].split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_at_checked(b"content-length:".len()) else { continue };
        if name.eq_ignore_ascii_case(b"content-length:") {
            let value = std::str::from_utf8(value)?.trim();
            body = value.parse().with_context(|| format!("expected a Content-Length, got {value:?}"))?;
        }
    }
    let len = end + 4 + body;
    Ok((bytes.len() >= len).then_some(len))
}

fn http_answer(payload: &Bytes) -> anyhow::Result<Vec<u8>> {
    let HandlerAnswer { status, body } = serde_json::from_slice(payload).context("a handler's answer")?;
    let length = body.len();
    Ok(format!("HTTP/1.1 {status} OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    fn in_thread(upstream: Upstream) -> SocketAddr {
        let listener = Listener::tcp().unwrap();
        let address = listener.says().unwrap().parse().unwrap();
        std::thread::spawn(move || serve(&listener, upstream));
        address
    }

    #[test]
    fn a_request_in_pieces_goes_on_when_it_is_whole() {
        let path = std::env::temp_dir().join(format!("hearth-bench-proxy-{}", std::process::id()));
        let upstream = Listener::unix(&path).unwrap();
        std::thread::spawn(move || crate::noop::serve(&upstream));
        let mut client = TcpStream::connect(in_thread(Upstream::Http(path.clone()))).unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        assert!(client.read(&mut [0; 10]).is_err(), "answered before the request was whole");
        // The no-op server reads heads alone; the rest of the body is for the next one.
        client.write_all(b"bc").unwrap();
        let mut got = vec![0; crate::noop::ANSWER.len()];
        client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, crate::noop::ANSWER);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_functions_own_process_answers_behind_it() {
        let folder = crate::bare::tests::task("upstream");
        let kit = Kit::python(&folder, &folder, "app.handler").unwrap();
        let upstream = Upstream::Wire { kit, frame: bare::invoke_frame().unwrap(), spare: Vec::new() };
        let target = crate::load::Target::new(in_thread(upstream), "/");
        for clients in [1, 3] {
            let slot = crate::load::run(&target, clients, std::time::Duration::from_millis(300)).unwrap();
            assert!(slot.calls() >= clients && slot.errors == 0, "{} calls, {:?}", slot.calls(), slot.first_error);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_length_that_is_no_number_is_refused() {
        assert_eq!(request_len(b"GET / HTTP/1.1\r\n\r\n").unwrap(), Some(18));
        assert_eq!(request_len(b"GET / HTTP/1.1\r\ncontent-length: 4\r\n\r\nabc").unwrap(), None);
        assert!(request_len(b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n").is_err());
    }
}
