//! What the two yardsticks share: a listener on TCP or on a Unix socket, connections of either kind as plain
//! descriptors, and messages that go out whole.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// How long a peer may leave a full socket unread.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    tcp: bool,
}

// === impl Listener ===

impl Listener {
    /// On a free port of the loopback.
    pub fn tcp() -> anyhow::Result<Self> {
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags(), None)?;
        net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).context("bind to the loopback")?;
        net::listen(&socket, 4096)?;
        Ok(Self { socket, tcp: true })
    }

    /// At `path`, which must not exist.
    pub fn unix(path: &Path) -> anyhow::Result<Self> {
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags(), None)?;
        net::bind(&socket, &SocketAddrUnix::new(path)?).with_context(|| format!("bind to {}", path.display()))?;
        net::listen(&socket, 4096)?;
        Ok(Self { socket, tcp: false })
    }

    /// What a child prints for its parent: an address, or for a Unix socket an empty line.
    pub fn says(&self) -> anyhow::Result<String> {
        let name: SocketAddrAny = net::getsockname(&self.socket)?;
        Ok(match std::net::SocketAddr::try_from(name) {
            Ok(address) if self.tcp => address.to_string(),
            _ => String::new(),
        })
    }

    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The next connection; none if nobody waits any more.
    pub fn accept(&self) -> anyhow::Result<Option<OwnedFd>> {
        let stream = match net::accept_with(&self.socket, flags()) {
            Ok(stream) => stream,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error).context("accept a connection"),
        };
        if self.tcp {
            sockopt::set_tcp_nodelay(&stream, true)?;
        }
        Ok(Some(stream))
    }
}

fn flags() -> SocketFlags {
    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC
}

/// A connection to a server at `path`.
pub fn connect_unix(path: &Path) -> anyhow::Result<OwnedFd> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    net::connect(&socket, &SocketAddrUnix::new(path)?).with_context(|| format!("connect to {}", path.display()))?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Appends what is there to `buffer`; false at the end of the stream.
pub fn receive(stream: &OwnedFd, buffer: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 16 * 1024];
    match rustix::io::read(stream, &mut chunk) {
        Ok(0) => false,
        Ok(count) => {
            buffer.extend_from_slice(&chunk[..count]);
            true
        }
        Err(Errno::AGAIN | Errno::INTR) => true,
        Err(_) => false,
    }
}

/// Sends all of `bytes`. What is measured fits a socket's buffer, so that waiting is the exception.
pub fn send(stream: &OwnedFd, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if poll(&mut [PollFd::new(stream, PollFlags::OUT)], Some(&PATIENCE))? == 0 {
                    bail!("a peer read nothing for {} s", PATIENCE.tv_sec);
                }
            }
            Err(error) => return Err(error).context("send"),
        }
    }
    Ok(())
}
