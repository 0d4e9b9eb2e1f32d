//! Goal 6: what isolation costs a cold start. Hearth has no mode without isolation, which somebody might leave on; so
//! the other side is the same runtime outside Hearth ([`crate::bare`]): posix_spawn of the interpreter with the same
//! bootstrap, HELLO, INIT, READY, one INVOKE, its answer.
//!
//! It is compared with a Hearth that starts its interpreters by exec, as the other side does: a Hearth that forks them
//! skips most of what both would share, and its ratio would say nothing about isolation.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::bare::{self, Bare, Kit};
use crate::baseline::Cost;
use crate::cold;
use crate::hearth::{Hearth, PYTHON, Setup};
use crate::report::Outcome;
use crate::stats::Random;
use crate::suite::Suite;

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let help = Command::new(&suite.choice.hearth).args(["up", "--help"]).output().context("hearth up --help")?;
    let plan = suite.cold_plan();
    if !String::from_utf8_lossy(&help.stdout).contains("--fork-servers") {
        return measure(&*suite.plain()?, plan);
    }
    let setup = Setup { more: vec!["--fork-servers".into(), "off".into()], ..Setup::default() };
    let mut hearth = suite.own(&setup)?;
    hearth.find_meter()?;
    let outcome = measure(&hearth, plan).map_err(|error| hearth.explain(error))?;
    hearth.stop()?;
    Ok(outcome)
}

fn measure(hearth: &Hearth, plan: cold::Plan) -> anyhow::Result<Outcome> {
    let kit = Kit::python(hearth.folder(), &hearth.folder().join(PYTHON.folder), PYTHON.handler)?;
    let request = bare::invoke_frame()?;
    let other = || -> anyhow::Result<Cost> {
        let start = Instant::now();
        let mut process = Bare::start(&kit)?;
        let answer = process.call(&request)?;
        let wall = start.elapsed();
        ensure!(answer.starts_with(b"{"), "expected a JSON answer, got {answer:?}");
        Ok(Cost { wall, ..process.end()? })
    };
    let mut random = Random::from_clock();
    let arm = cold::measure(hearth, ("tax", PYTHON), ("the same, no isolation", &other), plan, &mut random)?;
    Ok(Outcome::Measured(arm))
}
