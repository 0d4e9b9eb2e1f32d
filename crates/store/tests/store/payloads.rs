//! What calls were given and answered, where that is kept.

use std::time::Duration;

use bytes::Bytes;
use model::{Kept, Payloads, Record, Timestamp};
use store::sqlite::{QueueLimits, Retention};
use store::{RecordQuery, Telemetry};

use crate::telemetry::{eventually, record};
use crate::{Home, name};

fn payloads(input: &str, output: Option<&str>) -> Payloads {
    let bytes = |text: &str| Bytes::from(text.to_owned());
    Payloads { input: bytes(input), output: output.map(bytes) }
}

fn kept(function: &str) -> Record {
    Record { payloads: Kept::Yes, ..record(function) }
}

async fn records(home: &Home) -> Vec<Record> {
    home.store.records(RecordQuery { limit: 10_000, ..RecordQuery::default() }).await.unwrap()
}

#[tokio::test]
async fn payloads_are_kept_beside_their_record_and_over_a_restart() {
    let home = Home::new();
    let replay = Record {
        qualifier: Some("prod".parse().unwrap()),
        memory: Some(model::Memory::mib(256)),
        billed_ms: 12,
        replay_of: Some(model::RequestId::random()),
        ..kept("f")
    };
    let (whole, streamed, without) = (replay, kept("f"), record("f"));
    home.store.record_with(whole.clone(), payloads("{}", Some("[1]")));
    home.store.record_with(streamed.clone(), payloads("\"x\"", None));
    home.store.record(without.clone());
    let home = home.reopen(|_| {});
    assert_eq!(records(&home).await, [without.clone(), streamed.clone(), whole.clone()]);
    let of = |record: &Record| home.store.payloads(record.request_id);
    assert_eq!(of(&whole).await.unwrap(), Some(payloads("{}", Some("[1]"))));
    assert_eq!(of(&streamed).await.unwrap(), Some(payloads("\"x\"", None)));
    assert_eq!(of(&without).await.unwrap(), None);
}

#[tokio::test]
async fn the_oldest_payloads_go_by_size_and_their_records_stay() {
    let most = Retention { payload_bytes: 100_000, function_payload_bytes: 40_000, ..Retention::default() };
    let home = Home::with(|options| options.retention = most);
    // Within the bound of all, beyond that of one function.
    let quiet = kept("quiet");
    home.store.record_with(quiet.clone(), payloads("{}", Some("{}")));
    let loud: Vec<Record> = (0..100).map(|_| kept("loud")).collect();
    let event = "x".repeat(1_000);
    for one in &loud {
        home.store.record_with(one.clone(), payloads(&event, None));
    }
    assert_eq!(records(&home).await.len(), 101);
    assert!(home.store.payloads(quiet.request_id).await.unwrap().is_some(), "not its flood");
    assert!(home.store.payloads(loud[59].request_id).await.unwrap().is_none());
    assert!(home.store.payloads(loud[60].request_id).await.unwrap().is_some());

    // Beyond that of all.
    for function in 0..3 {
        for _ in 0..35 {
            home.store.record_with(kept(&format!("f{function}")), payloads(&event, None));
        }
    }
    assert!(home.store.payloads(quiet.request_id).await.unwrap().is_none());
    let home = home.reopen(|data| {
        let db = rusqlite::Connection::open(data.join("telemetry.db")).unwrap();
        let sums = "SELECT payload_bytes, (SELECT sum(octet_length(input)) FROM payloads),
            (SELECT sum(bytes) FROM payload_sizes) FROM state";
        let sums: [i64; 3] = db.query_row(sums, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap();
        assert_eq!(sums, [100_000; 3]);
    });
    assert_eq!(records(&home).await.len(), 206);
}

#[tokio::test]
async fn payloads_go_with_their_records() {
    let home = Home::with(|options| options.retention.age = Duration::from_secs(3_600));
    let old = Record { received: Timestamp::now() - Duration::from_secs(3_601), ..kept("f") };
    home.store.record_with(old.clone(), payloads("{}", None));
    let young = kept("f");
    home.store.record_with(young.clone(), payloads("{}", None));
    eventually(|| async { records(&home).await.len() == 1 }).await;
    assert!(home.store.payloads(young.request_id).await.unwrap().is_some());
    home.reopen(|data| {
        let db = rusqlite::Connection::open(data.join("telemetry.db")).unwrap();
        let left = "SELECT (SELECT count(*) FROM payloads), (SELECT payload_bytes FROM state)";
        let left: (i64, i64) = db.query_row(left, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(left, (1, 2));
    });
}

#[tokio::test]
async fn where_payloads_come_too_fast_their_records_say_so_and_are_kept() {
    let home = Home::with(|options| options.queue = QueueLimits { items: 4_000, bytes: 1 << 20 });
    let event = "x".repeat(100_000);
    let all: Vec<Record> = (0..50).map(|_| kept("f")).collect();
    for one in &all {
        home.store.record_with(one.clone(), payloads(&event, None));
    }
    let found = records(&home).await;
    assert_eq!(found.len(), all.len());
    let dropped: Vec<&Record> = found.iter().filter(|one| one.payloads == Kept::Dropped).collect();
    assert!(!dropped.is_empty() && dropped.len() < all.len(), "{}", dropped.len());
    for one in &found {
        let there = home.store.payloads(one.request_id).await.unwrap().is_some();
        assert_eq!(there, one.payloads == Kept::Yes);
    }
    assert_eq!((home.store.dropped(), found[0].function.clone()), (0, name("f")));
}
