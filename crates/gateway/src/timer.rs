//! The timer of one connection, as the HTTP parser wants it.
//!
//! The parser makes a timer when a response is out and drops it when the next request comes: each time Tokio would take
//! a lock twice, and wake the thread that waits for the earliest timer. Here one timer lives as long as the connection
//! and is put off, which costs nothing. It may fire when nobody waits for it; then its task looks around once, in vain.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::time::sleep_until;

/// Serves one connection, which waits for one thing at a time.
#[derive(Clone, Default)]
pub(crate) struct ConnectionTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

struct Until {
    deadline: Instant,
    timer: ConnectionTimer,
}

// === impl ConnectionTimer ===

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline, timer: self.clone() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

// === impl Until ===

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.into();
        let mut timer = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sleep = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

impl Sleep for Until {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_wait_ends_at_its_own_time() {
        let timer = ConnectionTimer::default();
        for millis in [50, 20, 70, 70] {
            let begun = timer.now();
            // One that is dropped ends nothing.
            drop(timer.sleep(Duration::from_millis(1)));
            timer.sleep(Duration::from_millis(millis)).await;
            assert!(timer.now() - begun >= Duration::from_millis(millis));
        }
    }

    #[tokio::test]
    async fn a_timer_that_fired_for_nobody_still_serves() {
        let timer = ConnectionTimer::default();
        let mut dropped = timer.sleep(Duration::from_millis(5));
        let polled = std::future::poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        drop(dropped);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let begun = timer.now();
        timer.sleep(Duration::from_millis(20)).await;
        assert!(timer.now() - begun >= Duration::from_millis(20));
    }
}
