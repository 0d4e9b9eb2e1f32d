//! How long idle times of a function are, and when an instance is therefore worth its memory.
//!
//! A histogram of idle times for each function, as in "Serverless in the Wild" (Shahrad et al., USENIX ATC 2020), that
//! forgets. Where that paper takes two percentiles of it, this takes what is worth most: a cold start has a price in
//! memory × time ([`COLD_PRICE`]), and an instance is kept over just those spans of idle time in which the calls that
//! may come are worth more than holding it. That weighs memory against cold starts as FaasCache does (Fuerst and
//! Sharma, ASPLOS 2021), and it is one rule for all that the paper has cases for: what comes after two hours is
//! dropped and made anew shortly before; what comes at any time is kept for long if it is small and not if it is big;
//! and what nobody knows yet is kept as the [`prior`] says.
//!
//! ```text
//! idle time   0   10 s                4 min        6 min                              4 h
//!             ├─────┼───────────────────┼────────────┼─────────────────────────────────┤
//!             always  gone: few calls     made ahead,  gone: none came so late
//!             kept    come so early       kept
//! ```
//!
//! Bounded: [`BINS`] numbers, and a plan that has at most half as many spans. Idle times shorter than what is always
//! kept are not even counted, so that thousands of calls a second neither cost anything here nor drown what is rare.

use std::time::Duration;

/// An instance is kept this long in any case, seconds: making one costs more than so short a wait.
const ALWAYS: f64 = 10.0;

/// The histogram is in steps of 15 s from [`ALWAYS`] on, then of 30 s, then of a minute.
const FINE: usize = 20;
const MIDDLE: usize = 40;
pub const BINS: usize = 265;

/// What avoiding a cold start is worth: MiB held for a second. An instance of 128 MiB is kept for 34 minutes of idle
/// time for each cold start that this avoids.
const COLD_PRICE: f64 = 256.0 * 1024.0;

/// What making an instance ahead of a call costs, in cold starts: nobody waits for it, but the machine works.
const AHEAD: f64 = 0.03;

/// Past this many idle times all count half, so that the new outweigh the old.
const REMEMBERED: f32 = 256.0;

/// Of each idle time so much is told to lie anywhere within [`SPREAD`] around it; the rest, with [`BESIDE`] in each
/// neighbouring step, is what makes a timer a timer.
const VAGUE: f32 = 0.3;
const SPREAD: f64 = 1.25;
const BESIDE: f32 = 0.33;

/// A span of idle time over which an instance is kept, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub from: f64,
    pub to: f64,
}

/// What was seen, and what follows from it for an instance of so many MiB.
#[derive(Debug, Clone)]
pub struct Times {
    counts: Box<[f32; BINS]>,
    /// Idle times beyond the last step.
    over: f32,
    /// All of them together.
    weight: f32,
    /// How many were seen ever, those always kept for left out.
    seen: u64,
    plan: Vec<Span>,
    /// `seen` when the plan was made, and the MiB that it was made for.
    planned: (u64, f64),
}

/// Where a step begins, seconds; the end of the last one is `edge(BINS)`.
fn edge(bin: usize) -> f64 {
    let steps = |from: usize, width: f64| (bin - from) as f64 * width;
    match bin {
        0..=FINE => ALWAYS + steps(0, 15.0),
        _ if bin <= MIDDLE => edge(FINE) + steps(FINE, 30.0),
        _ => edge(MIDDLE) + steps(MIDDLE, 60.0),
    }
}

/// The longest idle time that is told from others, about four hours.
pub fn range() -> Duration {
    Duration::from_secs_f64(edge(BINS))
}

/// The step that an idle time is in; none if it is always kept for, `BINS` if it is beyond all.
fn bin(seconds: f64) -> Option<usize> {
    if seconds < ALWAYS {
        return None;
    }
    let (fine, middle) = (edge(FINE), edge(MIDDLE));
    let bin = if seconds < fine {
        ((seconds - ALWAYS) / 15.0) as usize
    } else if seconds < middle {
        FINE + ((seconds - fine) / 30.0) as usize
    } else {
        MIDDLE + ((seconds - middle) / 60.0) as usize
    };
    Some(bin.min(BINS))
}

