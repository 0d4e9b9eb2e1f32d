//! Percentiles, and ratios of two samples with a bootstrap interval. Pure: the random numbers come in.

/// Resamples per interval: at 2,000 the interval's ends move by less than its own width's hundredth or so.
const RESAMPLES: usize = 2_000;

/// A small generator (SplitMix64): good enough to shuffle and to resample, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// A ratio, and where it lies with 95% confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// One figure of two samples: the statistic of each, and their ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    pub ours: f64,
    pub theirs: f64,
    pub ratio: Estimate,
}

/// The smallest value such that `percent` of the values are not above it (nearest rank). Reorders the slice.
///
/// # Panics
/// On an empty slice.
pub fn percentile(values: &mut [f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    let index = rank.clamp(1, values.len()) - 1;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

pub fn mean(values: &mut [f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub fn min(values: &mut [f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Compares both sides of `pairs` by `statistic`. Pairs are resampled whole: what disturbed the machine disturbed
/// both halves of a pair, and stays together.
///
/// # Panics
/// Without pairs.
pub fn compare(pairs: &[(f64, f64)], random: &mut Random, statistic: impl Fn(&mut [f64]) -> f64) -> Compared {
    let (mut ours, mut theirs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (our_figure, their_figure) = (statistic(&mut ours), statistic(&mut theirs));
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for (a, b) in ours.iter_mut().zip(&mut theirs) {
                (*a, *b) = pairs[random.below(pairs.len())];
            }
            statistic(&mut ours) / statistic(&mut theirs)
        })
        .collect();
    let ratio = Estimate {
        value: our_figure / their_figure,
        low: percentile(&mut ratios, 2.5),
        high: percentile(&mut ratios, 97.5),
    };
    Compared { ours: our_figure, theirs: their_figure, ratio }
}

/// Where `statistic` of `samples` lies, by resampling them whole.
///
/// # Panics
/// Without samples.
pub fn bootstrap<T: Clone>(samples: &[T], random: &mut Random, statistic: impl Fn(&[T]) -> f64) -> Estimate {
    let mut again = samples.to_vec();
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for one in &mut again {
                one.clone_from(&samples[random.below(samples.len())]);
            }
            statistic(&again)
        })
        .collect();
    Estimate { value: statistic(samples), low: percentile(&mut values, 2.5), high: percentile(&mut values, 97.5) }
}

/// The median of a few runs, and the least and the most of them: too few for an interval that means anything.
///
/// # Panics
/// Without values.
pub fn range(values: &[f64]) -> Estimate {
    let mut values = values.to_vec();
    let value = percentile(&mut values, 50.0);
    Estimate { value, low: min(&mut values), high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max) }
}

// === impl Random ===

impl Random {
    /// One that repeats itself.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by the clock: the order of measurements shall not repeat.
    pub fn from_clock() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self::new(since.map_or(0, |since| since.as_nanos() as u64))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`, by multiplication: no division, and a bias far below what is measured here.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// The numbers below `count`, in random order.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }

    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 50.0), 50.0);
        assert_eq!(percentile(&mut values, 99.0), 99.0);
        assert_eq!(percentile(&mut values, 100.0), 100.0);
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut [7.0], 50.0), 7.0);
        assert_eq!(percentile(&mut [3.0, 1.0, 2.0], 50.0), 2.0);
    }

    #[test]
    fn random_numbers_fill_their_range_evenly() {
        let mut random = Random::new(1);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[random.below(10)] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        let mut order = random.order(10);
        order.sort_unstable();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
        let heads = (0..10_000).filter(|_| random.coin()).count();
        assert!((4_800..5_200).contains(&heads), "{heads}");
    }

    #[test]
    fn a_constant_ratio_has_an_interval_of_no_width() {
        let pairs = [(2.0, 1.0); 30];
        let got = compare(&pairs, &mut Random::new(2), mean);
        assert_eq!(got.ratio, Estimate { value: 2.0, low: 2.0, high: 2.0 });
        assert_eq!((got.ours, got.theirs), (2.0, 1.0));
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let mut random = Random::new(3);
        let mut uniform = |low: f64| low + random.below(1_000_000) as f64 / 1e6;
        let mut covered = 0;
        for seed in 0..200 {
            // Means 2.5 and 1.5.
            let pairs: Vec<_> = (0..60).map(|_| (uniform(2.0), uniform(1.0))).collect();
            let ratio = compare(&pairs, &mut Random::new(seed), mean).ratio;
            assert!(ratio.low <= ratio.value && ratio.value <= ratio.high);
            covered += usize::from(ratio.low <= 2.5 / 1.5 && 2.5 / 1.5 <= ratio.high);
        }
        assert!((178..=199).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn a_difference_of_means_has_its_interval() {
        let mut random = Random::new(5);
        let samples: Vec<_> = (0..60).map(|_| (random.below(100) as f64, random.below(100) as f64 - 20.0)).collect();
        let mean = |of: fn(&(f64, f64)) -> f64, all: &[(f64, f64)]| all.iter().map(of).sum::<f64>() / all.len() as f64;
        let got = bootstrap(&samples, &mut random, |all| mean(|one| one.0, all) - mean(|one| one.1, all));
        assert!(got.low < 20.0 && 20.0 < got.high && got.high - got.low < 50.0, "{got:?}");
        assert_eq!(range(&[3.0, 1.0, 2.0]), Estimate { value: 2.0, low: 1.0, high: 3.0 });
    }

    #[test]
    fn the_median_ignores_what_happens_rarely() {
        let mut pairs = vec![(3.0, 2.0); 50];
        pairs[7] = (900.0, 2.0);
        let got = compare(&pairs, &mut Random::new(4), |values| percentile(values, 50.0));
        assert_eq!(got.ratio, Estimate { value: 1.5, low: 1.5, high: 1.5 });
        assert_eq!(compare(&pairs, &mut Random::new(4), min).ours, 3.0);
    }
}
