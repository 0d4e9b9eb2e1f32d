//! A socket of the host's joined with a connection to the program: bytes go through as they come, both ways, each way
//! with its own end.
//!
//! ```text
//! connecting ─1─► open ──► one end said its last: the other is told (half-closed) ──► both did: gone
//!     │ refused    │ broken
//!     └────────────┴──► gone: both sockets closed, which the host sees as the program's doing
//! ```
//!
//! What one side does not take yet is kept here, one read's worth, and nothing more is read for it until it has: so a
//! slow reader slows its writer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What the host is told once there is a connection to the program.
const CONNECTED: u8 = 1;

/// Bytes that are read at once.
pub const PIECE: usize = 64 * 1024;

/// Reads in a row for one side, before others have their turn.
const TURNS: usize = 8;

/// One direction.
#[derive(Default)]
struct Way {
    /// Read and not taken by the other side yet.
    held: Vec<u8>,
    /// The reader saw the end.
    ended: bool,
    /// The writer was told of it.
    told: bool,
}

pub struct Tunnel {
    host: OwnedFd,
    program: OwnedFd,
    connecting: bool,
    /// From the host to the program, and back.
    to: Way,
    back: Way,
    /// What epoll was told to watch, for each.
    watched: [u32; 2],
}

/// Whether a tunnel goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Go {
    On,
    Gone,
}

impl Tunnel {
    /// Begins a connection to the program.
    pub fn open(host: OwnedFd, address: SocketAddr) -> io::Result<Self> {
        unblock(&host)?;
        let program = connect(address)?;
        let (to, back) = (Way::default(), Way::default());
        Ok(Self { host, program, connecting: true, to, back, watched: [0; 2] })
    }

    /// The host's socket, and the program's.
    pub fn fds(&self) -> [RawFd; 2] {
        [self.host.as_raw_fd(), self.program.as_raw_fd()]
    }

    /// Moves what can be moved. Called when either socket has something to tell.
    pub fn turn(&mut self, scratch: &mut [u8]) -> Go {
        if self.connecting {
            match connected(&self.program) {
                Ok(true) => {
                    self.connecting = false;
                    // The host sends nothing before it: what could not be connected, it can take elsewhere.
                    if !matches!(write(&self.host, &[CONNECTED]), Ok(1)) {
                        return Go::Gone;
                    }
                }
                Ok(false) => return Go::On,
                Err(_) => return Go::Gone,
            }
        }
        let to = carry(&self.host, &self.program, &mut self.to, scratch);
        let back = carry(&self.program, &self.host, &mut self.back, scratch);
        if to.is_err() || back.is_err() || (self.to.told && self.back.told) { Go::Gone } else { Go::On }
    }

    /// What to watch each socket for: before, and now. 0: not at all, since a socket that was closed would tell of that
    /// again and again to whoever wants nothing else of it.
    pub fn watch(&mut self) -> [(u32, u32); 2] {
        let (read, write) = (libc::EPOLLIN as u32, libc::EPOLLOUT as u32);
        let wants = |reads: &Way, writes: &Way| {
            let mut events = 0;
            if !reads.ended && reads.held.is_empty() {
                events |= read;
            }
            if !writes.held.is_empty() {
                events |= write;
            }
            events
        };
        let now = if self.connecting { [0, write] } else { [wants(&self.to, &self.back), wants(&self.back, &self.to)] };
        let before = std::mem::replace(&mut self.watched, now);
        [(before[0], now[0]), (before[1], now[1])]
    }
}