/// What is believed before anything was seen, with the weight of one idle time: that it is as likely to double as it
/// was before, up to the range; and that one in eight or so is longer.
fn prior(bin: usize) -> f64 {
    let octaves = (edge(BINS) / ALWAYS).ln() + 1.0;
    if bin >= BINS { 1.0 / octaves } else { (edge(bin + 1) / edge(bin)).ln() / octaves }
}

/// How likely a call comes within so much more idle time, of a function that nothing is known of.
pub fn unknown(idle: Duration, within: Duration) -> f64 {
    let last = edge(BINS);
    let clamp = |time: Duration| time.as_secs_f64().clamp(ALWAYS, last);
    let (from, to) = (clamp(idle), clamp(idle.saturating_add(within)));
    let (soon, later) = ((to / from).ln(), (last / to).ln() + 1.0);
    soon / (soon + later)
}

// === impl Span ===

impl Span {
    fn holds(&self, seconds: f64) -> bool {
        self.from <= seconds && seconds < self.to
    }
}

// === impl Times ===

impl Times {
    pub fn new(mebibytes: f64) -> Self {
        let counts = Box::new([0.0; BINS]);
        let mut new = Self { counts, over: 0.0, weight: 0.0, seen: 0, plan: Vec::new(), planned: (0, mebibytes) };
        new.replan(mebibytes);
        new
    }

    /// A call came after so long. One that was always kept for teaches nothing.
    pub fn learn(&mut self, idle: Duration, mebibytes: f64) {
        let seconds = idle.as_secs_f64();
        let Some(bin) = bin(seconds) else { return };
        if bin == BINS {
            self.over += 1.0;
        } else {
            self.add(bin, (1.0 - VAGUE) * (1.0 - 2.0 * BESIDE));
            // Below the first step everything is kept for anyway.
            self.add(bin.saturating_sub(1), (1.0 - VAGUE) * BESIDE);
            self.add(bin + 1, (1.0 - VAGUE) * BESIDE);
            self.spread(seconds);
        }
        self.weight += 1.0;
        self.seen = self.seen.saturating_add(1);
        if self.weight >= REMEMBERED {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.over /= 2.0;
            self.weight /= 2.0;
        }
        self.refresh(mebibytes);
    }

    fn add(&mut self, bin: usize, much: f32) {
        match self.counts.get_mut(bin) {
            Some(count) => *count += much,
            None => self.over += much,
        }
    }

    /// [`VAGUE`] of one idle time, evenly over the logarithm of what is near.
    fn spread(&mut self, seconds: f64) {
        let (from, to) = (seconds / SPREAD, seconds * SPREAD);
        let part = |a: f64, b: f64| VAGUE * ((b / a).ln() / (2.0 * SPREAD.ln())).max(0.0) as f32;
        if from < ALWAYS {
            self.add(0, part(from, to.min(ALWAYS)));
        }
        for bin in bin(from).unwrap_or(0)..BINS {
            if edge(bin) >= to {
                return;
            }
            self.add(bin, part(from.max(edge(bin)), to.min(edge(bin + 1))));
        }
        self.over += part(from.max(edge(BINS)), to);
    }

    /// Plans anew once enough has changed: every time at first, then with each sixteenth more.
    pub fn refresh(&mut self, mebibytes: f64) {
        let (seen, planned_for) = self.planned;
        let news = self.seen - seen;
        let other_size = (mebibytes - planned_for).abs() > planned_for / 4.0;
        if other_size || news > 0 && news as f32 >= self.weight / 16.0 {
            self.replan(mebibytes);
        }
    }

