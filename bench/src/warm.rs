//! Warm calls: the same load on a function and on another server, in alternating slots, the first of each pair
//! chosen at random. One client measures latency, sixteen measure throughput.

use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::Value;

use crate::hearth::{Code, Deploy, Hearth};
use crate::load::{self, Slot, Target};
use crate::report::{Arm, Note, Row, Unit};
use crate::stats::{self, Random, compare, percentile};
use crate::usage::Meter;

/// What a function may scale to.
pub const MAX: u32 = 16;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Pairs of slots.
    pub slots: usize,
    pub slot: Duration,
    /// Load before the first slot that counts, in which instances come up.
    pub warm_up: Duration,
}

/// What a function is compared with.
#[derive(Debug)]
pub struct Other<'a> {
    pub against: &'a str,
    pub address: std::net::SocketAddr,
    /// None where it is several processes.
    pub pid: Option<u32>,
}

/// One slot, reduced to its figures.
struct Figures {
    p50: f64,
    p99: f64,
    rate: f64,
    /// Processor time of the served side, a call; none where it cannot be told.
    cpu: Option<f64>,
    /// The generator's share of one processor.
    own: f64,
    calls: usize,
}

/// Deploys the function that [`measure`] calls, which keeps its instances.
pub fn deploy(hearth: &Hearth, name: &str, code: Code) -> anyhow::Result<()> {
    hearth.deploy(Deploy::new(name, code).idle("30s").instances(0, MAX))
}

/// Measures one function under the load of `clients`.
pub fn measure(
    hearth: &Hearth,
    name: &str,
    other: &Other<'_>,
    clients: usize,
    plan: Plan,
    random: &mut Random,
) -> anyhow::Result<Arm> {
    let (ours, theirs) = (hearth.target(name), Target::new(other.address, &format!("/fn/{name}/")));
    let their_meter = other.pid.map(Meter::of_process);
    load::run(&ours, clients, plan.warm_up)?;
    load::run(&theirs, clients, plan.warm_up / 4)?;

    let mut pairs = Vec::new();
    for _ in 0..plan.slots {
        let ours = || slot(&ours, clients, plan.slot, hearth.meter());
        let theirs = || slot(&theirs, clients, plan.slot, their_meter.as_ref());
        pairs.push(if random.coin() {
            let first = ours()?;
            (first, theirs()?)
        } else {
            let first = theirs()?;
            (ours()?, first)
        });
    }

    let calls: usize = pairs.iter().map(|(ours, _)| ours.calls).sum();
    let cold = verify(&hearth.records(name, calls)?, clients)?;
    let of = |figure: fn(&Figures) -> f64| pairs.iter().map(|(a, b)| (figure(a), figure(b))).collect::<Vec<_>>();
    let mut row = |label, unit, figure| Row::new(label, unit, compare(&of(figure), random, stats::mean));
    let mut rows = vec![
        row("calls/s", Unit::Rate, |f| f.rate),
        row("p50", Unit::Time, |f| f.p50),
        row("p99", Unit::Time, |f| f.p99),
    ];
    if hearth.meter().is_some() && their_meter.is_some() {
        rows.push(row("CPU a call", Unit::Time, |f| f.cpu.unwrap_or(f64::NAN)));
    }
    let mut own: Vec<f64> = pairs.iter().map(|(ours, _)| ours.own).collect();
    let mut notes = vec![
        Note::new("instances", Unit::Count, hearth.instances(name)? as f64),
        Note::new("calls", Unit::Count, calls as f64),
        Note::new("generator's share of a core", Unit::Percent, stats::mean(&mut own)),
    ];
    if cold > 0 {
        notes.push(Note::new("cold among the last 1,000 calls", Unit::Count, cold as f64));
    }
    Ok(Arm {
        method: format!("{} pairs of slots of {:?}", plan.slots, plan.slot),
        against: other.against.to_owned(),
        rows,
        notes,
    })
}

fn slot(target: &Target, clients: usize, duration: Duration, meter: Option<&Meter>) -> anyhow::Result<Figures> {
    let cpu = || meter.map(Meter::read).transpose();
    let before = cpu()?;
    let mut slot = load::run(target, clients, duration)?;
    let used = before.zip(cpu()?).map(|(before, now)| now.saturating_sub(before));
    refuse_errors(&slot)?;
    Ok(Figures {
        rate: slot.rate(),
        cpu: used.map(|used| used.as_nanos() as f64 / slot.calls() as f64),
        own: 100.0 * slot.own_cpu.as_secs_f64() / slot.elapsed.as_secs_f64(),
        calls: slot.calls(),
        p50: percentile(&mut slot.latencies, 50.0),
        p99: percentile(&mut slot.latencies, 99.0),
    })
}

/// One wrong answer spoils everything: speed by failing is none.
pub fn refuse_errors(slot: &Slot) -> anyhow::Result<()> {
    let (errors, right) = (slot.errors, slot.calls());
    if errors > 0 {
        bail!("{errors} wrong answers beside {right} right ones; {}", slot.first_error.as_deref().unwrap_or_default());
    }
    ensure!(right > 0, "not one answer in {:?}", slot.elapsed);
    Ok(())
}

/// How many of these calls were cold. For a single client none may be.
fn verify(records: &[Value], clients: usize) -> anyhow::Result<usize> {
    let cold = records.iter().filter(|record| record.get("cold").and_then(Value::as_bool) != Some(false));
    let cold: Vec<_> = cold.collect();
    match cold.first() {
        Some(record) if clients == 1 => bail!("expected warm calls only, got {record}"),
        _ => Ok(cold.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_wrong_answer_spoils_a_slot() {
        let mut slot = Slot { latencies: vec![1.0], ..Slot::default() };
        assert!(refuse_errors(&slot).is_ok());
        slot.errors = 1;
        assert!(refuse_errors(&slot).is_err());
        assert!(refuse_errors(&Slot::default()).is_err());
    }

    #[test]
    fn a_cold_call_spoils_a_warm_latency() {
        let records = [json!({"cold": false}), json!({"cold": true})];
        assert!(verify(&records, 1).is_err());
        assert_eq!(verify(&records, 16).unwrap(), 1);
        assert_eq!(verify(&records[..1], 1).unwrap(), 0);
    }

    #[test]
    fn a_slot_on_the_no_op_server_has_figures() {
        let target = Target::new(crate::noop::tests::in_thread(), "/");
        let figures = slot(&target, 4, Duration::from_millis(200), None).unwrap();
        assert!(figures.p50 > 0.0 && figures.p50 <= figures.p99 && figures.rate > 100.0 && figures.own > 0.0);
    }
}
