//! Message queues of Hearth's own: made, changed, removed; messages sent, received, deleted. The terms are SQS's.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::{MessageAttributes, QueueName, QueueRules, RequestId, Timestamp, show_duration};
use serde::{Deserialize, Serialize};
use store::StoreError;
use store::messages::{NewMessage, QueueInfo, Received, Release, Take};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::sources::queues;
use crate::write::{said, set, time_text};
use crate::{Api, Shared};

/// Messages of one request: SQS's ten.
const MOST: usize = 10;
/// Of a request with several messages. One may be 1 MB, each byte of which may take six in JSON.
const SEND_BYTES: usize = 16 * 1024 * 1024;
/// How long a receive may wait for a message: SQS's.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// SQS's.
const LONGEST_VISIBILITY: Duration = Duration::from_secs(12 * 3600);
const LONGEST_DELAY: Duration = Duration::from_secs(900);

/// A message queue's rules, as far as they are said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueWrite {
    /// How long a message that was received is hidden from others, 0s to 12h; default 30s.
    #[schema(value_type = Option<String>, example = "30s")]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub visibility: Option<Duration>,
    /// How long a new message is hidden, 0s to 15m; default 0s.
    #[schema(value_type = Option<String>, example = "0s")]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub delay: Option<Duration>,
    /// How long a message is kept, 1m to 14d; default 4d.
    #[schema(value_type = Option<String>, example = "4d")]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub retention: Option<Duration>,
    /// A message that was received so often goes to the dead-letter queue, 1 to 1000; null: none does.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub max_receives: Option<Option<u32>>,
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub dead_letter: Option<Option<QueueName>>,
}