/// Reads and writes until one side waits.
fn carry(from: &OwnedFd, into: &OwnedFd, way: &mut Way, scratch: &mut [u8]) -> io::Result<()> {
    if !way.held.is_empty() {
        let written = write(into, &way.held)?;
        way.held.drain(..written);
        if !way.held.is_empty() {
            return Ok(());
        }
        way.held = Vec::new();
    }
    for _ in 0..TURNS {
        if way.ended {
            break;
        }
        match read(from, scratch)? {
            None => return Ok(()),
            Some(0) => way.ended = true,
            Some(read) => {
                let written = write(into, &scratch[..read])?;
                if written < read {
                    way.held.extend_from_slice(&scratch[written..read]);
                    return Ok(());
                }
                if read < scratch.len() {
                    // What is there now will be told again.
                    return Ok(());
                }
            }
        }
    }
    if way.ended && !way.told {
        way.told = true;
        // SAFETY: plain numbers. A side that is gone already needs not be told.
        unsafe { libc::shutdown(into.as_raw_fd(), libc::SHUT_WR) };
    }
    Ok(())
}

/// None: nothing is there.
fn read(from: &OwnedFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        // SAFETY: the buffer is as long as is said.
        let got = unsafe { libc::recv(from.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) };
        if got >= 0 {
            return Ok(Some(got as usize));
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
}

fn write(into: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the buffer is as long as is said.
        let put = unsafe { libc::send(into.as_raw_fd(), rest.as_ptr().cast(), rest.len(), flags) };
        if put >= 0 {
            done += put as usize;
            continue;
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => break,
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
    Ok(done)
}

fn unblock(socket: &OwnedFd) -> io::Result<()> {
    let one: libc::c_int = 1;
    // SAFETY: reads one int.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONBIO, &raw const one) }).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A connection that may be still on its way.
fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers; the result is checked and owned.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) };
    let one: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // Requests and answers come whole: there is nothing to wait for.
    // SAFETY: reads one int of that length.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const one).cast(), length)
    };
    let result = match address {
        SocketAddr::V4(to) => {
            // SAFETY: all zeroes is a valid address structure.
            let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = to.port().to_be();
            name.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
            let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: `name` is a whole address of that length.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const name).cast(), length) }
        }
        SocketAddr::V6(to) => {
            // SAFETY: all zeroes is a valid address structure.
            let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = to.port().to_be();
            name.sin6_addr.s6_addr = to.ip().octets();
            let length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            // SAFETY: `name` is a whole address of that length.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const name).cast(), length) }
        }
    };
    match check(result) {
        Ok(_) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Whether a connection that was on its way is there; an error if it was refused.
fn connected(socket: &OwnedFd) -> io::Result<bool> {
    let mut watched = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd, which outlives the call.
    if check(unsafe { libc::poll(&raw mut watched, 1, 0) })? == 0 {
        return Ok(false);
    }
    let (mut error, mut length): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: writes one int of that length.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut length)
    };
    check(got)?;
    if error == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn run(mut tunnel: Tunnel) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            let mut scratch = vec![0; PIECE];
            while tunnel.turn(&mut scratch) == Go::On {
                let [host, program] = tunnel.fds();
                let mut events = [0, 0];
                for (at, (_, wanted)) in tunnel.watch().into_iter().enumerate() {
                    events[at] = wanted as libc::c_short;
                }
                let mut both = [(host, events[0]), (program, events[1])].map(|(fd, events)| libc::pollfd {
                    fd: if events == 0 { -1 } else { fd },
                    events,
                    revents: 0,
                });
                // SAFETY: an array of two.
                unsafe { libc::poll(both.as_mut_ptr(), 2, 5000) };
            }
        })
    }

    #[test]
    fn bytes_go_both_ways_and_each_way_ends_by_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let tunnel = run(Tunnel::open(theirs.into(), listener.local_addr().unwrap()).unwrap());
        let program = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        assert_eq!((ours.read(&mut [0; 1]).unwrap(), 1), (1, 1), "it is connected");
        let sent: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
        ours.write_all(&sent).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        ours.read_to_end(&mut back).unwrap();
        assert!(back == sent);
        program.join().unwrap();
        tunnel.join().unwrap();
    }

    #[test]
    fn a_program_that_does_not_listen_is_the_end_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        if let Ok(tunnel) = Tunnel::open(theirs.into(), address) {
            run(tunnel).join().unwrap();
        }
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 0);
    }
}
