//! The arms, in their order, and what they share: Hearths that are started when the first arm wants them.
//!
//! An arm that fails is told as failed, and takes its Hearths with it: the next one starts fresh ones.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;

use crate::arms;
use crate::baseline::Baseline;
use crate::cold;
use crate::floor;
use crate::goals::GOALS;
use crate::guest::{self, WIRE};
use crate::hearth::{Code, Folder, Hearth, IMPORTS, NAMESPACE, NODE, PYTHON, Setup};
use crate::noop::Server;
use crate::report::{Outcome, Ran};
use crate::stats::Random;
use crate::stems;
use crate::warm;

/// What runs, and how much of it.
#[derive(Debug, Clone)]
pub struct Choice {
    pub quick: bool,
    /// A part of an arm's name, in lower case, or a goal's number.
    pub only: String,
    pub hearth: PathBuf,
}

pub struct Suite {
    pub choice: Choice,
    plain: Option<Rc<Hearth>>,
    pooled: Option<Rc<Hearth>>,
}

type Run = fn(&mut Suite) -> anyhow::Result<Outcome>;

/// In the order of the goals, as far as what they need allows.
const ARMS: &[(&str, Run)] = &[
    ("cold Python", |suite| floor::beside(suite.cold("cold-python", PYTHON)?, suite.cold_plan().pairs)),
    ("cold imports", |suite| suite.cold("cold-imports", IMPORTS)),
    ("cold Node", |suite| suite.cold("cold-node", NODE)),
    ("cold Python, stems", |suite| suite.stems("stem-python", PYTHON)),
    ("cold imports, stems", |suite| suite.stems("stem-imports", IMPORTS)),
    ("cold Node, stems", |suite| suite.stems("stem-node", NODE)),
    ("cold native", arms::native::run),
    ("isolation's tax", arms::tax::run),
    ("cold against bwrap", arms::tools::bwrap),
    ("cold against crun", arms::tools::crun),
    ("cold against docker", arms::tools::docker),
    ("cold tail, idle", |suite| arms::tail::run(suite, 0)),
    ("cold tail, two hogs", |suite| arms::tail::run(suite, 2)),
    ("latency added", arms::latency::run),
    ("warm Python, 1 client", |suite| suite.warm("warm-python", PYTHON, 1)),
    ("warm Node, 1 client", |suite| suite.warm("warm-node", NODE, 1)),
    ("warm Python, 16 clients", |suite| suite.warm("warm-python", PYTHON, 16)),
    ("warm Node, 16 clients", |suite| suite.warm("warm-node", NODE, 16)),
    ("warm no-op function, 16 clients", |suite| {
        guest::pack(&*suite.plain()?)?;
        suite.warm("warm-wire", WIRE, 16)
    }),
    ("nginx, 16 clients", arms::nginx::run),
    ("burst", arms::burst::run),
    ("density, memory", arms::density::memory),
    ("density, warm", arms::density::warm),
    ("keep-alive", arms::keepalive::run),
    ("cold Python on docker, stems", |suite| suite.unpooled("stem-python-docker", PYTHON, "docker")),
    ("cold Node on docker, stems", |suite| suite.unpooled("stem-node-docker", NODE, "docker")),
    ("cold Python on gvisor, stems", |suite| suite.unpooled("stem-python-gvisor", PYTHON, "gvisor")),
    ("cold Node on gvisor, stems", |suite| suite.unpooled("stem-node-gvisor", NODE, "gvisor")),
    ("catalogue", arms::catalogue::run),
];

// === impl Choice ===

impl Choice {
    /// Whether an arm is to run.
    fn wants(&self, arm: &str) -> bool {
        match self.only.parse::<u32>() {
            Ok(number) => GOALS.iter().any(|goal| goal.number == number && goal.arm == arm),
            Err(_) => arm.to_lowercase().contains(&self.only),
        }
    }
}

// === impl Suite ===

impl Suite {
    /// Runs what was chosen.
    pub fn run(choice: Choice) -> Vec<Ran> {
        let mut suite = Self { choice, plain: None, pooled: None };
        let mut ran = Vec::new();
        for (name, run) in ARMS.iter().filter(|(name, _)| suite.choice.wants(name)).collect::<Vec<_>>() {
            eprintln!("bench: {name}");
            let outcome = run(&mut suite).unwrap_or_else(|error| Outcome::Failed(suite.explain(&error)));
            match &outcome {
                Outcome::Measured(_) => {}
                Outcome::Skipped(why) => eprintln!("bench: SKIPPED {name}: {why}"),
                Outcome::Failed(why) => eprintln!("bench: FAILED {name}: {why}"),
            }
            ran.push(Ran { name: (*name).to_owned(), outcome });
        }
        for hearth in [suite.plain.take(), suite.pooled.take()].into_iter().flatten() {
            // Nobody else holds it: arms give back what they borrow.
            let stopped = Rc::into_inner(hearth).context("an arm kept a Hearth").and_then(Hearth::stop);
            if let Err(error) = stopped {
                ran.push(Ran { name: "Hearth's end".into(), outcome: Outcome::Failed(format!("{error:#}")) });
            }
        }
        ran
    }

