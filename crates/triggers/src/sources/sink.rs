//! Where batches go: to the queue of events, which then sees to them as to any other; or to the function itself, which may
//! take a part.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use model::trace::{Cause, Trace, Trigger};
use model::{Blame, Door, FaultCode, Invocation, Outcome, Qualifier, Reply, RequestId};
use store::queue::NewEvent;
use store::sources::{Batch, SourceName};
use store::{Sources, StoreError};

use super::runner::Sink;
use super::{Message, Report, Settled};
use crate::decide::backoff::Backoff;
use crate::decide::partial::{Failed, failed};
use crate::{Clock, Runner};

/// Puts batches on disk, as asynchronous events. Holds on to what there is no room for, and so holds its source up.
pub struct ToEvents {
    pub store: Arc<dyn Sources>,
    pub name: SourceName,
    pub clock: Clock,
    pub report: Report,
}

/// Calls the function with a batch, and waits for the answer.
pub struct ToFunction<R> {
    pub runner: R,
    pub name: SourceName,
    pub clock: Clock,
    /// The version or alias that is called.
    pub qualifier: Option<Qualifier>,
    /// Whether its answer may name messages as failed.
    pub partial: bool,
}

/// The event of a batch.
fn payload(batch: &[Message]) -> Bytes {
    let length: usize = batch.iter().map(|message| message.record.len() + 1).sum();
    let mut event = BytesMut::with_capacity(length + 16);
    event.put_slice(b"{\"Records\":[");
    for (n, message) in batch.iter().enumerate() {
        if n > 0 {
            event.put_u8(b',');
        }
        event.put_slice(&message.record);
    }
    event.put_slice(b"]}");
    event.freeze()
}

#[async_trait]
impl Sink for ToEvents {
    async fn deliver(&self, batches: Vec<Vec<Message>>) -> Vec<(String, Settled)> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let now = (self.clock)();
        let event = |batch: &Vec<Message>| {
            let id = RequestId::at(now);
            let event = NewEvent {
                qualifier: None,
                id,
                function: self.name.function.clone(),
                payload: payload(batch),
                received: now,
                trace_id: Trace::event(Trigger::Pubsub, now),
                client_context: String::new(),
                hops: 0,
                key: None,
            };
            Batch { event, marks: batch.iter().filter_map(|message| message.mark.clone()).collect() }
        };
        let events: Vec<_> = batches.iter().map(event).collect();
        let settled = loop {
            match self.store.take(self.name.clone(), events.clone()).await {
                Ok(()) => break Settled::Done,
                Err(error @ StoreError::Closed) => break Settled::NotBegun(error.to_string()),
                Err(error) => {
                    self.report.error(&format!("the event cannot be kept, and is tried again: {error}"));
                    tokio::time::sleep(backoff.failed()).await;
                }
            }
        };
        batches.into_iter().flatten().map(|message| (message.token, settled.clone())).collect()
    }
}

#[async_trait]
impl<R: Runner> Sink for ToFunction<R> {
    async fn deliver(&self, batches: Vec<Vec<Message>>) -> Vec<(String, Settled)> {
        let mut all = Vec::new();
        for batch in batches {
            let now = (self.clock)();
            let id = RequestId::at(now);
            let invocation = Invocation {
                qualifier: self.qualifier.clone(),
                id,
                function: self.name.function.clone(),
                payload: payload(&batch),
                door: Door::Async,
                received: now,
                trace: Trace::begin(None, Cause::Messages, now),
                client_context: String::new(),
                tail: false,
                probe: None,
                replay_of: None,
            };
            let ran = self.runner.invoke(invocation).await;
            all.extend(judge(batch, ran, id, self.partial));
        }
        all
    }
}

/// What became of each message of a batch that was run, or was to.
fn judge(
    batch: Vec<Message>,
    ran: Result<Outcome, model::Fault>,
    id: RequestId,
    partial: bool,
) -> impl Iterator<Item = (String, Settled)> {
    let (failed, why) = match ran {
        Ok(Outcome { reply: Reply::Success(_), .. }) if !partial => (BTreeSet::new(), Settled::Done),
        Ok(Outcome { reply: Reply::Success(answer), .. }) => {
            let ids: BTreeSet<String> = batch.iter().map(|message| message.id.clone()).collect();
            match failed(&answer, &ids) {
                Failed::None => (BTreeSet::new(), Settled::Done),
                Failed::Some(which) => (which, Settled::Failed(format!("call {id}: the function named it as failed"))),
                Failed::All(why) => (ids, Settled::Failed(format!("call {id}: {why}"))),
            }
        }
        Ok(Outcome { reply: Reply::Failure(error), .. }) => {
            let text = String::from_utf8_lossy(&error.payload).into_owned();
            (batch.iter().map(|message| message.id.clone()).collect(), Settled::Failed(format!("call {id}: {text}")))
        }
        Err(fault) => {
            let ids = batch.iter().map(|message| message.id.clone()).collect();
            // What can never be run counts as a failure, so that it is set aside in the end.
            let again = fault.code.blame() != Blame::Function
                && (fault.code.blame() == Blame::Platform || fault.code.retry() || fault.code == FaultCode::NotFound);
            (ids, if again { Settled::NotBegun(fault.to_string()) } else { Settled::Failed(fault.to_string()) })
        }
    };
    batch.into_iter().map(move |message| {
        let settled = if failed.contains(&message.id) { why.clone() } else { Settled::Done };
        (message.token, settled)
    })
}
