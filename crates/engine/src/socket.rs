//! The socket of an invoke stream, waited for as cheaply as can be.
//!
//! Only what there is to read wakes its owner. A socket that is also watched for room to write tells whenever the other
//! end has read something: once in each call, in vain, and on another processor than the one that has work. So room
//! is waited for only where there is none, through a descriptor of its own that is gone when all is written.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::unix::pipe;

/// Its two directions are what Tokio knows as the ends of a pipe: watched for one thing only, and otherwise not looked
/// into.
pub struct Socket {
    stream: pipe::Receiver,
    /// While the other end has to read before more can be written.
    room: Option<pipe::Sender>,
}

// === impl Socket ===

impl Socket {
    /// Takes over a connected stream socket. Needs a Tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { stream: pipe::Receiver::from_owned_fd_unchecked(socket)?, room: None })
    }

    /// The socket again.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        self.stream.into_nonblocking_fd()
    }

    /// Reads into what `buffer` has reserved. 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        pin!(self.stream.read_buf(buffer)).poll(cx)
    }

    /// Writes all of `parts` without copying; what is written is taken off their front.
    pub fn poll_write_all(&mut self, cx: &mut Context<'_>, parts: &mut [&[u8]; 2]) -> Poll<io::Result<()>> {
        while !(parts[0].is_empty() && parts[1].is_empty()) {
            let slices = [IoSlice::new(parts[0]), IoSlice::new(parts[1])];
            let written = match &mut self.room {
                Some(room) => ready!(Pin::new(room).poll_write_vectored(cx, &slices))?,
                None => match rustix::io::writev(&self.stream, &slices) {
                    Ok(written) => written,
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => {
                        let again = self.stream.as_fd().try_clone_to_owned()?;
                        self.room = Some(pipe::Sender::from_owned_fd_unchecked(again)?);
                        continue;
                    }
                    Err(error) => return Poll::Ready(Err(error.into())),
                },
            };
            take_off(parts, written);
        }
        self.room = None;
        Poll::Ready(Ok(()))
    }

    /// Whether nothing came. As far as the reactor knows: no system call is made when nothing did.
    pub fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Takes what was written off the front.
pub fn take_off(parts: &mut [&[u8]; 2], written: usize) {
    let of_first = written.min(parts[0].len());
    parts[0] = &parts[0][of_first..];
    parts[1] = &parts[1][written - of_first..];
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Socket::new(ours.into()).unwrap(), theirs)
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_is_written_as_the_other_end_reads() {
        let (mut ours, mut theirs) = pair();
        let (head, body) = (vec![1; 100], vec![2; 3 << 20]);
        let all = head.len() + body.len();
        let reader = std::thread::spawn(move || {
            let mut whole = vec![0; all];
            io::Read::read_exact(&mut theirs, &mut whole).unwrap();
            whole
        });
        let mut parts: [&[u8]; 2] = [&head, &body];
        poll_fn(|cx| ours.poll_write_all(cx, &mut parts)).await.unwrap();
        assert!(ours.room.is_none(), "nobody is woken by reading any more");
        assert!(reader.join().unwrap() == [head, body].concat());
    }

    #[tokio::test]
    async fn what_came_is_read_to_the_end() {
        let (mut ours, mut theirs) = pair();
        assert!(ours.is_quiet());
        io::Write::write_all(&mut theirs, b"abc").unwrap();
        drop(theirs);
        for expected in [3, 0, 0] {
            let mut buffer = BytesMut::with_capacity(10);
            assert_eq!(poll_fn(|cx| ours.poll_read(cx, &mut buffer)).await.unwrap(), expected);
        }
        assert!(!ours.is_quiet(), "an end is no quiet");
    }

    #[tokio::test]
    async fn who_reads_our_bytes_wakes_nobody_here() {
        let (mut ours, mut theirs) = pair();
        let mut parts: [&[u8]; 2] = [b"event", b""];
        poll_fn(|cx| ours.poll_write_all(cx, &mut parts)).await.unwrap();
        let reader = std::thread::spawn(move || {
            io::Read::read_exact(&mut theirs, &mut [0; 5]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            io::Write::write_all(&mut theirs, b"x").unwrap();
            theirs
        });
        let (mut polls, mut buffer) = (0, BytesMut::with_capacity(10));
        let read = poll_fn(|cx| {
            polls += 1;
            ours.poll_read(cx, &mut buffer)
        });
        assert_eq!(read.await.unwrap(), 1);
        assert_eq!(polls, 2, "once to wait, once to read");
        drop(reader.join());
    }
}
