//! What is remembered of schedules: how far each has come, and which of its ticks became events.

use async_trait::async_trait;
use model::{FunctionName, Overlap, Timestamp};

use crate::StoreError;
use crate::queue::NewEvent;

/// A schedule's name: its function's and its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScheduleName {
    pub function: FunctionName,
    pub schedule: String,
}

/// How far a schedule has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleState {
    pub name: ScheduleName,
    /// Ticks up to then have been seen to.
    pub last: Timestamp,
    pub paused: bool,
    /// Ticks that became events.
    pub enqueued: u64,
    /// Ticks that were passed over: the event of an earlier one waited or ran.
    pub skipped: u64,
}

/// A tick, and the event that it shall become.
#[derive(Debug, Clone)]
pub struct Tick {
    pub tick: Timestamp,
    pub event: NewEvent,
    /// When the event may run.
    pub due: Timestamp,
}

/// Schedules. A tick becomes an event at most once, whatever the clock does: it is remembered in the transaction that
/// makes the event.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// All schedules there are, each with what it means. New ones begin `now`; so do those whose meaning has changed;
    /// those that are not named are forgotten.
    async fn know(&self, all: Vec<(ScheduleName, String)>, now: Timestamp) -> Result<Vec<ScheduleState>, StoreError>;

    async fn states(&self) -> Result<Vec<ScheduleState>, StoreError>;

    /// Makes events of ticks, and remembers that all up to `last` have been seen to. Nothing, if the schedule is paused
    /// or is not known.
    async fn tick(
        &self,
        name: ScheduleName,
        ticks: Vec<Tick>,
        overlap: Overlap,
        last: Timestamp,
    ) -> Result<(), StoreError>;

    /// Pauses a schedule, or lets it go on: what it missed meanwhile is not made up for. False if it is not known.
    async fn pause(&self, name: ScheduleName, paused: bool, now: Timestamp) -> Result<bool, StoreError>;
}
