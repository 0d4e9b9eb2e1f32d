//! The callers that wait for an instance of one function, first come first served, and who need not begin to wait.
//!
//! How long somebody will wait is judged by how fast the line moved of late. Who would wait in vain is told so at once, and
//! after it has never been empty for as long as one may wait, so is who would wait for more than a moment: a burst is for the
//! line to take up, but a line that stands makes every call late and none more likely. That is the idea of CoDel (Nichols and
//! Jacobson, "Controlling Queue Delay", 2012), as Facebook has it for its servers (Maurer, "Fail at Scale", 2015).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is a moment.
const MOMENT: Duration = Duration::from_secs(1);

/// Younger lines are not judged: instances that began together end together.
const YOUNG: Duration = Duration::from_secs(1);

/// After so long what was seen counts half, seconds.
const HALF_LIFE: f64 = 2.0;

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Debug)]
pub struct Line<W> {
    waiters: VecDeque<(Ticket, W)>,
    tickets: u64,
    pace: Option<Pace>,
}

/// How a line moves.
#[derive(Debug)]
struct Pace {
    /// Since when somebody has always waited.
    since: Instant,
    /// When it last moved, or began.
    last: Instant,
    /// Waiters that were served, and the seconds that it took: both fade.
    served: f64,
    seconds: f64,
}

// === impl Line ===

impl<W> Line<W> {
    pub fn new() -> Self {
        Self { waiters: VecDeque::new(), tickets: 0, pace: None }
    }

    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether one more would wait in vain, who may wait for `patience`.
    pub fn is_hopeless(&self, patience: Duration, now: Instant) -> bool {
        let Some(pace) = &self.pace else { return false };
        let Some(gap) = pace.gap(now) else { return false };
        let stands = now.saturating_duration_since(pace.since) >= patience;
        // The last of those who are let in shall be served in time, also where it goes a little slower from now on.
        let most = if stands { MOMENT.min(patience) } else { patience.mul_f64(0.8) };
        gap * (self.len() + 1) as f64 > most.as_secs_f64()
    }

    pub fn join(&mut self, waiter: W, now: Instant) -> Ticket {
        self.pace.get_or_insert(Pace { since: now, last: now, served: 0.0, seconds: 0.0 });
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiters.push_back((ticket, waiter));
        ticket
    }

    /// The waiter whose turn it is.
    pub fn next(&mut self, now: Instant) -> Option<W> {
        let (_, waiter) = self.waiters.pop_front()?;
        if let Some(pace) = &mut self.pace {
            pace.moved(now);
        }
        self.look();
        Some(waiter)
    }

    /// How many are before somebody; none who is not in line.
    pub fn place(&self, ticket: Ticket) -> Option<usize> {
        self.waiters.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
    }

    /// Somebody gave up.
    pub fn leave(&mut self, place: usize) {
        self.waiters.remove(place);
        self.look();
    }

    pub fn drain(&mut self) -> impl Iterator<Item = W> {
        self.pace = None;
        self.waiters.drain(..).map(|(_, waiter)| waiter)
    }

    /// The next line is another one: what the function does then may take another time.
    fn look(&mut self) {
        if self.waiters.is_empty() {
            self.pace = None;
        }
    }
}

// === impl Pace ===

impl Pace {
    fn moved(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        let fade = (-passed / HALF_LIFE).exp2();
        self.served = self.served * fade + 1.0;
        self.seconds = self.seconds * fade + passed;
        self.last = now;
    }

    /// Seconds from one to the next, as far as that is known.
    fn gap(&self, now: Instant) -> Option<f64> {
        let old = now.saturating_duration_since(self.since) >= YOUNG;
        (old && self.served > 0.0).then(|| self.seconds / self.served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A function that serves `served` a second, asked `asked` times a second. Who was let in, how long the last one of
    /// them waited, and who left in vain, in each second.
    fn simulate(served: u32, asked: u32, seconds: u32) -> Vec<(u32, Duration, u32)> {
        let begun = Instant::now();
        let mut line = Line::new();
        let mut found = vec![(0, Duration::ZERO, 0); seconds as usize];
        let steps = 1000;
        for step in 0..seconds * steps {
            let now = begun + Duration::from_secs(1) * step / steps;
            let second = &mut found[(step / steps) as usize];
            // Those whose patience is over.
            while line.waiters.front().is_some_and(|(_, came)| now >= *came + PATIENCE) {
                line.leave(0);
                second.2 += 1;
            }
            if (step * served) % steps < served
                && let Some(came) = line.next(now)
            {
                second.1 = second.1.max(now - came);
            }
            if (step * asked) % steps < asked && !line.is_hopeless(PATIENCE, now) {
                line.join(now, now);
                second.0 += 1;
            }
        }
        found
    }

    #[test]
    fn nobody_is_refused_who_will_be_served() {
        for (_, _, vain) in simulate(50, 45, 60) {
            assert_eq!(vain, 0);
        }
        let let_in: u32 = simulate(50, 45, 60).iter().map(|(let_in, ..)| let_in).sum();
        assert_eq!(let_in, 45 * 60);
    }

    #[test]
    fn under_ten_times_the_load_nobody_waits_in_vain_and_soon_nobody_waits_long() {
        let found = simulate(40, 400, 60);
        assert_eq!(found.iter().map(|(_, _, vain)| vain).sum::<u32>(), 0);
        for (second, (_, waited, _)) in found.iter().enumerate().skip(20) {
            assert!(*waited <= Duration::from_millis(1100), "{waited:?} in second {second}");
        }
        // As many are let in as can be served.
        let late: u32 = found[30..].iter().map(|(let_in, ..)| let_in).sum();
        assert!((40 * 29..=40 * 31).contains(&late), "{late}");
    }

    #[test]
    fn a_burst_that_can_be_served_in_time_is_let_in() {
        let begun = Instant::now();
        let mut line = Line::new();
        for _ in 0..300 {
            assert!(!line.is_hopeless(PATIENCE, begun));
            line.join((), begun);
        }
        // Fifty a second: the next one is served after six.
        for n in 1..=100 {
            line.next(begun + Duration::from_millis(20) * n);
        }
        let now = begun + Duration::from_secs(2);
        assert!(!line.is_hopeless(PATIENCE, now));
        assert!(line.is_hopeless(Duration::from_secs(4), now));
    }

    #[test]
    fn who_gave_up_has_no_place() {
        let now = Instant::now();
        let mut line = Line::new();
        let tickets = [1, 2, 3].map(|n| line.join(n, now));
        line.leave(line.place(tickets[1]).unwrap());
        assert_eq!(tickets.map(|ticket| line.place(ticket)), [Some(0), None, Some(1)]);
        assert_eq!(line.next(now), Some(1));
        assert_eq!(line.drain().collect::<Vec<_>>(), [3]);
        assert_eq!(line.len(), 0);
    }
}
