//! The door at which the spawner can be told to upgrade: a socket in its own folder, for who it runs as and nobody else.
//!
//! One packet each way: [`Ask`] and, when it is over, [`Answer`]. Functions and the server cannot come here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::socket;

/// Where it is in the spawner's folder.
pub const DOOR: &str = "control";

/// How long whoever asks may wait: longer than the spawner takes to give up.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// What the spawner is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Ask {
    /// A new server in place of the one that runs.
    Upgrade {
        /// Its program; none: what is now where `hearth up` was started from.
        binary: Option<PathBuf>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "did")]
pub enum Answer {
    Upgraded {
        /// Versions: of the server before, of the one now, of the spawner, which goes on.
        from: String,
        to: String,
        spawner: String,
        /// From the moment at which the old one took no more connections to that at which the new one did.
        paused_ms: u64,
    },
    /// All is as it was, or as the text says.
    Refused { why: String },
}

/// Opens the door.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    // Of a spawner that was killed; nobody else may write in this folder, and the data directory is locked.
    let _ = std::fs::remove_file(path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let door = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (_folder, short) = short(path)?;
    rustix::net::bind(&door, &SocketAddrUnix::new(&short)?)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    rustix::net::listen(&door, 8)?;
    Ok(door)
}

/// A socket's address has room for 108 bytes, which the path of a data directory may be longer than: another way there, by
/// its folder's descriptor.
fn short(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, path))
}

/// Takes who stands before it, if they may be here.
pub fn accept(door: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let caller = rustix::net::accept_with(door, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let who = rustix::net::sockopt::socket_peercred(&caller)?;
    Ok((who.uid == rustix::process::geteuid()).then_some(caller))
}

/// Asks the spawner whose door that is, and waits for what comes of it.
pub fn ask(path: &Path, ask: &Ask) -> io::Result<Answer> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (_folder, short) = short(path)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(&short)?)?;
    socket::send(socket.as_fd(), &socket::encode(ask)?, &[])?;
    let limit = rustix::event::Timespec { tv_sec: ANSWER_LIMIT.as_secs() as _, tv_nsec: 0 };
    let mut poll = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)];
    if rustix::event::poll(&mut poll, Some(&limit))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let answer = socket::receive(&socket, &mut Vec::new())?;
    answer.map(|(answer, _)| answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_to_the_door_is_heard_and_answered_however_long_the_path_is() {
        let folder = std::env::temp_dir().join(format!("hearth-door-{}", std::process::id())).join("long".repeat(40));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(DOOR);
        // The second finds what a spawner that was killed has left.
        drop(open(&path).unwrap());
        let door = open(&path).unwrap();
        let asks = std::thread::spawn(move || ask(&path, &Ask::Upgrade { binary: Some("/x".into()) }));
        let mut poll = [rustix::event::PollFd::new(&door, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, None).unwrap();
        let caller = accept(&door).unwrap().expect("this user may");
        let mut poll = [rustix::event::PollFd::new(&caller, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, None).unwrap();
        let (asked, _) = socket::receive::<Ask>(&caller, &mut Vec::new()).unwrap().unwrap();
        assert!(matches!(asked, Ask::Upgrade { binary: Some(path) } if path == Path::new("/x")));
        let told = Answer::Refused { why: "no".into() };
        socket::send(caller.as_fd(), &socket::encode(&told).unwrap(), &[]).unwrap();
        assert_eq!(asks.join().unwrap().unwrap(), told);
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}
