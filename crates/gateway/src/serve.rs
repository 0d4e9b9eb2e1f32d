//! Accepts connections and carries HTTP/1.1 over them, or [HTTP/2](crate::h2c), in clear or over [TLS](crate::tls), within
//! limits, until told to end.
//!
//! ```text
//! accept ─► guarded connection ─► request ─► … ─► idle ─► closed
//!   │ shutdown: no more accepted;  idle ones closed;  open requests finish;  after `drain`: cut
//! ```

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::guard::Guarded;
use crate::h2c;
use crate::limits::Limits;
use crate::parting::Counting;
use crate::timer::ConnectionTimer;
use crate::tls::{Begun, Tls};
use crate::web::Passage;

/// Serves what `service` gives for each peer, until `shutdown`; then lets open requests finish within
/// [`Limits::drain`]. An axum `Router` fits as `|_| TowerToHyperService::new(router.clone())`.
pub async fn serve<M, S, B>(
    listener: TcpListener,
    tls: Option<Tls>,
    service: M,
    shutdown: impl Future<Output = ()>,
    limits: Limits,
) where
    M: Fn(SocketAddr) -> S,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let closing = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly: no descriptors left. A pause lets some connections end.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // A small answer must not wait for the peer's acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let service = Counting { service: service(peer), parting: limits.parting.clone() };
        let limits = limits.clone();
        let (tls, mut closing) = (tls.clone(), closing.subscribe());
        connections.spawn(async move {
            // Held to the end.
            let _place = place;
            let early = |error: std::io::Error| debug!(%peer, %error, "a connection ended before a request");
            if let Some(tls) = tls {
                // Here and not before the next is accepted: whoever takes long takes nobody else's time.
                let begun = tokio::select! {
                    begun = tls.begin(stream, limits.handshake_time) => begun,
                    () = given_up(&mut closing, &limits) => return,
                };
                match begun {
                    Ok(Begun::Secure(stream)) => {
                        let http2 = stream.get_ref().1.alpn_protocol() == Some(&b"h2"[..]);
                        carry(stream, http2, peer, service, &limits, closing).await;
                    }
                    Ok(Begun::Plain) => debug!(%peer, "plain HTTP where HTTPS is spoken"),
                    Err(error) => early(error),
                }
                return;
            }
            let mut http2 = false;
            if limits.http2 {
                let begins = tokio::select! {
                    begins = h2c::begins(&stream, limits.header_time) => begins,
                    () = given_up(&mut closing, &limits) => return,
                };
                match begins {
                    Ok(begins) => http2 = begins,
                    Err(error) => return early(error),
                }
            }
            carry(stream, http2, peer, service, &limits, closing).await;
        });
    }
    // Closed first: who connects now is refused and may try the next server, or waits for it, if somebody else holds the
    // listener too.
    drop(listener);
    closing.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.parting.drain(limits.drain), ended).await.is_err() {
        warn!(open = connections.len(), "requests that did not finish in time were cut");
    }
}

/// Carries one connection to its end.
async fn carry<T, S, B>(
    stream: T,
    http2: bool,
    peer: SocketAddr,
    service: S,
    limits: &Limits,
    mut closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let passage = Passage::default();
    if http2 {
        // Of the guard, only what ends writing to a client that takes nothing.
        passage.open();
        let io = Guarded::new(stream, limits, passage);
        return h2c::serve(io, peer, service, limits, closing).await;
    }
    let io = TokioIo::new(Guarded::new(stream, limits, passage.clone()));
    let asked = Arc::new(AtomicBool::new(false));
    let service = Passing { service, passage, asked: asked.clone() };
    let mut connection = pin!(http(limits).serve_connection(io, service).with_upgrades());
    let ended = tokio::select! {
        biased;
        ended = &mut connection => Some(ended),
        _ = closing.wait_for(|closing| *closing) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // Its first request is on the way, and the answer will be its last: closed now, that request would be lost.
            let first = !asked.load(Ordering::Relaxed) && limits.parting.is_farewell();
            let early = if first { tokio::time::timeout(limits.header_time, &mut connection).await.ok() } else { None };
            match early {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection ended early");
    }
}

/// The server is to end, and connections that have not come to a request with it. A successor's clients are not cut off
/// like that.
async fn given_up(closing: &mut watch::Receiver<bool>, limits: &Limits) {
    let _ = closing.wait_for(|closing| *closing).await;
    if limits.parting.is_farewell() {
        std::future::pending::<()>().await;
    }
}

/// A service that tells requests which want to change the protocol how the rest of their connection passes the guard.
struct Passing<S> {
    service: S,
    passage: Passage,
    /// Whether there was any.
    asked: Arc<AtomicBool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Passing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        self.asked.store(true, Ordering::Relaxed);
        if request.headers().contains_key(UPGRADE) {
            request.extensions_mut().insert(self.passage.clone());
        }
        self.service.call(request)
    }
}

fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The parser's timer runs from the end of one request to the head of the next; a head that has begun is
    // the guard's to time.
    http.timer(ConnectionTimer::default())
        .header_read_timeout(limits.keep_alive)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        // One buffer holds the whole head, and no more of a body than this is read ahead.
        .max_buf_size((limits.header_bytes + 4096).max(8192));
    http
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}
