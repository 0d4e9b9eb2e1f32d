//! How often one address may fail to log in: five times in a minute, then ever more rarely.
//!
//! Pure: told what time it is. Addresses that failed long ago are forgotten; where there is no room for more, all others
//! share one count.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Failures before one has to wait.
const FREE: u32 = 5;
/// In which they are counted, and the first wait.
const MINUTE: Duration = Duration::from_secs(60);
/// Each further failure doubles the wait, up to this.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Addresses that are counted apart.
const MOST: usize = 4096;

/// All addresses that failed lately.
#[derive(Debug, Default)]
pub struct Attempts {
    failed: HashMap<IpAddr, Failed>,
    rest: Option<Failed>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    count: u32,
    /// Of the first that is counted.
    since: Instant,
    /// Until then nobody is let in.
    until: Instant,
}

// === impl Attempts ===

impl Attempts {
    /// Whether this address may try now; or when it is worth coming back.
    pub fn may(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let failed = match address.map(network) {
            Some(address) if self.failed.contains_key(&address) => self.failed.get(&address),
            Some(_) if self.failed.len() < MOST => None,
            _ => self.rest.as_ref(),
        };
        match failed.map(|failed| failed.until.saturating_duration_since(now)) {
            Some(wait) if wait > Duration::ZERO => Err(wait),
            _ => Ok(()),
        }
    }

    /// It tried, and did not get in.
    pub fn failed(&mut self, address: Option<IpAddr>, now: Instant) {
        self.failed.retain(|_, failed| !failed.is_over(now));
        self.rest = self.rest.filter(|failed| !failed.is_over(now));
        let begun = Failed { count: 0, since: now, until: now };
        let failed = match address.map(network) {
            Some(address) if self.failed.len() < MOST || self.failed.contains_key(&address) => {
                self.failed.entry(address).or_insert(begun)
            }
            _ => self.rest.get_or_insert(begun),
        };
        failed.count = failed.count.saturating_add(1);
        if failed.count >= FREE {
            let doubled = 1 << (failed.count - FREE).min(8);
            failed.until = now + (MINUTE * doubled).min(LONGEST);
        }
    }

    /// It got in: what went wrong before was a slip.
    pub fn succeeded(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.failed.remove(&network(address));
        }
    }
}

// === impl Failed ===

impl Failed {
    /// Whether it is forgotten: few failures after a minute, more of them an hour after the wait.
    fn is_over(&self, now: Instant) -> bool {
        if self.count < FREE { now >= self.since + MINUTE } else { now >= self.until + Duration::from_secs(3600) }
    }
}

/// Whoever has one address of IPv6 has a whole network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn five_a_minute_and_then_ever_more_rarely() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        let one = address("192.0.2.1");
        for _ in 0..5 {
            assert_eq!(attempts.may(one, now), Ok(()));
            attempts.failed(one, now);
        }
        for minutes in [1, 2, 4, 8, 15, 15] {
            let wait = Duration::from_secs(60 * minutes);
            assert_eq!(attempts.may(one, now), Err(wait));
            assert_eq!(attempts.may(address("192.0.2.2"), now), Ok(()), "others are not held up");
            now += wait;
            assert_eq!(attempts.may(one, now), Ok(()));
            attempts.failed(one, now);
        }
        attempts.succeeded(one);
        assert_eq!(attempts.may(one, now), Ok(()));
    }

    #[test]
    fn few_failures_are_forgotten_after_a_minute() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let one = address("192.0.2.1");
        (0..4).for_each(|_| attempts.failed(one, now));
        (0..4).for_each(|_| attempts.failed(one, now + MINUTE));
        assert_eq!(attempts.may(one, now + MINUTE), Ok(()));
    }

    #[test]
    fn many_addresses_take_bounded_room_and_share_what_is_left() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..MOST as u32 + 10 {
            attempts.failed(Some(IpAddr::from(number.to_be_bytes())), now);
        }
        assert_eq!(attempts.failed.len(), MOST);
        assert!(attempts.may(address("203.0.113.9"), now).is_err(), "those without a place share one");
        assert_eq!(attempts.may(Some(IpAddr::from([0, 0, 0, 1])), now), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for host in 1..=5 {
            attempts.failed(address(&format!("2001:db8::{host}")), now);
        }
        assert!(attempts.may(address("2001:db8::99"), now).is_err());
        assert_eq!(attempts.may(address("2001:db8:0:1::1"), now), Ok(()));
    }
}
