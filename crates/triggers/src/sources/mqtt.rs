//! Messages of an MQTT broker (MQTT 5). One is acknowledged when an event with it is on disk, and not before: what was not
//! is sent again by the broker, which keeps the session while Hearth is away.
//!
//! The broker sends no more than [`IN_FLIGHT`] messages that are not acknowledged; that is all that holds it up, and all
//! that can come twice. Messages that it sends with QoS 0 are not acknowledged and not sent again: of those, what there is
//! no room for is dropped, and said.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{MqttSource, SourceState};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{Packet, Publish, SubscribeReasonCode};
use rumqttc::{
    AckMode, AsyncClient, Event, EventLoop, IncomingPacketSizeLimit, MqttOptions, PersistedAckMode, PersistedSession,
    SessionMode, SessionStore, SessionStoreError, SessionStoreKey, SubscribeFilter, Transport,
};
use store::sources::SourceName;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Feed, FeedError, Message, Report, Settled, SourceOptions};
use crate::{Clock, Runner};

/// Messages that the broker may have sent before one is acknowledged.
const IN_FLIGHT: u16 = 1000;
/// A message that is longer is refused by the connection: an event has 1 MB at most, and this is in base64.
const MOST_BYTES: u32 = 700 * 1024;
const KEEP_ALIVE: u16 = 30;
/// Until the broker has answered to the connection and the subscriptions.
const CONNECT: Duration = Duration::from_secs(20);

pub struct MqttFeed {
    client: AsyncClient,
    came: mpsc::Receiver<Result<Came, FeedError>>,
    /// What came before the subscriptions were taken.
    early: VecDeque<Publish>,
    /// Drives the connection, also while nobody asks for messages.
    driver: JoinHandle<()>,
    acks: HashMap<String, Publish>,
    next: u64,
    report: Report,
    clock: Clock,
    source: String,
}

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// This side of a session that goes on: empty, whoever had it before. Nothing is published, and of what is received with QoS
/// 1 only the broker keeps account. Without it the client would take such a session, and subscribe to nothing in it.
#[derive(Debug)]
struct NothingToResend;

impl SessionStore for NothingToResend {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> Stored<'a, Option<PersistedSession>> {
        let empty = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: Some(u32::MAX),
            outgoing_inflight_upper_limit: None,
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: vec![],
            incoming_qos2: vec![],
        };
        Box::pin(async { Ok(Some(empty)) })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

enum Came {
    Subscribed,
    Message(Box<Publish>),
}

// === impl MqttFeed ===

impl MqttFeed {
    pub async fn open<R: Runner>(
        options: &SourceOptions<R>,
        name: &SourceName,
        source: &MqttSource,
        report: Report,
    ) -> Result<Self, FeedError> {
        let mut connection = connection(options, name, source)?;
        if let Some(user) = &source.user {
            match &source.password {
                None => drop(connection.set_username(user)),
                Some(password) => {
                    let wanted = BTreeSet::from([password.secret.clone()]);
                    let mut found = options.secrets.reveal(wanted).await?;
                    let absent = || FeedError(format!("no secret named {}: set it", password.secret));
                    let value = found.remove(&password.secret).ok_or_else(absent)?;
                    connection.set_credentials(user, value.expose().to_vec());
                }
            }
        }
        let (client, events) = AsyncClient::builder(connection).capacity(usize::from(IN_FLIGHT) + 16).build();
        // An earlier session may be there already: its subscriptions are not always those of now.
        let qos = if source.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let filters: Vec<_> = source.topics.iter().map(|topic| SubscribeFilter::new(topic.as_str(), qos)).collect();
        let (tell, came) = mpsc::channel(usize::from(IN_FLIGHT) + 64);
        let driver =
            tokio::spawn(drive(client.clone(), events, tell, report.clone(), (filters, source.topics.clone())));
        let mut feed = Self {
            client,
            came,
            early: VecDeque::new(),
            driver,
            acks: HashMap::new(),
            next: 0,
            report,
            clock: options.clock.clone(),
            source: name.source.clone(),
        };
        feed.subscribed(&source.broker).await?;
        Ok(feed)
    }

    /// Waits until the broker has taken the subscriptions. Messages of an earlier session may come before.
    async fn subscribed(&mut self, broker: &str) -> Result<(), FeedError> {
        let until = Instant::now() + CONNECT;
        let late = || FeedError(format!("{broker} did not answer within {CONNECT:?}"));
        let mut early = Vec::new();
        loop {
            match tokio::time::timeout_at(until, self.came.recv()).await.map_err(|_| late())? {
                Some(Ok(Came::Subscribed)) => break,
                Some(Ok(Came::Message(message))) => early.push(*message),
                Some(Err(error)) => return Err(FeedError(format!("{broker}: {}", error.0))),
                None => return Err(FeedError(format!("{broker}: the connection ended"))),
            }
        }
        // They are the first, in their order, before those that have come since.
        self.early = early.into();
        Ok(())
    }

