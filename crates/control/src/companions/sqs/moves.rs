//! Moves of what a dead-letter queue holds, back to where it came from. They are known until the server ends.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use aws::AwsError;
use aws::sqs_event::arn;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use model::{QueueName, RequestId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::queues::sources_of;
use super::{invalid, queue_of_arn, store, unsupported};
use crate::{Api, PLACE};

/// Moves that are remembered, of all queues.
const KEPT: usize = 100;
/// Of one listing: SQS's.
const PAGE: usize = 10;

/// The latest moves, newest first.
#[derive(Default)]
pub struct Moves(Mutex<VecDeque<Move>>);

struct Move {
    id: RequestId,
    queue: QueueName,
    started: Timestamp,
    /// Messages that were there when it began.
    there: u64,
    /// How many it moved, or why it could not; none: it runs.
    ended: Option<Result<u64, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Start {
    source_arn: String,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct List {
    source_arn: String,
    max_results: Option<usize>,
}

pub async fn start(api: &Api, asked: Start) -> Result<Value, AwsError> {
    let queue = named(&asked.source_arn)?;
    if asked.destination_arn.is_some_and(|arn| !arn.is_empty()) {
        return Err(unsupported("Messages go back to the queues that they came from here: expected no DestinationArn"));
    }
    if asked.max_number_of_messages_per_second.is_some() {
        return Err(unsupported("A move is not slowed down here: expected no MaxNumberOfMessagesPerSecond"));
    }
    let info = api.messages.message_queue(queue.clone(), Timestamp::now()).await.map_err(absent)?;
    if sources_of(api, &queue).await?.is_empty() {
        return Err(invalid("SourceArn", &asked.source_arn, "Source queue must be configured as a Dead Letter Queue."));
    }
    let id = RequestId::random();
    let begun = Move { id, queue: queue.clone(), started: Timestamp::now(), there: info.visible, ended: None };
    api.sqs.moves.begin(begun)?;
    let api = api.clone();
    tokio::spawn(async move {
        let moved = api.messages.redrive_queue(queue.clone(), Timestamp::now()).await;
        if let Err(error) = &moved {
            tracing::warn!(%queue, %error, "messages of a dead-letter queue could not all be moved");
        }
        api.sqs.moves.end(id, moved.map_err(|error| error.to_string()));
    });
    Ok(json!({"TaskHandle": handle(id, &asked.source_arn)}))
}

pub async fn list(api: &Api, asked: List) -> Result<Value, AwsError> {
    let queue = named(&asked.source_arn)?;
    api.messages.message_queue(queue.clone(), Timestamp::now()).await.map_err(absent)?;
    let most = asked.max_results.unwrap_or(1);
    if !(1..=PAGE).contains(&most) {
        return Err(invalid("MaxResults", &most.to_string(), "Must be between 1 and 10, if provided."));
    }
    Ok(json!({"Results": api.sqs.moves.shown(&queue, most)}))
}

/// A move is one transaction after the other until it is done: there is nothing to cancel it by.
pub fn cancel(_api: &Api) -> AwsError {
    unsupported("A move cannot be cancelled here: it ends by itself within moments")
}

// === impl Moves ===

impl Moves {
    fn begin(&self, begun: Move) -> Result<(), AwsError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|one| one.queue == begun.queue && one.ended.is_none()) {
            return Err(unsupported(
                "There is already a task running. Only one active task is allowed for a source queue",
            ));
        }
        all.push_front(begun);
        all.truncate(KEPT);
        Ok(())
    }

    fn end(&self, id: RequestId, ended: Result<u64, String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = all.iter_mut().find(|one| one.id == id) {
            one.ended = Some(ended);
        }
    }

    fn shown(&self, queue: &QueueName, most: usize) -> Vec<Value> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|one| one.queue == *queue).take(most).map(Move::shown).collect()
    }
}

// === impl Move ===

impl Move {
    fn shown(&self) -> Value {
        let source = arn(&self.queue, *PLACE);
        let mut shown = json!({
            "SourceArn": source,
            "StartedTimestamp": self.started.millis(),
            "ApproximateNumberOfMessagesToMove": self.there,
            "ApproximateNumberOfMessagesMoved": 0,
        });
        match &self.ended {
            None => {
                shown["Status"] = "RUNNING".into();
                shown["TaskHandle"] = handle(self.id, &source).into();
            }
            Some(Ok(moved)) => {
                shown["Status"] = "COMPLETED".into();
                shown["ApproximateNumberOfMessagesMoved"] = (*moved).into();
            }
            Some(Err(why)) => {
                shown["Status"] = "FAILED".into();
                shown["FailureReason"] = why.as_str().into();
            }
        }
        shown
    }
}

fn named(arn: &str) -> Result<QueueName, AwsError> {
    queue_of_arn(arn).ok_or_else(|| invalid("SourceArn", arn, "Expected a queue's ARN."))
}

/// In this family of operations, a queue that is not there has another name.
fn absent(error: store::StoreError) -> AwsError {
    match error {
        store::StoreError::NoSuchQueue(_) => AwsError::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            "The resource that you specified for the SourceArn parameter doesn't exist.",
        ),
        other => store(other),
    }
}

fn handle(id: RequestId, source: &str) -> String {
    STANDARD.encode(json!({"taskId": id.to_string(), "sourceArn": source}).to_string())
}
