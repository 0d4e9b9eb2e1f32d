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

    #[test]
    fn a_small_share_is_spread_out() {
        let hits: Vec<u64> = (0..1000).filter(|call| pick(*call, [90, 10]) == 1).collect();
        assert!(hits.windows(2).all(|pair| pair[1] - pair[0] >= 3), "{hits:?}");
    }
}
