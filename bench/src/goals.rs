//! The goals: what each claims, which figure of which arm it is judged by, and what came of it. Each is met, not met,
//! or not judged with the reason; none is left out because nothing could be measured.

use crate::stats::Estimate;

/// A claim about one figure.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub number: u32,
    pub claim: &'static str,
    /// The arm and the row in it whose figure counts: a ratio where the row compares, else the figure itself.
    pub arm: &'static str,
    pub row: &'static str,
    pub side: Side,
    pub limit: f64,
    /// What it should reach one day.
    pub stretch: Option<f64>,
    /// What only a fault can miss: the quick run fails by it. None: the quick run does not judge.
    pub quick: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    AtMost,
    AtLeast,
}

/// A goal with what was found.
#[derive(Debug, Clone)]
pub struct Judged {
    pub goal: Goal,
    pub finding: Finding,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    Measured(Estimate),
    /// The arm did not run here: why.
    Skipped(String),
    /// The arm ran into an error.
    Failed(String),
}

const fn most(
    number: u32,
    claim: &'static str,
    arm: &'static str,
    row: &'static str,
    limit: f64,
    stretch: Option<f64>,
    quick: Option<f64>,
) -> Goal {
    Goal { number, claim, arm, row, side: Side::AtMost, limit, stretch, quick }
}

const fn least(
    number: u32,
    claim: &'static str,
    arm: &'static str,
    row: &'static str,
    limit: f64,
    stretch: Option<f64>,
    quick: Option<f64>,
) -> Goal {
    Goal { number, claim, arm, row, side: Side::AtLeast, limit, stretch, quick }
}

/// All of them. The quick limits of cold starts are several times what a build without fork servers has.
pub const GOALS: &[Goal] = &[
    most(1, "cold Python", "cold Python", "p50", 0.20, Some(0.10), Some(6.0)),
    most(2, "cold Python, stems", "cold Python, stems", "p50", 0.10, Some(0.05), Some(3.0)),
    most(3, "cold imports", "cold imports", "p50", 0.05, Some(0.02), Some(6.0)),
    most(3, "cold imports, stems", "cold imports, stems", "p50", 0.05, Some(0.02), Some(6.0)),
    most(4, "cold Node", "cold Node", "p50", 0.06, Some(0.03), Some(6.0)),
    most(4, "cold Node, stems", "cold Node, stems", "p50", 0.06, Some(0.03), Some(3.0)),
    most(5, "cold native", "cold native", "p50", 3.0, Some(1.5), None),
    most(6, "isolation's tax", "isolation's tax", "p50", 1.4, Some(1.2), Some(12.0)),
    most(7, "cold against bwrap", "cold against bwrap", "p50", 0.15, None, None),
    most(7, "cold against crun", "cold against crun", "p50", 0.05, None, None),
    most(7, "cold against docker", "cold against docker", "p50", 0.02, None, None),
    most(8, "cold tail, idle", "cold tail, idle", "p99", 0.35, None, None),
    most(8, "cold tail, two hogs", "cold tail, two hogs", "p99", 0.35, None, None),
    most(9, "CPU of a cold start", "cold Python", "CPU", 0.20, Some(0.10), Some(12.0)),
    most(10, "latency added, warm", "latency added", "added p50", 1.0, Some(0.7), Some(20.0)),
    least(11, "calls/s to the no-op server's", "warm Python, 16 clients", "calls/s", 0.65, Some(0.75), Some(0.002)),
    least(11, "calls/s to nginx's", "nginx, 16 clients", "calls/s", 1.0, None, Some(0.02)),
    least(12, "burst, instances/s", "burst", "instances/s", 300.0, Some(500.0), None),
    most(12, "burst, failed calls", "burst", "failed", 0.0, None, Some(0.0)),
    most(13, "memory of an idle instance", "density, memory", "memory", 0.10, Some(0.05), None),
    most(13, "warm p50 with many live", "density, warm", "p50", 1.2, None, None),
    most(14, "simulated cold starts", "keep-alive", "cold starts", 0.45, None, None),
    most(14, "simulated idle memory", "keep-alive", "idle memory-time", 0.8, None, None),
    most(15, "docker, Python, stems", "cold Python on docker, stems", "p50", 0.10, None, Some(0.5)),
    most(15, "docker, Node, stems", "cold Node on docker, stems", "p50", 0.10, None, Some(0.5)),
    most(15, "gvisor, Python, stems", "cold Python on gvisor, stems", "p50", 0.10, None, Some(0.5)),
    most(15, "gvisor, Node, stems", "cold Node on gvisor, stems", "p50", 0.10, None, Some(0.5)),
    most(16, "many functions: ready, s", "catalogue", "ready, s", 1.0, None, None),
    most(16, "many functions: RSS, MiB", "catalogue", "RSS, MiB", 150.0, None, None),
    most(16, "many functions: warm p50", "catalogue", "p50", 1.1, None, Some(5.0)),
];

