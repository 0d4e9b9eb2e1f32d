//! When the steps of making a sandbox were, on the one clock that all processes of this machine share.

use std::borrow::Cow;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One step. Microseconds on the machine's CLOCK_MONOTONIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub name: Cow<'static, str>,
    pub from_us: u64,
    pub to_us: u64,
}

/// Takes the time of steps that follow one another.
#[derive(Debug)]
pub struct Steps {
    at: u64,
    done: Vec<Step>,
}

/// What CLOCK_MONOTONIC says now, microseconds.
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

// === impl Steps ===

impl Steps {
    /// The first step begins now.
    pub fn begin() -> Self {
        Self { at: monotonic_us(), done: Vec::new() }
    }

    /// One step ends here, and the next begins.
    pub fn lap(&mut self, name: &'static str) {
        let now = monotonic_us();
        self.done.push(Step { name: Cow::Borrowed(name), from_us: self.at, to_us: now });
        self.at = now;
    }

    pub fn done(self) -> Vec<Step> {
        self.done
    }
}
