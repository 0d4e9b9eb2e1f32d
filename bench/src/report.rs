//! What was found, as tables for people or as a JSON document.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::goals::{Finding, GOALS, Judged};
use crate::stats::{Compared, Estimate};

/// Everything that one run found.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    /// Too little was measured to judge goals by.
    pub quick: bool,
    pub arms: Vec<Ran>,
}

/// An arm, by its name, and what came of it.
#[derive(Debug)]
pub struct Ran {
    pub name: String,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Measured(Arm),
    /// It cannot be measured here, or not yet: why.
    Skipped(String),
    Failed(String),
}

/// One comparison.
#[derive(Debug)]
pub struct Arm {
    pub method: String,
    /// What Hearth is compared to.
    pub against: String,
    pub rows: Vec<Row>,
    pub notes: Vec<Note>,
}

#[derive(Debug)]
pub struct Row {
    label: &'static str,
    unit: Unit,
    figure: Figure,
}

#[derive(Debug)]
enum Figure {
    Compared(Compared),
    /// A figure that is judged by itself, with its least and most.
    Alone(Estimate),
}

/// A figure of Hearth's that is compared to nothing.
#[derive(Debug)]
pub struct Note {
    label: String,
    unit: Unit,
    pub value: f64,
}

/// Times are nanoseconds.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    Time,
    Rate,
    Count,
    Percent,
    Bytes,
    /// With two decimals, and as the row's label says.
    Number,
}

/// Where it was measured.
#[derive(Debug)]
pub struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    memory_mib: u64,
}

// === impl Machine ===

impl Machine {
    pub fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
        let meminfo = read("/proc/meminfo");
        let kib = meminfo.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu.map_or("unknown processor", |(_, name)| name.trim()).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: kib.unwrap_or(0) / 1024,
        }
    }
}

// === impl Row, Note ===

impl Row {
    pub fn new(label: &'static str, unit: Unit, figure: Compared) -> Self {
        Self { label, unit, figure: Figure::Compared(figure) }
    }

    /// A figure that is compared to nothing.
    pub fn alone(label: &'static str, unit: Unit, figure: Estimate) -> Self {
        Self { label, unit, figure: Figure::Alone(figure) }
    }

    pub fn label(&self) -> &'static str {
        self.label
    }

    /// What a goal is judged by.
    fn judged(&self) -> Estimate {
        match self.figure {
            Figure::Compared(compared) => compared.ratio,
            Figure::Alone(estimate) => estimate,
        }
    }
}

impl Note {
    pub fn new(label: &str, unit: Unit, value: f64) -> Self {
        Self { label: label.to_owned(), unit, value }
    }
}

// === impl Unit ===

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time if value >= 1e9 => format!("{:.2} s", value / 1e9),
            Self::Time if value >= 1e6 => format!("{:.2} ms", value / 1e6),
            Self::Time => format!("{:.1} µs", value / 1e3),
            Self::Rate => format!("{value:.0}/s"),
            Self::Count => format!("{value:.0}"),
            Self::Percent => format!("{value:.0}%"),
            Self::Bytes => format!("{:.2} MiB", value / f64::from(1 << 20)),
            Self::Number => format!("{value:.2}"),
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Rate => "per_second",
            Self::Count => "count",
            Self::Percent => "percent",
            Self::Bytes => "bytes",
            Self::Number => "number",
        }
    }
}

// === impl Report ===

impl Report {
    /// Every goal whose arm was chosen.
    pub fn goals(&self) -> Vec<Judged> {
        let chosen = |name: &str| self.arms.iter().find(|ran| ran.name == name);
        let judged = |goal: &crate::goals::Goal| {
            let finding = match &chosen(goal.arm)?.outcome {
                Outcome::Skipped(why) => Finding::Skipped(why.clone()),
                Outcome::Failed(why) => Finding::Failed(why.lines().next().unwrap_or_default().to_owned()),
                Outcome::Measured(arm) => match arm.rows.iter().find(|row| row.label == goal.row) {
                    Some(row) => Finding::Measured(row.judged()),
                    None => Finding::Skipped(format!("{} cannot be measured here", goal.row)),
                },
            };
            Some(Judged { goal: *goal, finding })
        };
        GOALS.iter().filter_map(judged).collect()
    }

