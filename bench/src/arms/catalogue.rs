//! Goal 16: very many functions deployed, of one package. How long a start takes until it is ready, what Hearth's own
//! processes hold then, and whether a warm call takes longer than beside ten functions. The two Hearths are up at the
//! same time, and called in alternating slots.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::hearth::{Deploy, Hearth, PYTHON, Setup};
use crate::load;
use crate::report::{Arm, Note, Outcome, Row, Unit};
use crate::stats::{self, Random, compare, percentile, range};
use crate::suite::Suite;
use crate::tree;
use crate::warm;

const FEW: usize = 10;
/// Connections that deploy at once.
const DEPLOYERS: usize = 16;
const CALLED: &str = "called";

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let (count, restarts) = suite.pick((10_000, 5), (200, 2));
    let plan = suite.warm_plan();
    let mut many = suite.own(&Setup::default())?;
    let few = suite.own(&Setup::default())?;
    let measured = measure(&mut many, &few, count, restarts, plan).map_err(|error| many.explain(error))?;
    many.stop()?;
    few.stop()?;
    Ok(Outcome::Measured(measured))
}

fn measure(many: &mut Hearth, few: &Hearth, count: usize, restarts: usize, plan: warm::Plan) -> anyhow::Result<Arm> {
    let mut random = Random::from_clock();
    let since = Instant::now();
    fill(many, count)?;
    let deploying = since.elapsed();
    fill(few, FEW)?;
    let mut ready = Vec::new();
    let mut held = Vec::new();
    for _ in 0..restarts {
        ready.push(many.restart()?.as_secs_f64());
        // Before anything was called, and after what a start sets going has come to rest.
        std::thread::sleep(Duration::from_millis(500));
        held.push(rss(many)?);
    }
    let (ours, theirs) = (many.target(CALLED), few.target(CALLED));
    for target in [&ours, &theirs] {
        load::run(target, 1, plan.warm_up)?;
    }
    let slot = |target| -> anyhow::Result<f64> {
        load::run(target, 1, Duration::from_millis(50))?;
        let mut slot = load::run(target, 1, plan.slot)?;
        warm::refuse_errors(&slot)?;
        Ok(percentile(&mut slot.latencies, 50.0))
    };
    let mut pairs = Vec::new();
    for _ in 0..plan.slots {
        pairs.push(if random.coin() {
            let ours = slot(&ours)?;
            (ours, slot(&theirs)?)
        } else {
            let theirs = slot(&theirs)?;
            (slot(&ours)?, theirs)
        });
    }
    let (called, beside) = (rss(many)?, rss(few)?);
    Ok(Arm {
        method: format!("{count} functions, {restarts} restarts, {} pairs of slots of {:?}", plan.slots, plan.slot),
        against: format!("{FEW} functions"),
        rows: vec![
            Row::new("p50", Unit::Time, compare(&pairs, &mut random, stats::mean)),
            Row::alone("ready, s", Unit::Number, range(&ready)),
            Row::alone("RSS, MiB", Unit::Number, range(&held)),
        ],
        notes: vec![
            Note::new("deployed, 16 at once", Unit::Rate, count as f64 / deploying.as_secs_f64()),
            Note::new("RSS after the calls", Unit::Bytes, called * f64::from(1 << 20)),
            Note::new("RSS beside 10 functions", Unit::Bytes, beside * f64::from(1 << 20)),
        ],
    })
}

/// So many functions, of which one will be called.
fn fill(hearth: &Hearth, count: usize) -> anyhow::Result<()> {
    hearth.deploy(Deploy::new(CALLED, PYTHON).idle("10m").instances(0, 4))?;
    let mut api = Api::open(hearth)?;
    let made = api.call("GET", &format!("functions/{CALLED}"), None)?;
    let hash = made.pointer("/code/sha256").and_then(Value::as_str).context("the package of a function")?;
    let body = json!({"runtime": PYTHON.runtime, "handler": PYTHON.handler, "code": {"sha256": hash}});
    // Many at once, as whoever deploys so many would: a write's answer waits until calls see it.
    let deploy = &|first: usize| -> anyhow::Result<()> {
        let mut api = Api::open(hearth)?;
        for index in (first..count).step_by(DEPLOYERS) {
            api.call("PUT", &format!("functions/f{index:05}"), Some(&body))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (1..=DEPLOYERS).map(|first| scope.spawn(move || deploy(first))).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a thread that deploys ended"))?)
    })
}

/// What its own processes hold together, MiB: those that run its program, and no sandbox.
fn rss(hearth: &Hearth) -> anyhow::Result<f64> {
    let program = std::fs::canonicalize(hearth.program())?;
    let ours = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    let bytes: Vec<u64> = hearth.tree().processes().into_iter().filter(ours).filter_map(tree::rss).collect();
    ensure!(bytes.len() >= 2, "expected spawner and server among Hearth's processes, found {}", bytes.len());
    Ok(bytes.iter().sum::<u64>() as f64 / f64::from(1 << 20))
}