    fn message(&mut self, publish: Publish) -> Message {
        let token = self.next.to_string();
        self.next += 1;
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let (body, base64) = match std::str::from_utf8(&publish.payload) {
            Ok(text) => match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) => (value, false),
                Err(_) => (text.into(), false),
            },
            Err(_) => (STANDARD.encode(&publish.payload).into(), true),
        };
        let record = serde_json::json!({
            "eventSource": "hearth:mqtt",
            "source": self.source,
            "topic": topic,
            "payload": body,
            "isBase64Encoded": base64,
            "qos": publish.qos as u8,
            "retain": publish.retain,
            "duplicate": publish.dup,
            "messageId": publish.pkid,
            "receivedTime": (self.clock)().rfc3339(),
        });
        if publish.qos != QoS::AtMostOnce {
            self.acks.insert(token.clone(), publish);
        }
        Message { id: token.clone(), token, record: record.to_string().into(), mark: None }
    }
}

impl Drop for MqttFeed {
    fn drop(&mut self) {
        // The connection goes with it: the broker keeps the session.
        self.driver.abort();
    }
}

fn connection<R: Runner>(
    options: &SourceOptions<R>,
    name: &SourceName,
    source: &MqttSource,
) -> Result<MqttOptions, FeedError> {
    let (host, port, tls) = source.address().map_err(FeedError)?;
    let usual = || format!("hearth-{}-{}-{}", options.installation, name.function, name.source);
    let client_id = source.client_id.clone().unwrap_or_else(usual);
    let mut connection = MqttOptions::new(client_id, (host, port));
    connection.set_session_mode(SessionMode::Persistent);
    connection.set_session_store(NothingToResend);
    connection.set_ack_mode(AckMode::Manual);
    connection.set_keep_alive(KEEP_ALIVE);
    connection.set_receive_maximum(Some(IN_FLIGHT));
    connection.set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(MOST_BYTES));
    connection.set_max_packet_size(Some(MOST_BYTES));
    if tls {
        // Whoever was first has installed it; it is the only one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let transport = Transport::try_tls_with_default_config();
        connection.set_transport(transport.map_err(|error| FeedError(format!("TLS: {error}")))?);
    }
    Ok(connection)
}

/// Drives the connection until it fails, or nobody wants its messages.
async fn drive(
    client: AsyncClient,
    mut events: EventLoop,
    tell: mpsc::Sender<Result<Came, FeedError>>,
    report: Report,
    (filters, topics): (Vec<SubscribeFilter>, Vec<String>),
) {
    loop {
        let came = match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(message))) => Came::Message(Box::new(message)),
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                let refused = ack
                    .return_codes
                    .iter()
                    .zip(&topics)
                    .find(|(code, _)| !matches!(code, SubscribeReasonCode::Success(_)));
                if let Some((code, topic)) = refused {
                    let error = FeedError(format!("the broker refuses to subscribe to {topic}: {code:?}"));
                    let _ = tell.send(Err(error)).await;
                    return;
                }
                Came::Subscribed
            }
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // Not before: what waits when a session goes on is held back by it.
                if let Err(error) = client.try_subscribe_many(filters.clone()) {
                    let _ = tell.send(Err(FeedError(format!("subscribe: {error}")))).await;
                    return;
                }
                continue;
            }
            Ok(_) => continue,
            Err(error) => {
                let _ = tell.send(Err(FeedError(error.to_string()))).await;
                return;
            }
        };
        match came {
            Came::Message(message) if message.qos == QoS::AtMostOnce => {
                if let Err(mpsc::error::TrySendError::Full(_)) = tell.try_send(Ok(Came::Message(message))) {
                    report.error("a message with QoS 0 was dropped: they come faster than events can be kept");
                }
            }
            // There is room: the broker sends no more than that without an acknowledgement.
            came => {
                if tell.send(Ok(came)).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[async_trait]
impl Feed for MqttFeed {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, FeedError> {
        self.report.change(|status| {
            if status.state == SourceState::Starting || status.state == SourceState::Failing {
                status.state = SourceState::Running;
            }
        });
        let early = self.early.len().min(most);
        let mut came: Vec<_> = self.early.drain(..early).collect();
        // Is cancelled only before it has taken anything.
        while came.is_empty() {
            match self.came.recv().await {
                Some(Ok(Came::Message(message))) => came.push(*message),
                Some(Ok(Came::Subscribed)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(FeedError("the connection ended".into())),
            }
        }
        while came.len() < most {
            match self.came.try_recv() {
                Ok(Ok(Came::Message(message))) => came.push(*message),
                Ok(Ok(Came::Subscribed)) => {}
                // Those that came before it are handed over, and not acknowledged: the broker sends them again.
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
        }
        Ok(came.into_iter().map(|message| self.message(message)).collect())
    }

    async fn settle(&mut self, settled: Vec<(String, Settled)>) -> Result<(), FeedError> {
        for (token, settled) in settled {
            let Some(message) = self.acks.remove(&token) else { continue };
            if settled == Settled::Done {
                self.client.ack(&message).await.map_err(|error| FeedError(format!("acknowledge: {error}")))?;
            }
        }
        Ok(())
    }

    async fn lag(&mut self) -> Result<Option<u64>, FeedError> {
        // Of those that the broker has not sent yet nobody knows.
        Ok(None)
    }
}