    /// Every arm ran through, or was skipped.
    pub fn sound(&self) -> bool {
        !self.arms.iter().any(|ran| matches!(ran.outcome, Outcome::Failed(_)))
    }

    pub fn table(&self) -> String {
        let Machine { cores, cpu, kernel, memory_mib } = &self.machine;
        let mut text = format!("{cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}\n");
        for Ran { name, outcome } in &self.arms {
            match outcome {
                Outcome::Measured(arm) => arm.table(name, &mut text),
                Outcome::Skipped(why) => drop(writeln!(text, "\n{name}: SKIPPED: {why}")),
                Outcome::Failed(why) => drop(writeln!(text, "\n{name}: FAILED: {why}")),
            }
        }
        let goals = self.goals();
        if !goals.is_empty() {
            let columns = ("goal", "target (stretch)", "value", "interval");
            let _ = writeln!(text, "\n{:<34}{:<20}{:>10}   {:<20}", columns.0, columns.1, columns.2, columns.3);
        }
        for one in goals {
            let goal = one.goal;
            let stretch = goal.stretch.map(|stretch| format!(" ({stretch})")).unwrap_or_default();
            let target = format!("{} {}{stretch}", goal.side.sign(), goal.limit);
            let _ = write!(text, "{:>3} {:<30}{target:<20}", goal.number, goal.claim);
            let _ = match &one.finding {
                Finding::Measured(Estimate { value, low, high }) => {
                    let interval = format!("{low:.3} … {high:.3}");
                    writeln!(text, "{value:>10.3}   {interval:<20}{}", one.verdict())
                }
                Finding::Skipped(why) | Finding::Failed(why) => writeln!(text, "{:>10}   {why}", one.verdict()),
            };
        }
        if self.quick {
            text.push_str(
                "a quick run: it shows that all of it runs, and has too few measurements to judge goals by\n",
            );
        }
        text
    }

    pub fn json(&self) -> Value {
        let Machine { cores, cpu, kernel, memory_mib } = &self.machine;
        let arm = |Ran { name, outcome }: &Ran| match outcome {
            Outcome::Measured(arm) => arm.json(name),
            Outcome::Skipped(why) => json!({"arm": name, "skipped": why}),
            Outcome::Failed(why) => json!({"arm": name, "failed": why}),
        };
        let goal = |one: &Judged| {
            let goal = one.goal;
            let mut json = json!({"goal": goal.number, "claim": goal.claim, "arm": goal.arm, "figure": goal.row,
                "target": goal.limit, "side": goal.side.sign(), "stretch": goal.stretch, "verdict": one.verdict(),
                "met": one.met()});
            match &one.finding {
                Finding::Measured(found) => {
                    json["value"] = found.value.into();
                    json["interval"] = json!([found.low, found.high]);
                }
                Finding::Skipped(why) | Finding::Failed(why) => json["why"] = why.as_str().into(),
            }
            json
        };
        json!({
            "machine": {"cores": cores, "cpu": cpu, "kernel": kernel, "memory_mib": memory_mib},
            "arms": self.arms.iter().map(arm).collect::<Vec<_>>(),
            "quick": self.quick,
            "goals": self.goals().iter().map(goal).collect::<Vec<_>>(),
        })
    }
}

// === impl Arm ===

