//! How often one token may ask: the generic cell rate algorithm, one time for each.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many requests a second in the long run, and as a rule two seconds' worth of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    interval: Duration,
    /// How far ahead of now a token may be.
    ahead: Duration,
}

/// When a token would have been, had its requests come evenly.
#[derive(Debug, Default)]
pub struct Bucket(Mutex<Option<Instant>>);

// === impl Pace ===

impl Pace {
    /// `interval` lies between two requests that come evenly.
    pub fn every(interval: Duration) -> Self {
        Self { interval, ahead: interval.max(Duration::from_secs(2)) }
    }

    /// One a second, and thirty at once.
    pub fn of_failures() -> Self {
        Self { interval: Duration::from_secs(1), ahead: Duration::from_secs(30) }
    }
}

impl Default for Pace {
    /// A thousand a second.
    fn default() -> Self {
        Self::every(Duration::from_millis(1))
    }
}

// === impl Bucket ===

impl Bucket {
    /// Counts a request; or says when it is worth coming back.
    pub fn take(&self, pace: Pace, now: Instant) -> Result<(), Duration> {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.map_or(now, |due| due.max(now)) + pace.interval;
        let over = next.saturating_duration_since(now + pace.ahead);
        if over > Duration::ZERO {
            return Err(over);
        }
        *due = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_at_once_and_the_pace_after_that() {
        let (bucket, now) = (Bucket::default(), Instant::now());
        let pace = Pace::every(Duration::from_millis(100));
        assert!((0..20).all(|_| bucket.take(pace, now).is_ok()));
        assert_eq!(bucket.take(pace, now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(pace, now + Duration::from_millis(60)), Err(Duration::from_millis(40)));
        assert!(bucket.take(pace, now + Duration::from_millis(100)).is_ok());
        assert!(bucket.take(pace, now + Duration::from_millis(100)).is_err());
        assert!(bucket.take(pace, now + Duration::from_secs(100)).is_ok());
    }

    #[test]
    fn a_slow_pace_lets_one_in_at_a_time() {
        let (bucket, now) = (Bucket::default(), Instant::now());
        let pace = Pace::every(Duration::from_secs(60));
        assert!(bucket.take(pace, now).is_ok());
        assert_eq!(bucket.take(pace, now), Err(Duration::from_secs(60)));
    }
}