    /// The cheapest way through all idle times, from the last step back to the first: in each step an instance is
    /// held, which costs memory for as many as still wait then, or it is not, which costs a cold start for each call
    /// that comes there; and being made again costs something too.
    pub fn replan(&mut self, mebibytes: f64) {
        self.planned = (self.seen, mebibytes);
        let size = mebibytes.clamp(1.0, 1e6);
        let mut left = f64::from(self.over) + prior(BINS);
        // The cost from here on, of one that is held when it gets here, and of one that is not.
        let (mut held, mut gone) = (0.0_f64, 0.0_f64);
        let (mut stays, mut returns) = ([false; BINS], [false; BINS]);
        for bin in (0..BINS).rev() {
            let come = f64::from(self.counts[bin]) + prior(bin);
            let hold = size * (edge(bin + 1) - edge(bin)) * (left + come / 2.0) + held;
            let miss = COLD_PRICE * come + gone;
            left += come;
            let again = hold + AHEAD * COLD_PRICE * left;
            (stays[bin], returns[bin]) = (hold <= miss, again < miss);
            (held, gone) = (hold.min(miss), again.min(miss));
        }
        self.plan.clear();
        let mut from = Some(0.0);
        for bin in 0..BINS {
            from = match from {
                Some(since) if !stays[bin] => {
                    self.plan.push(Span { from: since, to: edge(bin) });
                    None
                }
                None if returns[bin] => Some(edge(bin)),
                as_before => as_before,
            };
        }
        self.plan.extend(from.map(|since| Span { from: since, to: edge(BINS) }));
    }

    /// The spans of idle time over which an instance is kept: the first begins at nought.
    pub fn plan(&self) -> &[Span] {
        &self.plan
    }

    /// Whether there shall be an instance after so much idle time, and when that changes.
    pub fn at(&self, idle: Duration) -> (bool, Option<Duration>) {
        let seconds = idle.as_secs_f64();
        let kept = self.plan.iter().any(|span| span.holds(seconds));
        let bounds = self.plan.iter().flat_map(|span| [span.from, span.to]);
        // Rounded up, so that it has changed when that time has come.
        let next = bounds.filter(|bound| *bound > seconds).min_by(f64::total_cmp);
        (kept, next.map(|bound| Duration::from_secs_f64(bound) + Duration::from_millis(1)))
    }

    /// How likely a call comes within so much more idle time.
    pub fn chance(&self, idle: Duration, within: Duration) -> f64 {
        let step = |time: Duration| bin(time.as_secs_f64()).unwrap_or(0).min(BINS);
        let (from, to) = (step(idle), step(idle.saturating_add(within)));
        let come = |bin: usize| f64::from(self.counts[bin]) + prior(bin);
        let soon: f64 = (from..to).map(come).sum();
        let later: f64 = (to..BINS).map(come).sum::<f64>() + f64::from(self.over) + prior(BINS);
        soon / (soon + later)
    }

