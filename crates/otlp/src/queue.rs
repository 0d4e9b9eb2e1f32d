//! Calls that ended and wait to be sent: as many spans as fit, and no more. Whoever comes when it is full is dropped, and
//! counted: those who made calls never wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::trace::{Finished, Spans};
use tokio::sync::Notify;

use crate::spans::count;

pub struct Queue {
    held: Mutex<Held>,
    /// Most spans.
    limit: usize,
    /// As many are worth sending.
    batch: usize,
    dropped: AtomicU64,
    /// Woken once there is a batch, not with every call.
    pub full: Notify,
}

#[derive(Default)]
struct Held {
    calls: VecDeque<Finished>,
    spans: usize,
}

// === impl Queue ===

impl Queue {
    pub fn new(limit: usize, batch: usize) -> Self {
        Self { held: Mutex::default(), limit, batch, dropped: AtomicU64::new(0), full: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest calls, a batch of spans of them.
    pub fn take(&self) -> Vec<Finished> {
        let mut held = self.held();
        let (mut taken, mut spans) = (Vec::new(), 0);
        while let Some(call) = held.calls.front() {
            let more = count(call);
            if !taken.is_empty() && spans + more > self.batch {
                break;
            }
            spans += more;
            taken.extend(held.calls.pop_front());
        }
        held.spans -= spans;
        taken
    }

    /// Whether another batch is there.
    pub fn has_batch(&self) -> bool {
        self.held().spans >= self.batch
    }

    pub fn spans(&self) -> usize {
        self.held().spans
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Spans for Queue {
    fn put(&self, call: Finished) {
        let more = count(&call);
        let mut held = self.held();
        if held.spans + more > self.limit {
            drop(held);
            self.dropped.fetch_add(more as u64, Ordering::Relaxed);
            return;
        }
        let before = held.spans;
        held.spans += more;
        held.calls.push_back(call);
        let reached = before < self.batch && held.spans >= self.batch;
        drop(held);
        if reached {
            self.full.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::tests::finished;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let one = count(&finished());
        let queue = Queue::new(10 * one, 4 * one);
        for _ in 0..13 {
            queue.put(finished());
        }
        assert_eq!((queue.spans(), queue.dropped()), (10 * one, 3 * one as u64));
        let taken: Vec<_> = std::iter::from_fn(|| Some(queue.take().len()).filter(|taken| *taken > 0)).collect();
        assert_eq!((taken, queue.spans()), (vec![4, 4, 2], 0));
    }

    #[test]
    fn a_call_of_more_spans_than_a_batch_goes_alone() {
        let queue = Queue::new(100, 1);
        queue.put(finished());
        assert_eq!(queue.take().len(), 1);
    }
}
