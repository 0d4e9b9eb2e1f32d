//! Goal 13: what an idle instance costs of the machine's memory, and whether many of them slow down the calls of one.
//!
//! Memory is what MemAvailable loses when a block of instances comes up and gets back when it goes, over the number of
//! instances, against the resident memory of a python3 that does nothing. Up and down are both counted, many times, so
//! that what else happens on the machine cancels out as far as it can.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::burst::{CHARGED_MIB, raise_descriptors};
use crate::hearth::{Deploy, Hearth, PYTHON, Setup};
use crate::load;
use crate::report::{Arm, Note, Outcome, Row, Unit};
use crate::stats::{self, Compared, Estimate, Random, bootstrap, compare, percentile};
use crate::suite::Suite;
use crate::tree;
use crate::warm;

/// How long many instances may take to come up, or to go.
const SLOW: Duration = Duration::from_secs(180);
/// Instances that come up between two looks at the memory.
const BLOCK: usize = 250;
/// What Hearth was seen to run out of at 20,000 and 2,750 instances, rounded up.
const DESCRIPTORS: u64 = 8;
/// What the kernel gets to give back what the dead had, behind the scenes.
const GIVEN_BACK: Duration = Duration::from_secs(2);

pub fn memory(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let (wanted, rounds) = suite.pick((250, 6), (20, 2));
    let count = wanted.min(fits(12 << 20));
    let hearth = suite.own(&setup(count))?;
    let measured = measure_memory(&hearth, count, rounds).map_err(|error| hearth.explain(error))?;
    hearth.stop()?;
    Ok(Outcome::Measured(measured))
}

fn measure_memory(hearth: &Hearth, count: usize, rounds: usize) -> anyhow::Result<Arm> {
    let mut random = Random::from_clock();
    // What the first instances bring up for all others is none of theirs.
    up(hearth, "dense-first", 4)?;
    hearth.until_settled()?;
    let (mut pairs, mut shares) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let name = format!("dense-{round}");
        let before_processes = hearth.tree().processes();
        let before = tree::available();
        up(hearth, &name, count)?;
        let held = tree::available();
        let new = hearth.tree().processes().into_iter().filter(|pid| !before_processes.contains(pid));
        shares.push(new.filter_map(tree::pss).sum::<u64>() as f64 / count as f64);
        down(hearth, &name)?;
        let after = tree::available();
        let plain = python()?;
        for change in [before as f64 - held as f64, after as f64 - held as f64] {
            pairs.push((change / count as f64, plain));
        }
    }
    let figure = compare(&pairs, &mut random, |values| percentile(values, 50.0));
    // A machine on which memory comes and goes by more than instances take tells nothing: that judges no goal.
    let label = if figure.ratio.low > 0.0 { "memory" } else { "too noisy" };
    Ok(Arm {
        method: format!("{rounds} times {count} instances up and down"),
        against: "RSS of python3".into(),
        rows: vec![Row::new(label, Unit::Bytes, figure)],
        notes: vec![Note::new("PSS of an instance's processes", Unit::Bytes, stats::mean(&mut shares))],
    })
}

pub fn warm(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let wanted = suite.pick(5000, 40);
    let plan = suite.warm_plan();
    let setup = setup(wanted);
    let hearth = suite.own(&setup)?;
    let measured = measure_warm(&hearth, wanted, plan).map_err(|error| hearth.explain(error))?;
    hearth.stop()?;
    Ok(Outcome::Measured(measured))
}

