//! Message queues, and what is remembered of sources, over a real database.

use std::time::Duration;

use bytes::Bytes;
use model::{MAX_MESSAGE_BYTES, MessageAttributes, QueueName, QueueNotes, QueueRules, RequestId, Timestamp};
use proptest::prelude::*;

use crate::messages::{Messages, NewMessage, QueueInfo, Received, Release, Take};
use crate::queue::{EventQuery, NewEvent, Queue, Settlement, Told};
use crate::sources::{Batch, Mark, MarkState, SourceName, Sources};
use crate::sqlite::queue::BATCH;
use crate::sqlite::{EventLimits, SqliteQueue};
use crate::{StoreError, sqlite};

struct World {
    queue: std::sync::Arc<SqliteQueue>,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let queue = SqliteQueue::open(dir.path(), EventLimits { reserve: 0, ..EventLimits::default() }).unwrap();
    World { queue, _dir: dir }
}

fn q(name: &str) -> QueueName {
    name.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

fn message(body: &str) -> NewMessage {
    NewMessage { body: body.into(), attributes: MessageAttributes::new(), visible: None, trace: None }
}

impl World {
    async fn put(&self, name: &str, rules: QueueRules) {
        assert!(self.queue.put_queue(q(name), rules, at(0)).await.unwrap());
    }
    async fn send(&self, name: &str, body: &str, now: i64) -> RequestId {
        self.queue.send(q(name), vec![message(body)], at(now)).await.unwrap()[0]
    }
    async fn receive(&self, name: &str, most: usize, now: i64) -> Vec<Received> {
        let take = Take { most, bytes: u64::MAX, until: None, held: false };
        self.queue.receive(q(name), take, at(now)).await.unwrap()
    }
    async fn info(&self, name: &str, now: i64) -> QueueInfo {
        let info = self.queue.message_queue(q(name), at(now)).await.unwrap();
        let present = info.visible + info.in_flight + info.delayed;
        assert_eq!(info.sent, present + info.deleted + info.dead + info.expired + info.purged, "{info:?}");
        info
    }
}

#[tokio::test]
async fn a_message_is_hidden_while_it_is_received_and_comes_back_unless_it_is_deleted() {
    let world = world();
    world.put("a", QueueRules::default()).await;
    let id = world.send("a", "one", 0).await;
    let first = world.receive("a", 10, 1).await.remove(0);
    assert_eq!((first.id, first.body.as_str(), first.receives, first.sent), (id, "one", 1, at(0)));
    assert!(world.receive("a", 10, 30).await.is_empty());
    assert_eq!(world.info("a", 30).await.in_flight, 1);
    let second = world.receive("a", 10, 31).await.remove(0);
    assert_eq!((second.id, second.receives, second.first_received), (id, 2, at(1)));
    let deleted = world.queue.delete_messages(q("a"), vec![first.receipt, second.receipt, second.receipt]).await;
    assert_eq!(deleted.unwrap(), [false, true, false], "the first receipt is void");
    assert_eq!((world.info("a", 99).await.deleted, world.info("a", 99).await.bytes), (1, 0));
}

#[tokio::test]
async fn delays_visibility_and_order_are_as_told() {
    let world = world();
    world.put("a", QueueRules { delay: Duration::from_secs(5), ..QueueRules::default() }).await;
    world.send("a", "one", 0).await;
    let now = NewMessage { visible: Some(at(0)), ..message("two") };
    world.queue.send(q("a"), vec![now], at(0)).await.unwrap();
    assert_eq!(world.info("a", 0).await.delayed, 1);
    assert_eq!(world.queue.next_visible(q("a")).await.unwrap(), Some(at(0)));
    let two = world.receive("a", 10, 0).await.remove(0);
    assert_eq!(two.body, "two");
    let release = |uncount| Release { receipt: two.receipt, visible: at(2), uncount };
    assert_eq!(world.queue.release(q("a"), vec![release(true)]).await.unwrap(), [true]);
    let again = world.receive("a", 10, 5).await;
    assert_eq!(again.iter().map(|one| (one.body.as_str(), one.receives)).collect::<Vec<_>>(), [("two", 1), ("one", 1)]);
    let take = Take { most: 10, bytes: u64::MAX, until: Some(at(0)), held: false };
    assert_eq!(world.queue.receive(q("a"), take, at(40)).await.unwrap().len(), 1, "hidden for no time, and once");
}

#[tokio::test]
async fn what_is_received_too_often_is_set_aside_and_goes_back_when_told() {
    let world = world();
    world.put("dead", QueueRules::default()).await;
    let rules = QueueRules { max_receives: Some(2), dead_letter: Some(q("dead")), ..QueueRules::default() };
    world.put("a", rules.clone()).await;
    let id = world.send("a", "poison", 0).await;
    assert_eq!(world.receive("a", 1, 0).await.len() + world.receive("a", 1, 40).await.len(), 2);
    world.send("a", "good", 80).await;
    assert_eq!(world.receive("a", 1, 80).await[0].body, "good", "the place of the one set aside is filled");
    assert_eq!((world.info("a", 80).await.dead, world.info("dead", 80).await.visible), (1, 1));
    let kept = world.receive("dead", 1, 81).await.remove(0);
    assert_eq!((kept.id, kept.receives, kept.origin), (id, 1, Some(q("a"))));
    assert!(matches!(world.queue.remove_queue(q("dead")).await, Err(StoreError::QueueUsed { .. })));
    assert_eq!(world.queue.redrive_queue(q("dead"), at(82)).await.unwrap(), 0, "it is in flight");
    assert_eq!(world.queue.redrive_queue(q("dead"), at(200)).await.unwrap(), 1);
    assert!(world.receive("a", 10, 200).await.iter().any(|one| one.id == id && one.receives == 1));
    let unknown = QueueRules { dead_letter: Some(q("none")), ..rules };
    assert!(matches!(world.queue.put_queue(q("b"), unknown, at(0)).await, Err(StoreError::NoSuchQueue(_))));
}

#[tokio::test]
async fn what_the_last_server_held_is_visible_again_and_what_clients_hold_is_not() {
    let world = world();
    world.put("a", QueueRules::default()).await;
    world.send("a", "one", 0).await;
    world.send("a", "two", 0).await;
    let take = |held| Take { most: 1, bytes: u64::MAX, until: Some(at(900)), held };
    let one = world.queue.receive(q("a"), take(true), at(0)).await.unwrap().remove(0);
    world.queue.receive(q("a"), take(false), at(0)).await.unwrap();
    assert_eq!(world.queue.recover_messages(at(1)).await.unwrap(), 1);
    let again = world.receive("a", 10, 1).await;
    assert_eq!(again.iter().map(|one| (one.id, one.receives)).collect::<Vec<_>>(), [(one.id, 2)]);
}

#[tokio::test]
async fn limits_are_kept_and_what_is_too_old_goes() {
    let world = world();
    world.put("a", QueueRules { retention: Duration::from_secs(60), ..QueueRules::default() }).await;
    let long = "x".repeat(MAX_MESSAGE_BYTES);
    world.send("a", &long, 0).await;
    let longer = world.queue.send(q("a"), vec![message("ok"), message(&(long + "x"))], at(0)).await;
    assert!(matches!(longer, Err(StoreError::BadMessage(_))), "{longer:?}");
    assert_eq!(world.info("a", 0).await.sent, 1, "all or none");
    world.send("a", "young", 30).await;
    assert_eq!(world.queue.expire_messages(at(61)).await.unwrap(), 1);
    assert_eq!(world.info("a", 61).await.expired, 1);
    assert_eq!(world.queue.purge_queue(q("a")).await.unwrap(), 1);
    world.queue.remove_queue(q("a")).await.unwrap();
    assert!(matches!(world.queue.purge_queue(q("a")).await, Err(StoreError::NoSuchQueue(_))));
    let small = EventLimits { of_all: 1, reserve: 0, ..EventLimits::default() };
    let dir = tempfile::tempdir().unwrap();
    let queue = sqlite::SqliteQueue::open(dir.path(), small).unwrap();
    queue.put_queue(q("a"), QueueRules::default(), at(0)).await.unwrap();
    queue.send(q("a"), vec![message("1")], at(0)).await.unwrap();
    assert!(matches!(queue.send(q("a"), vec![message("2")], at(0)).await, Err(StoreError::MessagesFull(_))));
}

fn event() -> NewEvent {
    NewEvent {
        qualifier: None,
        id: RequestId::random(),
        function: "f".parse().unwrap(),
        payload: Bytes::from_static(b"{}"),
        received: at(0),
        trace_id: String::new(),
        client_context: String::new(),
        hops: 0,
        key: None,
    }
}

#[tokio::test]
async fn what_a_source_has_seen_becomes_an_event_once_and_knows_how_that_ended() {
    let world = world();
    let name = SourceName { function: "f".parse().unwrap(), source: "in".into() };
    world.queue.know_sources(vec![name.clone()]).await.unwrap();
    let mark = |value: &str| Mark { key: "a.jpg".into(), value: value.into() };
    let batch = |value: &str| Batch { event: event(), marks: vec![mark(value)] };
    let first = batch("1");
    for one in [first.clone(), batch("1"), batch("1")] {
        world.queue.take(name.clone(), vec![one]).await.unwrap();
    }
    let all = EventQuery { limit: 10, ..EventQuery::default() };
    assert_eq!(world.queue.events(all.clone()).await.unwrap().len(), 1);
    world.queue.lease(vec![("f".parse().unwrap(), 9)], at(1), 1 << 20).await.unwrap();
    let told = Told::Message { queue: q("gone"), body: "x".into(), now: at(1) };
    world.queue.settle(first.event.id, Settlement::Done { then: Some(told) }).await.unwrap();
    assert_eq!(world.queue.marks(name.clone()).await.unwrap(), [(mark("1"), MarkState::Done)]);
    world.queue.take(name.clone(), vec![batch("2")]).await.unwrap();
    assert_eq!(world.queue.events(all).await.unwrap().len(), 1, "it has changed: another event");
    assert_eq!(world.queue.marks(name.clone()).await.unwrap(), [(mark("2"), MarkState::Kept)]);
    assert!(world.queue.pause_source(name.clone(), true).await.unwrap());
    assert_eq!(world.queue.know_sources(vec![name.clone()]).await.unwrap(), std::slice::from_ref(&name));
    world.queue.know_sources(vec![]).await.unwrap();
    assert!(world.queue.marks(name).await.unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is done in whatever order, every message is somewhere, and the numbers say where.
    #[test]
    fn no_message_is_lost_or_counted_twice(steps in proptest::collection::vec((0u8..6, 0usize..4), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world();
            world.put("dead", QueueRules::default()).await;
            let rules = QueueRules { max_receives: Some(2), dead_letter: Some(q("dead")), ..QueueRules::default() };
            world.put("a", rules).await;
            let (mut now, mut sent, mut deleted, mut held) = (0, 0, 0, Vec::new());
            for (what, n) in steps {
                match what {
                    0 | 1 => {
                        world.send("a", "m", now).await;
                        sent += 1;
                    }
                    2 => held.extend(world.receive("a", n, now).await.into_iter().map(|one| one.receipt)),
                    3 => now += 20,
                    4 if !held.is_empty() => {
                        let receipt = held.swap_remove(n % held.len());
                        deleted += usize::from(world.queue.delete_messages(q("a"), vec![receipt]).await.unwrap()[0]);
                    }
                    5 if n == 0 => drop(world.queue.redrive_queue(q("dead"), at(now)).await.unwrap()),
                    _ => {}
                }
                let (a, dead) = (world.info("a", now).await, world.info("dead", now).await);
                let present = |one: &QueueInfo| (one.visible + one.in_flight + one.delayed) as usize;
                assert_eq!(present(&a) + present(&dead) + deleted, sent, "{a:?} {dead:?}");
                assert_eq!((a.bytes + dead.bytes) as usize, present(&a) + present(&dead));
            }
        });
    }
}

#[tokio::test]
async fn what_sqs_clients_say_of_a_queue_and_of_a_message_is_kept() {
    let world = world();
    let notes =
        QueueNotes { max_bytes: Some(1024), wait: 5, tags: [("a".into(), "b".into())].into(), ..QueueNotes::default() };
    let rules = QueueRules { sqs: notes, ..QueueRules::default() };
    world.put("a", rules.clone()).await;
    assert_eq!(world.queue.queue_rules(q("a")).await.unwrap(), rules);
    assert!(matches!(world.queue.queue_rules(q("b")).await, Err(StoreError::NoSuchQueue(_))));
    assert_eq!(world.info("a", 5).await.changed, at(0));
    assert!(!world.queue.put_queue(q("a"), rules, at(7)).await.unwrap());
    assert_eq!((world.info("a", 9).await.changed, world.info("a", 9).await.created), (at(7), at(0)));
    let long = world.queue.send(q("a"), vec![message(&"x".repeat(1025))], at(9)).await.unwrap_err();
    assert!(long.to_string().contains("at most 1024"), "{long}");
    let traced = NewMessage { trace: Some("Root=1".into()), ..message("x") };
    world.queue.send(q("a"), vec![traced, message("y")], at(9)).await.unwrap();
    let traces: Vec<_> = world.receive("a", 10, 10).await.into_iter().map(|one| one.trace).collect();
    assert_eq!(traces, [Some("Root=1".into()), None]);
}

#[tokio::test]
async fn a_receive_moves_so_many_dead_letters_and_no_more() {
    let world = world();
    world.put("dead", QueueRules::default()).await;
    let rules = QueueRules { max_receives: Some(1), dead_letter: Some(q("dead")), ..QueueRules::default() };
    world.put("a", rules).await;
    let all = BATCH + 10;
    world.queue.send(q("a"), (0..all).map(|_| message("x")).collect(), at(0)).await.unwrap();
    assert_eq!(world.receive("a", all, 0).await.len(), all);
    assert!(world.receive("a", 10, 100).await.is_empty(), "others have the writer again");
    assert_eq!(world.info("a", 100).await.dead, BATCH as u64);
    assert!(world.receive("a", 10, 100).await.is_empty());
    assert_eq!(world.info("dead", 100).await.visible, all as u64);
}
