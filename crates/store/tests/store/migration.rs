//! Databases of other ages and makes.

use rusqlite::Connection;
use store::{Options, SqliteStore};

use crate::{Home, name, spec};
use store::Functions;

fn version(db: &Connection) -> i64 {
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn open_error(dir: &std::path::Path) -> String {
    SqliteStore::open(Options::new(dir)).err().expect("it opened").to_string()
}

#[tokio::test]
async fn an_empty_directory_becomes_a_store_of_the_present_schema() {
    let home = Home::new().reopen(|data| {
        for (file, newest) in [("catalogue.db", 2), ("telemetry.db", 3)] {
            let db = Connection::open(data.join(file)).unwrap();
            assert_eq!(version(&db), newest, "{file}");
        }
    });
    let code = home.package("1").await;
    home.store.put(spec("f"), code, None).await.unwrap();
    home.store.get(&name("f")).await.unwrap();
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
