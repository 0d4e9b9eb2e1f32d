//! Message queues of Hearth's own: what is promised of them, whatever keeps them. The terms are SQS's, whose API can be put
//! on top.
//!
//! ```text
//!                 delay           visibility timeout: it comes back
//! send ──► hidden ─────► visible ◄────────────────────── in flight ──delete──► gone
//!                           └──────────receive──────────────►┘
//!                           └── received too often ──► the dead-letter queue ──redrive──► back
//! ```
//!
//! What was sent is durable when the answer comes, and is received at least once. Order is that of becoming visible, which
//! is that of sending for messages that are received once; nothing is promised of it.

use async_trait::async_trait;
use model::{MessageAttributes, QueueName, QueueRules, RequestId, Timestamp};
use tokio::sync::watch;

use crate::StoreError;

/// A message to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub body: String,
    pub attributes: MessageAttributes,
    /// Not visible before; none: as the queue's rules have it.
    pub visible: Option<Timestamp>,
    /// SQS's `AWSTraceHeader`.
    pub trace: Option<String>,
}

/// A message, as one who receives it gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: RequestId,
    /// Names this time of receiving it; a later one makes it void.
    pub receipt: RequestId,
    pub body: String,
    pub attributes: MessageAttributes,
    pub sent: Timestamp,
    pub first_received: Timestamp,
    /// This time among them.
    pub receives: u32,
    /// The queue that gave it up, in a dead-letter queue.
    pub origin: Option<QueueName>,
    /// SQS's `AWSTraceHeader`.
    pub trace: Option<String>,
}

/// How to receive.
#[derive(Debug, Clone, Copy)]
pub struct Take {
    /// Messages, at most.
    pub most: usize,
    /// Bytes of bodies together, at most, but one message at least.
    pub bytes: u64,
    /// Hidden until then; none: as the queue's rules have it.
    pub until: Option<Timestamp>,
    /// By a part of this server: visible again as soon as the next one begins.
    pub held: bool,
}

/// A queue and its numbers. At any time `sent = present + deleted + dead + expired + purged`, but for what came from other
/// queues, which counts as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    pub name: QueueName,
    pub rules: QueueRules,
    pub created: Timestamp,
    /// When its rules were written last.
    pub changed: Timestamp,
    pub visible: u64,
    /// Received, and neither deleted nor visible again.
    pub in_flight: u64,
    /// Not received yet, and not visible yet.
    pub delayed: u64,
    /// When the oldest was sent.
    pub oldest: Option<Timestamp>,
    pub bytes: u64,
    pub sent: u64,
    pub deleted: u64,
    /// Gave up to a dead-letter queue, or went back from one.
    pub dead: u64,
    pub expired: u64,
    pub purged: u64,
}

/// A message whose lease ends, or ends at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    pub receipt: RequestId,
    pub visible: Timestamp,
    /// It was received for nothing: this time is not counted.
    pub uncount: bool,
}

#[async_trait]
pub trait Messages: Send + Sync {
    /// Makes a queue, or gives it other rules. True: it is new.
    async fn put_queue(&self, name: QueueName, rules: QueueRules, now: Timestamp) -> Result<bool, StoreError>;

    async fn message_queue(&self, name: QueueName, now: Timestamp) -> Result<QueueInfo, StoreError>;

    /// A queue's rules alone, which cost no counting.
    async fn queue_rules(&self, name: QueueName) -> Result<QueueRules, StoreError>;

    /// By name.
    async fn message_queues(&self, now: Timestamp) -> Result<Vec<QueueInfo>, StoreError>;

    /// Removes a queue and all that is in it.
    async fn remove_queue(&self, name: QueueName) -> Result<(), StoreError>;

    /// Keeps messages, all or none. Durable when it resolves.
    async fn send(
        &self,
        name: QueueName,
        messages: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<RequestId>, StoreError>;

    /// Takes what is visible. Does not wait.
    async fn receive(&self, name: QueueName, take: Take, now: Timestamp) -> Result<Vec<Received>, StoreError>;

    /// Removes messages that were received. False: the receipt is void, or the message is gone.
    async fn delete_messages(&self, name: QueueName, receipts: Vec<RequestId>) -> Result<Vec<bool>, StoreError>;

    /// Changes when messages that were received are visible again.
    async fn release(&self, name: QueueName, releases: Vec<Release>) -> Result<Vec<bool>, StoreError>;

    /// Removes all that is in a queue, in flight or not. Returns how many.
    async fn purge_queue(&self, name: QueueName) -> Result<u64, StoreError>;

    /// Sends what a dead-letter queue holds back to the queues that gave it up; what is in flight stays. Returns how many.
    async fn redrive_queue(&self, name: QueueName, now: Timestamp) -> Result<u64, StoreError>;

    /// When the next message of a queue becomes visible; none: it has none that is to.
    async fn next_visible(&self, name: QueueName) -> Result<Option<Timestamp>, StoreError>;

    /// Makes visible what the last server held. To be called once, before any source receives.
    async fn recover_messages(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Removes what is older than its queue keeps. Returns how many.
    async fn expire_messages(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Changes whenever a message may have become visible, or a queue was made or removed.
    fn messages_changed(&self) -> watch::Receiver<u64>;
}
