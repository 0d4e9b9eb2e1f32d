//! Connections to what listens inside an instance, for debuggers. While there is one, the instance is not frozen.

use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use driver::StartError;
use model::{Fault, FaultCode, InstanceId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

use crate::instance::Info;
use crate::shared::Shared;

/// On a loopback, only a full backlog makes a connection wait.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection into an instance.
pub struct Attached {
    stream: TcpStream,
    _held: Held,
}

/// Keeps an instance from being frozen.
struct Held(Arc<Info>);

/// Connects to a port on the loopback of the instance's own network. A refused connection means that nothing listens there
/// (yet).
pub async fn attach(shared: &Shared, id: &InstanceId, port: u16) -> Result<Attached, Fault> {
    let none = || Fault::new(FaultCode::NotFound, format!("there is no instance {id}"));
    let info = shared.instance(id).ok_or_else(none)?;
    let socket = info.socket().ok_or_else(none)?.await.map_err(|error| match error {
        StartError::NoSocket => Fault::new(FaultCode::IsolationUnavailable, error.to_string()),
        _ => Fault::new(FaultCode::SandboxFailed, format!("instance {id} could not be reached")).with_detail(error),
    })?;
    // Before connecting: a frozen process does not accept.
    let held = Held::of(info);
    let refused = |error: io::Error| {
        let text = format!("nothing in instance {id} takes connections on port {port}: {error}");
        Fault::new(FaultCode::Conflict, text).with_retry_after(Duration::from_secs(1))
    };
    let socket = StdStream::from(socket);
    socket.set_nonblocking(true).map_err(refused)?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = tokio::time::timeout(CONNECT, TcpSocket::from_std_stream(socket).connect(to)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(refused)?;
    let _ = stream.set_nodelay(true);
    Ok(Attached { stream, _held: held })
}

// === impl Held ===

impl Held {
    fn of(info: Arc<Info>) -> Self {
        info.hold_awake();
        Self(info)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.let_sleep();
    }
}

// === impl Attached ===

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl AsyncRead for Attached {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Attached {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