impl Arm {
    fn table(&self, name: &str, text: &mut String) {
        let _ = writeln!(text, "\n{name}: {}", self.method);
        let _ = writeln!(text, "  {:<14}{:>12}{:>22}{:>10}   95% interval", "", "Hearth", self.against, "ratio");
        for Row { label, unit, figure } in &self.rows {
            let _ = match figure {
                Figure::Compared(Compared { ours, theirs, ratio }) => {
                    let (ours, theirs) = (unit.show(*ours), unit.show(*theirs));
                    let interval = format!("{:.3} … {:.3}", ratio.low, ratio.high);
                    writeln!(text, "  {label:<14}{ours:>12}{theirs:>22}{:>10.3}   {interval}", ratio.value)
                }
                Figure::Alone(Estimate { value, low, high }) => {
                    let range = format!("of all runs {} … {}", unit.show(*low), unit.show(*high));
                    writeln!(text, "  {label:<14}{:>12}{:>32}   {range}", unit.show(*value), "")
                }
            };
        }
        let notes: Vec<_> = self.notes.iter().map(|n| format!("{} {}", n.label, n.unit.show(n.value))).collect();
        if !notes.is_empty() {
            let _ = writeln!(text, "  {}", notes.join(" · "));
        }
    }

    fn json(&self, name: &str) -> Value {
        let row = |Row { label, unit, figure }: &Row| match figure {
            Figure::Compared(Compared { ours, theirs, ratio }) => json!({"figure": label, "unit": unit.key(),
                "hearth": ours, "baseline": theirs, "ratio": ratio.value, "ratio_95": [ratio.low, ratio.high]}),
            Figure::Alone(one) => {
                json!({"figure": label, "unit": unit.key(), "hearth": one.value, "range": [one.low, one.high]})
            }
        };
        let note = |note: &Note| json!({"figure": note.label, "unit": note.unit.key(), "hearth": note.value});
        json!({"arm": name, "method": self.method, "baseline": self.against,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "notes": self.notes.iter().map(note).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let ratio = Estimate { value: 1.5, low: 1.4, high: 1.625 };
        let figure = Compared { ours: 18e6, theirs: 12e6, ratio };
        let arm = Arm {
            method: "20 pairs".into(),
            against: "python3 -c pass".into(),
            rows: vec![Row::new("p50", Unit::Time, figure)],
            notes: vec![Note::new("init, p50", Unit::Time, 750e3), Note::new("instances", Unit::Count, 16.0)],
        };
        Report {
            quick: true,
            machine: Machine { cores: 2, cpu: "Abacus".into(), kernel: "6.1".into(), memory_mib: 512 },
            arms: vec![
                Ran { name: "cold Python".into(), outcome: Outcome::Measured(arm) },
                Ran { name: "cold native".into(), outcome: Outcome::Skipped("not built yet".into()) },
            ],
        }
    }

    #[test]
    fn the_table_reads_from_left_to_right() {
        let expected = "\
2 cores (Abacus), 512 MiB, Linux 6.1

cold Python: 20 pairs
                      Hearth       python3 -c pass     ratio   95% interval
  p50               18.00 ms              12.00 ms     1.500   1.400 … 1.625
  init, p50 750.0 µs · instances 16

cold native: SKIPPED: not built yet

goal                              target (stretch)         value   interval            
  1 cold Python                   ≤ 0.2 (0.1)              1.500   1.400 … 1.625       NOT MET
  5 cold native                   ≤ 3 (1.5)              skipped   not built yet
  9 CPU of a cold start           ≤ 0.2 (0.1)            skipped   CPU cannot be measured here
a quick run: it shows that all of it runs, and has too few measurements to judge goals by
";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn json_holds_the_same_figures() {
        let json = report().json();
        assert_eq!(json["arms"][0]["rows"][0]["ratio"], 1.5);
        assert_eq!(json["arms"][0]["rows"][0]["ratio_95"][1], 1.625);
        assert_eq!(json["goals"][0]["met"], false);
        assert_eq!(json["goals"][1]["why"], "not built yet");
        assert_eq!(json["machine"]["cores"], 2);
    }

    #[test]
    fn an_arm_that_failed_makes_the_run_unsound() {
        let mut report = report();
        assert!(report.sound());
        report.arms[0].outcome = Outcome::Failed("first line\nsecond".into());
        assert!(!report.sound());
        assert_eq!(report.goals()[0].finding, Finding::Failed("first line".into()));
    }
}
