//! CONNECT frames with the sockets beside them, as they come in on the invoke stream.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bytes::BytesMut;
use wire::{Decoder, Frame, HEADER, Side, Stream};

/// The stream of a web function.
pub struct Connects {
    stream: OwnedFd,
    decoder: Decoder,
    /// Those that came, in order, whose frame need not be whole.
    sockets: Vec<OwnedFd>,
}

/// What came.
pub enum Came {
    /// A socket of the host's, to be joined with one of the program's.
    Socket(OwnedFd),
    Nothing,
    End,
}

impl Connects {
    pub fn new(stream: OwnedFd) -> Self {
        Self { stream, decoder: Decoder::new(Stream::Invoke, Side::Host), sockets: Vec::new() }
    }

    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Takes what is there, without waiting.
    pub fn next(&mut self) -> io::Result<Came> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(io::Error::other)? {
                let Frame::Connect = frame else { return Err(io::Error::other("a frame of an event function's")) };
                if self.sockets.is_empty() {
                    return Err(io::Error::other("CONNECT without a socket"));
                }
                return Ok(Came::Socket(self.sockets.remove(0)));
            }
            let mut bytes = [0; HEADER];
            match receive(&self.stream, &mut bytes, &mut self.sockets) {
                Ok(0) => return Ok(Came::End),
                Ok(read) => self.decoder.push(&BytesMut::from(&bytes[..read])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Came::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Bytes, and the descriptors beside them.
fn receive(from: &OwnedFd, bytes: &mut [u8], into: &mut Vec<OwnedFd>) -> io::Result<usize> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    let mut control = MaybeUninit::<Control>::zeroed();
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a valid msghdr, filled in below.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: `message` points at buffers that outlive the call, with their true lengths.
    let got = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut message, flags) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the CMSG macros walk what the kernel wrote into `control`, within msg_controllen; every descriptor in an
    // SCM_RIGHTS message is new and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..bytes / size_of::<RawFd>() {
                    into.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(got as usize)
}
