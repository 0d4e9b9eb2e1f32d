//! The body of a request on its way: how much of it the function's server took, and when it did last.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::web::WebBody;

/// Shared between a body and who waits for the answer.
#[derive(Clone)]
pub struct Progress(Arc<Inner>);

struct Inner {
    begun: Instant,
    bytes: AtomicU64,
    /// When something was taken last, microseconds after the beginning.
    last: AtomicU64,
    /// Its client did not send it to its end.
    broke: AtomicBool,
}

struct Upload {
    body: WebBody,
    progress: Progress,
}

impl Progress {
    pub fn new() -> Self {
        let (bytes, last, broke) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Inner { begun: Instant::now(), bytes, last, broke }))
    }

    /// A body that is watched.
    pub fn of(&self, body: WebBody) -> WebBody {
        Upload { body, progress: self.clone() }.boxed_unsync()
    }

    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub fn broke(&self) -> bool {
        self.0.broke.load(Ordering::Relaxed)
    }

    /// The time counts from now.
    pub fn restart(&self) {
        self.0.last.store(self.0.begun.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// Waits until nothing was taken for that long: as long as a request comes in, its function is not slow.
    pub async fn rests(&self, limit: Duration) {
        loop {
            let until = self.0.begun + Duration::from_micros(self.0.last.load(Ordering::Relaxed)) + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.progress.0.broke.store(true, Ordering::Relaxed);
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let inner = &self.progress.0;
            inner.bytes.fetch_add(frame.data_ref().map_or(0, |data| data.len() as u64), Ordering::Relaxed);
            inner.last.store(inner.begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
