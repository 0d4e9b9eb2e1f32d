//! Messages: sent, received, hidden, deleted; alone or up to ten at once.

use std::collections::BTreeSet;
use std::time::Duration;

use aws::AwsError;
use model::{MAX_MESSAGE_BYTES, RequestId, Timestamp, message_bytes};
use serde::Deserialize;
use serde_json::{Value, json};
use store::messages::Release;

use super::attributes::unknown;
use super::message::{Message, SYSTEM, digests, shown};
use super::{error, invalid, queue_of, store};
use crate::Api;
use crate::message_queues::poll;

/// Entries of one batch, and messages of one receive: SQS's.
const MOST: usize = 10;
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Send {
    queue_url: String,
    #[serde(flatten)]
    message: Message,
}

/// A batch of whatever.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch<T> {
    queue_url: String,
    entries: Vec<Entry<T>>,
}

#[derive(Debug, Deserialize)]
struct Entry<T> {
    #[serde(rename = "Id")]
    id: String,
    #[serde(flatten)]
    what: T,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Receive {
    queue_url: String,
    #[serde(default)]
    attribute_names: BTreeSet<String>,
    #[serde(default)]
    message_system_attribute_names: BTreeSet<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Delete {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hide {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteEntry {
    receipt_handle: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HideEntry {
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

pub type SendBatch = Batch<Message>;
pub type DeleteBatch = Batch<DeleteEntry>;
pub type HideBatch = Batch<HideEntry>;

pub async fn send(api: &Api, asked: Send) -> Result<Value, AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    let now = Timestamp::now();
    let message = asked.message.read(now)?;
    let mut sent = digests(&message);
    let ids = api.messages.send(queue, vec![message], now).await.map_err(store)?;
    sent["MessageId"] = ids.iter().map(RequestId::to_string).collect::<String>().into();
    Ok(sent)
}

pub async fn send_batch(api: &Api, asked: SendBatch) -> Result<Value, AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    let entries = checked(asked.entries, "SendMessageBatchRequestEntry")?;
    let now = Timestamp::now();
    let most = api.messages.queue_rules(queue.clone()).await.map_err(store)?.max_bytes();
    let (mut failed, mut sent, mut messages, mut total) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for Entry { id, what: message } in entries {
        let read = message.read(now).and_then(|message| {
            let bytes = message_bytes(&message.body, &message.attributes).map_err(AwsError::invalid_parameter)?;
            total += bytes;
            if bytes > most {
                return Err(too_long(most));
            }
            Ok(message)
        });
        match read {
            Ok(message) => {
                let mut one = digests(&message);
                one["Id"] = id.into();
                sent.push(one);
                messages.push(message);
            }
            Err(error) => failed.push(failure(&id, &error)),
        }
    }
    if total > MAX_MESSAGE_BYTES {
        let message =
            format!("Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent {total} bytes.");
        return Err(error("BatchRequestTooLong", message));
    }
    if !messages.is_empty() {
        let ids = api.messages.send(queue, messages, now).await.map_err(store)?;
        for (one, id) in sent.iter_mut().zip(ids) {
            one["MessageId"] = id.to_string().into();
        }
    }
    Ok(json!({"Successful": sent, "Failed": failed}))
}

pub async fn receive(api: &Api, asked: Receive) -> Result<Value, AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    let most = ranged("MaxNumberOfMessages", asked.max_number_of_messages, 1, MOST as i64)?.unwrap_or(1) as usize;
    let visibility = ranged("VisibilityTimeout", asked.visibility_timeout, 0, 43_200)?.map(Duration::from_secs);
    let wait = ranged("WaitTimeSeconds", asked.wait_time_seconds, 0, 20)?.map(Duration::from_secs);
    let names: BTreeSet<String> = asked.attribute_names.union(&asked.message_system_attribute_names).cloned().collect();
    if let Some(name) = names.iter().find(|name| !SYSTEM.contains(&name.as_str())) {
        return Err(unknown(name));
    }
    let found = poll(api, &queue, most, visibility, wait).await.map_err(store)?;
    if found.is_empty() {
        return Ok(json!({}));
    }
    let shown = found.into_iter().map(|one| shown(one, &names, &asked.message_attribute_names));
    Ok(json!({"Messages": shown.collect::<Vec<_>>()}))
}

pub async fn delete(api: &Api, asked: Delete) -> Result<(), AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    let receipt = receipt(&asked.receipt_handle)?;
    // One that is void is no error, as on AWS: somebody else has the message now, or it is gone.
    api.messages.delete_messages(queue, vec![receipt]).await.map_err(store)?;
    Ok(())
}

pub async fn delete_batch(api: &Api, asked: DeleteBatch) -> Result<Value, AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    let entries = checked(asked.entries, "DeleteMessageBatchRequestEntry")?;
    let (mut receipts, mut done, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for Entry { id, what } in entries {
        match receipt(&what.receipt_handle) {
            Ok(receipt) => {
                receipts.push(receipt);
                done.push(json!({"Id": id}));
            }
            Err(error) => failed.push(failure(&id, &error)),
        }
    }
    api.messages.delete_messages(queue, receipts).await.map_err(store)?;
    Ok(json!({"Successful": done, "Failed": failed}))
}

pub async fn hide(api: &Api, asked: Hide) -> Result<(), AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    let release = release(&asked.receipt_handle, Some(asked.visibility_timeout), Timestamp::now())?;
    let done = api.messages.release(queue, vec![release]).await.map_err(store)?;
    if done == [true] { Ok(()) } else { Err(not_in_flight(&asked.receipt_handle)) }
}

pub async fn hide_batch(api: &Api, asked: HideBatch) -> Result<Value, AwsError> {
    let queue = queue_of(&asked.queue_url)?;
    let entries = checked(asked.entries, "ChangeMessageVisibilityBatchRequestEntry")?;
    let now = Timestamp::now();
    let (mut releases, mut which, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for Entry { id, what: HideEntry { receipt_handle, visibility_timeout } } in entries {
        match release(&receipt_handle, visibility_timeout, now) {
            Ok(release) => {
                releases.push(release);
                which.push((id, receipt_handle));
            }
            Err(error) => failed.push(failure(&id, &error)),
        }
    }
    let released = api.messages.release(queue, releases).await.map_err(store)?;
    let mut done = Vec::new();
    for ((id, handle), released) in which.into_iter().zip(released) {
        match released {
            true => done.push(json!({"Id": id})),
            false => failed.push(failure(&id, &not_in_flight(&handle))),
        }
    }
    Ok(json!({"Successful": done, "Failed": failed}))
}

/// The entries of a batch, if they can be told apart.
fn checked<T>(entries: Vec<Entry<T>>, kind: &str) -> Result<Vec<Entry<T>>, AwsError> {
    if entries.is_empty() {
        return Err(error("EmptyBatchRequest", format!("There should be at least one {kind} in the request.")));
    }
    if entries.len() > MOST {
        let message = format!("Maximum number of entries per request are {MOST}. You have sent {}.", entries.len());
        return Err(error("TooManyEntriesInBatchRequest", message));
    }
    let mut ids = BTreeSet::new();
    for Entry { id, .. } in &entries {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if !(1..=80).contains(&id.len()) || !id.bytes().all(letter) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be \
                           at most 80 letters long.";
            return Err(error("InvalidBatchEntryId", message));
        }
        if !ids.insert(id) {
            return Err(error("BatchEntryIdsNotDistinct", format!("Id {id} repeated.")));
        }
    }
    Ok(entries)
}

fn failure(id: &str, error: &AwsError) -> Value {
    let whole = super::query_error(error);
    let code = whole.split(';').next().unwrap_or_default();
    json!({"Id": id, "SenderFault": error.status.is_client_error(), "Code": code, "Message": error.message})
}

fn receipt(handle: &str) -> Result<RequestId, AwsError> {
    handle.parse().map_err(|_| {
        let shown: String = handle.chars().take(100).collect();
        error("ReceiptHandleIsInvalid", format!("The input receipt handle \"{shown}\" is not a valid receipt handle."))
    })
}

fn release(handle: &str, seconds: Option<i64>, now: Timestamp) -> Result<Release, AwsError> {
    let receipt = receipt(handle)?;
    let seconds = ranged("VisibilityTimeout", seconds, 0, 43_200)?;
    let seconds = seconds
        .ok_or_else(|| error("MissingParameter", "The request must contain the parameter VisibilityTimeout."))?;
    Ok(Release { receipt, visible: now + Duration::from_secs(seconds), uncount: false })
}

fn not_in_flight(handle: &str) -> AwsError {
    let reason = "Message does not exist or is not available for visibility timeout change.";
    invalid("ReceiptHandle", handle, reason)
}

fn too_long(most: usize) -> AwsError {
    AwsError::invalid_parameter(format!(
        "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
    ))
}

pub fn ranged(name: &str, given: Option<i64>, from: i64, to: i64) -> Result<Option<u64>, AwsError> {
    match given {
        Some(number) if !(from..=to).contains(&number) => {
            let reason = format!("Must be between {from} and {to}, if provided.");
            Err(invalid(name, &number.to_string(), &reason))
        }
        given => Ok(given.map(|number| number as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_entries_that_can_be_told_apart() {
        let kind = |ids: &[&str]| {
            let entries = ids.iter().map(|id| Entry { id: (*id).to_owned(), what: () }).collect();
            checked(entries, "Entry").map(|_| "fine").unwrap_or_else(|error| error.kind)
        };
        assert_eq!(kind(&["a", "b-_1"]), "fine");
        assert_eq!(kind(&[]), "EmptyBatchRequest");
        assert_eq!(kind(&["a"; 11]), "TooManyEntriesInBatchRequest");
        assert_eq!(kind(&["a", "a"]), "BatchEntryIdsNotDistinct");
        assert_eq!(kind(&["a b"]), "InvalidBatchEntryId");
    }
}
