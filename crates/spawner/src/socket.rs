//! Packets with descriptors over a Unix socketpair (`SOCK_SEQPACKET`: one send, one receive, never half).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{MAX_FDS, MAX_PACKET};

/// A connected pair, close-on-exec and non-blocking.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&one, &other] {
        // A burst of starts must fit while the other side is busy.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, 4 * MAX_PACKET);
    }
    Ok((one, other))
}

/// Encodes a message for [`send`].
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let packet = serde_json::to_vec(message)?;
    if packet.len() > MAX_PACKET {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long for the spawner's socket"));
    }
    Ok(packet)
}

/// Sends one packet; `WouldBlock` when the other side is behind.
pub fn send(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, flags)?;
    Ok(())
}

/// Receives one packet; `Ok(None)` at the end. It comes without any descriptor if this process may not have that many
/// more, or there are too many of them.
///
/// # Errors
/// `InvalidData` for a packet that is cut or does not parse: the other side is broken.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    buffer.resize(MAX_PACKET, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        // Some of them are of no use, and the next packet may bring no more than there is room for again.
        fds.clear();
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet was cut"));
    }
    let message = serde_json::from_slice(&buffer[..got.bytes])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("a packet does not parse: {error}")))?;
    Ok(Some((message, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_packet_brings_its_descriptors() {
        let (one, other) = pair().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        send(one.as_fd(), &encode(&"hello").unwrap(), &[write.as_fd()]).unwrap();
        drop(write);
        let mut buffer = Vec::new();
        let (text, fds) = receive::<String>(&other, &mut buffer).unwrap().unwrap();
        assert_eq!(text, "hello");
        for fd in fds {
            std::fs::File::from(fd).write_all(b"through").unwrap();
        }
        let mut got = String::new();
        read.read_to_string(&mut got).unwrap();
        assert_eq!(got, "through");
    }

    #[test]
    fn where_descriptors_do_not_fit_the_message_comes_without_any() {
        let (one, other) = pair().unwrap();
        let fds = vec![one.as_fd(); MAX_FDS + 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS + 8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let packet = encode(&"hello").unwrap();
        rustix::net::sendmsg(&one, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::empty()).unwrap();
        send(one.as_fd(), &packet, &[one.as_fd()]).unwrap();
        for expected in [0, 1] {
            let (text, fds) = receive::<String>(&other, &mut Vec::new()).unwrap().unwrap();
            assert_eq!((text.as_str(), fds.len()), ("hello", expected));
        }
    }

    #[test]
    fn an_empty_socket_says_so_and_a_closed_one_ends() {
        let (one, other) = pair().unwrap();
        let mut buffer = Vec::new();
        let error = receive::<String>(&other, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert!(receive::<String>(&other, &mut buffer).unwrap().is_none());
    }

    #[test]
    fn rubbish_is_an_error() {
        let (one, other) = pair().unwrap();
        send(one.as_fd(), b"{", &[]).unwrap();
        let error = receive::<String>(&other, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
