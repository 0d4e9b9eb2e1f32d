//! Which of several isolations a call runs on, where a function names more than one.

/// Coprime with 100, near the golden ratio of it: calls one after the other land far apart.
const STRIDE: u64 = 61;

/// The place in `shares` that call number `call` goes to. The shares are percent and sum up to 100: of any 100 calls in
/// a row, each place gets exactly its share.
pub fn pick(call: u64, shares: impl IntoIterator<Item = u8>) -> usize {
    let mut point = (call % 100 * STRIDE % 100) as u8;
    let mut last = 0;
    for (place, share) in shares.into_iter().enumerate() {
        if point < share {
            return place;
        }
        point -= share;
        last = place;
    }
    last
}

/// Splits a number by shares, which are percent and sum up to 100: to the last one, and if it suffices with one for each.
pub fn split(total: u32, shares: &[u8]) -> Vec<u32> {
    let exact = |share: u8| u64::from(total) * u64::from(share);
    let mut parts: Vec<u32> = shares.iter().map(|share| (exact(*share) / 100) as u32).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(exact(shares[*place]) % 100));
    let left = total.saturating_sub(parts.iter().sum());
    for place in order.into_iter().cycle().take(left as usize) {
        parts[place] += 1;
    }
    if total as usize >= shares.len() {
        while let Some(none) = parts.iter().position(|part| *part == 0) {
            let most = (0..parts.len()).max_by_key(|place| parts[*place]).unwrap_or(none);
            parts[most] -= 1;
            parts[none] += 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn of_a_hundred_calls_in_a_row_each_gets_its_share(from in 0u64..u64::MAX - 100, a in 1u8..99, b in 1u8..99) {
            prop_assume!(a + b < 100);
            let shares = [a, b, 100 - a - b];
            let mut got = [0u8; 3];
            for call in from..from + 100 {
                got[pick(call, shares)] += 1;
            }
            prop_assert_eq!(got, shares);
        }
    }

    proptest! {
        #[test]
        fn a_split_is_exact_and_leaves_nobody_without(total in 0u32..10_000, a in 1u8..99, b in 1u8..99) {
            prop_assume!(a + b < 100);
            let shares = [a, b, 100 - a - b];
            let parts = split(total, &shares);
            prop_assert_eq!(parts.iter().sum::<u32>(), total);
            for (part, share) in parts.iter().zip(shares) {
                let exact = f64::from(total) * f64::from(share) / 100.0;
                prop_assert!((f64::from(*part) - exact).abs() <= 2.0, "{:?} of {} for {:?}", parts, total, shares);
                prop_assert!(*part > 0 || total < 3);
            }
        }
    }

    #[test]
    fn a_small_share_is_spread_out() {
        let hits: Vec<u64> = (0..1000).filter(|call| pick(*call, [90, 10]) == 1).collect();
        assert!(hits.windows(2).all(|pair| pair[1] - pair[0] >= 3), "{hits:?}");
    }
}
