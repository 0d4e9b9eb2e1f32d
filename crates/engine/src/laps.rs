//! The moments that a cold start passes, noted as they pass, and the waterfall of them for the record. Warm calls note
//! nothing.

use std::borrow::Cow;
use std::time::Duration;

use driver::{Step, monotonic_us};
use model::waterfall::{StepName, Waterfall};
use tokio::time::Instant;
use wire::Trace;

/// What a start did so far.
#[derive(Debug, Clone, Default)]
pub struct Laps(Vec<Lap>);

#[derive(Debug, Clone)]
struct Lap {
    name: &'static str,
    until: Instant,
    parts: Vec<(StepName, Instant, Instant)>,
}

/// The processes' common clock in terms of this one's.
#[derive(Debug, Clone, Copy)]
struct Clock {
    here: Instant,
    there: u64,
}

// === impl Laps ===

impl Laps {
    /// A stage ended now.
    pub fn lap(&mut self, name: &'static str) {
        self.until(name, Instant::now());
    }

    pub fn until(&mut self, name: &'static str, until: Instant) {
        self.0.push(Lap { name, until, parts: Vec::new() });
    }

    /// The stage that ended last had these parts: name and end of each.
    pub fn with_parts(&mut self, parts: impl IntoIterator<Item = (&'static str, Instant)>) {
        let Some(begun) = self.0.len().checked_sub(2).map(|before| self.0[before].until) else { return };
        let Some(last) = self.0.last_mut() else { return };
        let mut from = begun;
        for (name, until) in parts {
            last.parts.push((name.into(), from, until));
            from = until;
        }
    }

    /// The same, for steps that other processes took the time of.
    pub fn with_steps(&mut self, steps: Vec<Step>) {
        if steps.is_empty() {
            return;
        }
        let clock = Clock::read();
        let begun = self.0.len().checked_sub(2).map(|before| self.0[before].until);
        let Some(last) = self.0.last_mut() else { return };
        if let Some((begun, first)) = begun.zip(steps.first()) {
            last.parts.push(("ask".into(), begun, clock.at(first.from_us)));
        }
        last.parts.extend(steps.into_iter().map(|step| (step.name, clock.at(step.from_us), clock.at(step.to_us))));
    }

    /// What was left of the stage that ended last, after its parts, was for this.
    pub fn tail(&mut self, name: &'static str) {
        if let Some(last) = self.0.last_mut() {
            last.tail(name);
        }
    }

    /// The sandbox told how it set itself up: the stage that ended last ended when that began.
    pub fn set_up(&mut self, trace: Trace) {
        let clock = Clock::read();
        let Some(last) = self.0.last_mut() else { return };
        let mut at = trace.begun_us;
        // A sandbox cannot have begun after it was heard of.
        last.until = clock.at(at).min(clock.here);
        last.tail("wake");
        let mut parts = Vec::new();
        for (step, took) in trace.steps {
            let until = at.saturating_add(u64::from(took));
            parts.push((Cow::Borrowed(step.as_str()), clock.at(at), clock.at(until)));
            at = until;
        }
        self.0.push(Lap { name: "set-up", until: clock.at(at).min(clock.here), parts });
    }

    /// Makes a waterfall of what was since the request came in.
    pub fn waterfall(&self, received: Instant, entered: Instant) -> Waterfall {
        let us = |at: Instant| at.saturating_duration_since(received).as_micros() as u64;
        let mut waterfall = Waterfall::default();
        waterfall.stage("door", us(entered));
        for Lap { name, until, parts } in &self.0 {
            let parts = parts.iter().map(|(name, from, to)| (name.clone(), us(*from), us(*to)));
            waterfall.stage_of(*name, us(*until), parts);
        }
        waterfall
    }
}

// === impl Lap ===

impl Lap {
    fn tail(&mut self, name: &'static str) {
        if let Some((_, _, from)) = self.parts.last() {
            self.parts.push((name.into(), *from, self.until));
        }
    }
}

// === impl Clock ===

impl Clock {
    fn read() -> Self {
        Self { here: Instant::now(), there: monotonic_us() }
    }

    /// A moment of the common clock; now, if it is out of all reason.
    fn at(self, there: u64) -> Instant {
        let moved = if there >= self.there {
            self.here.checked_add(Duration::from_micros(there - self.there))
        } else {
            self.here.checked_sub(Duration::from_micros(self.there - there))
        };
        moved.unwrap_or(self.here)
    }
}
