//! Messages of a message queue, each with its lease. What fails is visible again when its queue's visibility timeout is
//! over, as on AWS; what the function could not take, at once, and is not counted. What its filters do not want is deleted, as
//! there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{EventPattern, QueueName, QueueSource, RequestId, Timestamp};
use serde_json::Value;
use store::messages::{Received, Release, Take};
use store::sources::SourceName;
use store::{Messages, StoreError};
use tokio::sync::{oneshot, watch};

use super::{Feed, FeedError, Message, Settled, SourceOptions};
use crate::{Clock, Runner};

/// Bytes of bodies that are received at once.
const MOST_BYTES: u64 = 16 << 20;
/// The longest sleep: the day's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// The longest that a call may take: of a version or alias it is not known which it will be.
const LONGEST_CALL: Duration = Duration::from_secs(900);

type Receiving = oneshot::Receiver<Result<Vec<Received>, StoreError>>;

pub struct QueueFeed {
    messages: Arc<dyn Messages>,
    queue: QueueName,
    changes: watch::Receiver<u64>,
    /// What is being received, and since when.
    receiving: Option<(Receiving, Timestamp)>,
    /// How long a message is held at most: a call may wait for its turn, and then take its whole time.
    lease: Duration,
    /// When each was received.
    held: HashMap<String, (RequestId, Timestamp)>,
    clock: Clock,
    records: Arc<Records>,
}

/// How messages are told, and which of them.
struct Records {
    queue: QueueName,
    place: (String, String),
    filters: Vec<EventPattern>,
}

// === impl QueueFeed ===

impl QueueFeed {
    pub async fn open<R: Runner>(
        options: &SourceOptions<R>,
        name: &SourceName,
        source: &QueueSource,
    ) -> Result<Self, FeedError> {
        let messages = options.messages.clone();
        let changes = messages.messages_changed();
        messages.message_queue(source.name.clone(), (options.clock)()).await?;
        let latest = options.runner.function(&name.function).filter(|_| source.qualifier.is_none());
        let timeout = latest.map_or(LONGEST_CALL, |one| one.spec.timeout);
        let records = Records {
            queue: source.name.clone(),
            place: (options.region.clone(), options.account.clone()),
            filters: source.filters.clone(),
        };
        Ok(Self {
            messages,
            queue: source.name.clone(),
            changes,
            receiving: None,
            lease: timeout * 6 + source.window + Duration::from_secs(60),
            held: HashMap::new(),
            clock: options.clock.clone(),
            records: Arc::new(records),
        })
    }

    fn message(&mut self, received: Received, now: Timestamp) -> Message {
        let record = self.records.record(&received).to_string().into();
        let token = received.receipt.to_string();
        self.held.insert(token.clone(), (received.receipt, now));
        Message { token, record, id: received.id.to_string(), mark: None }
    }
}

// === impl Records ===

impl Records {
    fn record(&self, received: &Received) -> Value {
        let Received { id, receipt, body, attributes, sent, first_received, receives, origin, trace } = received;
        let message = aws::sqs_event::Message {
            queue: &self.queue,
            id: *id,
            receipt: *receipt,
            body,
            attributes,
            sent: *sent,
            first_received: *first_received,
            receives: *receives,
            origin: origin.as_ref(),
            trace: trace.as_deref(),
        };
        message.to_json((&self.place.0, &self.place.1))
    }

    /// AWS Lambda's rules: a pattern that looks into the body wants it to be JSON, one that compares it wants it not to be.
    fn wants(&self, received: &Received) -> bool {
        if self.filters.is_empty() {
            return true;
        }
        let text = self.record(received);
        let body =
            serde_json::from_str::<Value>(&received.body).ok().filter(|body| body.is_object() || body.is_array());
        let read = body.map(|body| {
            let mut read = text.clone();
            read["body"] = body;
            read
        });
        self.filters.iter().any(|filter| {
            if !filter.fields().contains(&"body") {
                return filter.matches(&text);
            }
            match (&read, filter.is_leaf("body")) {
                (Some(read), false) => filter.matches(read),
                (None, true) => filter.matches(&text),
                _ => false,
            }
        })
    }
}

