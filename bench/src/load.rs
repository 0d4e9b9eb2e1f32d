//! The load: closed loops over kept-alive connections. Each client sends its next request when it has the answer to
//! the last, and every answer is checked.
//!
//! All clients share one thread and one epoll, so that the generator takes as little as possible of the machine that
//! it measures; a single client blocks instead, which spares it the epoll call. Its own processor time is reported.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};

use crate::http::{self, Connection, Response};

/// Longest time without any answer.
const SILENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// What is called, and what must come back.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub request: Vec<u8>,
}

/// What came of one slot of load.
#[derive(Debug, Default)]
pub struct Slot {
    /// Of each right answer, nanoseconds.
    pub latencies: Vec<f64>,
    pub errors: u64,
    /// The first wrong answer.
    pub first_error: Option<String>,
    pub elapsed: Duration,
    /// What the generator itself used.
    pub own_cpu: Duration,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    sent: Instant,
}

/// Calls with `clients` at once until `duration` is over and every answer is in.
///
/// # Errors
/// When a connection breaks or nothing comes for long. Wrong answers are counted instead.
pub fn run(target: &Target, clients: usize, duration: Duration) -> anyhow::Result<Slot> {
    let mut slot = Slot::default();
    let (cpu, start) = (thread_cpu(), Instant::now());
    match clients {
        1 => one(target, start + duration, &mut slot)?,
        _ => many(target, clients, start + duration, &mut slot)?,
    }
    slot.elapsed = start.elapsed();
    slot.own_cpu = thread_cpu().saturating_sub(cpu);
    Ok(slot)
}

fn one(target: &Target, until: Instant, slot: &mut Slot) -> anyhow::Result<()> {
    let mut connection = Connection::open(target.address)?;
    let mut sent = Instant::now();
    while sent < until {
        let response = connection.call(&target.request)?;
        let now = Instant::now();
        slot.count(&response, now - sent);
        sent = now;
    }
    Ok(())
}

fn many(target: &Target, clients: usize, until: Instant, slot: &mut Slot) -> anyhow::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = Vec::with_capacity(clients);
    for index in 0..clients {
        let stream = TcpStream::connect(target.address).with_context(|| format!("connect to {}", target.address))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        all.push(Client { stream, buffer: Vec::with_capacity(4096), sent: Instant::now() });
    }
    for client in &mut all {
        client.send(&target.request)?;
    }
    let mut waiting = clients;
    let mut events = Vec::with_capacity(clients);
    while waiting > 0 {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&SILENCE)) {
            Ok(0) => bail!("{waiting} of {clients} clients wait, and no answer came for {} s", SILENCE.tv_sec),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let client = &mut all[event.data.u64() as usize];
            let Some(now) = client.receive(slot)? else { continue };
            if now < until {
                client.send(&target.request)?;
            } else {
                waiting -= 1;
            }
        }
    }
    Ok(())
}

/// Processor time of this thread.
fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

// === impl Target ===

impl Target {
    pub fn new(address: SocketAddr, path: &str) -> Self {
        Self { address, request: http::get(address, path, "") }
    }
}

// === impl Slot ===

impl Slot {
    pub fn calls(&self) -> usize {
        self.latencies.len()
    }

    pub fn rate(&self) -> f64 {
        self.calls() as f64 / self.elapsed.as_secs_f64()
    }

    fn count(&mut self, response: &Response<'_>, latency: Duration) {
        match check(response) {
            Ok(()) => self.latencies.push(latency.as_nanos() as f64),
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// The one right answer.
pub fn check(response: &Response<'_>) -> anyhow::Result<()> {
    if response.status == 200 && response.body == b"ok" {
        return Ok(());
    }
    let start = &response.body[..response.body.len().min(300)];
    bail!("expected 200 with ok, got {} with {:?}", response.status, String::from_utf8_lossy(start));
}

// === impl Client ===

impl Client {
    fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.sent = Instant::now();
        // A request is small and its connection idle: it always fits the socket's buffer.
        self.stream.write_all(request).context("send a request")
    }

    /// Reads what is there; when an answer is complete, counts it and returns the time it was.
    fn receive(&mut self, slot: &mut Slot) -> anyhow::Result<Option<Instant>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the connection ended within an answer: {:?}", String::from_utf8_lossy(&self.buffer)),
            Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("wait for an answer"),
        }
        let Some(response) = http::parse(&self.buffer)? else { return Ok(None) };
        if response.len != self.buffer.len() {
            bail!("more than the answer came: {:?}", String::from_utf8_lossy(&self.buffer));
        }
        let now = Instant::now();
        slot.count(&response, now - self.sent);
        self.buffer.clear();
        Ok(Some(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn one_and_many_clients_are_all_answered() {
        let target = Target::new(crate::noop::tests::in_thread(), "/");
        for clients in [1, 16] {
            let slot = run(&target, clients, SHORT).unwrap();
            assert!(slot.calls() > 100, "{clients} clients made {} calls", slot.calls());
            assert_eq!(slot.errors, 0, "{:?}", slot.first_error);
            assert!(slot.elapsed >= SHORT && slot.own_cpu > Duration::ZERO && slot.own_cpu < slot.elapsed);
        }
    }

    #[test]
    fn wrong_answers_are_counted_and_the_first_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::new(listener.local_addr().unwrap(), "/");
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut chunk = [0; 4096];
            while stream.read(&mut chunk).unwrap() > 0 {
                stream.write_all(b"HTTP/1.1 429 No\r\ncontent-length: 4\r\n\r\nbusy").unwrap();
            }
        });
        let slot = run(&target, 1, SHORT).unwrap();
        assert!(slot.errors > 0 && slot.calls() == 0);
        assert_eq!(slot.first_error.unwrap(), "expected 200 with ok, got 429 with \"busy\"");
    }

    #[test]
    fn a_broken_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::new(listener.local_addr().unwrap(), "/");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.unwrap().read(&mut [0; 4096]);
            }
        });
        assert!(run(&target, 1, SHORT).unwrap_err().to_string().contains("connection ended"));
        assert!(run(&target, 4, SHORT).unwrap_err().to_string().contains("connection ended"));
    }
}
