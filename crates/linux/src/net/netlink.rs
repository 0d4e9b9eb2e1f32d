//! The few requests that networks of sandboxes are made of, as the kernel's rtnetlink wants them: pairs of devices,
//! addresses, routes. One socket belongs to the network namespace that it was opened in, wherever its owner goes.
//!
//! Answers are the kernel's own, and only errors are read out of them.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A pair of devices, each in a network namespace.
pub struct Pair<'a> {
    /// This end: in the namespace of the socket.
    pub name: &'a str,
    /// Its number there, which nobody else has.
    pub index: u32,
    /// The device group, by which rules tell devices.
    pub group: u32,
    pub peer: &'a str,
    pub peer_index: u32,
    /// Where the other end is.
    pub peer_namespace: BorrowedFd<'a>,
    pub peer_mtu: u32,
}

/// A conversation with one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// One request: header, structure, attributes.
struct Message(Vec<u8>);

const ACKNOWLEDGED: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
const NEW: u16 = ACKNOWLEDGED | (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const VETH_INFO_PEER: u16 = 1;
const NESTED: u16 = libc::NLA_F_NESTED as u16;

// === impl Netlink ===

impl Netlink {
    /// Of the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        // Number 0 is rtnetlink.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes two devices that are one another's wire, this end up.
    pub fn add_pair(&mut self, pair: &Pair<'_>) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, NEW);
        message.link(pair.index, true);
        message.text(libc::IFLA_IFNAME, pair.name);
        message.number(libc::IFLA_GROUP, pair.group);
        message.number(libc::IFLA_MTU, pair.peer_mtu);
        let info = message.open(libc::IFLA_LINKINFO | NESTED);
        message.text(libc::IFLA_INFO_KIND, "veth");
        let data = message.open(libc::IFLA_INFO_DATA | NESTED);
        let peer = message.open(VETH_INFO_PEER | NESTED);
        // Down: it cannot be up before it has an other end, which it gets last.
        message.link(pair.peer_index, false);
        message.text(libc::IFLA_IFNAME, pair.peer);
        message.number(libc::IFLA_MTU, pair.peer_mtu);
        message.number(libc::IFLA_NET_NS_FD, pair.peer_namespace.as_raw_fd().cast_unsigned());
        for at in [peer, data, info] {
            message.close(at);
        }
        self.ask(message)
    }

    /// Brings the device up that has this number.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWLINK, ACKNOWLEDGED);
        message.link(index, true);
        self.ask(message)
    }

    /// Removes a device, and its other end. True: there was one.
    pub fn remove(&mut self, name: &str) -> io::Result<bool> {
        let mut message = Message::new(libc::RTM_DELLINK, ACKNOWLEDGED);
        message.bytes(&[0; 16]);
        message.text(libc::IFLA_IFNAME, name);
        match self.ask(message) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Gives a device an address.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWADDR, NEW);
        message.bytes(&[libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        message.bytes(&index.to_ne_bytes());
        message.attribute(libc::IFA_LOCAL, &address.octets());
        message.attribute(libc::IFA_ADDRESS, &address.octets());
        self.ask(message)
    }

    /// Leads `to`, or everything, through a device: to whoever has the address there, or by way of a gateway.
    pub fn add_route(&mut self, to: Option<Ipv4Addr>, by: Option<Ipv4Addr>, index: u32) -> io::Result<()> {
        let mut message = Message::new(libc::RTM_NEWROUTE, NEW);
        let scope = if by.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
        let prefix = if to.is_some() { 32 } else { 0 };
        message.bytes(&[libc::AF_INET as u8, prefix, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, scope]);
        message.bytes(&[libc::RTN_UNICAST, 0, 0, 0, 0]);
        if let Some(to) = to {
            message.attribute(libc::RTA_DST, &to.octets());
        }
        if let Some(by) = by {
            message.attribute(libc::RTA_GATEWAY, &by.octets());
        }
        message.number(libc::RTA_OIF, index);
        self.ask(message)
    }

    /// Sends, and waits for the kernel's word: it answers before the call returns.
    fn ask(&mut self, message: Message) -> io::Result<()> {
        self.sequence += 1;
        rustix::net::send(&self.socket, &message.finish(self.sequence), SendFlags::empty())?;
        let mut answer = [0; 4096];
        loop {
            let (_, length) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::DONTWAIT)?;
            let word = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
            let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
            if length < 20 || word(8) != Some(self.sequence) || kind != Some(libc::NLMSG_ERROR as u16) {
                continue;
            }
            return match word(16).unwrap_or(0).cast_signed() {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(-errno)),
            };
        }
    }
}

// === impl Message ===

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut message = Self(vec![0; 16]);
        message.0[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        message
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// `struct ifinfomsg`: flags, and which of them are meant.
    fn link(&mut self, index: u32, up: bool) {
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        let flags = if up { libc::IFF_UP } else { 0 };
        for word in [flags, flags] {
            self.bytes(&word.to_ne_bytes());
        }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let at = self.open(kind);
        self.bytes(value);
        self.close(at);
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// Begins an attribute whose length is not known yet.
    fn open(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.bytes(&[0, 0]);
        self.bytes(&kind.to_ne_bytes());
        at
    }

    fn close(&mut self, at: usize) {
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_tell_their_own_length() {
        let mut message = Message::new(libc::RTM_DELLINK, ACKNOWLEDGED);
        let outer = message.open(7);
        message.text(libc::IFLA_IFNAME, "up");
        message.number(1, 5);
        message.close(outer);
        let bytes = message.finish(9);
        assert_eq!(bytes.len(), 16 + 4 + 8 + 8);
        assert_eq!(bytes[0..4], 36u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 9u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [20u16.to_ne_bytes(), 7u16.to_ne_bytes()].concat());
        assert_eq!(bytes[20..28], [&[7, 0, 3, 0][..], b"up\0\0"].concat());
    }
}
