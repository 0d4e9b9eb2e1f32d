//! Which messages go together: in the order in which they came, as many as a batch takes, and none waits for others longer
//! than the window.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What a batch may be.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub size: usize,
    /// Of all messages together; one that is longer goes alone.
    pub bytes: usize,
    pub window: Duration,
}

/// Messages that wait for others.
pub struct Batcher<T> {
    rules: Rules,
    /// Each with its length, and when it came.
    waiting: VecDeque<(T, usize, Instant)>,
}

// === impl Batcher ===

impl<T> Batcher<T> {
    pub fn new(rules: Rules) -> Self {
        Self { rules, waiting: VecDeque::new() }
    }

    pub fn count(&self) -> usize {
        self.waiting.len()
    }

    pub fn push(&mut self, message: T, bytes: usize, now: Instant) {
        self.waiting.push_back((message, bytes, now));
    }

    /// When the oldest has waited long enough.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, _, came)| *came + self.rules.window)
    }

    /// The next batch, if there is one that needs not wait.
    pub fn take(&mut self, now: Instant) -> Option<Vec<T>> {
        let (mut count, mut bytes) = (0, 0usize);
        for (_, length, _) in &self.waiting {
            if count == self.rules.size || count > 0 && bytes.saturating_add(*length) > self.rules.bytes {
                break;
            }
            count += 1;
            bytes = bytes.saturating_add(*length);
        }
        let full = count == self.rules.size || count < self.waiting.len();
        let ready = count > 0 && (full || self.due().is_some_and(|due| due <= now));
        ready.then(|| self.waiting.drain(..count).map(|(message, _, _)| message).collect())
    }

    /// All that wait.
    pub fn drain(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|(message, _, _)| message).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_come_out_once_in_order_and_in_time(
            steps in proptest::collection::vec((0u64..50, 1usize..40), 1..100),
            size in 1usize..10,
            bytes in 1usize..100,
            window in 0u64..100,
        ) {
            let window = Duration::from_millis(window);
            let mut batcher = Batcher::new(Rules { size, bytes, window });
            let mut now = Instant::now();
            let (mut came, mut out) = (Vec::new(), 0);
            for (n, (pause, length)) in steps.iter().enumerate() {
                // Whoever drives it wakes when it is due.
                let then = now + Duration::from_millis(*pause);
                while let Some(due) = batcher.due().filter(|due| *due <= then) {
                    let batch = batcher.take(due.max(now)).expect("what is due comes out");
                    for item in batch {
                        prop_assert_eq!(item, out);
                        out += 1;
                    }
                }
                now = then;
                batcher.push(n, *length, now);
                came.push((now, *length));
                while let Some(batch) = batcher.take(now) {
                    let sum: usize = batch.iter().map(|item| came[*item].1).sum();
                    prop_assert!(batch.len() <= size && (sum <= bytes || batch.len() == 1));
                    for item in batch {
                        prop_assert_eq!(item, out);
                        out += 1;
                    }
                }
                prop_assert!(batcher.due().is_none_or(|due| due > now && due <= now + window));
            }
            out += batcher.drain().len();
            prop_assert_eq!(out, steps.len());
        }
    }

    #[test]
    fn a_batch_waits_for_its_window_unless_it_is_full() {
        let window = Duration::from_secs(1);
        let mut batcher = Batcher::new(Rules { size: 2, bytes: 100, window });
        let now = Instant::now();
        batcher.push('a', 1, now);
        assert_eq!(batcher.take(now), None);
        assert_eq!(batcher.take(now + window), Some(vec!['a']));
        batcher.push('b', 1, now);
        batcher.push('c', 1, now);
        assert_eq!(batcher.take(now), Some(vec!['b', 'c']));
        batcher.push('d', 60, now);
        batcher.push('e', 60, now);
        assert_eq!(batcher.take(now), Some(vec!['d']), "another one would be too much");
        assert_eq!(batcher.count(), 1);
    }
}
