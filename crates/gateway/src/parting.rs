//! How a server leaves its doors to a successor: who is still within, and who shall come anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::service::Service;

/// Shared by the listeners of one server.
#[derive(Debug, Clone, Default)]
pub struct Parting(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests that have no answer yet.
    unanswered: AtomicUsize,
    /// Connections that have changed their protocol.
    changed: AtomicUsize,
    farewell: AtomicBool,
    /// How long open requests may take, milliseconds; 0: as the limits say.
    drain: AtomicU64,
}

/// Counts a request until it is answered.
struct Unanswered(Parting);

/// Counts a connection that has changed its protocol, until it is over.
pub(crate) struct Changed(Parting);

/// A service whose requests are counted.
#[derive(Clone)]
pub(crate) struct Counting<S> {
    pub service: S,
    pub parting: Parting,
}

// === impl Parting ===

impl Parting {
    /// From now on each answer over HTTP/1.1 is the last on its connection: the client's next request comes over a new one,
    /// and none is sent into a connection that is being closed.
    pub fn bid_farewell(&self) {
        self.0.farewell.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_farewell(&self) -> bool {
        self.0.farewell.load(Ordering::SeqCst)
    }

    /// Requests whose answer has not begun.
    pub fn unanswered(&self) -> usize {
        self.0.unanswered.load(Ordering::SeqCst)
    }

    /// Connections that have changed their protocol, and are no requests any more: WebSockets.
    pub fn changed(&self) -> usize {
        self.0.changed.load(Ordering::SeqCst)
    }

    pub(crate) fn change(&self) -> Changed {
        self.0.changed.fetch_add(1, Ordering::SeqCst);
        Changed(self.clone())
    }

    /// Gives open requests this long to end, once the listeners are to.
    pub fn set_drain(&self, limit: Duration) {
        self.0.drain.store(limit.as_millis().max(1) as u64, Ordering::SeqCst);
    }

    pub(crate) fn drain(&self, usual: Duration) -> Duration {
        match self.0.drain.load(Ordering::SeqCst) {
            0 => usual,
            millis => Duration::from_millis(millis),
        }
    }

    fn count(&self) -> Unanswered {
        self.0.unanswered.fetch_add(1, Ordering::SeqCst);
        Unanswered(self.clone())
    }
}

/// Limits are compared without it.
impl PartialEq for Parting {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Parting {}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.0.unanswered.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.0.0.changed.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Counting ===

impl<S, I, B> Service<Request<I>> for Counting<S>
where
    S: Service<Request<I>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn call(&self, request: Request<I>) -> Self::Future {
        let counted = self.parting.count();
        let closes = request.version() <= Version::HTTP_11;
        let answer = self.service.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            let changes = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
            if closes && !changes && counted.0.is_farewell() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}
