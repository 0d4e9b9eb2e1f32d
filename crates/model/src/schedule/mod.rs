//! Schedules: when a function is called by the clock. What was written ([`Schedule`]) and what it means, a
//! [`Timetable`] that says for any moment when the next tick is. Pure: no clock in here.

mod cron;
mod table;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::function::{InvalidSpec, duration_text};
use crate::quantity::show_duration;
use crate::version::Qualifier;

pub use table::Timetable;

/// Schedules of one function at most.
pub const MAX_SCHEDULES: usize = 50;
/// Missed ticks of one schedule that are made up for at most.
pub const MAX_MISSED: u32 = 1000;

/// What happens when a tick comes while the event of an earlier one waits or runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// The tick is passed over, and counted.
    #[default]
    Skip,
    /// Its event runs when the earlier one is done.
    Queue,
    /// Both run.
    Allow,
}

/// What happens to ticks at which no server ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    Skip,
    /// The newest of them is made up for.
    #[default]
    Once,
    /// The newest `missed_most` of them are.
    All,
}

/// One schedule of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name among the function's; 1 to 64 of `A-Z a-z 0-9 - _`.
    pub name: String,
    /// Five or six fields of cron, or AWS's `cron(…)`, `rate(…)`, `at(…)`.
    pub cron: String,
    /// An IANA time zone; default UTC.
    #[serde(default = "utc")]
    pub timezone: String,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub missed: Missed,
    /// With `missed = all`: how many at most; default 100.
    #[serde(default = "missed_most")]
    pub missed_most: u32,
    /// Each tick's event becomes due this much later at most, always the same for one tick; default none.
    #[serde(default, with = "duration_text", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// No tick before this moment; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// No tick after this moment; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// The version or alias that is called; none: what calls without one get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<Qualifier>,
    /// The event; none: EventBridge's scheduled event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}

fn utc() -> String {
    "UTC".into()
}
fn missed_most() -> u32 {
    100
}

// === impl Schedule ===

impl Schedule {
    /// With the defaults.
    pub fn new(name: &str, cron: &str) -> Self {
        Self {
            name: name.into(),
            cron: cron.into(),
            timezone: utc(),
            overlap: Overlap::default(),
            missed: Missed::default(),
            missed_most: missed_most(),
            jitter: Duration::ZERO,
            start: None,
            end: None,
            qualifier: None,
            payload: None,
        }
    }

    /// What it means; what is wrong with it.
    pub fn timetable(&self) -> Result<Timetable, InvalidSpec> {
        let read = Timetable::parse(&self.cron, &self.timezone, self.start.as_deref(), self.end.as_deref());
        read.map_err(|why| InvalidSpec::Schedule { name: self.name.chars().take(64).collect(), why })
    }

    fn validate(&self) -> Result<(), InvalidSpec> {
        let refuse = |why: String| Err(InvalidSpec::Schedule { name: self.name.chars().take(64).collect(), why });
        if self.name.parse::<crate::FunctionName>().is_err() {
            return refuse("a name is 1 to 64 of A-Z a-z 0-9 - _".into());
        }
        if !(1..=MAX_MISSED).contains(&self.missed_most) {
            return refuse(format!("missed-most = {} is out of range: expected 1 to {MAX_MISSED}", self.missed_most));
        }
        if self.jitter > Duration::from_secs(3600) {
            return refuse(format!("jitter = {} is out of range: expected 0s to 1h", show_duration(self.jitter)));
        }
        let bytes = self.payload.as_ref().map_or(0, |payload| payload.to_string().len());
        if bytes > 65_536 {
            return refuse(format!("its payload has {bytes} bytes: at most 65536 are allowed"));
        }
        self.timetable().map(drop)
    }
}

/// Checks all schedules of a function.
pub(crate) fn validate(schedules: &[Schedule]) -> Result<(), InvalidSpec> {
    if schedules.len() > MAX_SCHEDULES {
        let given = schedules.len().to_string();
        return Err(InvalidSpec::OutOfRange { key: "schedule", given, expected: "at most 50 of them" });
    }
    for (place, schedule) in schedules.iter().enumerate() {
        if schedules[..place].iter().any(|other| other.name == schedule.name) {
            let why = "two schedules have this name: each needs one of its own".into();
            return Err(InvalidSpec::Schedule { name: schedule.name.chars().take(64).collect(), why });
        }
        schedule.validate()?;
    }
    Ok(())
}