fn measure_warm(hearth: &Hearth, wanted: usize, plan: warm::Plan) -> anyhow::Result<Arm> {
    let mut random = Random::from_clock();
    // Ten live: nine beside the one that is called.
    hearth.deploy(Deploy::new("few", PYTHON).idle("10m").instances(9, 9))?;
    hearth.until_frozen("few", 9, SLOW)?;
    warm::deploy(hearth, "called", PYTHON)?;
    load::run(&hearth.target("called"), 1, plan.warm_up)?;
    let slots = |count: usize| (0..count).map(|_| slot(hearth, plan)).collect::<anyhow::Result<Vec<f64>>>();
    let mut few = slots(plan.slots / 2)?;

    // In blocks, as long as half of what was free is left: how much one takes is not known before.
    let floor = tree::available() / 2;
    let descriptors = raise_descriptors()? / DESCRIPTORS;
    let most = wanted.min(usize::try_from(descriptors).unwrap_or(usize::MAX));
    let (mut names, mut live) = (Vec::new(), 10);
    while live < most && tree::available() > floor {
        let (name, count) = (format!("many-{}", names.len()), BLOCK.min(most - live));
        up(hearth, &name, count)?;
        names.push(name);
        live += count;
    }
    let many = slots(plan.slots)?;
    for name in &names {
        down(hearth, name)?;
    }
    // Once more after: what has changed over the minutes between is in neither side alone.
    few.extend(slots(plan.slots - plan.slots / 2)?);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    // Pairs only by chance: each side is resampled as if by itself.
    let sides: Vec<(f64, f64)> = many.iter().copied().zip(few.iter().copied()).collect();
    let of = |all: &[(f64, f64)]| {
        let (many, few): (Vec<f64>, Vec<f64>) = all.iter().copied().unzip();
        mean(&many) / mean(&few)
    };
    let ratio: Estimate = bootstrap(&sides, &mut random, of);
    let mut notes = vec![Note::new("live", Unit::Count, live as f64)];
    if live < most {
        notes.push(Note::new("wanted, and had no memory for", Unit::Count, most as f64));
    } else if live < wanted {
        notes.push(Note::new("wanted, and may not have the descriptors for", Unit::Count, wanted as f64));
    }
    Ok(Arm {
        method: format!("{} slots each of {:?}, one client: at 10 live, at {live}, at 10 again", plan.slots, plan.slot),
        against: "10 live".into(),
        rows: vec![Row::new("p50", Unit::Time, Compared { ours: mean(&many), theirs: mean(&few), ratio })],
        notes,
    })
}

fn slot(hearth: &Hearth, plan: warm::Plan) -> anyhow::Result<f64> {
    let target = hearth.target("called");
    // The first calls of a slot thaw the instance.
    load::run(&target, 1, Duration::from_millis(50))?;
    let mut slot = load::run(&target, 1, plan.slot)?;
    warm::refuse_errors(&slot)?;
    Ok(percentile(&mut slot.latencies, 50.0))
}

fn setup(count: usize) -> Setup {
    Setup { memory_mib: Some((count as u64 + 100) * CHARGED_MIB), ..Setup::default() }
}

/// How many that take so much fit into half of what is free.
fn fits(each: u64) -> usize {
    (tree::available() / 2 / each) as usize
}

/// So many instances, idle and frozen.
fn up(hearth: &Hearth, name: &str, count: usize) -> anyhow::Result<()> {
    hearth.deploy(Deploy::new(name, PYTHON).idle("10m").instances(count as u32, count as u32))?;
    hearth.until_frozen(name, count, SLOW)?;
    std::thread::sleep(GIVEN_BACK);
    Ok(())
}

fn down(hearth: &Hearth, name: &str) -> anyhow::Result<()> {
    hearth.remove(name)?;
    hearth.until_none(name, SLOW)?;
    std::thread::sleep(GIVEN_BACK);
    Ok(())
}

/// What a python3 that does nothing has in memory.
fn python() -> anyhow::Result<f64> {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", "print(flush=True); input()"]).env_clear().env("LANG", "C.UTF-8");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start python3")?;
    child.stdout.take().context("its output")?.read_exact(&mut [0])?;
    let rss = tree::rss(child.id()).context("the memory of python3");
    child.stdin.take().context("its input")?.write_all(b"\n")?;
    let status = child.wait()?;
    ensure!(status.success(), "python3 ended with {status}");
    Ok(rss? as f64)
}
