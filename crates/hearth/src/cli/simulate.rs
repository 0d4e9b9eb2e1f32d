//! `hearth simulate`: what keep-alive policies would have done with a recorded trace of calls.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use engine::decide::roster::Keep;
use model::{Idle, Memory};
use serde::Serialize;

use super::out::{self, Column};
use super::progress::Progress;
use crate::simulate::run::{Outcome, Settings, Spread, run as replay};
use crate::simulate::trace::Trace;

/// What all is compared with.
const REFERENCE: Policy = Policy(Idle::For(Duration::from_secs(600)));

#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Folder with a trace in the form of Azure's of 2019: …invocations.csv, …durations.csv, …memory.csv
    #[arg(long, value_name = "FOLDER")]
    pub trace: PathBuf,
    /// What to look at, beside fixed:10m: auto, or fixed:TIME; may be given many times
    #[arg(long, value_name = "POLICY", default_value = "auto")]
    pub policy: Vec<Policy>,
    /// The memory that all instances together may use [default: as much as they want]
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<Memory>,
    /// Where in a minute its calls are, which a trace does not say
    #[arg(long, value_enum, default_value_t = Spread::Even)]
    pub spread: Spread,
    /// What chance is made of: the same number, the same result
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// `auto`, or `fixed:` and a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy(Idle);

#[derive(Debug, Serialize)]
struct Report {
    functions: usize,
    minutes: usize,
    calls: u64,
    policies: Vec<Row>,
}

/// How one policy did. Ratios are to fixed:10m.
#[derive(Debug, Serialize)]
struct Row {
    policy: String,
    cold_starts: u64,
    /// Of all calls of a function, those that were cold: half of the functions have no more.
    cold_share_p50: f64,
    cold_share_p75: f64,
    /// GiB × seconds that instances had nothing to do.
    idle_gib_seconds: f64,
    /// Of that, what ended without a call.
    wasted_share: f64,
    made_ahead: u64,
    evicted: u64,
    unserved: u64,
    cold_ratio: f64,
    idle_ratio: f64,
    /// In the first half of the trace and in the second.
    cold_ratio_halves: [f64; 2],
    idle_ratio_halves: [f64; 2],
}

pub fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let trace = Trace::read(&args.trace)?;
    let mut policies = vec![REFERENCE];
    policies.extend(args.policy.iter().filter(|policy| **policy != REFERENCE));
    let mut step = Progress::new(args.json).parts();
    let mut outcomes = Vec::new();
    for (place, policy) in policies.iter().enumerate() {
        let settings = Settings {
            keep: policy.keep(),
            spread: args.spread,
            seed: args.seed,
            budget: args.budget.map(Memory::bytes),
        };
        let (what, total) = (format!("replaying {}", policy.name()), policies.len() * trace.minutes);
        let tell = |minute| step.reached(&what, (place * trace.minutes + minute) as u64, total as u64);
        outcomes.push(replay(&trace, &settings, tell));
    }
    drop(step);
    let rows = policies.iter().zip(&outcomes).map(|(policy, outcome)| Row::of(*policy, outcome, &outcomes[0]));
    let report = Report {
        functions: trace.functions.len(),
        minutes: trace.minutes,
        calls: trace.calls(),
        policies: rows.collect(),
    };
    if args.json {
        out::json(&report)?;
    } else {
        report.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

// === impl Policy ===

impl Policy {
    fn keep(self) -> Keep {
        match self.0 {
            Idle::Auto => Keep::Auto,
            Idle::For(time) => Keep::For(time),
        }
    }

    fn name(self) -> String {
        match self.0 {
            Idle::Auto => "auto".to_owned(),
            Idle::For(time) => format!("fixed:{}", model::show_duration(time)),
        }
    }
}

impl FromStr for Policy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = match text.strip_prefix("fixed:") {
            None if text == "auto" => return Ok(Self(Idle::Auto)),
            Some(time) if time != "auto" => time,
            _ => return Err("expected auto, or fixed:TIME like fixed:10m".to_owned()),
        };
        let longest = Duration::from_secs(7 * 86_400);
        match model::parse_duration(time) {
            Ok(time) if time <= longest => Ok(Self(Idle::For(time))),
            Ok(_) => Err("expected at most fixed:7d".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

// === impl Row ===

impl Row {
    fn of(policy: Policy, outcome: &Outcome, reference: &Outcome) -> Self {
        let called = outcome.functions.iter().filter(|(calls, _)| *calls > 0);
        let mut shares: Vec<f64> = called.map(|(calls, cold)| *cold as f64 / *calls as f64).collect();
        shares.sort_by(f64::total_cmp);
        let share = |part: usize| shares.get((shares.len() * part / 100).min(shares.len().saturating_sub(1)));
        let (cold, idle): (u64, f64) = (outcome.cold.iter().sum(), outcome.idle.iter().sum());
        let half = |half: usize| {
            let cold = ratio(outcome.cold[half] as f64, reference.cold[half] as f64);
            (cold, ratio(outcome.idle[half], reference.idle[half]))
        };
        let (first, second) = (half(0), half(1));
        Self {
            policy: policy.name(),
            cold_starts: cold,
            cold_share_p50: share(50).copied().unwrap_or(0.0),
            cold_share_p75: share(75).copied().unwrap_or(0.0),
            idle_gib_seconds: idle / 1024.0,
            wasted_share: ratio(outcome.wasted, idle),
            made_ahead: outcome.ahead,
            evicted: outcome.evicted,
            unserved: outcome.unserved,
            cold_ratio: ratio(cold as f64, reference.cold.iter().sum::<u64>() as f64),
            idle_ratio: ratio(idle, reference.idle.iter().sum()),
            cold_ratio_halves: [first.0, second.0],
            idle_ratio_halves: [first.1, second.1],
        }
    }
}

/// Of nothing, nothing is all.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 1.0 }
}

// === impl Report ===

impl Report {
    fn print(self) -> anyhow::Result<()> {
        use Column::{Left, Right};
        let columns = [
            ("policy", Left),
            ("cold starts", Right),
            ("ratio", Right),
            ("in halves", Right),
            ("cold p50", Right),
            ("p75", Right),
            ("idle GiB·s", Right),
            ("ratio", Right),
            ("in halves", Right),
            ("wasted", Right),
            ("made ahead", Right),
            ("evicted", Right),
            ("unserved", Right),
        ];
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        let halves = |[first, second]: [f64; 2]| format!("{first:.3} {second:.3}");
        let rows = self.policies.into_iter().map(|row| {
            vec![
                row.policy,
                row.cold_starts.to_string(),
                format!("{:.3}", row.cold_ratio),
                halves(row.cold_ratio_halves),
                percent(row.cold_share_p50),
                percent(row.cold_share_p75),
                format!("{:.0}", row.idle_gib_seconds),
                format!("{:.3}", row.idle_ratio),
                halves(row.idle_ratio_halves),
                percent(row.wasted_share),
                row.made_ahead.to_string(),
                row.evicted.to_string(),
                row.unserved.to_string(),
            ]
        });
        out::note(&format!("{} functions, {} minutes, {} calls", self.functions, self.minutes, self.calls));
        out::table(&columns, rows.collect())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_as_they_are_written() {
        for text in ["auto", "fixed:10m", "fixed:0s"] {
            assert_eq!(text.parse::<Policy>().unwrap().name(), text);
        }
        for wrong in ["fixed", "fixed:", "fixed:auto", "10m", "fixed:8d", "Auto"] {
            assert!(wrong.parse::<Policy>().is_err(), "{wrong}");
        }
    }
}
