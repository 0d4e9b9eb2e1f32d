//! Reads a request's body whole: bounded in size, in time, and in what all bodies together may hold.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use crate::limits::Limits;

/// How much of a body that is too large is still taken, and for how long.
const DISCARD_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    /// The client was too slow.
    Slow,
    /// Not HTTP, or the client went away.
    Broken,
    /// All memory for bodies is in use.
    NoMemory,
}

/// Counts the bytes of all bodies held.
#[derive(Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// A body's share of the budget, returned when dropped.
pub(crate) struct Reserved {
    budget: Budget,
    bytes: usize,
}

/// A payload with its share.
struct Counted {
    bytes: Bytes,
    _reserved: Reserved,
}

// === impl Budget ===

impl Budget {
    pub fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }

    fn nothing(&self) -> Reserved {
        Reserved { budget: self.clone(), bytes: 0 }
    }
}

// === impl Reserved ===

impl Reserved {
    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.bytes += bytes;
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.budget.max { Err(BodyError::NoMemory) } else { Ok(()) }
    }

    /// A payload that holds its share until its last owner lets go: the engine may be that, long after the client
    /// has gone.
    pub fn hold(mut self, bytes: Bytes) -> Result<Bytes, BodyError> {
        // Without a body the event is small and bounded by the head: not worth counting on a warm call.
        if self.bytes == 0 {
            return Ok(bytes);
        }
        // As an event it may have become longer than what was read.
        self.grow(bytes.len().saturating_sub(self.bytes))?;
        Ok(Bytes::from_owner(Counted { bytes, _reserved: self }))
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads at most `max` bytes. A body that came in one piece is passed on without a copy.
pub(crate) async fn read<B>(
    body: B,
    max: usize,
    limits: &Limits,
    budget: &Budget,
) -> Result<(Bytes, Reserved), BodyError>
where
    B: Body<Data = Bytes>,
{
    let mut reserved = budget.nothing();
    if body.is_end_stream() {
        return Ok((Bytes::new(), reserved));
    }
    let announced = body.size_hint().lower();
    let mut body = pin!(body);
    if announced > max as u64 {
        discard(body).await;
        return Err(BodyError::TooLarge);
    }
    let mut first = Bytes::new();
    let mut whole: Vec<u8> = Vec::new();
    let end = Instant::now() + limits.body_time;
    loop {
        let until = end.min(Instant::now() + limits.body_idle);
        let frame = timeout_at(until, body.frame()).await.map_err(|_| BodyError::Slow)?;
        // Trailers are read and dropped: nothing in an event has a place for them.
        let data = match frame {
            None => break,
            Some(Err(_)) => return Err(BodyError::Broken),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if data.len() > max - first.len() - whole.len() {
            drop((first, whole, reserved));
            discard(body).await;
            return Err(BodyError::TooLarge);
        }
        reserved.grow(data.len())?;
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                // The announced length is the client's word: no more than a mebibyte on credit.
                whole.reserve((announced as usize).min(1 << 20));
                whole.extend_from_slice(&first);
                first = Bytes::new();
            }
            whole.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok((if whole.is_empty() { first } else { whole.into() }, reserved))
}

/// Reads on for a while and keeps nothing. A client that is still sending when the connection closes sees a
/// reset, and never the answer that says why.
async fn discard<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let end = Instant::now() + DISCARD_TIME;
    let mut left = DISCARD_BYTES;
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_keeps_its_share_until_its_last_owner_lets_go() {
        let budget = Budget::new(10);
        let mut reserved = budget.nothing();
        reserved.grow(6).unwrap();
        let payload = reserved.hold(Bytes::from_static(b"12345678")).unwrap();
        let elsewhere = payload.clone();
        drop(payload);
        assert_eq!(budget.used.load(Ordering::Relaxed), 8, "as an event it is longer than what was read");
        assert_eq!(budget.nothing().grow(3), Err(BodyError::NoMemory));
        drop(elsewhere);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