#[async_trait]
impl Feed for QueueFeed {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, FeedError> {
        loop {
            // Goes on although nobody waits for it for a moment: what it takes is leased.
            if let Some((receiving, since)) = &mut self.receiving {
                let (received, since) = (receiving.await, *since);
                self.receiving = None;
                let received = received.map_err(|_| FeedError("receiving was ended".into()))??;
                if !received.is_empty() {
                    return Ok(received.into_iter().map(|one| self.message(one, since)).collect());
                }
            }
            self.changes.mark_unchanged();
            let now = (self.clock)();
            let next = self.messages.next_visible(self.queue.clone()).await?;
            if next.is_some_and(|next| next <= now) {
                let take = Take { most, bytes: MOST_BYTES, until: Some(now + self.lease), held: true };
                self.receiving = Some((receive(self.messages.clone(), self.records.clone(), take, now), now));
                continue;
            }
            let sleep =
                next.map_or(LONGEST_SLEEP, |next| next.since(now)).clamp(Duration::from_millis(5), LONGEST_SLEEP);
            tokio::select! {
                changed = self.changes.changed() => {
                    changed.map_err(|_| FeedError("the store is closed".into()))?;
                }
                _ = tokio::time::sleep(sleep) => {}
            }
        }
    }

    async fn settle(&mut self, settled: Vec<(String, Settled)>) -> Result<(), FeedError> {
        let (mut done, mut back) = (Vec::new(), Vec::new());
        let now = (self.clock)();
        let mut visibility = None;
        for (token, settled) in settled {
            let Some((receipt, received)) = self.held.remove(&token) else { continue };
            match settled {
                Settled::Done => done.push(receipt),
                Settled::Failed(_) => {
                    let wait = match visibility {
                        Some(wait) => wait,
                        None => self.messages.queue_rules(self.queue.clone()).await?.visibility,
                    };
                    visibility = Some(wait);
                    back.push(Release { receipt, visible: now.max(received + wait), uncount: false });
                }
                Settled::NotBegun(_) => back.push(Release { receipt, visible: now, uncount: true }),
            }
        }
        if !done.is_empty() {
            self.messages.delete_messages(self.queue.clone(), done).await?;
        }
        if !back.is_empty() {
            self.messages.release(self.queue.clone(), back).await?;
        }
        Ok(())
    }

    async fn lag(&mut self) -> Result<Option<u64>, FeedError> {
        Ok(Some(self.messages.message_queue(self.queue.clone(), (self.clock)()).await?.visible))
    }
}

/// Receives, deletes what is not wanted, and gives back what nobody waits for any more.
fn receive(messages: Arc<dyn Messages>, records: Arc<Records>, take: Take, now: Timestamp) -> Receiving {
    let (give, given) = oneshot::channel();
    tokio::spawn(async move {
        let queue = records.queue.clone();
        let mut received = messages.receive(queue.clone(), take, now).await;
        if let Ok(all) = &mut received {
            let unwanted: Vec<_> = all.extract_if(.., |one| !records.wants(one)).map(|one| one.receipt).collect();
            if !unwanted.is_empty()
                && let Err(error) = messages.delete_messages(queue.clone(), unwanted).await
            {
                tracing::warn!(%error, "messages that are not wanted come again when their lease is over");
            }
        }
        if let Err(Ok(left)) = give.send(received) {
            let release = |one: Received| Release { receipt: one.receipt, visible: now, uncount: true };
            if let Err(error) = messages.release(queue, left.into_iter().map(release).collect()).await {
                tracing::warn!(%error, "messages that nobody waited for are visible when their lease is over");
            }
        }
    });
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(filters: &[&str], body: &str) -> bool {
        let records = Records {
            queue: "q".parse().unwrap(),
            place: ("us-east-1".into(), "000000000000".into()),
            filters: filters.iter().map(|text| EventPattern::parse(text).unwrap()).collect(),
        };
        let (now, id) = (Timestamp::now(), RequestId::random());
        let received = Received {
            id,
            receipt: RequestId::random(),
            body: body.to_owned(),
            attributes: Default::default(),
            sent: now,
            first_received: now,
            receives: 1,
            origin: None,
            trace: None,
        };
        records.wants(&received)
    }

    #[test]
    fn a_body_is_looked_into_if_it_is_json_and_compared_if_it_is_not() {
        let (within, whole) = (r#"{"body": {"kind": ["new"]}}"#, r#"{"body": ["new", "7"]}"#);
        assert!(wants(&[within], r#"{"kind": "new"}"#) && !wants(&[within], r#"{"kind": "old"}"#));
        assert!(!wants(&[within], "new") && wants(&[whole], "new") && wants(&[whole], "7"));
        assert!(!wants(&[r#"{"body": [{"anything-but": "x"}]}"#], r#"{"kind": "new"}"#), "JSON is not compared");
        assert!(wants(&[within, whole], "new"), "one of several is enough");
        assert!(wants(&[r#"{"eventSource": ["aws:sqs"]}"#], "anything") && wants(&[], "anything"));
        assert!(!wants(&[r#"{"attributes": {"ApproximateReceiveCount": ["2"]}}"#], "x"));
    }
}
