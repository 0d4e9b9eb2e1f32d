//! Databases of other ages and makes.

use model::Timestamp;
use rusqlite::Connection;
use store::observe::{FINEST, MetricsBy, MetricsQuery, UNKNOWN};
use store::sqlite::EventLimits;
use store::{Options, Queue, SqliteQueue, SqliteStore};

use crate::{Home, name, spec};
use store::{Credentials, Functions, Observe, RecordQuery, Telemetry};

fn version(db: &Connection) -> i64 {
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn open_error(dir: &std::path::Path) -> String {
    SqliteStore::open(Options::new(dir)).err().expect("it opened").to_string()
}

#[tokio::test]
async fn an_empty_directory_becomes_a_store_of_the_present_schema() {
    let home = Home::new().reopen(|data| {
        for (file, newest) in [("catalogue.db", 9), ("telemetry.db", 8)] {
            let db = Connection::open(data.join(file)).unwrap();
            assert_eq!(version(&db), newest, "{file}");
        }
    });
    let code = home.package("1").await;
    home.store.put(spec("f"), code, None).await.unwrap();
    home.store.get(&name("f")).await.unwrap();
}

#[tokio::test]
async fn records_of_before_there_were_waterfalls_are_read() {
    let home = Home::new();
    let old = model::Record { version: model::Version::Latest, ..crate::telemetry::record("f") };
    home.store.record(old.clone());
    let home = home.reopen(|data| {
        let db = Connection::open(data.join("telemetry.db")).unwrap();
        db.execute_batch(
            "ALTER TABLE records DROP COLUMN qualifier; ALTER TABLE records DROP COLUMN memory;
             ALTER TABLE records DROP COLUMN trace; ALTER TABLE records DROP COLUMN billed_ms; ALTER TABLE records DROP COLUMN replay_of;
             ALTER TABLE records DROP COLUMN payloads; ALTER TABLE state DROP COLUMN payload_bytes;
             DROP TABLE payloads; DROP TABLE payload_sizes;
             ALTER TABLE records DROP COLUMN stages; ALTER TABLE records DROP COLUMN version;
             ALTER TABLE records DROP COLUMN error; DROP TABLE metrics; DROP TABLE metrics_state; DROP TABLE log_sizes;
             PRAGMA user_version = 3",
        )
        .unwrap();
    });
    let records = home.store.records(RecordQuery { limit: 9, ..RecordQuery::default() }).await.unwrap();
    assert_eq!(records, [old]);
    let stages = records[0].waterfall();
    let stages: Vec<_> = stages.iter().map(|stage| (&*stage.name, stage.start_us, stage.took_us)).collect();
    assert_eq!(stages, [("sandbox", 0, 2), ("runtime", 2, 3), ("init", 5, 4), ("handler", 9, 5)]);
}

#[tokio::test]
async fn figures_of_before_versions_were_told_apart_are_counted_on() {
    let home = Home::new();
    home.store.record(crate::telemetry::record("f"));
    let home = home.reopen(|data| {
        let db = Connection::open(data.join("telemetry.db")).unwrap();
        db.execute_batch(
            "CREATE TABLE old (step INTEGER NOT NULL, at INTEGER NOT NULL, function INTEGER NOT NULL,
                revision INTEGER NOT NULL, isolation TEXT NOT NULL, door TEXT NOT NULL, body BLOB NOT NULL,
                PRIMARY KEY (step, at, function, revision, isolation, door)) STRICT, WITHOUT ROWID;
             INSERT INTO old SELECT step, at, function, revision, isolation, door, body FROM metrics;
             DROP TABLE metrics; ALTER TABLE old RENAME TO metrics;
             ALTER TABLE records DROP COLUMN qualifier; ALTER TABLE records DROP COLUMN memory;
             ALTER TABLE records DROP COLUMN trace; ALTER TABLE records DROP COLUMN billed_ms; ALTER TABLE records DROP COLUMN replay_of;
             ALTER TABLE records DROP COLUMN payloads; ALTER TABLE state DROP COLUMN payload_bytes;
             DROP TABLE payloads; DROP TABLE payload_sizes;
             PRAGMA user_version = 6",
        )
        .unwrap();
    });
    home.store.record(crate::telemetry::record("f"));
    let query = MetricsQuery { function: None, from: 0, to: i64::MAX, step: FINEST, by: MetricsBy::Version };
    let series = home.store.metrics(query).await.unwrap();
    let calls = series.iter().map(|one| (one.key.as_str(), one.points.iter().map(|(_, sum)| sum.calls).sum::<u64>()));
    assert_eq!(calls.collect::<Vec<_>>(), [(UNKNOWN, 1), ("7", 1)]);
    assert_eq!(home.store.totals().await.unwrap().iter().map(|one| one.figures.calls).sum::<u64>(), 2);
}