/// A message queue and its numbers since it was made. `sent` is also what came from other queues, and `dead` what went to
/// them: to the dead-letter queue, or back from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageQueueView {
    #[schema(example = "orders")]
    pub name: String,
    pub visibility: String,
    pub delay: String,
    pub retention: String,
    pub max_receives: Option<u32>,
    pub dead_letter: Option<String>,
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that were received, and neither deleted nor are visible again.
    pub in_flight: u64,
    /// Messages that are not visible yet.
    pub delayed: u64,
    /// When the oldest message was sent; RFC 3339.
    pub oldest: Option<String>,
    pub bytes: u64,
    pub sent: u64,
    pub deleted: u64,
    pub dead: u64,
    pub expired: u64,
    pub purged: u64,
    #[schema(format = DateTime)]
    pub created: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageQueueList {
    pub queues: Vec<MessageQueueView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageWrite {
    /// A text of 1 byte to 1 MB, attributes counted.
    pub body: String,
    /// SQS's, at most 10: `{"kind": {"data_type": "String", "string_value": "new"}}`.
    #[schema(value_type = serde_json::Value)]
    #[serde(default, skip_serializing_if = "MessageAttributes::is_empty")]
    pub attributes: MessageAttributes,
    /// Hidden for so long, 0s to 15m; default: the queue's.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time_text")]
    pub delay: Option<Duration>,
}

/// One to ten messages: all are kept, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendWrite {
    pub messages: Vec<MessageWrite>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SentList {
    /// In the order of the messages.
    pub ids: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiveWrite {
    /// 1 to 10; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
    /// Hidden from others for so long; default: the queue's.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub visibility: Option<Duration>,
    /// How long to wait for one, 0s to 20s; default: 0s, or what SQS's clients said of the queue.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub wait: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageView {
    pub id: String,
    /// By which this time of receiving it is named: to delete it, or to change how long it is hidden.
    pub receipt: String,
    pub body: String,
    #[schema(value_type = serde_json::Value)]
    pub attributes: MessageAttributes,
    #[schema(format = DateTime)]
    pub sent: String,
    #[schema(format = DateTime)]
    pub first_received: String,
    /// How often it was received, this time counted.
    pub receives: u32,
    /// In a dead-letter queue: the queue that it comes from.
    pub origin: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageList {
    pub messages: Vec<MessageView>,
}

/// Messages that were received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptList {
    #[schema(value_type = Vec<String>)]
    pub receipts: Vec<RequestId>,
    /// Only where they are hidden: from now on for so long, 0s to 12h.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time_text")]
    pub visibility: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedView {
    /// In the order of the receipts. False: the receipt is void, since the message was received again, or is gone.
    pub done: Vec<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessagesChanged {
    pub count: u64,
}

/// All message queues, by name
#[utoipa::path(get, path = "/api/v1/queues", operation_id = "list_message_queues", tag = "message queues",
    responses((status = 200, body = MessageQueueList)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<MessageQueueList>, ApiError> {
    let queues = api.messages.message_queues(Timestamp::now()).await?;
    Ok(Json(MessageQueueList { queues: queues.into_iter().map(MessageQueueView::from).collect() }))
}

/// One message queue
#[utoipa::path(get, path = "/api/v1/queues/{name}", operation_id = "get_message_queue", tag = "message queues",
    params(("name" = String, Path)),
    responses((status = 200, body = MessageQueueView), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
) -> Result<Json<MessageQueueView>, ApiError> {
    Ok(Json(api.messages.message_queue(name, Timestamp::now()).await?.into()))
}

/// Make a message queue, or change its rules
///
/// What is not said gets its default in a new queue, and stays in one that is there.
#[utoipa::path(put, path = "/api/v1/queues/{name}", operation_id = "put_message_queue", tag = "message queues",
    params(("name" = String, Path)), request_body = QueueWrite,
    responses((status = 200, description = "changed", body = MessageQueueView),
        (status = 201, description = "made", body = MessageQueueView), (status = 400, body = ErrorBody)))]
pub(crate) async fn put(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
    Input(write): Input<QueueWrite>,
) -> Result<(StatusCode, Json<MessageQueueView>), ApiError> {
    let mut rules = match api.messages.message_queue(name.clone(), Timestamp::now()).await {
        Ok(info) => info.rules,
        Err(StoreError::NoSuchQueue(_)) => QueueRules::default(),
        Err(error) => return Err(error.into()),
    };
    let QueueWrite { visibility, delay, retention, max_receives, dead_letter } = write;
    set(&mut rules.visibility, visibility);
    set(&mut rules.delay, delay);
    set(&mut rules.retention, retention);
    set(&mut rules.max_receives, max_receives);
    set(&mut rules.dead_letter, dead_letter);
    let made = api.messages.put_queue(name.clone(), rules, Timestamp::now()).await?;
    let view = api.messages.message_queue(name, Timestamp::now()).await?.into();
    Ok((if made { StatusCode::CREATED } else { StatusCode::OK }, Json(view)))
}

/// Remove a message queue and all its messages
#[utoipa::path(delete, path = "/api/v1/queues/{name}", operation_id = "delete_message_queue", tag = "message queues",
    params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, description = "it is used", body = ErrorBody)))]
