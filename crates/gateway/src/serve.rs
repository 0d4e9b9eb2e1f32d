//! Accepts connections and carries HTTP/1.1 over them, within limits, until told to end.
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
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::guard::Guarded;
use crate::limits::Limits;
use crate::timer::ConnectionTimer;
use crate::web::Passage;

/// Serves what `service` gives for each peer, until `shutdown`; then lets open requests finish within
/// [`Limits::drain`]. An axum `Router` fits as `|_| TowerToHyperService::new(router.clone())`.
pub async fn serve<M, S, B>(listener: TcpListener, service: M, shutdown: impl Future<Output = ()>, limits: Limits)
where
    M: Fn(SocketAddr) -> S,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
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
        let passage = Passage::default();
        let io = TokioIo::new(Guarded::new(stream, &limits, passage.clone()));
        let service = Passing { service: service(peer), passage };
        let connection = http(&limits).serve_connection(io, service).with_upgrades();
        let mut closing = closing.subscribe();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = &mut connection => Some(ended),
                _ = closing.wait_for(|closing| *closing) => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(%peer, %error, "a connection ended early");
            }
            drop(place);
        });
    }
    // Closed first: who connects now is refused and may try the next server.
    drop(listener);
    closing.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, ended).await.is_err() {
        warn!(open = connections.len(), "requests that did not finish in time were cut");
    }
}

/// A service that tells requests which want to change the protocol how the rest of their connection passes the guard.
struct Passing<S> {
    service: S,
    passage: Passage,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Passing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
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
