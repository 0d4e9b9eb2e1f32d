//! One run of one event: judged, told to a destination, and settled in one transaction with that.

use std::sync::Arc;
use std::time::Duration;

use aws::destination::InvocationRecord;
use model::{AsyncRules, Door, Fault, Invocation, Outcome, Reply, RequestId, Target, Timestamp, Trace, Version};
use store::queue::{NewEvent, Progress, QueuedEvent, Settlement, Told};
use store::{Queue, StoreError};

use crate::decide::verdict::{Condition, Verdict, judge, unfit};
use crate::{Clock, Runner};

/// How much is kept of what a failed run said, bytes.
const MOST_ERROR: usize = 4096;
/// Between attempts to write how a run went.
const PAUSE: Duration = Duration::from_millis(500);

/// Writes records for destinations.
pub struct Teller {
    pub region: String,
    pub account: String,
}

/// What one run is told of with.
struct Telling {
    teller: Teller,
    /// The context of events that follow from it.
    trace: String,
}

/// Runs the event and settles it. Ends without that only where the store has closed.
pub async fn run<R: Runner>(runner: R, queue: Arc<dyn Queue>, clock: Clock, teller: Teller, event: QueuedEvent) {
    let function = runner.function(&event.event.function);
    let rules = function.map(|function| function.spec.asynchronous.clone()).unwrap_or_default();
    let now = clock();
    let NewEvent { id, received, trace_id, .. } = &event.event;
    let trace = Trace::attempt(trace_id, *id, event.attempts, *received, now);
    // Whoever is told of it is told within the same trace.
    let teller = &Telling { teller, trace: trace.follows() };
    let settlement = match unfit(&event, &rules, now) {
        Some(condition) => give_up(teller, &rules, &event, event.progress, condition, None, now),
        None => {
            let ran = runner.invoke(invocation(&event, trace, now)).await;
            settlement(teller, &rules, &event, &ran, clock())
        }
    };
    settle(&queue, event.event.id, settlement).await;
}

fn invocation(event: &QueuedEvent, trace: Trace, now: Timestamp) -> Invocation {
    let NewEvent { id, function, qualifier, payload, client_context, .. } = event.event.clone();
    Invocation {
        id,
        function,
        qualifier,
        payload,
        door: Door::Async,
        // Of this run: how long the event had waited is the queue's matter.
        received: now,
        trace,
        client_context,
        tail: false,
        probe: None,
        replay_of: None,
    }
}

fn settlement(
    teller: &Telling,
    rules: &AsyncRules,
    event: &QueuedEvent,
    ran: &Result<Outcome, Fault>,
    now: Timestamp,
) -> Settlement {
    match judge(event, rules, ran, now) {
        Verdict::Done => {
            let response = ran.as_ref().ok().map(answer);
            let then = rules.on_success.as_ref().map(|to| teller.tell(event, to, "Success", response, now));
            Settlement::Done { then }
        }
        Verdict::Again { due, progress } => Settlement::Again { due, progress, error: said(ran) },
        Verdict::GiveUp { condition, progress } => give_up(teller, rules, event, progress, condition, Some(ran), now),
    }
}

fn give_up(
    teller: &Telling,
    rules: &AsyncRules,
    event: &QueuedEvent,
    progress: Progress,
    condition: Condition,
    ran: Option<&Result<Outcome, Fault>>,
    now: Timestamp,
) -> Settlement {
    let NewEvent { id, function, .. } = &event.event;
    let condition = condition.as_str();
    tracing::warn!(%id, %function, condition, attempts = event.attempts, "an event was given up");
    let response = ran.and_then(|ran| ran.as_ref().ok()).map(answer);
    let then = rules.on_failure.as_ref().map(|to| teller.tell(event, to, condition, response, now));
    let error = ran.and_then(said);
    Settlement::GivenUp { keep: rules.dead_letter, condition: condition.to_owned(), progress, error, then }
}

/// What the function answered, whether that is an error, and which version of it did.
fn answer(outcome: &Outcome) -> (&[u8], bool, Version) {
    match &outcome.reply {
        Reply::Success(payload) => (payload, false, outcome.record.version),
        Reply::Failure(error) => (&error.payload, true, outcome.record.version),
    }
}

/// Why a run failed, for people.
fn said(ran: &Result<Outcome, Fault>) -> Option<String> {
    let mut text = match ran {
        Ok(Outcome { reply: Reply::Success(_), .. }) => return None,
        Ok(Outcome { reply: Reply::Failure(error), .. }) => String::from_utf8_lossy(&error.payload).into_owned(),
        Err(fault) => fault.to_string(),
    };
    text.truncate(text.floor_char_boundary(MOST_ERROR));
    Some(text)
}

/// Tries until it is written: an event that ran and is not settled would run again. Where the disk failed it will,
/// with the next start.
pub(crate) async fn settle(queue: &Arc<dyn Queue>, id: RequestId, settlement: Settlement) {
    loop {
        match queue.settle(id, settlement.clone()).await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error @ StoreError::Disk(_)) => {
                tracing::error!(%error, %id, "how an event went could not be written: it will run again");
                return;
            }
            Err(error) => tracing::error!(%error, %id, "how an event went could not be written: tried again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

// === impl Telling ===

impl Telling {
    /// The event or message with which `to` is told.
    fn tell(
        &self,
        event: &QueuedEvent,
        to: &Target,
        condition: &str,
        response: Option<(&[u8], bool, Version)>,
        now: Timestamp,
    ) -> Told {
        let record = InvocationRecord {
            time: now,
            id: event.event.id,
            function: &event.event.function,
            region: &self.teller.region,
            account: &self.teller.account,
            condition,
            attempts: event.attempts,
            request: &event.event.payload,
            qualifier: event.event.qualifier.as_ref(),
            executed: response.map_or(Version::Latest, |(_, _, version)| version),
            response: response.map(|(payload, failed, _)| (payload, failed)),
        };
        let payload = record.to_json();
        let function = match to {
            Target::Function(name) => name.clone(),
            Target::Queue(queue) => {
                let body = String::from_utf8_lossy(&payload).into_owned();
                return Told::Message { queue: queue.clone(), body, now };
            }
        };
        Told::Event(NewEvent {
            id: RequestId::at(now),
            function,
            qualifier: None,
            payload,
            received: now,
            trace_id: self.trace.clone(),
            client_context: String::new(),
            hops: event.event.hops + 1,
            key: None,
        })
    }
}