#[tokio::test]
async fn a_queue_of_before_its_ages_were_counted_is_read() {
    let home = Home::new();
    SqliteQueue::open(&home.data(), EventLimits::default()).unwrap().close();
    let db = Connection::open(home.data().join("queue.db")).unwrap();
    db.execute_batch(
        "DROP TABLE marks; DROP TABLE sources; DROP TABLE message_bodies; DROP TABLE messages; DROP TABLE message_queues;
        ALTER TABLE events DROP COLUMN qualifier;
        DROP INDEX ticks_minute; DROP INDEX events_dead; DROP TABLE house;
        ALTER TABLE ticks DROP COLUMN minute; ALTER TABLE events DROP COLUMN minute;
        CREATE INDEX ticks_tick ON ticks (tick);
        INSERT INTO counters (function, enqueued, dead) VALUES ('f', 1, 1);
        INSERT INTO events (id, function, state, due, received, bytes, trace_id, client_context, hops)
            VALUES ('00000000-0000-4000-8000-000000000000', 'f', 2, 0, 0, 0, '', '', 0);
        PRAGMA user_version = 1",
    )
    .unwrap();
    drop(db);
    let queue = SqliteQueue::open(&home.data(), EventLimits::default()).unwrap();
    let fourteen_days = 14 * 1440;
    assert_eq!(queue.expire(Timestamp(0), fourteen_days).await.unwrap(), 0, "its age counts from now on");
    assert_eq!(queue.expire(Timestamp(0), 1).await.unwrap(), 1);
    assert_eq!(queue.counts().await.unwrap()[0].purged, 1);
}

#[tokio::test]
async fn tokens_of_before_there_were_scopes_are_the_installations_own() {
    let home = Home::new().reopen(|data| {
        let db = Connection::open(data.join("catalogue.db")).unwrap();
        db.execute_batch(
            "DROP TABLE tokens;
             CREATE TABLE tokens (sha256 BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL, added INTEGER NOT NULL)
                STRICT, WITHOUT ROWID;
             INSERT INTO tokens VALUES (zeroblob(32), 'admin', 1);
             INSERT INTO tokens VALUES (unhex(replace(hex(zeroblob(32)), '00', 'ab')), 'admin', 2);
             PRAGMA user_version = 8",
        )
        .unwrap();
    });
    let found = home.store.tokens().await.unwrap();
    let shown: Vec<_> = found.iter().map(|one| (one.id.as_str(), one.name.as_str(), one.own, one.created.0)).collect();
    let expected = [("tok_abababababab", "admin", true, 2), ("tok_000000000000", "admin-000000000000", false, 1)];
    assert_eq!(shown, expected);
    assert!(found.iter().all(|one| one.scopes == ["admin"] && one.expires.is_none()));
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    for file in ["catalogue.db", "telemetry.db"] {
        let Home { dir, store } = Home::new();
        drop(store);
        let data = dir.path().join("data");
        let db = Connection::open(data.join(file)).unwrap();
        let ours = version(&db);
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        let before = std::fs::read(data.join(file)).unwrap();
        let error = open_error(&data);
        assert!(error.contains(file) && error.contains("newer Hearth") && error.contains("99"), "{error}");
        assert_eq!(std::fs::read(data.join(file)).unwrap(), before);
        // Nothing keeps the directory locked after the refusal.
        let db = Connection::open(data.join(file)).unwrap();
        db.pragma_update(None, "user_version", ours).unwrap();
        drop(db);
        SqliteStore::open(Options::new(&data)).unwrap();
    }
}

#[test]
fn another_programs_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("catalogue.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 1; CREATE TABLE bookmarks (x)").unwrap();
    drop(db);
    let error = open_error(dir.path());
    assert!(error.contains("another program's"), "{error}");
}

#[test]
fn what_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("catalogue.db"), "x".repeat(10_000)).unwrap();
    let error = open_error(dir.path());
    assert!(error.contains("catalogue.db") && error.contains("not a database"), "{error}");
}
