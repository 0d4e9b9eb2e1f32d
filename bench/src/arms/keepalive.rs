//! Goal 14: the keep-alive policy on the Azure trace, by `hearth simulate`, which runs the engine's own decisions. It is
//! a simulation: its figures are the same on every machine, and have no interval.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::report::{Arm, Outcome, Row, Unit};
use crate::stats::range;
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
    let known = ratio(&json, "cold").zip(ratio(&json, "memory"));
    let (cold, memory) = known.context("expected policies[policy=auto].ratios in what hearth simulate printed")?;
    Ok(Outcome::Measured(Arm {
        method: "simulated, auto against a fixed ten minutes".into(),
        against: "fixed 10 min".into(),
        rows: vec![
            Row::alone("cold starts", Unit::Number, range(&[cold])),
            Row::alone("idle memory-time", Unit::Number, range(&[memory])),
        ],
        notes: vec![],
    }))
}

/// The ratio of the automatic policy to the fixed one.
fn ratio(json: &Value, what: &str) -> Option<f64> {
    let policies = json.get("policies")?.as_array()?;
    let auto = policies.iter().find(|one| one.get("policy").and_then(Value::as_str) == Some("auto"))?;
    let ratios = auto.get("ratios")?.as_object()?;
    ratios.iter().find(|(key, _)| key.contains(what))?.1.as_f64()
}
