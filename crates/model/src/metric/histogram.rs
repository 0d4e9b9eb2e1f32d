//! Durations counted in buckets that grow with what they count, so that any two histograms can be added.
//!
//! Below 16 µs every microsecond has its bucket; above, every power of two has 16 of one width. A quantile is the middle
//! of its bucket, so it is at most a 32nd, 3.2%, from a duration that was counted. Only buckets in use are kept; beyond
//! [`MOST`] all are one, which nothing that Hearth runs reaches (12 days).

use super::varint;

/// Buckets of each power of two.
const PARTS: u64 = 16;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Longest duration with a bucket of its own, microseconds.
pub const MOST: u64 = (1 << 40) - 1;

/// How many durations fell where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Number of the bucket and count, in order, none of them zero.
    buckets: Vec<(u16, u64)>,
    count: u64,
    sum: u64,
    max: u64,
}

/// The bucket that a duration belongs to.
fn index(micros: u64) -> u16 {
    let micros = micros.min(MOST);
    if micros < PARTS {
        return micros as u16;
    }
    let exponent = micros.ilog2();
    let part = (micros >> (exponent - PART_BITS)) & (PARTS - 1);
    (u64::from(exponent - PART_BITS + 1) * PARTS + part) as u16
}

/// The smallest duration of a bucket.
fn lowest(index: u16) -> u64 {
    let (power, part) = (u64::from(index) / PARTS, u64::from(index) % PARTS);
    if power == 0 { part } else { (PARTS + part) << (power - 1) }
}

// === impl Histogram ===

impl Histogram {
    pub fn add(&mut self, micros: u64) {
        let bucket = index(micros);
        match self.buckets.binary_search_by_key(&bucket, |(index, _)| *index) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(1),
            Err(at) => self.buckets.insert(at, (bucket, 1)),
        }
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(micros);
        self.max = self.max.max(micros);
    }

    /// Adds all that another one counted. In whatever order that is done, the sum is the same.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let mut merged = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let (mut mine, mut theirs) = (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        loop {
            merged.push(match (mine.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => {
                    let both = (a.0, a.1.saturating_add(b.1));
                    mine.next();
                    theirs.next();
                    both
                }
                (Some(a), Some(b)) if a.0 > b.0 => {
                    let b = **b;
                    theirs.next();
                    b
                }
                (Some(a), _) => {
                    let a = **a;
                    mine.next();
                    a
                }
                (None, Some(b)) => {
                    let b = **b;
                    theirs.next();
                    b
                }
                (None, None) => break,
            });
        }
        self.buckets = merged;
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Of all durations, microseconds, exactly.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest, exactly.
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The duration that so many of all are not above, `part` from 0 to 1; none if nothing was counted.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let rank = ((self.count as f64 * part).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0u64;
        for &(bucket, count) in &self.buckets {
            seen = seen.saturating_add(count);
            if seen >= rank {
                let (low, next) = (lowest(bucket), lowest(bucket + 1));
                return Some((low + (next - 1 - low) / 2).min(self.max));
            }
        }
        None
    }

    /// How many were shorter than a power of two of microseconds, exactly: those are edges of buckets.
    pub fn below(&self, exponent: u32) -> u64 {
        let edge = index(1 << exponent.min(39));
        let shorter = self.buckets.iter().take_while(|(bucket, _)| *bucket < edge);
        shorter.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    pub(super) fn write(&self, into: &mut Vec<u8>) {
        varint::put(into, self.buckets.len() as u64);
        let mut last = 0;
        for &(bucket, count) in &self.buckets {
            varint::put(into, u64::from(bucket - last));
            varint::put(into, count);
            last = bucket;
        }
        if self.count > 0 {
            varint::put(into, self.sum);
            varint::put(into, self.max);
        }
    }

    pub(super) fn read(from: &mut &[u8]) -> Option<Self> {
        let len = varint::take(from)?;
        let mut histogram = Self::default();
        let mut last = 0u16;
        for at in 0..len {
            let bucket = last.checked_add(u16::try_from(varint::take(from)?).ok()?)?;
            let count = varint::take(from)?;
            if bucket > index(MOST) || (at > 0 && bucket == last) || count == 0 {
                return None;
            }
            histogram.buckets.push((bucket, count));
            histogram.count = histogram.count.saturating_add(count);
            last = bucket;
        }
        if histogram.count > 0 {
            histogram.sum = varint::take(from)?;
            histogram.max = varint::take(from)?;
        }
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of all sizes alike.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0u32..40, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1)), 0..200)
    }

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|one| histogram.add(*one));
        histogram
    }

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for bucket in 0..index(MOST) {
            assert_eq!(index(lowest(bucket)), bucket);
            assert_eq!(index(lowest(bucket + 1) - 1), bucket);
        }
        assert_eq!(index(u64::MAX), index(MOST));
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_thirty_second_of_the_exact_one(mut all in durations(), part in 0.0f64..=1.0) {
            let histogram = of(&all);
            all.sort_unstable();
            let rank = ((all.len() as f64 * part).ceil() as usize).clamp(1, all.len().max(1));
            let exact = all.get(rank - 1).copied();
            prop_assert_eq!(histogram.quantile(part).is_some(), exact.is_some());
            if let (Some(exact), Some(found)) = (exact, histogram.quantile(part)) {
                prop_assert!(found.abs_diff(exact) * 32 <= exact, "{found} for {exact}");
            }
            prop_assert_eq!(histogram.max(), all.last().copied());
            prop_assert_eq!(histogram.sum(), all.iter().sum::<u64>());
        }

        #[test]
        fn the_order_of_merging_does_not_matter(a in durations(), b in durations(), c in durations()) {
            let [x, y, z] = [&a, &b, &c].map(|durations| of(durations));
            let merged = |parts: [&Histogram; 2]| { let mut sum = parts[0].clone(); sum.merge(parts[1]); sum };
            prop_assert_eq!(merged([&merged([&x, &y]), &z]), merged([&x, &merged([&y, &z])]));
            prop_assert_eq!(merged([&x, &y]), merged([&y, &x]));
            prop_assert_eq!(merged([&x, &y]), of(&[a, b].concat()));
        }

        #[test]
        fn counts_below_powers_of_two_are_exact(all in durations(), exponent in 0u32..40) {
            let below = all.iter().filter(|one| **one < 1 << exponent).count() as u64;
            prop_assert_eq!(of(&all).below(exponent), below);
        }

        #[test]
        fn what_is_written_is_read(all in durations()) {
            let (histogram, mut bytes) = (of(&all), Vec::new());
            histogram.write(&mut bytes);
            let mut rest = &bytes[..];
            prop_assert_eq!(Histogram::read(&mut rest), Some(histogram));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Histogram::read(&mut &bytes[..]);
        }
    }
}
