//! Where the time of one invocation went: stages one after the other, from its receipt to its answer, and the parts of
//! each. They are complete by construction: a stage begins where the one before ended, and what no part accounts for is
//! a part named [`OTHER`]. So the durations add up, and nothing is hidden between the lines.
//!
//! ```text
//! door ─► place ─► turn ─► sandbox ─► set-up ─► runtime ─► init ─► handover ─► handler ─► answer    from nothing
//! door ─► place ─► turn ─► adopt ────────────────────────► init ─► handover ─► handler ─► answer    out of a stem
//! wait ─────────────────────────────────────────────────────────────────────► handler                warm
//! ```
//!
//! `docs/trace.md` says what each means.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// What nobody measured.
pub const OTHER: &str = "other";

/// Most stages of an invocation, and parts of a stage. A record has a size that is known.
pub const MAX_STEPS: usize = 32;

/// The name of a stage or part: most are known to the program, those of old records are read.
pub type StepName = Cow<'static, str>;

/// One stage. Microseconds, counted from the receipt of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub name: StepName,
    pub start_us: u64,
    pub took_us: u64,
    /// In order, and without gaps; none where nobody looked closer.
    pub parts: Vec<Part>,
}

/// A part of a stage, also counted from the receipt of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: StepName,
    pub start_us: u64,
    pub took_us: u64,
}

/// Names and durations alone, in order: the rest follows. This is how it is kept.
pub type Compact = Vec<(StepName, u64, Vec<(StepName, u64)>)>;

/// Puts stages together, in their order.
#[derive(Debug, Default)]
pub struct Waterfall {
    stages: Vec<Stage>,
    end: u64,
}

// === impl Waterfall ===

impl Waterfall {
    /// Adds the stage that ends at `until`. One that had ended before the stage before it took no time, and is not
    /// shown: what a start did before this call came is not this call's.
    pub fn stage(&mut self, name: impl Into<StepName>, until: u64) {
        self.stage_of(name, until, []);
    }

    /// The same, with parts that are known: name, begin and end of each. What is outside the stage is cut off, and
    /// what overlaps is the earlier one's.
    pub fn stage_of(
        &mut self,
        name: impl Into<StepName>,
        until: u64,
        parts: impl IntoIterator<Item = (StepName, u64, u64)>,
    ) {
        let (start, until) = (self.end, until.max(self.end));
        if until == start || self.stages.len() == MAX_STEPS {
            return;
        }
        self.end = until;
        let stage = Stage { name: name.into(), start_us: start, took_us: until - start, parts: vec![] };
        self.stages.push(Stage { parts: fill(start, until, parts), ..stage });
    }

    pub fn into_stages(self) -> Vec<Stage> {
        self.stages
    }
}

/// Makes parts cover all from `start` to `until`; none, if there are none within.
fn fill(start: u64, until: u64, parts: impl IntoIterator<Item = (StepName, u64, u64)>) -> Vec<Part> {
    let mut given: Vec<_> = parts.into_iter().collect();
    given.sort_by_key(|(_, from, _)| *from);
    let mut filled: Vec<Part> = Vec::new();
    let mut end = start;
    let mut put = |end: &mut u64, name: StepName, to: u64| {
        if to > *end {
            filled.push(Part { name, start_us: *end, took_us: to - *end });
            *end = to;
        }
    };
    // The last two places are for what may be left around the last part.
    for (name, from, to) in given.into_iter().take(MAX_STEPS / 2 - 1) {
        let (from, to) = (from.clamp(end, until), to.clamp(end, until));
        if to > from {
            put(&mut end, OTHER.into(), from);
            put(&mut end, name, to);
        }
    }
    if end > start {
        put(&mut end, OTHER.into(), until);
    }
    filled
}

// === impl Stage ===

impl Stage {
    /// When it ended.
    pub fn end_us(&self) -> u64 {
        self.start_us.saturating_add(self.took_us)
    }

    pub fn compact(stages: &[Stage]) -> Compact {
        let part = |part: &Part| (part.name.clone(), part.took_us);
        stages.iter().map(|s| (s.name.clone(), s.took_us, s.parts.iter().map(part).collect())).collect()
    }