pub(crate) async fn delete(State(api): State<Api>, Segment(name): Segment<QueueName>) -> Result<StatusCode, ApiError> {
    require_unused(&api, &name).await?;
    api.messages.remove_queue(name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses a queue that a function refers to.
pub(crate) async fn require_unused(api: &Shared, name: &QueueName) -> Result<(), ApiError> {
    for function in api.functions.list().await? {
        if queues(&function.spec).contains(&name) {
            let text = format!("queue {name} is used by function {}: change that first", function.spec.name);
            return Err(model::Fault::new(model::FaultCode::Conflict, text).into());
        }
    }
    Ok(())
}

/// Send messages: they are on disk when the answer comes
#[utoipa::path(post, path = "/api/v1/queues/{name}/messages", operation_id = "send_messages", tag = "message queues",
    params(("name" = String, Path)), request_body = SendWrite,
    responses((status = 201, body = SentList), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn send(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
    Input(SendWrite { messages }): Input<SendWrite, SEND_BYTES>,
) -> Result<(StatusCode, Json<SentList>), ApiError> {
    require_count("messages", messages.len())?;
    let now = Timestamp::now();
    let mut all = Vec::new();
    for MessageWrite { body, attributes, delay } in messages {
        if let Some(delay) = delay {
            require_time("delay", delay, LONGEST_DELAY, "0s to 15m")?;
        }
        all.push(NewMessage { body, attributes, visible: delay.map(|delay| now + delay), trace: None });
    }
    let ids = api.messages.send(name, all, now).await?;
    Ok((StatusCode::CREATED, Json(SentList { ids: ids.iter().map(RequestId::to_string).collect() })))
}

/// Receive messages: they are hidden from others, and come again unless they are deleted
#[utoipa::path(post, path = "/api/v1/queues/{name}/receive", operation_id = "receive_messages", tag = "message queues",
    params(("name" = String, Path)), request_body = ReceiveWrite,
    responses((status = 200, body = MessageList), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn receive(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
    Input(ReceiveWrite { most, visibility, wait }): Input<ReceiveWrite>,
) -> Result<Json<MessageList>, ApiError> {
    let most = most.unwrap_or(1);
    require_count("most", most)?;
    if let Some(wait) = wait {
        require_time("wait", wait, LONGEST_WAIT, "0s to 20s")?;
    }
    if let Some(visibility) = visibility {
        require_time("visibility", visibility, LONGEST_VISIBILITY, "0s to 12h")?;
    }
    let found = poll(&api, &name, most, visibility, wait).await?;
    Ok(Json(MessageList { messages: found.into_iter().map(MessageView::from).collect() }))
}

/// Receives, and waits for the first message if there is none; while the server drains, no longer.
pub(crate) async fn poll(
    api: &Shared,
    name: &QueueName,
    most: usize,
    visibility: Option<Duration>,
    wait: Option<Duration>,
) -> Result<Vec<Received>, StoreError> {
    let wait = match wait {
        Some(wait) => wait,
        None => Duration::from_secs(api.messages.queue_rules(name.clone()).await?.sqs.wait),
    };
    let until = tokio::time::Instant::now() + wait;
    let (mut changes, mut closing) = (api.messages.messages_changed(), api.closing.clone());
    loop {
        changes.mark_unchanged();
        let now = Timestamp::now();
        let take = Take { most, bytes: u64::MAX, until: visibility.map(|time| now + time), held: false };
        let found = receive_now(api, name, take, now).await?;
        if !found.is_empty() || tokio::time::Instant::now() >= until || *closing.borrow() {
            return Ok(found);
        }
        let next = api.messages.next_visible(name.clone()).await?;
        let sleep = next.map_or(LONGEST_WAIT, |next| next.since(now)).max(Duration::from_millis(10));
        tokio::select! {
            _ = tokio::time::sleep_until(until.min(tokio::time::Instant::now() + sleep)) => {}
            _ = changes.changed() => {}
            _ = closing.changed() => {}
        }
    }
}

async fn receive_now(api: &Shared, name: &QueueName, take: Take, now: Timestamp) -> Result<Vec<Received>, StoreError> {
    // An empty queue costs its callers no write.
    match api.messages.next_visible(name.clone()).await? {
        Some(next) if next <= now => api.messages.receive(name.clone(), take, now).await,
        _ => Ok(Vec::new()),
    }
}

/// Delete messages that were received
#[utoipa::path(post, path = "/api/v1/queues/{name}/delete", operation_id = "delete_messages", tag = "message queues",
    params(("name" = String, Path)), request_body = ReceiptList,
    responses((status = 200, body = DeletedView), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete_messages(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
    Input(ReceiptList { receipts, visibility }): Input<ReceiptList>,
) -> Result<Json<DeletedView>, ApiError> {
    if visibility.is_some() {
        return Err(ApiError::invalid("visibility: messages that are deleted are not hidden"));
    }
    require_count("receipts", receipts.len())?;
    Ok(Json(DeletedView { done: api.messages.delete_messages(name, receipts).await? }))
}

/// Hide messages that were received for longer, or for shorter
#[utoipa::path(post, path = "/api/v1/queues/{name}/visibility", operation_id = "hide_messages", tag = "message queues",
    params(("name" = String, Path)), request_body = ReceiptList,
    responses((status = 200, body = DeletedView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn hide(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
    Input(ReceiptList { receipts, visibility }): Input<ReceiptList>,
) -> Result<Json<DeletedView>, ApiError> {
    require_count("receipts", receipts.len())?;
    let visibility = visibility.ok_or_else(|| ApiError::invalid("visibility is missing: for how long, 0s to 12h"))?;
    require_time("visibility", visibility, LONGEST_VISIBILITY, "0s to 12h")?;
    let visible = Timestamp::now() + visibility;
    let releases = receipts.into_iter().map(|receipt| Release { receipt, visible, uncount: false });
    Ok(Json(DeletedView { done: api.messages.release(name, releases.collect()).await? }))
}

/// Remove all messages of a queue, those too that somebody has received
#[utoipa::path(post, path = "/api/v1/queues/{name}/purge", operation_id = "purge_messages", tag = "message queues",
    params(("name" = String, Path)),
    responses((status = 200, body = MessagesChanged), (status = 404, body = ErrorBody)))]
pub(crate) async fn purge(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
) -> Result<Json<MessagesChanged>, ApiError> {
    Ok(Json(MessagesChanged { count: api.messages.purge_queue(name).await? }))
}

/// Send what a dead-letter queue holds back to the queues that it came from
#[utoipa::path(post, path = "/api/v1/queues/{name}/redrive", operation_id = "redrive_messages", tag = "message queues",
    params(("name" = String, Path)),
    responses((status = 200, body = MessagesChanged), (status = 404, body = ErrorBody)))]
pub(crate) async fn redrive(
    State(api): State<Api>,
    Segment(name): Segment<QueueName>,
) -> Result<Json<MessagesChanged>, ApiError> {
    Ok(Json(MessagesChanged { count: api.messages.redrive_queue(name, Timestamp::now()).await? }))
}

fn require_count(what: &str, count: usize) -> Result<(), ApiError> {
    if (1..=MOST).contains(&count) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("{what}: {count} is out of range: expected 1 to {MOST}")))
}

fn require_time(what: &str, time: Duration, longest: Duration, expected: &str) -> Result<(), ApiError> {
    if time <= longest {
        return Ok(());
    }
    Err(ApiError::invalid(format!("{what} = {} is out of range: expected {expected}", show_duration(time))))
}

impl From<QueueInfo> for MessageQueueView {
    fn from(info: QueueInfo) -> Self {
        let QueueRules { visibility, delay, retention, max_receives, dead_letter, sqs: _ } = info.rules;
        Self {
            name: info.name.into(),
            visibility: show_duration(visibility),
            delay: show_duration(delay),
            retention: show_duration(retention),
            max_receives,
            dead_letter: dead_letter.map(String::from),
            visible: info.visible,
            in_flight: info.in_flight,
            delayed: info.delayed,
            oldest: info.oldest.map(Timestamp::rfc3339),
            bytes: info.bytes,
            sent: info.sent,
            deleted: info.deleted,
            dead: info.dead,
            expired: info.expired,
            purged: info.purged,
            created: info.created.rfc3339(),
        }
    }
}

impl From<Received> for MessageView {
    fn from(received: Received) -> Self {
        let Received { id, receipt, body, attributes, sent, first_received, receives, origin, trace: _ } = received;
        Self {
            id: id.to_string(),
            receipt: receipt.to_string(),
            body,
            attributes,
            sent: sent.rfc3339(),
            first_received: first_received.rfc3339(),
            receives,
            origin: origin.map(String::from),
        }
    }
}
