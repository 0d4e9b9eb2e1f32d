//! Cold starts: one call, from connecting to the last byte of the answer, against one start and end of something bare.
//! Each pair runs both, in random order.
//!
//! The function's idle time is zero, so no instance outlives its call. That is not believed: before anything else
//! is measured the sandbox's processes must be gone, and at the end every call's record must say that it was cold.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use crate::baseline::Cost;
use crate::hearth::{Code, Deploy, GONE, Hearth};
use crate::http::Connection;
use crate::load::{self, Target};
use crate::report::{Arm, Note, Row, Unit};
use crate::stats::{self, Random, compare, percentile};

/// Calls before the first that counts: they fill the page cache.
pub const WARM_UP: usize = 5;
/// What the kernel gets to finish tearing namespaces down, which it does behind the scenes.
pub const REST: Duration = Duration::from_millis(10);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub pairs: usize,
    /// Processor time is read in steps of 10 ms, so it is compared over this many pairs at once.
    pub block: usize,
}

/// What it is compared with: one start, and what it cost.
pub type Other<'a> = &'a dyn Fn() -> anyhow::Result<Cost>;

/// Measures one function against `other`, which is called `against`.
pub fn measure(
    hearth: &Hearth,
    (name, code): (&str, Code),
    (against, other): (&str, Other<'_>),
    plan: Plan,
    random: &mut Random,
) -> anyhow::Result<Arm> {
    hearth.deploy(Deploy::new(name, code))?;
    let target = hearth.target(name);
    let cpu = || hearth.meter().map(|meter| meter.read()).transpose();
    for _ in 0..WARM_UP {
        call(&target)?;
        hearth.until_none(name, GONE)?;
        other()?;
    }
    // Only now: the first starts may leave something behind that serves all others.
    let idle = hearth.until_settled()?;

    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    let (mut before, mut theirs) = (cpu()?, Duration::ZERO);
    for pair in 1..=plan.pairs {
        let run = || -> anyhow::Result<Cost> {
            let cost = other()?;
            std::thread::sleep(REST);
            Ok(cost)
        };
        let cold = || -> anyhow::Result<Duration> {
            let wall = call(&target)?;
            hearth.until_only(idle)?;
            std::thread::sleep(REST);
            Ok(wall)
        };
        let (wall, cost) = if random.coin() {
            let wall = cold()?;
            (wall, run()?)
        } else {
            let cost = run()?;
            (cold()?, cost)
        };
        walls.push((nanos(wall), nanos(cost.wall)));
        theirs += cost.cpu;
        if pair % plan.block == 0 {
            let now = cpu()?;
            if let (Some(before), Some(now)) = (before, now) {
                let each = |cpu: Duration| nanos(cpu) / plan.block as f64;
                cpus.push((each(now.saturating_sub(before)), each(theirs)));
            }
            (before, theirs) = (now, Duration::ZERO);
        }
    }

    let records = hearth.records(name, WARM_UP + plan.pairs)?;
    verify(&records)?;
    let mut rows = rows(&walls, random);
    if !cpus.is_empty() {
        rows.push(Row::new("CPU", Unit::Time, compare(&cpus, random, stats::mean)));
    }
    let measured = plan.pairs.min(records.len());
    Ok(Arm {
        method: format!("{} pairs", plan.pairs),
        against: against.to_owned(),
        rows,
        notes: parts(&records[..measured]),
    })
}

/// What is told of pairs of times.
pub fn rows(walls: &[(f64, f64)], random: &mut Random) -> Vec<Row> {
    vec![
        Row::new("p50", Unit::Time, compare(walls, random, |values| percentile(values, 50.0))),
        Row::new("min", Unit::Time, compare(walls, random, stats::min)),
        Row::new("p99", Unit::Time, compare(walls, random, |values| percentile(values, 99.0))),
    ]
}

pub fn call(target: &Target) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut connection = Connection::open(target.address)?;
    let response = connection.call(&target.request)?;
    let wall = start.elapsed();
    load::check(&response)?;
    Ok(wall)
}

fn verify(records: &[Value]) -> anyhow::Result<()> {
    for record in records {
        let cold = record.get("cold").and_then(Value::as_bool);
        let status = record.pointer("/outcome/status").and_then(Value::as_str);
        if cold != Some(true) || status != Some("ok") {
            bail!("expected a cold call that succeeded, got {record}");
        }
    }
    Ok(())
}

/// The median of each part of a cold start, as Hearth's own records have it.
pub fn parts(records: &[Value]) -> Vec<Note> {
    let median = |key: &str| {
        let mut values: Vec<f64> = records.iter().filter_map(|record| record.get(key)?.as_f64()).collect();
        (!values.is_empty()).then(|| percentile(&mut values, 50.0) * 1e3)
    };
    let parts = [
        ("sandbox, p50", "sandbox_us"),
        ("runtime, p50", "runtime_us"),
        ("init, p50", "init_us"),
        ("handler, p50", "handler_us"),
        ("queued (all but the handler), p50", "queued_us"),
    ];
    parts.iter().filter_map(|(label, key)| Some(Note::new(label, Unit::Time, median(key)?))).collect()
}

pub fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_warm_or_failed_call_spoils_the_measurement() {
        let record = |cold: bool, status: &str| json!({"cold": cold, "outcome": {"status": status}});
        assert!(verify(&[record(true, "ok"), record(true, "ok")]).is_ok());
        assert!(verify(&[record(true, "ok"), record(false, "ok")]).is_err());
        assert!(verify(&[record(true, "fault")]).is_err());
        assert!(verify(&[json!({})]).is_err());
    }

    #[test]
    fn parts_are_medians_of_what_was_recorded() {
        let records = [json!({"init_us": 3}), json!({"init_us": 1}), json!({"init_us": null}), json!({"init_us": 2})];
        let notes = parts(&records);
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].value, 2e3);
    }
}
