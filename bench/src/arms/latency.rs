//! Goal 10: what Hearth adds to a warm call, against what the least proxy adds.
//!
//! ```text
//! direct    client ─────────────── frames ──► the function's own process
//! proxy     client ──HTTP──► proxy ─frames──► the function's own process
//! Hearth    client ──HTTP──► Hearth ─frames─► the same, in its sandbox
//! ```
//!
//! Both are compared with the same base: interpreter, bootstrap, handler and event are the same in all three, so what
//! is left is what stands between the client and the function. A second row is the plain reading of the goal, over
//! servers that do nothing: proxy before a no-op server on a Unix socket, less the no-op server; and Hearth, less the
//! no-op server and less the handler's time as Hearth recorded it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::bare::{self, Bare, Kit};
use crate::hearth::PYTHON;
use crate::load::{self, Target};
use crate::noop::Server;
use crate::report::{Arm, Note, Outcome, Row, Unit};
use crate::stats::{Compared, Random, bootstrap, percentile};
use crate::suite::Suite;
use crate::warm;

/// The medians of one round, each from a slot of its own, nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    hearth: f64,
    proxy: f64,
    direct: f64,
    proxy_noop: f64,
    noop: f64,
}

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let hearth = suite.plain()?;
    let plan = suite.warm_plan();
    let mut random = Random::from_clock();
    let name = "latency";
    warm::deploy(&hearth, name, PYTHON)?;

    let kit = Kit::python(hearth.folder(), &hearth.folder().join(PYTHON.folder), PYTHON.handler)?;
    let [runtime, task, handler] = kit.args();
    let proxy = Server::start(&["proxy", "wire", &runtime, &task, &handler])?;
    let socket = hearth.folder().join("noop.sock");
    let socket = socket.to_str().context("a temporary folder whose name is no text")?;
    let _upstream = Server::start(&["noop", "--unix", socket])?;
    let proxy_noop = Server::start(&["proxy", "http", socket])?;
    let noop = Server::noop()?;
    let mut process = Bare::start(&kit)?;
    let request = bare::invoke_frame()?;

    let path = format!("/fn/{name}/");
    let targets = [hearth.target(name), Target::new(proxy.address, &path), Target::new(proxy_noop.address, &path)];
    let noop = Target::new(noop.address, &path);
    let mut direct = |duration: Duration| -> anyhow::Result<f64> {
        let (start, mut latencies) = (Instant::now(), Vec::new());
        while start.elapsed() < duration {
            let sent = Instant::now();
            let answer = process.call(&request)?;
            latencies.push(sent.elapsed().as_nanos() as f64);
            ensure!(answer.starts_with(b"{\"statusCode\""), "expected the handler's answer, got {answer:?}");
        }
        Ok(percentile(&mut latencies, 50.0))
    };
    for target in targets.iter().chain([&noop]) {
        load::run(target, 1, plan.warm_up / 2)?;
    }
    direct(plan.warm_up / 2)?;

    let mut rounds = Vec::new();
    for _ in 0..plan.slots {
        let mut round = Round::default();
        for one in random.order(5) {
            match one {
                0 => round.hearth = median(&targets[0], plan.slot)?,
                1 => round.proxy = median(&targets[1], plan.slot)?,
                2 => round.proxy_noop = median(&targets[2], plan.slot)?,
                3 => round.noop = median(&noop, plan.slot)?,
                _ => round.direct = direct(plan.slot)?,
            }
        }
        rounds.push(round);
    }
    drop(process);

    let records = hearth.records(name, 200)?;
    ensure!(records.iter().all(|one| one.get("cold") == Some(&Value::Bool(false))), "a call of the last 200 was cold");
    let mut handler: Vec<f64> = records.iter().filter_map(|record| record.get("handler_us")?.as_f64()).collect();
    let handler = percentile(&mut handler, 50.0) * 1e3;
    let mean = |of: &dyn Fn(&Round) -> f64, rounds: &[Round]| rounds.iter().map(of).sum::<f64>() / rounds.len() as f64;
    let mut row = |label, ours: &dyn Fn(&Round) -> f64, theirs: &dyn Fn(&Round) -> f64| {
        let ratio = bootstrap(&rounds, &mut random, |rounds| mean(ours, rounds) / mean(theirs, rounds));
        Row::new(label, Unit::Time, Compared { ours: mean(ours, &rounds), theirs: mean(theirs, &rounds), ratio })
    };
    let rows = vec![
        row("added p50", &|one| one.hearth - one.direct, &|one| one.proxy - one.direct),
        row("by no-ops", &|one| one.hearth - one.noop - handler, &|one| one.proxy_noop - one.noop),
        row("whole p50", &|one| one.hearth, &|one| one.proxy),
    ];
    let note = |label, of: &dyn Fn(&Round) -> f64| Note::new(label, Unit::Time, mean(of, &rounds));
    let notes = vec![
        note("the function's own process, direct", &|one| one.direct),
        note("no-op server", &|one| one.noop),
        note("proxy before a no-op server", &|one| one.proxy_noop),
        Note::new("handler as recorded", Unit::Time, handler),
    ];
    let method = format!("{} rounds of slots of {:?}, one client", plan.slots, plan.slot);
    Ok(Outcome::Measured(Arm { method, against: "least proxy".into(), rows, notes }))
}

fn median(target: &Target, duration: Duration) -> anyhow::Result<f64> {
    let mut slot = load::run(target, 1, duration)?;
    warm::refuse_errors(&slot)?;
    Ok(percentile(&mut slot.latencies, 50.0))
}
