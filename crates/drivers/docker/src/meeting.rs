//! Where host and container meet: a private folder with a socket, mounted into one container, that takes one call.
//!
//! The folder lies below one that only Hearth may enter; what is in it is for the container's user alone. The first
//! caller is the agent, because nothing else of a container runs before it; and that it is the container's first
//! process, its process id tells. Behind gVisor's wall another process calls for it: see [`crate::wall`].

use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agent::{Launch, MAX_FDS, Report};
use driver::User;
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::unix::AsyncFd;

const SOCKET: &str = "socket";

/// The folder on the host. Removed when dropped.
pub struct Meeting {
    path: PathBuf,
    listener: AsyncFd<OwnedFd>,
}

/// The agent, on the line.
pub struct Agent {
    socket: OwnedFd,
    /// Who called, as the host counts: its root folder is the container's. The first process, or one that serves it files.
    pub pid: i32,
    /// The container's first process: readable when it is gone, and with it all others. Until it was looked at, where
    /// there is a wall, the caller.
    pub pidfd: AsyncFd<OwnedFd>,
}

/// Watches a descriptor that nobody else owns.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor until it is dropped, which AsyncFd does last.
    Ok(unsafe { AsyncFd::register(fd)? })
}

// === impl Meeting ===

impl Meeting {
    pub fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        let made = Self::listen(&path);
        if made.is_err() {
            remove(&path);
        }
        made.map(|listener| Self { path, listener })
    }

    fn listen(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
        let folder = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // By way of the descriptor: a socket's path must be short, and a data directory's may be long.
        let short = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
        rustix::net::bind(&socket, &SocketAddrUnix::new(short)?)?;
        fs::set_permissions(path.join(SOCKET), fs::Permissions::from_mode(0o666))?;
        rustix::net::listen(&socket, 1)?;
        watched(socket)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the agent's call. There is one: the socket's name is gone afterwards.
    pub async fn agent(&self) -> io::Result<Agent> {
        let socket = loop {
            let mut ready = self.listener.readable().await?;
            let accept = |listener: &AsyncFd<OwnedFd>| {
                Ok(rustix::net::accept_with(listener.get_ref(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
            };
            match ready.try_io(accept) {
                Ok(accepted) => break accepted?,
                Err(_would_block) => {}
            }
        };
        fs::remove_file(self.path.join(SOCKET))?;
        let pid = peer(socket.as_fd())?;
        let of_host = rustix::process::Pid::from_raw(pid).ok_or_else(|| {
            io::Error::other("the container's processes are not visible here: Docker runs on another machine")
        })?;
        let pidfd = rustix::process::pidfd_open(of_host, rustix::process::PidfdFlags::empty())?;
        Ok(Agent { socket, pid, pidfd: watched(pidfd)? })
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes what a meeting's folder may hold, and it.
pub fn remove(path: &Path) {
    let _ = fs::remove_file(path.join(SOCKET));
    let _ = fs::remove_dir(path);
}

/// Who called: 0 if it is in no process id namespace of ours.
fn peer(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut who = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `who` is as large as `len` says.
    let result = unsafe {
        let at = (&raw mut who).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, at, &raw mut len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(who.pid) }
}

// === impl Agent ===

impl Agent {
    /// Tells it what to run. `streams`: log, control, invoke.
    pub fn launch(&self, launch: &Launch, streams: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = launch.encode();
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&self.socket, 2 * agent::MAX_PACKET);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(streams)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many streams"));
        }
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// What it said last, if anything: asked when it is gone.
    pub fn report(&self) -> Option<Report> {
        let mut packet = [0u8; Report::SIZE + 1];
        let len = rustix::io::read(&self.socket, &mut packet).ok()?;
        Report::decode(&packet[..len])
    }
}

/// A pipe that the container's user may open again by its name, as `/dev/stdout`: read end, write end.
pub fn log_pipe(user: User) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
    // An ordinary user may not give it away; then it is written to, and not opened again.
    let _ = rustix::fs::fchown(&write, Some(uid), Some(gid));
    Ok((read, write))
}
