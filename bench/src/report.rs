//! What was found, as a table for people or as a JSON document.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::stats::Compared;

/// Everything that one run found.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    pub arms: Vec<Arm>,
    pub gates: Vec<Gate>,
}

/// One comparison.
#[derive(Debug)]
pub struct Arm {
    pub title: String,
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
    figure: Compared,
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
}

/// A figure that should be on one side of a limit.
#[derive(Debug)]
pub struct Gate {
    pub claim: String,
    pub value: f64,
    pub limit: f64,
    pub side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    AtMost,
    AtLeast,
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
        Self { label, unit, figure }
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
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Rate => "per_second",
            Self::Count => "count",
            Self::Percent => "percent",
        }
    }
}

// === impl Gate ===

impl Gate {
    pub fn met(&self) -> bool {
        match self.side {
            Side::AtMost => self.value <= self.limit,
            Side::AtLeast => self.value >= self.limit,
        }
    }
}

// === impl Arm ===

impl Arm {
    fn figure(&self, label: &str) -> Option<&Compared> {
        self.rows.iter().find(|row| row.label == label).map(|row| &row.figure)
    }
}

// === impl Report ===

impl Report {
    /// A figure of an arm that ran.
    pub fn figure(&self, arm: &str, row: &str) -> Option<&Compared> {
        self.arms.iter().find(|one| one.title == arm)?.figure(row)
    }

    pub fn table(&self) -> String {
        let Machine { cores, cpu, kernel, memory_mib } = &self.machine;
        let mut text = format!("{cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}\n");
        for arm in &self.arms {
            let _ = writeln!(text, "\n{}: {}", arm.title, arm.method);
            let _ = writeln!(text, "  {:<10}{:>12}{:>20}{:>10}   95% interval", "", "Hearth", arm.against, "ratio");
            for Row { label, unit, figure } in &arm.rows {
                let (ours, theirs, ratio) = (unit.show(figure.ours), unit.show(figure.theirs), figure.ratio);
                let interval = format!("{:.3} … {:.3}", ratio.low, ratio.high);
                let _ = writeln!(text, "  {label:<10}{ours:>12}{theirs:>20}{:>10.3}   {interval}", ratio.value);
            }
            let notes: Vec<_> = arm.notes.iter().map(|n| format!("{} {}", n.label, n.unit.show(n.value))).collect();
            if !notes.is_empty() {
                let _ = writeln!(text, "  {}", notes.join(" · "));
            }
        }
        if !self.gates.is_empty() {
            text.push('\n');
        }
        for gate in &self.gates {
            let met = if gate.met() { "met" } else { "NOT MET" };
            let _ = writeln!(text, "{}: {:.2}, {met}", gate.claim, gate.value);
        }
        text
    }

    pub fn json(&self) -> Value {
        let Machine { cores, cpu, kernel, memory_mib } = &self.machine;
        let row = |Row { label, unit, figure }: &Row| {
            let ratio = figure.ratio;
            json!({"figure": label, "unit": unit.key(), "hearth": figure.ours, "baseline": figure.theirs,
                "ratio": ratio.value, "ratio_95": [ratio.low, ratio.high]})
        };
        let note = |note: &Note| json!({"figure": note.label, "unit": note.unit.key(), "hearth": note.value});
        let arm = |arm: &Arm| {
            json!({"arm": arm.title, "method": arm.method, "baseline": arm.against,
                "rows": arm.rows.iter().map(row).collect::<Vec<_>>(),
                "notes": arm.notes.iter().map(note).collect::<Vec<_>>()})
        };
        let gate = |gate: &Gate| json!({"claim": gate.claim, "value": gate.value, "met": gate.met()});
        json!({
            "machine": {"cores": cores, "cpu": cpu, "kernel": kernel, "memory_mib": memory_mib},
            "arms": self.arms.iter().map(arm).collect::<Vec<_>>(),
            "gates": self.gates.iter().map(gate).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Estimate;

    fn report() -> Report {
        let ratio = Estimate { value: 1.5, low: 1.4, high: 1.625 };
        let figure = Compared { ours: 18e6, theirs: 12e6, ratio };
        Report {
            machine: Machine { cores: 2, cpu: "Abacus".into(), kernel: "6.1".into(), memory_mib: 512 },
            arms: vec![Arm {
                title: "cold Python".into(),
                method: "20 pairs".into(),
                against: "python3 -c pass".into(),
                rows: vec![Row::new("p50", Unit::Time, figure)],
                notes: vec![Note::new("init, p50", Unit::Time, 750e3), Note::new("instances", Unit::Count, 16.0)],
            }],
            gates: vec![Gate { claim: "at most 2".into(), value: 1.5, limit: 2.0, side: Side::AtMost }],
        }
    }

    #[test]
    fn the_table_reads_from_left_to_right() {
        let expected = "\
2 cores (Abacus), 512 MiB, Linux 6.1

cold Python: 20 pairs
                  Hearth     python3 -c pass     ratio   95% interval
  p50           18.00 ms            12.00 ms     1.500   1.400 … 1.625
  init, p50 750.0 µs · instances 16

at most 2: 1.50, met
";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn json_holds_the_same_figures() {
        let json = report().json();
        assert_eq!(json["arms"][0]["rows"][0]["ratio"], 1.5);
        assert_eq!(json["arms"][0]["rows"][0]["ratio_95"][1], 1.625);
        assert_eq!(json["gates"][0]["met"], true);
        assert_eq!(json["machine"]["cores"], 2);
    }

    #[test]
    fn gates_open_at_their_limit() {
        let gate = |value, side| Gate { claim: String::new(), value, limit: 2.0, side }.met();
        assert!(gate(2.0, Side::AtMost) && gate(2.0, Side::AtLeast));
        assert!(!gate(2.1, Side::AtMost) && !gate(1.9, Side::AtLeast));
        assert_eq!(report().figure("cold Python", "p50").unwrap().ours, 18e6);
        assert!(report().figure("cold Python", "p51").is_none());
    }
}
