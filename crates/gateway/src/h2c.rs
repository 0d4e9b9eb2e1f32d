//! HTTP/2 in clear, from clients that begin with it (prior knowledge): gRPC's, mostly.
//!
//! ```text
//! first bytes ─┬─ PRI * HTTP/2.0 … ─► streams, each a request as HTTP/1.1 would have brought it ─► idle ─► closed
//!              └─ anything else ────► HTTP/1.1
//! ```
//!
//! The guard of HTTP/1.1's framing has nothing to do here: frames say their length. Refused: a beginning that comes too
//! slowly, heads over the limit, more streams at once than one connection may have.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{COOKIE, HOST, HeaderValue};
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use crate::limits::Limits;

/// What every such connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests at once on one connection.
const STREAMS: u32 = 128;

/// Bytes that a client may send ahead of who reads them: of one request, and of one connection.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of one answer that are kept for a client that does not take them yet; times the requests at once, what one
/// client can make the server hold.
const SEND: usize = 32 * 1024;

/// How often a silent client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// How long a client may take to acknowledge that its connection is to end.
const PARTING: Duration = Duration::from_millis(500);

/// How soon a beginning that came in part is looked at again.
const AGAIN: Duration = Duration::from_millis(2);

/// Requests of one connection that are open.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<Count>>);

struct Count {
    open: usize,
    /// When the last of them ended, or the connection began.
    since: Instant,
}

/// One of them.
struct Held(Open);

/// A service that gets requests in the form of HTTP/1.1, and whose answers are counted until they are over.
struct Leveled<S> {
    service: S,
    open: Open,
}

/// The body of an answer.
struct Counted<B> {
    body: Pin<Box<B>>,
    _held: Held,
}

/// Whether a connection begins as HTTP/2 does. Takes nothing off it.
pub(crate) async fn begins(stream: &TcpStream, within: Duration) -> io::Result<bool> {
    let asked = async {
        let mut first = [0; PREFACE.len()];
        loop {
            let seen = stream.peek(&mut first).await?;
            if seen == 0 || first[..seen] != PREFACE[..seen] {
                return Ok(false);
            }
            if seen == PREFACE.len() {
                return Ok(true);
            }
            // The kernel tells at once that something is there, which is known.
            sleep(AGAIN).await;
        }
    };
    timeout(within, asked).await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing came"))?
}

/// Carries one connection to its end.
pub(crate) async fn serve<T, S, B>(
    stream: T,
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
    let open = Open::default();
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    let service = Leveled { service, open: open.clone() };
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = &mut connection => Some(ended),
        _ = closing.wait_for(|closing| *closing) => None,
        () = open.rests(limits.keep_alive) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // It is over when the client has acknowledged that: whoever never does is not waited for once nothing is open.
            let parting = async {
                sleep(PARTING).await;
                open.rests(PARTING).await;
            };
            tokio::select! {
                ended = &mut connection => ended,
                () = parting => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "an HTTP/2 connection ended early");
    }
}

/// As HTTP/1.1 would have brought it: with `Host`, and one `Cookie`.
fn level(headers: &mut HeaderMap, authority: Option<&str>) {
    if let (false, Some(host)) = (headers.contains_key(HOST), authority.and_then(|one| HeaderValue::from_str(one).ok()))
    {
        headers.insert(HOST, host);
    }
    // Clients may split it for the sake of compression (RFC 9113, 8.2.3).
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(one) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, one);
        }
    }
}

// === impl Open ===

impl Default for Count {
    fn default() -> Self {
        Self { open: 0, since: Instant::now() }
    }
}

impl Open {
    fn hold(&self) -> Held {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open += 1;
        Held(self.clone())
    }

    /// When nothing was open for that long.
    async fn rests(&self, limit: Duration) {
        loop {
            let until = {
                let count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if count.open > 0 { Instant::now() + limit } else { count.since + limit }
            };
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut count = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.open -= 1;
        count.since = Instant::now();
    }
}

// === impl Leveled ===

impl<S, B> Service<Request<Incoming>> for Leveled<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Counted<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let held = self.open.hold();
        let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
        level(request.headers_mut(), authority.as_deref());
        let answer = self.service.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Counted { body: Box::pin(body), _held: held })) })
    }
}

// === impl Counted ===

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn after(pieces: &[&[u8]]) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let telling = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                sleep(AGAIN * 3).await;
            }
            client.shutdown().await.unwrap();
        };
        tokio::join!(begins(&server, Duration::from_secs(5)), telling).0.unwrap()
    }

    #[tokio::test]
    async fn the_first_bytes_say_what_is_spoken() {
        assert!(after(&[PREFACE]).await);
        assert!(after(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n", b"more"]).await);
        for other in [&b"GET / HTTP/1.1\r\n"[..], b"PROPFIND / HTTP/1.1\r\n", b"PRI * HTTP/1.1\r\n", b""] {
            assert!(!after(&[other]).await);
        }
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let error = begins(&server, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_request_gets_a_host_and_one_cookie() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        level(&mut headers, Some("words.fn.localhost:8080"));
        assert_eq!(headers[HOST], "words.fn.localhost:8080");
        assert_eq!(headers[COOKIE], "a=1; b=2");
        assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
        headers.insert(HOST, HeaderValue::from_static("other"));
        level(&mut headers, Some("words"));
        assert_eq!(headers[HOST], "other", "whoever looks at both refuses it");
    }

    #[tokio::test]
    async fn a_connection_rests_when_its_last_answer_is_over() {
        let open = Open::default();
        let held = open.hold();
        let limit = Duration::from_millis(30);
        assert!(timeout(limit * 5, open.rests(limit)).await.is_err());
        drop(held);
        let before = Instant::now();
        open.rests(limit).await;
        assert!(before.elapsed() >= limit - Duration::from_millis(5), "{:?}", before.elapsed());
    }
}
