//! Goal 14: the keep-alive policy on the Azure trace, by `hearth simulate`, which runs the engine's own decisions. It is
//! a simulation: its figures are the same on every machine, and instead of an interval those of the trace's halves.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::report::{Arm, Note, Outcome, Row, Unit};
use crate::stats::Estimate;
use crate::suite::Suite;

/// Where the trace lies, beside the repository's own folders or where the environment says.
fn trace() -> Option<PathBuf> {
    let given = std::env::var_os("HEARTH_TRACE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/azure2019");
    given.into_iter().chain([beside]).find(|path| path.is_dir())
}

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let hearth = &suite.choice.hearth;
    let help = Command::new(hearth).args(["simulate", "--help"]).output().context("hearth simulate --help")?;
    if !help.status.success() {
        return Ok(Outcome::Skipped("not built yet: this hearth has no command simulate".into()));
    }
    let Some(trace) = trace() else {
        return Ok(Outcome::Skipped("no trace: expected its folder in HEARTH_TRACE or at data/azure2019".into()));
    };
    let output = Command::new(hearth).args(["simulate", "--json", "--trace"]).arg(&trace).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "hearth simulate ended with {}: {words}", output.status);
    let json: Value = serde_json::from_slice(&output.stdout).context("read what hearth simulate printed")?;
    let policies = json.get("policies").and_then(Value::as_array).into_iter().flatten();
    let auto = policies.into_iter().find(|one| one.get("policy").and_then(Value::as_str) == Some("auto"));
    let auto = auto.context("expected a policy auto in what hearth simulate printed")?;
    let notes = [("cold starts", "cold_starts"), ("made ahead of a call", "made_ahead")];
    let notes = notes.map(|(label, key)| Some(Note::new(label, Unit::Count, auto.get(key)?.as_f64()?)));
    Ok(Outcome::Measured(Arm {
        method: "simulated, auto against a fixed ten minutes; the range is of the trace's halves".into(),
        against: "fixed 10 min".into(),
        rows: vec![
            Row::alone("cold starts", Unit::Number, ratio(auto, "cold_ratio")?),
            Row::alone("idle memory-time", Unit::Number, ratio(auto, "idle_ratio")?),
        ],
        notes: notes.into_iter().flatten().collect(),
    }))
}

/// A ratio of the automatic policy to the fixed one, with those of the trace's two halves.
fn ratio(auto: &Value, key: &str) -> anyhow::Result<Estimate> {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    let halves = auto.get(format!("{key}_halves"));
    let halves = [0, 1].map(|half| number(halves.and_then(|halves| halves.get(half))));
    let (Some(value), [Some(first), Some(second)]) = (number(auto.get(key)), halves) else {
        bail!("expected {key} and {key}_halves in what hearth simulate printed, got {auto}");
    };
    Ok(Estimate { value, low: first.min(second), high: first.max(second) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ratio_has_those_of_the_halves() {
        let auto = json!({"cold_ratio": 0.4, "cold_ratio_halves": [0.5, 0.3]});
        assert_eq!(ratio(&auto, "cold_ratio").unwrap(), Estimate { value: 0.4, low: 0.3, high: 0.5 });
        assert!(ratio(&auto, "idle_ratio").unwrap_err().to_string().contains("expected idle_ratio"));
    }
}
