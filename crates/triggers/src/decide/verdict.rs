//! What becomes of an event after a run: AWS Lambda's rules, and one of ours: what kills is set aside.
//!
//! | a run | then |
//! | --- | --- |
//! | went well | done |
//! | failed by the function | again after `retry_delay` × the number of failures, `retries` times |
//! | ended its instance, for the third time | set aside, however many retries are left |
//! | could not begin (no room, no sandbox) | again after 1 s, 2 s, 4 s … 5 min, until the event is too old |
//! | could not begin because the server ends | again at once, by the next server |
//! | has no function any more | given up |

use std::time::Duration;

use model::{AsyncRules, Blame, Fault, FaultCode, FunctionError, Outcome, Reply, Timestamp};
use store::queue::{Progress, QueuedEvent};

/// Runs of one event that may end their instance.
pub const MOST_KILLS: u32 = 3;
/// Runs of one event during which the server may end. Only a defect of Hearth's lets an event end a server.
pub const MOST_LOSSES: u32 = 8;
/// Between runs that could not begin.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why an event is not run again: AWS's words where AWS has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    RetriesExhausted,
    EventAgeExceeded,
    /// It ended its instance again and again, or the server.
    Poison,
    FunctionNotFound,
    /// It can never be run.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Done,
    Again { due: Timestamp, progress: Progress },
    GiveUp { condition: Condition, progress: Progress },
}

// === impl Condition ===

impl Condition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::Poison => "Poison",
            Self::FunctionNotFound => "FunctionNotFound",
            Self::Refused => "Refused",
        }
    }
}

/// Why an event that is due is not even tried.
pub fn unfit(event: &QueuedEvent, rules: &AsyncRules, now: Timestamp) -> Option<Condition> {
    if event.progress.losses >= MOST_LOSSES {
        return Some(Condition::Poison);
    }
    (now.since(event.event.received) > rules.max_age).then_some(Condition::EventAgeExceeded)
}

/// What becomes of an event after it ran, or was to.
pub fn judge(event: &QueuedEvent, rules: &AsyncRules, ran: &Result<Outcome, Fault>, now: Timestamp) -> Verdict {
    let mut progress = event.progress;
    let code = match ran {
        Ok(Outcome { reply: Reply::Success(_), .. }) => return Verdict::Done,
        Ok(Outcome { reply: Reply::Failure(FunctionError { fault, .. }), .. }) => {
            progress.throttles = 0;
            fault.code
        }
        Err(fault) => fault.code,
    };
    let wait = match code {
        code if code.blame() == Blame::Function => {
            progress.failures += 1;
            if kills(code) {
                progress.kills += 1;
            }
            if progress.kills >= MOST_KILLS {
                return Verdict::GiveUp { condition: Condition::Poison, progress };
            }
            if progress.failures > rules.retries {
                return Verdict::GiveUp { condition: Condition::RetriesExhausted, progress };
            }
            rules.retry_delay * progress.failures
        }
        FaultCode::NotFound => return Verdict::GiveUp { condition: Condition::FunctionNotFound, progress },
        // The server's end is no fault of the event's.
        FaultCode::Draining => return Verdict::Again { due: now, progress },
        code if code.blame() == Blame::Platform || code.retry() => {
            progress.throttles += 1;
            let doubled = FIRST_PAUSE.saturating_mul(1 << (progress.throttles - 1).min(16));
            doubled.min(LONGEST_PAUSE)
        }
        _ => return Verdict::GiveUp { condition: Condition::Refused, progress },
    };
    let due = now + wait;
    if due.since(event.event.received) > rules.max_age {
        return Verdict::GiveUp { condition: Condition::EventAgeExceeded, progress };
    }
    Verdict::Again { due, progress }
}

/// Whether a failure was the end of the instance, by what the function did. A timeout ends it too, but that is what AWS
/// retries like any other failure.
fn kills(code: FaultCode) -> bool {
    matches!(code, FaultCode::OutOfMemory | FaultCode::Exited | FaultCode::Protocol)
}

#[cfg(test)]
mod tests;