    /// How many idle times were seen, those too short to matter left out.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn taught(mebibytes: f64, idle: &[f64]) -> Times {
        let mut times = Times::new(mebibytes);
        idle.iter().for_each(|idle| times.learn(seconds(*idle), mebibytes));
        times
    }

    proptest! {
        #[test]
        fn whatever_is_seen_the_plan_is_in_order_and_bounded(
            idle in prop::collection::vec(prop_oneof![0.0..30.0f64, 0.0..20_000.0f64, Just(1e15)], 0..400),
            mebibytes in prop_oneof![0.0..20_000.0f64, Just(0.0), Just(1e300)],
            probe in 0.0..20_000.0f64,
        ) {
            let times = taught(mebibytes, &idle);
            let plan = times.plan();
            prop_assert!(plan[0].from == 0.0 && plan[0].to >= ALWAYS);
            prop_assert!(plan.len() <= BINS / 2 + 1);
            prop_assert!(plan.iter().all(|span| span.from < span.to && span.to <= edge(BINS)));
            prop_assert!(plan.windows(2).all(|two| two[0].to < two[1].from));
            let (kept, next) = times.at(seconds(probe));
            if let Some(next) = next {
                prop_assert!(next > seconds(probe));
                prop_assert_ne!(times.at(next).0, kept, "it has changed then");
            } else {
                prop_assert!(!kept, "nothing is kept for ever");
            }
            let chance = times.chance(seconds(probe), seconds(600.0));
            prop_assert!((0.0..=1.0).contains(&chance));
            let sum = times.counts.iter().sum::<f32>() + times.over;
            prop_assert!((sum - times.weight).abs() < 0.05, "nothing gets lost: {} of {}", sum, times.weight);
        }

        #[test]
        fn bigger_instances_are_never_held_for_longer(
            idle in prop::collection::vec(10.0..20_000.0f64, 0..60),
            mebibytes in 1.0..4_000.0f64,
            more in 1.0..10.0f64,
        ) {
            // Each plan made at once: as a whole, for its size.
            let held = |mebibytes: f64| {
                let mut times = taught(mebibytes, &idle);
                times.replan(mebibytes);
                let mut left = f64::from(times.over) + prior(BINS);
                let mut held = 0.0;
                for bin in (0..BINS).rev() {
                    let come = f64::from(times.counts[bin]) + prior(bin);
                    if times.at(seconds(edge(bin))).0 {
                        held += (edge(bin + 1) - edge(bin)) * (left + come / 2.0);
                    }
                    left += come;
                }
                held
            };
            let (small, big) = (held(mebibytes), held(mebibytes * more));
            prop_assert!(big <= small * (1.0 + 1e-9), "{big} > {small}");
        }

        #[test]
        fn every_idle_time_has_its_step(idle in 0.0..30_000.0f64) {
            match bin(idle) {
                None => prop_assert!(idle < ALWAYS),
                Some(BINS) => prop_assert!(idle >= edge(BINS)),
                Some(bin) => prop_assert!(edge(bin) <= idle && idle < edge(bin + 1)),
            }
        }
    }

    #[test]
    fn a_timer_is_let_go_and_made_again_in_time() {
        let times = taught(256.0, &[3600.0; 20]);
        let first = times.plan()[0];
        assert!(first.to < 300.0, "{first:?}");
        assert!(times.at(seconds(3590.0)).0 && !times.at(seconds(1800.0)).0 && !times.at(seconds(4600.0)).0);
        assert!(times.chance(seconds(3500.0), seconds(300.0)) > 0.8);
    }

    #[test]
    fn what_nobody_knows_is_kept_the_longer_the_smaller_it_is() {
        let kept = |mebibytes: f64| Times::new(mebibytes).plan()[0].to;
        assert!((250.0..450.0).contains(&kept(170.0)), "{}", kept(170.0));
        assert!(kept(24.0) > 3600.0 && kept(1024.0) < 60.0);
    }

    #[test]
    fn what_nobody_knows_is_as_likely_as_the_prior_says() {
        let (times, soon) = (Times::new(100.0), seconds(600.0));
        for idle in [10.0, 310.0, 910.0, 7_210.0, 14_410.0, 1e9] {
            let (one, other) = (times.chance(seconds(idle), soon), unknown(seconds(idle), soon));
            assert!((one - other).abs() < 1e-9, "{idle}: {one}, {other}");
        }
    }

    #[test]
    fn what_never_comes_back_is_soon_dropped() {
        assert!(taught(128.0, &[20_000.0; 8]).plan()[0].to < 60.0);
    }

    #[test]
    fn habits_change() {
        let mut times = taught(256.0, &[300.0; 400]);
        assert!(times.at(seconds(300.0)).0 && !times.at(seconds(1200.0)).0);
        for _ in 0..20 {
            times.learn(seconds(1200.0), 256.0);
        }
        assert!(times.at(seconds(1200.0)).0, "{:?}", times.plan());
        for _ in 0..4000 {
            times.learn(seconds(1200.0), 256.0);
        }
        assert!(!times.at(seconds(300.0)).0, "{:?}", times.plan());
    }
}
