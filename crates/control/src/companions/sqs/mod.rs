//! SQS's API over Hearth's own message queues: the queues of `hearth mq`, which functions have as sources.
//!
//! JSON is spoken, which clients have since 2023. A queue's URL is the address that the request came to, the account and the
//! name; of one that is sent only the name is read. Refused: FIFO queues, encryption with keys of KMS's, and permissions other
//! than a policy, which is kept and means nothing.

mod attributes;
mod message;
mod messages;
mod moves;
mod queues;

use aws::AwsError;
use http::StatusCode;
use model::{FaultCode, QueueName};
use serde_json::Value;
use store::StoreError;

use super::{Answer, Caller, Reply, read, unknown};
use crate::lambda::refused;
use crate::{Api, PLACE};
pub use moves::Moves;

/// What this API keeps beside the store, until the server ends.
#[derive(Default)]
pub(crate) struct Sqs {
    /// A queue's rules are read and written by one at a time.
    turn: tokio::sync::Mutex<()>,
    moves: Moves,
}

pub(super) async fn run(api: &Api, operation: &str, input: Value, caller: Caller) -> Answer {
    let endpoint = caller.endpoint.as_str();
    let value = match operation {
        "CreateQueue" => queues::create(api, endpoint, read(input)?).await?,
        "GetQueueUrl" => queues::url(api, endpoint, read(input)?).await?,
        "ListQueues" => queues::list(api, endpoint, read(input)?).await?,
        "ListDeadLetterSourceQueues" => queues::dead_letter_sources(api, endpoint, read(input)?).await?,
        "DeleteQueue" => return nothing(queues::delete(api, read(input)?).await),
        "PurgeQueue" => return nothing(queues::purge(api, read(input)?).await),
        "GetQueueAttributes" => queues::attributes(api, read(input)?).await?,
        "SetQueueAttributes" => return nothing(queues::set_attributes(api, read(input)?).await),
        "ListQueueTags" => queues::tags(api, read(input)?).await?,
        "TagQueue" => return nothing(queues::tag(api, read(input)?).await),
        "UntagQueue" => return nothing(queues::untag(api, read(input)?).await),
        "SendMessage" => messages::send(api, read(input)?).await?,
        "SendMessageBatch" => messages::send_batch(api, read(input)?).await?,
        "ReceiveMessage" => messages::receive(api, read(input)?).await?,
        "DeleteMessage" => return nothing(messages::delete(api, read(input)?).await),
        "DeleteMessageBatch" => messages::delete_batch(api, read(input)?).await?,
        "ChangeMessageVisibility" => return nothing(messages::hide(api, read(input)?).await),
        "ChangeMessageVisibilityBatch" => messages::hide_batch(api, read(input)?).await?,
        "StartMessageMoveTask" => moves::start(api, read(input)?).await?,
        "ListMessageMoveTasks" => moves::list(api, read(input)?).await?,
        "CancelMessageMoveTask" => return Err(moves::cancel(api)),
        "AddPermission" | "RemovePermission" => {
            return Err(unsupported("Permissions are not kept here, and callers with a key may do everything"));
        }
        other => return Err(unknown(other)),
    };
    Ok(Reply::Value(value))
}

/// The older protocol's name of an error, which clients of today still raise by: `x-amzn-query-error`.
pub(super) fn query_error(error: &AwsError) -> String {
    let name = match error.kind {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "QueueNameExists" => "QueueAlreadyExists",
        "BatchEntryIdsNotDistinct" => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        "BatchRequestTooLong" => "AWS.SimpleQueueService.BatchRequestTooLong",
        "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
        "InvalidBatchEntryId" => "AWS.SimpleQueueService.InvalidBatchEntryId",
        "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        "UnsupportedOperation" => "AWS.SimpleQueueService.UnsupportedOperation",
        "InvalidParameterValueException" => "InvalidParameterValue",
        other => other,
    };
    let whose = if error.status.is_client_error() { "Sender" } else { "Receiver" };
    format!("{name};{whose}")
}

fn nothing(done: Result<(), AwsError>) -> Answer {
    done.map(|()| Reply::Nothing)
}

fn url(endpoint: &str, queue: &QueueName) -> String {
    format!("{endpoint}/{}/{queue}", PLACE.1)
}

/// The queue of a URL. Which host and account it names is not looked at.
fn queue_of(url: &str) -> Result<QueueName, AwsError> {
    let name = url.rsplit('/').next().unwrap_or_default();
    name.parse().map_err(|_| {
        let shown: String = url.chars().take(200).collect();
        error("InvalidAddress", format!("The address {shown} is not valid for this endpoint."))
    })
}

/// The queue of an ARN.
fn queue_of_arn(arn: &str) -> Option<QueueName> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts[..] {
        ["arn", _, "sqs", _, _, name] => name.parse().ok(),
        _ => None,
    }
}

fn error(kind: &'static str, message: impl Into<String>) -> AwsError {
    AwsError::new(StatusCode::BAD_REQUEST, kind, message).with_fault(FaultCode::InvalidRequest)
}

fn unsupported(message: impl Into<String>) -> AwsError {
    error("UnsupportedOperation", message)
}

/// A parameter whose value is not taken, in SQS's words.
fn invalid(parameter: &str, value: &str, reason: &str) -> AwsError {
    let shown: String = value.chars().take(200).collect();
    let message = format!("Value {shown} for parameter {parameter} is invalid. Reason: {reason}");
    AwsError::invalid_parameter(message)
}

/// What the store says, as SQS says it.
fn store(error_: StoreError) -> AwsError {
    match &error_ {
        StoreError::NoSuchQueue(_) => {
            AwsError::new(StatusCode::BAD_REQUEST, "QueueDoesNotExist", "The specified queue does not exist.")
                .with_fault(FaultCode::NotFound)
        }
        StoreError::QueueUsed { .. } => unsupported(error_.to_string()),
        StoreError::BadQueue { .. } => error("InvalidAttributeValue", error_.to_string()),
        StoreError::BadMessage(_) => AwsError::invalid_parameter(error_.to_string()),
        StoreError::MessagesFull(_) => error("OverLimit", error_.to_string()).with_fault(FaultCode::TooManyRequests),
        _ => refused(error_.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_the_last_part_of_its_url() {
        for given in
            ["http://127.0.0.1:1/000000000000/orders", "https://sqs.eu-west-1.amazonaws.com/1/orders", "orders"]
        {
            assert_eq!(queue_of(given).unwrap().as_str(), "orders");
        }
        assert_eq!(queue_of("http://h/0/a.fifo").unwrap_err().kind, "InvalidAddress");
        assert_eq!(queue_of_arn("arn:aws:sqs:us-east-1:000000000000:orders").unwrap().as_str(), "orders");
        assert_eq!(queue_of_arn("arn:aws:sns:us-east-1:000000000000:orders"), None);
    }
}