    /// What [`Stage::compact`] made small.
    pub fn expand(compact: Compact) -> Vec<Stage> {
        let mut waterfall = Waterfall::default();
        for (name, took, parts) in compact {
            let mut from = waterfall.end;
            let until = from.saturating_add(took);
            let parts: Vec<_> = parts
                .into_iter()
                .map(|(name, took)| {
                    let begun = from;
                    from = from.saturating_add(took);
                    (name, begun, from)
                })
                .collect();
            waterfall.push_filled(name, until, parts);
        }
        waterfall.into_stages()
    }
}

impl Waterfall {
    /// Of parts that were filled before: as many as there are.
    fn push_filled(&mut self, name: StepName, until: u64, parts: Vec<(StepName, u64, u64)>) {
        let parts = parts.into_iter().take(MAX_STEPS);
        let part = |(name, from, to): (StepName, u64, u64)| Part { name, start_us: from, took_us: to - from };
        let before = self.stages.len();
        self.stage(name, until);
        if let Some(stage) = self.stages.get_mut(before) {
            stage.parts = parts.map(part).collect();
        }
    }
}

// === impl Record ===

impl Record {
    /// The waterfall that was measured or, of a warm call and of records of older Hearths, what the record's durations
    /// say; that begins where the engine took the call over, some microseconds after its receipt.
    pub fn waterfall(&self) -> Vec<Stage> {
        if !self.stages.is_empty() {
            return self.stages.clone();
        }
        let mut waterfall = Waterfall::default();
        let start = [self.sandbox_us, self.runtime_us, self.init_us].map(Option::unwrap_or_default);
        let [sandbox, runtime, init] = start;
        let mut until = self.queued_us.saturating_sub(start.into_iter().fold(0, u64::saturating_add));
        waterfall.stage("wait", until);
        let made = if self.stem { "adopt" } else { "sandbox" };
        for (name, took) in [(made, sandbox), ("runtime", runtime), ("init", init), ("handler", self.handler_us)] {
            until = until.saturating_add(took);
            waterfall.stage(name, until);
        }
        waterfall.into_stages()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete(stages: &[Stage], from: u64, until: u64) {
        let mut end = from;
        for stage in stages {
            assert_eq!(stage.start_us, end, "{stages:?}");
            assert!(stage.took_us > 0, "{stages:?}");
            end = stage.end_us();
            let mut inner = stage.start_us;
            for part in &stage.parts {
                assert_eq!(part.start_us, inner, "{stages:?}");
                assert!(part.took_us > 0, "{stages:?}");
                inner += part.took_us;
            }
            assert!(stage.parts.is_empty() || inner == end, "{stages:?}");
            assert!(stage.parts.len() <= MAX_STEPS);
        }
        assert_eq!(end, until, "{stages:?}");
    }

    proptest! {
        #[test]
        fn whatever_was_measured_the_durations_add_up(
            marks in prop::collection::vec((0u64..5_000, prop::collection::vec((0u64..6_000, 0u64..6_000), 0..24)), 0..20),
        ) {
            let mut waterfall = Waterfall::default();
            for (until, parts) in &marks {
                waterfall.stage_of("a", *until, parts.iter().map(|(from, to)| ("p".into(), *from, *to)));
            }
            let stages = waterfall.into_stages();
            complete(&stages, 0, marks.iter().map(|(until, _)| *until).max().unwrap_or(0));
            prop_assert_eq!(Stage::expand(Stage::compact(&stages)), stages);
        }

        #[test]
        fn any_compact_form_can_be_read(steps in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u64>(), 0..40)), 0..40)) {
            let compact = steps.into_iter().map(|(took, parts)| {
                ("a".into(), took, parts.into_iter().map(|took| ("p".into(), took)).collect())
            });
            let stages = Stage::expand(compact.collect());
            prop_assert!(stages.len() <= MAX_STEPS);
        }
    }

    #[test]
    fn what_no_part_accounts_for_is_shown() {
        let mut waterfall = Waterfall::default();
        waterfall.stage("door", 10);
        waterfall.stage_of("sandbox", 100, [("clone".into(), 30, 60), ("cgroup".into(), 20, 40), ("x".into(), 0, 5)]);
        waterfall.stage("before its time", 50);
        let stages = waterfall.into_stages();
        let parts: Vec<_> = stages[1].parts.iter().map(|p| (&*p.name, p.start_us, p.took_us)).collect();
        assert_eq!(stages.len(), 2);
        assert_eq!(parts, [("other", 10, 10), ("cgroup", 20, 20), ("clone", 40, 20), ("other", 60, 40)]);
    }
}
