//! How often each client address may call a route: the generic cell rate algorithm, one time for each address.
//!
//! An address that has not called for a while costs nothing: its time is in the past, and goes when room is needed. When
//! there is none, all further addresses share one count, so that many of them get no more than one would.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::Rate;

/// Addresses that are counted apart.
const MOST: usize = 16_384;

/// How often room is looked for where there is none.
const SWEEP: Duration = Duration::from_secs(1);

/// The count of one route.
pub struct Limiter {
    since: Instant,
    buckets: Mutex<Buckets>,
}

/// When each address would have been, had its requests come evenly.
#[derive(Debug)]
struct Buckets {
    interval: Duration,
    /// How far ahead of now an address may be.
    ahead: Duration,
    due: HashMap<IpAddr, Duration>,
    /// Of all those for which there is no room.
    rest: Duration,
    swept: Duration,
    most: usize,
}

// === impl Limiter ===

impl Limiter {
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { since: Instant::now(), buckets: Mutex::new(Buckets::new(rate.interval(), burst, MOST)) }
    }

    /// Counts a request; or says when it is worth coming back.
    pub fn take(&self, client: IpAddr) -> Result<(), Duration> {
        let now = self.since.elapsed();
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).take(network(client), now)
    }
}

/// Whoever has one address of IPv6 has a whole network of them.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

// === impl Buckets ===

impl Buckets {
    fn new(interval: Duration, burst: u32, most: usize) -> Self {
        let (due, rest, swept) = (HashMap::new(), Duration::ZERO, Duration::ZERO);
        Self { interval, ahead: interval * burst.saturating_sub(1), due, rest, swept, most }
    }

    fn take(&mut self, client: IpAddr, now: Duration) -> Result<(), Duration> {
        if self.due.len() >= self.most && !self.due.contains_key(&client) && now >= self.swept + SWEEP {
            self.swept = now;
            self.due.retain(|_, due| *due > now);
        }
        let room = self.due.len() < self.most;
        let due = match self.due.get_mut(&client) {
            Some(due) => due,
            None if room => self.due.entry(client).or_default(),
            None => &mut self.rest,
        };
        let at = (*due).max(now);
        let early = at.saturating_sub(now + self.ahead);
        if early > Duration::ZERO {
            return Err(early);
        }
        *due = at + self.interval;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut buckets = Buckets::new(SECOND, 3, 10);
        for _ in 0..3 {
            assert_eq!(buckets.take(client(1), Duration::ZERO), Ok(()));
        }
        assert_eq!(buckets.take(client(1), Duration::ZERO), Err(SECOND));
        assert_eq!(buckets.take(client(2), Duration::ZERO), Ok(()), "another address is another count");
        assert_eq!(buckets.take(client(1), SECOND / 2), Err(SECOND / 2));
        assert_eq!(buckets.take(client(1), SECOND), Ok(()));
        assert_eq!(buckets.take(client(1), SECOND), Err(SECOND));
        for _ in 0..3 {
            assert_eq!(buckets.take(client(1), 100 * SECOND), Ok(()));
        }
    }

    #[test]
    fn many_addresses_take_bounded_room_and_share_what_is_left() {
        let mut buckets = Buckets::new(SECOND, 1, 4);
        let passed = (0..100).filter(|number| buckets.take(client(*number), Duration::ZERO).is_ok()).count();
        assert_eq!((passed, buckets.due.len()), (5, 4));
        // Once their time is over there is room again.
        assert_eq!(buckets.take(client(1000), 2 * SECOND), Ok(()));
        assert_eq!(buckets.due.len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(gaps in proptest::collection::vec(0u64..3000, 1..200), burst in 1u32..10) {
            let mut buckets = Buckets::new(SECOND, burst, 10);
            let mut now = Duration::ZERO;
            let mut passed = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                match buckets.take(client(1), now) {
                    Ok(()) => passed.push(now),
                    // Who comes back then is let in.
                    Err(after) => prop_assert_eq!(Buckets { due: buckets.due.clone(), ..Buckets::new(SECOND, burst, 10) }
                        .take(client(1), now + after), Ok(())),
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    prop_assert!((last - first) as u64 <= u64::from(burst) + (*to - *from).as_secs());
                }
            }
        }
    }
}
