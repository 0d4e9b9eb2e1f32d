//! Goal 8: the cold tail, as the p99 of many pairs, on an idle machine and beside processes that want all of a core.

use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::baseline::Baseline;
use crate::cold::{self, Plan};
use crate::hearth::PYTHON;
use crate::report::{Note, Outcome, Unit};
use crate::stats::Random;
use crate::suite::Suite;

/// A process that computes for ever; it ends with this value, and with its parent.
struct Hog(Child);

/// What `bench hog` does.
pub fn hog() -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

pub fn run(suite: &mut Suite, hogs: usize) -> anyhow::Result<Outcome> {
    let hearth = suite.plain()?;
    let baseline = Baseline::python()?;
    let plan = suite.pick(Plan { pairs: 1000, block: 10 }, Plan { pairs: 20, block: 10 });
    let name = format!("tail-{hogs}");
    let hogs = (0..hogs).map(|_| Hog::start()).collect::<anyhow::Result<Vec<_>>>()?;
    let other = || baseline.run();
    let mut random = Random::from_clock();
    let mut arm = cold::measure(&hearth, (&name, PYTHON), (&baseline.label, &other), plan, &mut random)?;
    arm.notes.push(Note::new("hogs", Unit::Count, hogs.len() as f64));
    Ok(Outcome::Measured(arm))
}

// === impl Hog ===

impl Hog {
    fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let child = Command::new(program).arg("hog").stdin(Stdio::null()).spawn().context("start a hog")?;
        Ok(Self(child))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
