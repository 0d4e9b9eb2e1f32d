//! Connections to a web function's server. Each is a socket pair: one end is the host's, the other is handed to the
//! agent, which joins it with a connection of the sandbox's own.
//!
//! One request at a time on each. It is kept for the next while the instance is in use, not longer: what is frozen in
//! between cannot say that it closed one.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use model::{Fault, FaultCode};
use rustix::io::IoSlice;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::AsyncReadExt;
use wire::Frame;

use crate::web::WebBody;
use crate::web::flight::Flight;
use crate::web::repeat;
use crate::web::seats::Open;

/// What can send the next request.
pub type Sender = SendRequest<WebBody>;

/// Why there is no answer.
pub enum Failed {
    /// There is no connection to be had, and nothing of the request was sent.
    Unmade(Request<WebBody>),
    /// The connection ended before.
    Closed,
    Refused(Fault),
}

/// Sends a request, and waits for the head of the answer.
pub async fn ask(open: &Open, request: Request<WebBody>, flight: &mut Flight) -> Result<Response<Incoming>, Failed> {
    let mut request = request;
    // It was sent before, over a connection that had been used.
    let mut again = false;
    while let Some(mut sender) = open.idle() {
        if sender.ready().await.is_err() {
            continue;
        }
        let copy = repeat::copy(&request);
        match sender.try_send_request(request).await {
            Ok(response) => {
                flight.keep(sender);
                return Ok(response);
            }
            Err(mut error) => match error.take_message() {
                // The server had closed it, and has seen nothing of this.
                Some(unsent) => request = unsent,
                None => match (failed(error.into_error()), copy) {
                    (Failed::Closed, Some(copy)) => {
                        (request, again) = (copy, true);
                        break;
                    }
                    (failed, _) => return Err(failed),
                },
            },
        }
    }
    let mut sender = match connect(open).await {
        Ok(Some(sender)) => sender,
        // It may have been this request that ended it.
        Ok(None) if again => return Err(Failed::Closed),
        Ok(None) => return Err(Failed::Unmade(request)),
        Err(fault) => return Err(Failed::Refused(fault)),
    };
    let response = sender.try_send_request(request).await.map_err(|error| failed(error.into_error()))?;
    flight.keep(sender);
    Ok(response)
}

fn failed(error: hyper::Error) -> Failed {
    if error.is_user() {
        // The client's body ended early, or was not what it said.
        return Failed::Refused(broken_body());
    }
    if error.is_parse() {
        let fault = Fault::new(FaultCode::Protocol, "the function's server does not answer in HTTP");
        return Failed::Refused(fault.with_detail(error));
    }
    Failed::Closed
}

pub fn broken_body() -> Fault {
    Fault::new(FaultCode::InvalidRequest, "the request's body is broken or incomplete")
}

async fn connect(open: &Open) -> Result<Option<Sender>, Fault> {
    let Some(stream) = stream(open).await? else { return Ok(None) };
    let Ok((sender, connection)) = http1::Builder::new().handshake(stream).await else { return Ok(None) };
    // Ends with the sender, or with the connection that it became.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(Some(sender))
}

/// None: the agent is gone, or its program does not take the connection.
pub async fn stream(open: &Open) -> Result<Option<TokioIo<tokio::net::UnixStream>>, Fault> {
    let broken = |error: io::Error| {
        let fault = Fault::new(FaultCode::SandboxFailed, "no connection to the function's server could be made");
        fault.with_detail(error)
    };
    let (ours, theirs) = UnixStream::pair().map_err(broken)?;
    ours.set_nonblocking(true).map_err(broken)?;
    match hand_over(open.stream(), theirs.as_fd()) {
        Ok(()) => {}
        // The agent is gone.
        Err(error) if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind()) => {
            return Ok(None);
        }
        Err(error) => return Err(broken(error)),
    }
    drop(theirs);
    let mut ours = tokio::net::UnixStream::from_std(ours).map_err(broken)?;
    if !matches!(ours.read(&mut [0; 1]).await, Ok(1)) {
        return Ok(None);
    }
    Ok(Some(TokioIo::new(ours)))
}

/// CONNECT, with a socket beside it. It is so short that it goes whole or not at all.
fn hand_over(stream: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut frame = BytesMut::new();
    Frame::Connect.encode(&mut frame).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    if !beside.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = sendmsg(stream, &[IoSlice::new(&frame)], &mut beside, flags)?;
    if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
