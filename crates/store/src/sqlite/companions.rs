//! Companions' records in the catalogue, one row each.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::SqliteStore;
use super::database::blocking;
use super::functions::damaged;
use crate::StoreError;
use crate::companions::{Companions, Objects, OwnSchedule, OwnSchedules, Referred, SCHEDULES};

/// For the catalogue's schema.
pub(super) const MIGRATION: &str = "
    CREATE TABLE companions (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        -- JSON.
        body TEXT NOT NULL,
        UNIQUE (kind, name)
    ) STRICT;
";

/// Records of one kind at most.
const MOST: i64 = 20_000;

/// The objects that records refer to.
pub(super) fn referred(catalogue: &Connection) -> Result<Referred, StoreError> {
    let sql = "SELECT body ->> 'object' FROM companions WHERE body ->> 'object' IS NOT NULL";
    let mut query = catalogue.prepare(sql)?;
    let ids = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

pub(super) fn own_schedules(catalogue: &Connection) -> Result<Vec<OwnSchedule>, StoreError> {
    let mut query = catalogue.prepare("SELECT body FROM companions WHERE kind = ?1 ORDER BY name")?;
    let mut rows = query.query([SCHEDULES])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        let read: OwnSchedules = serde_json::from_str(&body).map_err(|error| damaged(&error))?;
        found.extend(read.schedules);
    }
    Ok(found)
}

fn body(catalogue: &Connection, kind: &str, name: &str) -> Result<Option<Value>, StoreError> {
    let sql = "SELECT body FROM companions WHERE kind = ?1 AND name = ?2";
    let text: Option<String> = catalogue.query_row(sql, [kind, name], |row| row.get(0)).optional()?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| damaged(&error))).transpose()
}

#[async_trait]
impl Companions for SqliteStore {
    async fn record(&self, kind: &'static str, name: &str) -> Result<Option<Value>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |catalogue| body(catalogue, kind, &name)).await
    }

    async fn records(
        &self,
        kind: &'static str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        let list = move |catalogue: &Connection| {
            // By the bytes of the names, which begin with the prefix as long as they are within its range.
            let sql =
                "SELECT name, body FROM companions WHERE kind = ?1 AND name >= ?2 AND name > ?3 ORDER BY name LIMIT ?4";
            let mut query = catalogue.prepare(sql)?;
            let mut rows = query.query(params![kind, prefix, after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let (name, body): (String, String) = (row.get(0)?, row.get(1)?);
                if !name.starts_with(&prefix) {
                    break;
                }
                found.push((name, serde_json::from_str(&body).map_err(|error| damaged(&error))?));
            }
            Ok(found)
        };
        self.readers.read(list).await
    }

    async fn swap(
        &self,
        kind: &'static str,
        name: &str,
        old: Option<Value>,
        new: Option<Value>,
    ) -> Result<bool, StoreError> {
        let (name, changes) = (name.to_owned(), self.changes.clone());
        let swap = move |catalogue: &Connection| {
            if body(catalogue, kind, &name)? != old {
                return Ok(false);
            }
            let Some(new) = new else {
                catalogue.execute("DELETE FROM companions WHERE kind = ?1 AND name = ?2", [kind, &name])?;
                return Ok(true);
            };
            if old.is_none() {
                let sql = "SELECT count(*) FROM companions WHERE kind = ?1";
                let count: i64 = catalogue.query_row(sql, [kind], |row| row.get(0))?;
                if count >= MOST {
                    return Err(StoreError::TooMany { what: "records of one kind", most: MOST as u64 });
                }
            }
            let sql = "INSERT INTO companions (kind, name, body) VALUES (?1, ?2, ?3)
                ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body";
            catalogue.execute(sql, [kind, &name, &new.to_string()])?;
            Ok(true)
        };
        let told = move || {
            if kind == SCHEDULES {
                changes.send_modify(|count| *count += 1);
            }
        };
        self.writer.write(swap, told).await
    }
}

#[async_trait]
impl Objects for SqliteStore {
    async fn keep(&self, bytes: Bytes) -> Result<String, StoreError> {
        let objects = self.objects.clone();
        blocking(move || objects.keep(&bytes)).await
    }

    async fn join(&self, ids: Vec<String>) -> Result<String, StoreError> {
        let objects = self.objects.clone();
        blocking(move || objects.join(&ids)).await
    }

    async fn read_object(&self, id: &str, from: u64, length: usize) -> Result<Bytes, StoreError> {
        let (objects, id) = (self.objects.clone(), id.to_owned());
        blocking(move || objects.read(&id, from, length)).await
    }

    async fn discard(&self, ids: Vec<String>) {
        let objects = self.objects.clone();
        // It cannot fail but by the runtime's end: the next start removes what nothing refers to.
        let _ = blocking(move || {
            objects.discard(&ids);
            Ok(())
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Options;
    use super::*;

    #[tokio::test]
    async fn a_record_changes_only_from_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(Options::new(dir.path())).unwrap();
        let (one, two) = (json!({"a": 1, "b": "x"}), json!({"a": 2}));
        assert!(store.swap("role", "r", None, Some(one.clone())).await.unwrap());
        assert!(!store.swap("role", "r", None, Some(two.clone())).await.unwrap());
        assert!(store.swap("role", "r", Some(one), Some(two.clone())).await.unwrap());
        assert_eq!(store.record("role", "r").await.unwrap(), Some(two.clone()));
        assert_eq!(store.record("policy", "r").await.unwrap(), None);
        assert!(store.swap("role", "r", Some(two), None).await.unwrap());
        assert_eq!(store.record("role", "r").await.unwrap(), None);
    }

    #[tokio::test]
    async fn records_come_by_name_and_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(Options::new(dir.path())).unwrap();
        for name in ["b/2", "a/1", "b/1", "b/é", "c"] {
            assert!(store.swap("object", name, None, Some(json!({"object": null}))).await.unwrap());
        }
        let names = async |prefix: &str, after: &str, limit| {
            let found = store.records("object", prefix, after, limit).await.unwrap();
            found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("b/", "", 10).await, ["b/1", "b/2", "b/é"]);
        assert_eq!(names("b/", "b/1", 1).await, ["b/2"]);
        assert_eq!(names("", "", 2).await, ["a/1", "b/1"]);
    }

    #[tokio::test]
    async fn an_object_that_nothing_refers_to_is_gone_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(Options::new(dir.path())).unwrap();
        let kept = store.keep(Bytes::from_static(b"kept")).await.unwrap();
        let lost = store.keep(Bytes::from_static(b"lost")).await.unwrap();
        store.swap("object", "b/k", None, Some(json!({"object": kept}))).await.unwrap();
        store.close();
        drop(store);
        let store = SqliteStore::open(Options::new(dir.path())).unwrap();
        assert_eq!(store.read_object(&kept, 0, 10).await.unwrap(), &b"kept"[..]);
        assert!(store.read_object(&lost, 0, 10).await.is_err());
    }
}
