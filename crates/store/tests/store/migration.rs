//! Databases of other ages and makes.

use rusqlite::Connection;
use store::{Options, SqliteStore};

use crate::{Home, name, spec};
use store::{Functions, RecordQuery, Telemetry};

fn version(db: &Connection) -> i64 {
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn open_error(dir: &std::path::Path) -> String {
    SqliteStore::open(Options::new(dir)).err().expect("it opened").to_string()
}

#[tokio::test]
async fn an_empty_directory_becomes_a_store_of_the_present_schema() {
    let home = Home::new().reopen(|data| {
        for (file, newest) in [("catalogue.db", 3), ("telemetry.db", 4)] {
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
    let old = crate::telemetry::record("f");
    home.store.record(old.clone());
    let home = home.reopen(|data| {
        let db = Connection::open(data.join("telemetry.db")).unwrap();
        db.execute_batch("ALTER TABLE records DROP COLUMN stages; PRAGMA user_version = 3").unwrap();
    });
    let records = home.store.records(RecordQuery { limit: 9, ..RecordQuery::default() }).await.unwrap();
    assert_eq!(records, [old]);
    let stages = records[0].waterfall();
    let stages: Vec<_> = stages.iter().map(|stage| (&*stage.name, stage.start_us, stage.took_us)).collect();
    assert_eq!(stages, [("sandbox", 0, 2), ("runtime", 2, 3), ("init", 5, 4), ("handler", 9, 5)]);
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