    /// An error with the last words of the Hearths that may have to do with it; both end.
    fn explain(&mut self, error: &anyhow::Error) -> String {
        let hearths = [self.plain.take(), self.pooled.take()].into_iter().flatten();
        let words: Vec<_> = hearths.map(|hearth| hearth.last_words()).collect();
        format!("{error:#}\n{}", words.join("\n")).trim_end().to_owned()
    }

    /// Either, for the full run or the quick one.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.choice.quick { quick } else { full }
    }

    /// The Hearth that keeps nothing ready.
    pub fn plain(&mut self) -> anyhow::Result<Rc<Hearth>> {
        Self::shared(&mut self.plain, &self.choice, 0)
    }

    /// The one with stems.
    pub fn pooled(&mut self) -> anyhow::Result<Rc<Hearth>> {
        Self::shared(&mut self.pooled, &self.choice, 8)
    }

    fn shared(slot: &mut Option<Rc<Hearth>>, choice: &Choice, stems: u32) -> anyhow::Result<Rc<Hearth>> {
        if let Some(hearth) = slot {
            return Ok(hearth.clone());
        }
        let setup = Setup { stems, ..Setup::default() };
        let mut hearth = Hearth::start(&choice.hearth, Folder::make()?, &setup)?;
        if stems == 0
            && let Err(error) = hearth.find_meter()
        {
            return Err(hearth.explain(error));
        }
        Ok(slot.insert(Rc::new(hearth)).clone())
    }

    /// A Hearth of an arm's own.
    pub fn own(&self, setup: &Setup) -> anyhow::Result<Hearth> {
        Hearth::start(&self.choice.hearth, Folder::make()?, setup)
    }

    fn baseline(hearth: &Hearth, code: Code) -> anyhow::Result<Baseline> {
        match code {
            IMPORTS => Baseline::imports(),
            NODE => Baseline::node(hearth.folder()),
            _ => Baseline::python(),
        }
        .context("find the baseline")
    }

    pub fn cold_plan(&self) -> cold::Plan {
        self.pick(cold::Plan { pairs: 200, block: 10 }, cold::Plan { pairs: 20, block: 5 })
    }

    pub fn warm_plan(&self) -> warm::Plan {
        let (slots, slot, warm_up) = self.pick((20, 500, 2000), (4, 300, 300));
        warm::Plan { slots, slot: Duration::from_millis(slot), warm_up: Duration::from_millis(warm_up) }
    }

    fn cold(&mut self, name: &str, code: Code) -> anyhow::Result<Outcome> {
        let hearth = self.plain()?;
        let baseline = Self::baseline(&hearth, code)?;
        let other = (baseline.label.as_str(), &|| baseline.run() as anyhow::Result<_>);
        let plan = self.cold_plan();
        let arm = cold::measure(&hearth, (name, code), (other.0, other.1), plan, &mut Random::from_clock())?;
        Ok(Outcome::Measured(arm))
    }

    fn stems(&mut self, name: &str, code: Code) -> anyhow::Result<Outcome> {
        let hearth = self.pooled()?;
        let baseline = Self::baseline(&hearth, code)?;
        let subject = stems::Subject { name, code, isolation: NAMESPACE };
        let other = stems::Other::Interpreter(&baseline);
        let pairs = self.pick(200, 5);
        Ok(Outcome::Measured(stems::measure(&hearth, subject, other, pairs, &mut Random::from_clock())?))
    }

    /// Cold starts out of stems, beside a Hearth that keeps none.
    fn unpooled(&mut self, name: &str, code: Code, isolation: &str) -> anyhow::Result<Outcome> {
        let without = self.plain()?;
        if let Some(why) = without.lacks(isolation)? {
            return Ok(Outcome::Skipped(format!("{isolation} does not work here: {why}")));
        }
        let hearth = self.pooled()?;
        let subject = stems::Subject { name, code, isolation };
        let pairs = self.pick(50, 5);
        let other = stems::Other::Unpooled(&without);
        Ok(Outcome::Measured(stems::measure(&hearth, subject, other, pairs, &mut Random::from_clock())?))
    }

    fn warm(&mut self, name: &str, code: Code, clients: usize) -> anyhow::Result<Outcome> {
        let hearth = self.plain()?;
        let noop = Server::noop()?;
        let other = warm::Other { against: "no-op server", address: noop.address, pid: Some(noop.pid()) };
        warm::deploy(&hearth, name, code)?;
        let plan = self.warm_plan();
        Ok(Outcome::Measured(warm::measure(&hearth, name, &other, clients, plan, &mut Random::from_clock())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_has_its_arm() {
        for goal in GOALS {
            assert!(ARMS.iter().any(|(name, _)| *name == goal.arm), "no arm is called {}", goal.arm);
        }
        let numbers: std::collections::BTreeSet<_> = GOALS.iter().map(|goal| goal.number).collect();
        assert_eq!(numbers, (1..=16).collect());
    }

    #[test]
    fn arms_are_chosen_by_a_part_of_their_name_or_by_a_goals_number() {
        let choice = |only: &str| Choice { quick: true, only: only.into(), hearth: "/h".into() };
        assert!(choice("python").wants("cold Python") && !choice("python").wants("cold Node"));
        assert!(choice("9").wants("cold Python") && !choice("9").wants("burst"));
        assert!(choice("").wants("burst"));
    }
}
