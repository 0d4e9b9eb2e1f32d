//! A canary: a new revision that gets a share of the calls first, and what becomes of it. What is decided is decided
//! here, from counts and times alone.
//!
//! ```text
//! deploy --canary ──► runs ──time is over──────────► promoted: all calls
//!                       │ ──too many errors────────► rolled back: a new revision equal to the old one
//!                       └──another deploy, by hand─► over
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Weight;
use crate::function::{Function, duration_text};
use crate::id::{FunctionName, Revision};
use crate::quantity::show_duration;
use crate::time::Timestamp;

/// How a canary is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryRules {
    /// Of the calls without a qualifier, what the new revision gets.
    pub weight: Weight,
    /// After this long without too many errors it gets all.
    #[serde(rename = "for", default = "usual_time", with = "duration_text")]
    pub lasts: Duration,
    /// Over this share of calls that fail it is rolled back.
    #[serde(default = "usual_rate")]
    pub max_error_rate: Weight,
    /// No rate is taken of fewer calls.
    #[serde(default = "usual_calls")]
    pub min_calls: u64,
}

/// A canary that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    pub function: FunctionName,
    /// What served before, and serves the rest.
    pub stable: Function,
    /// The revision that is tried.
    pub revision: Revision,
    /// The same as a published version.
    pub version: u64,
    pub rules: CanaryRules,
    pub since: Timestamp,
}

/// Calls of one revision, and those that failed by the function's own fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    pub errors: u64,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryStep {
    Wait,
    Promote,
    RollBack,
}

/// How a canary is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryEnd {
    Promoted,
    RolledBack,
}

/// The rules cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("canary {key} = {given} is out of range: expected {expected}")]
pub struct InvalidCanary {
    pub key: &'static str,
    pub given: String,
    pub expected: &'static str,
}

fn usual_time() -> Duration {
    Duration::from_secs(300)
}
fn usual_rate() -> Weight {
    Weight(500)
}
fn usual_calls() -> u64 {
    20
}

// === impl CanaryRules ===

impl CanaryRules {
    /// Five minutes, five percent, of twenty calls at least.
    pub fn new(weight: Weight) -> Self {
        Self { weight, lasts: usual_time(), max_error_rate: usual_rate(), min_calls: usual_calls() }
    }

    pub fn validate(&self) -> Result<(), InvalidCanary> {
        let refuse = |key, given, expected| Err(InvalidCanary { key, given, expected });
        if !(1..10_000).contains(&self.weight.parts()) {
            return refuse("weight", self.weight.to_string(), "more than 0% and less than 100%");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)).contains(&self.lasts) {
            return refuse("for", show_duration(self.lasts), "1s to 7d");
        }
        if !(1..=1_000_000).contains(&self.min_calls) {
            return refuse("min_calls", self.min_calls.to_string(), "1 to 1000000");
        }
        Ok(())
    }

    /// What is due after so long, with such calls of the new revision.
    pub fn decide(&self, elapsed: Duration, tally: Tally) -> CanaryStep {
        let too_many = u128::from(tally.errors) * 10_000 > u128::from(tally.calls) * u128::from(self.max_error_rate.0);
        if tally.calls >= self.min_calls && too_many {
            return CanaryStep::RollBack;
        }
        if elapsed < self.lasts {
            return CanaryStep::Wait;
        }
        // Nobody called often enough for a rate: any rate over the limit is then as bad as it will get.
        if too_many { CanaryStep::RollBack } else { CanaryStep::Promote }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(percent: u16, calls: u64) -> CanaryRules {
        CanaryRules { max_error_rate: Weight(percent * 100), min_calls: calls, ..CanaryRules::new(Weight(1000)) }
    }

    #[test]
    fn time_promotes_and_errors_roll_back() {
        let (rules, soon, late) = (rules(5, 20), Duration::from_secs(10), Duration::from_secs(300));
        let tally = |calls, errors| Tally { calls, errors };
        for (elapsed, tally, step) in [
            (soon, tally(0, 0), CanaryStep::Wait),
            (soon, tally(19, 19), CanaryStep::Wait),
            (soon, tally(20, 1), CanaryStep::Wait),
            (soon, tally(20, 2), CanaryStep::RollBack),
            (late, tally(0, 0), CanaryStep::Promote),
            (late, tally(100, 5), CanaryStep::Promote),
            (late, tally(3, 3), CanaryStep::RollBack),
        ] {
            assert_eq!(rules.decide(elapsed, tally), step, "{elapsed:?} {tally:?}");
        }
    }

    proptest! {
        #[test]
        fn it_never_promotes_early_nor_keeps_a_bad_one(
            percent in 0u16..=100, least in 1u64..1000, calls in 0u64..10_000, failed in 0u64..10_000, secs in 0u64..600,
        ) {
            let (rules, errors) = (rules(percent, least), failed.min(calls));
            let step = rules.decide(Duration::from_secs(secs), Tally { calls, errors });
            let bad = errors * 100 > calls * u64::from(percent);
            prop_assert!(step != CanaryStep::Promote || secs >= 300 && !bad);
            prop_assert_eq!(step == CanaryStep::RollBack, bad && (calls >= least || secs >= 300));
            prop_assert_eq!(step == CanaryStep::Wait, secs < 300 && !(bad && calls >= least));
        }

        #[test]
        fn one_more_error_never_saves_it(calls in 1u64..10_000, failed in 0u64..10_000, secs in 0u64..600) {
            let (rules, errors, elapsed) = (rules(5, 20), failed.min(calls - 1), Duration::from_secs(secs));
            if rules.decide(elapsed, Tally { calls, errors }) == CanaryStep::RollBack {
                let worse = Tally { calls, errors: errors + 1 };
                prop_assert_eq!(rules.decide(elapsed, worse), CanaryStep::RollBack);
            }
        }
    }

    #[test]
    fn rules_that_cannot_be_kept_are_refused_by_their_key() {
        assert_eq!(rules(5, 20).validate(), Ok(()));
        let bad = |change: fn(&mut CanaryRules)| {
            let mut rules = rules(5, 20);
            change(&mut rules);
            rules.validate().unwrap_err().key
        };
        assert_eq!(bad(|rules| rules.weight = Weight(0)), "weight");
        assert_eq!(bad(|rules| rules.weight = Weight(10_000)), "weight");
        assert_eq!(bad(|rules| rules.lasts = Duration::ZERO), "for");
        assert_eq!(bad(|rules| rules.min_calls = 0), "min_calls");
    }
}
