//! One run of one event: judged, told to a destination, and settled in one transaction with that.

use std::sync::Arc;
use std::time::Duration;

use aws::destination::InvocationRecord;
use model::{AsyncRules, Door, Fault, FunctionName, Invocation, Outcome, Reply, RequestId, Timestamp};
use store::queue::{NewEvent, Progress, QueuedEvent, Settlement};
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

/// Runs the event and settles it. Ends without that only where the store has closed.
pub async fn run<R: Runner>(runner: R, queue: Arc<dyn Queue>, clock: Clock, teller: Teller, event: QueuedEvent) {
    let function = runner.function(&event.event.function);
    let rules = function.map(|function| function.spec.asynchronous.clone()).unwrap_or_default();
    let settlement = match unfit(&event, &rules, clock()) {
        Some(condition) => give_up(&teller, &rules, &event, event.progress, condition, None, clock()),
        None => {
            let ran = runner.invoke(invocation(&event, clock())).await;
            settlement(&teller, &rules, &event, &ran, clock())
        }
    };
    settle(&queue, event.event.id, settlement).await;
}

fn invocation(event: &QueuedEvent, now: Timestamp) -> Invocation {
    let NewEvent { id, function, payload, trace_id, client_context, .. } = event.event.clone();
    Invocation {
        id,
        function,
        payload,
        door: Door::Async,
        // Of this run: how long the event had waited is the queue's matter.
        received: now,
        trace_id,
        client_context,
        tail: false,
        probe: None,
    }
}

fn settlement(
    teller: &Teller,
    rules: &AsyncRules,
    event: &QueuedEvent,
    ran: &Result<Outcome, Fault>,
    now: Timestamp,
) -> Settlement {
    match judge(event, rules, ran, now) {
        Verdict::Done => {
            let response = ran.as_ref().ok().and_then(answer);
            let then = rules.on_success.as_ref().map(|to| teller.tell(event, to, "Success", response, now));
            Settlement::Done { then }
        }
        Verdict::Again { due, progress } => Settlement::Again { due, progress, error: said(ran) },
        Verdict::GiveUp { condition, progress } => give_up(teller, rules, event, progress, condition, Some(ran), now),
    }
}

fn give_up(
    teller: &Teller,
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
    let response = ran.and_then(|ran| ran.as_ref().ok()).and_then(answer);
    let then = rules.on_failure.as_ref().map(|to| teller.tell(event, to, condition, response, now));
    let error = ran.and_then(said);
    Settlement::GivenUp { keep: rules.dead_letter, condition: condition.to_owned(), progress, error, then }
}

/// What the function answered, and whether that is an error.
fn answer(outcome: &Outcome) -> Option<(&[u8], bool)> {
    Some(match &outcome.reply {
        Reply::Success(payload) => (payload, false),
        Reply::Failure(error) => (&error.payload, true),
    })
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

/// Tries until it is written: an event that ran and is not settled would run again.
async fn settle(queue: &Arc<dyn Queue>, id: RequestId, settlement: Settlement) {
    loop {
        match queue.settle(id, settlement.clone()).await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, %id, "how an event went could not be written: tried again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

// === impl Teller ===

impl Teller {
    /// The event with which `to` is told.
    fn tell(
        &self,
        event: &QueuedEvent,
        to: &FunctionName,
        condition: &str,
        response: Option<(&[u8], bool)>,
        now: Timestamp,
    ) -> NewEvent {
        let record = InvocationRecord {
            time: now,
            id: event.event.id,
            function: &event.event.function,
            region: &self.region,
            account: &self.account,
            condition,
            attempts: event.attempts,
            request: &event.event.payload,
            response,
        };
        NewEvent {
            id: RequestId::random(),
            function: to.clone(),
            payload: record.to_json(),
            received: now,
            trace_id: event.event.trace_id.clone(),
            client_context: String::new(),
            hops: event.event.hops + 1,
            key: None,
        }
    }
}