// === impl Goal ===

impl Goal {
    pub fn holds(&self, value: f64, limit: f64) -> bool {
        match self.side {
            Side::AtMost => value <= limit,
            Side::AtLeast => value >= limit,
        }
    }
}

// === impl Side ===

impl Side {
    pub fn sign(self) -> &'static str {
        match self {
            Self::AtMost => "≤",
            Self::AtLeast => "≥",
        }
    }
}

// === impl Judged ===

impl Judged {
    /// None where nothing was measured.
    pub fn met(&self) -> Option<bool> {
        match self.finding {
            Finding::Measured(found) => Some(self.goal.holds(found.value, self.goal.limit)),
            Finding::Skipped(_) | Finding::Failed(_) => None,
        }
    }

    /// One word for people: a goal whose limit lies within the interval is as good as undecided, and says so.
    pub fn verdict(&self) -> &'static str {
        let Finding::Measured(found) = &self.finding else {
            return if matches!(self.finding, Finding::Skipped(_)) { "skipped" } else { "failed" };
        };
        let holds = |value| self.goal.holds(value, self.goal.limit);
        match (holds(found.value), holds(found.low) == holds(found.high)) {
            (true, true) => "met",
            (true, false) => "met, barely",
            (false, true) => "NOT MET",
            (false, false) => "NOT MET, barely",
        }
    }

    /// Why a quick run fails by it: the whole interval is beyond its limit. Few slots on a machine with other work give
    /// figures that are off many times over, and then intervals that say so.
    pub fn gate(&self) -> Option<String> {
        let Goal { claim, side, .. } = self.goal;
        match (&self.finding, self.goal.quick) {
            (Finding::Failed(why), _) => Some(format!("{claim}: {why}")),
            (Finding::Measured(Estimate { value, low, high }), Some(limit)) => {
                let within = [value, low, high].iter().any(|value| self.goal.holds(**value, limit));
                let sign = side.sign();
                let text = || {
                    format!(
                        "{claim}: expected {sign} {limit} even in a quick run, got {value:.3} ({low:.3} … {high:.3})"
                    )
                };
                (!within).then(text)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(side: Side, value: f64, low: f64, high: f64) -> Judged {
        let goal = Goal { side, limit: 2.0, quick: Some(4.0), ..GOALS[0] };
        Judged { goal, finding: Finding::Measured(Estimate { value, low, high }) }
    }

    #[test]
    fn goals_are_met_at_their_limit() {
        assert_eq!(judged(Side::AtMost, 2.0, 1.9, 2.0).verdict(), "met");
        assert_eq!(judged(Side::AtMost, 2.0, 1.9, 2.1).verdict(), "met, barely");
        assert_eq!(judged(Side::AtLeast, 2.0, 2.0, 2.1).verdict(), "met");
        assert_eq!(judged(Side::AtMost, 2.1, 2.0, 2.2).verdict(), "NOT MET, barely");
        assert_eq!(judged(Side::AtLeast, 1.0, 0.9, 1.1).verdict(), "NOT MET");
    }

    #[test]
    fn the_quick_run_fails_only_far_beyond_or_by_an_error() {
        assert_eq!(judged(Side::AtMost, 3.9, 1.0, 9.0).gate(), None);
        assert_eq!(judged(Side::AtMost, 4.1, 1.0, 9.0).gate(), None, "it is not known to be beyond");
        assert!(judged(Side::AtMost, 4.2, 4.1, 9.0).gate().unwrap().contains("got 4.200"));
        assert!(judged(Side::AtLeast, 3.0, 2.0, 3.9).gate().is_some());
        let skipped = Judged { goal: GOALS[0], finding: Finding::Skipped("no root".into()) };
        assert_eq!((skipped.gate(), skipped.met(), skipped.verdict()), (None, None, "skipped"));
        assert!(Judged { goal: GOALS[6], finding: Finding::Failed("x".into()) }.gate().is_some());
    }

    #[test]
    fn stretches_are_harder_and_quick_limits_easier() {
        for goal in GOALS {
            assert!(goal.stretch.is_none_or(|stretch| goal.holds(stretch, goal.limit)), "{}", goal.claim);
            assert!(goal.quick.is_none_or(|quick| goal.holds(goal.limit, quick)), "{}", goal.claim);
        }
    }
}
