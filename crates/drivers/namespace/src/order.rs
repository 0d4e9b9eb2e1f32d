//! What spawner and fork server say to each other: one packet each way for each sandbox, with descriptors.
//!
//! ```text
//! fork server ── Ready | Broken ──► spawner           once, when it has imported all
//! spawner ── Order + descriptors ──► fork server      clones, and lets go of every descriptor
//! fork server ── Cloned + pidfd | Refused ──► spawner
//! ```
//!
//! Neither believes the other: what does not parse, or comes with another number of descriptors, ends the connection.

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use driver::{GuestStreams, Limits, User};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::child::{Plan, Rlimit};
use linux::seccomp::Program;

const MAX_PACKET: usize = 16 << 10;
const MAX_FDS: usize = 9;

/// A sandbox that is to be cloned. Its descriptors, in this order: go, status, root, control, invoke, log, then the code,
/// the layers and the control group if they are there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    host_name: String,
    limits: Limits,
    user: User,
    work_dir: String,
    rootless: bool,
    code: bool,
    layers: bool,
    /// Whether it is cloned right into its group; the spawner moves it there otherwise.
    group: bool,
}

/// What a fork server says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Ready,
    /// It cannot serve, for this reason.
    Broken(String),
    /// The number of the new process, in the spawner's eyes; its pidfd comes along.
    Cloned(i32),
    /// With this errno.
    Refused(i32),
}

// === impl Order ===

impl Order {
    /// Sends what is to be cloned.
    pub fn send(socket: BorrowedFd<'_>, plan: &Plan<'_>, group: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = |text: &CString| text.to_str().map(str::to_owned).map_err(|_| io::ErrorKind::InvalidInput);
        let [invoke] = plan.streams.invoke.as_slice() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let order = Self {
            host_name: text(&plan.host_name)?,
            limits: plan.limits,
            user: plan.user,
            work_dir: text(&plan.work_dir)?,
            rootless: plan.rootless,
            code: plan.code.is_some(),
            layers: plan.layers.is_some(),
            group: group.is_some(),
        };
        let mut fds = [&plan.go, &plan.status, &plan.root, &plan.streams.control, invoke, &plan.streams.log]
            .map(AsFd::as_fd)
            .to_vec();
        fds.extend(plan.code.iter().chain(&plan.layers).map(AsFd::as_fd));
        fds.extend(group);
        send(socket, &order, &fds)
    }

    /// What it says to do, and the control group to do it in.
    pub fn plan<'a>(
        self,
        fds: Vec<OwnedFd>,
        dev_null: BorrowedFd<'a>,
        seccomp: &'a Program,
        put_back: Vec<Rlimit>,
    ) -> io::Result<(Plan<'a>, Option<OwnedFd>)> {
        let c = |text: String| CString::new(text).map_err(io::Error::from);
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData));
        let (go, status, root, control, invoke, log) = (next()?, next()?, next()?, next()?, next()?, next()?);
        let code = if self.code { Some(next()?) } else { None };
        let layers = if self.layers { Some(next()?) } else { None };
        let group = if self.group { Some(next()?) } else { None };
        if fds.next().is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let plan = Plan {
            go,
            status,
            // A fork server is not given them.
            parents: None,
            root,
            code,
            layers,
            dev_null,
            streams: GuestStreams { control, invoke: vec![invoke], log },
            host_name: c(self.host_name)?,
            limits: self.limits,
            user: self.user,
            work_dir: c(self.work_dir)?,
            folders: Vec::new(),
            secret_files: false,
            seccomp,
            rootless: self.rootless,
            put_back,
            own_session_late: true,
        };
        Ok((plan, group))
    }
}

/// Sends one packet. Does not wait: whoever asks has one question open at most, so there is room.
pub fn send(socket: BorrowedFd<'_>, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let packet = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if packet.len() > MAX_PACKET || (!fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too long for one packet"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Receives one packet; `Ok(None)` at the end.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>, wait: bool) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = [0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let got = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            got => break got?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let message = serde_json::from_slice(&buffer[..got.bytes]).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some((message, fds)))
}
