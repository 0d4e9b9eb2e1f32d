//! Event sources beside the queue, so that what a source has seen and the event of it are one transaction.

use async_trait::async_trait;
use model::RequestId;
use rusqlite::{Connection, params};

use super::rows::{WAITING, damaged, function, insert};
use super::{SqliteQueue, require_room};
use crate::StoreError;
use crate::sources::{Batch, Mark, MarkState, SourceName, Sources};

pub(super) const KEPT: i64 = 0;
pub(super) const DONE: i64 = 1;
pub(super) const GIVEN_UP: i64 = 2;

/// Writes what became of an event to what it was made of.
pub(super) fn ended(queue: &Connection, event: RequestId, state: i64) -> Result<(), StoreError> {
    queue.prepare("UPDATE marks SET state = ?2 WHERE event = ?1")?.execute(params![event.to_string(), state])?;
    Ok(())
}

#[async_trait]
impl Sources for SqliteQueue {
    async fn know_sources(&self, all: Vec<SourceName>) -> Result<Vec<SourceName>, StoreError> {
        let know = move |queue: &Connection| {
            let mut known = queue.prepare("INSERT OR IGNORE INTO sources (function, name) VALUES (?1, ?2)")?;
            for SourceName { function, source } in &all {
                known.execute(params![function.as_str(), source])?;
            }
            let mut paused = Vec::new();
            for (name, is_paused) in rows(queue)? {
                if !all.contains(&name) {
                    let row = params![name.function.as_str(), name.source];
                    queue.execute("DELETE FROM sources WHERE function = ?1 AND name = ?2", row)?;
                } else if is_paused {
                    paused.push(name);
                }
            }
            Ok(paused)
        };
        self.writer.write(know, || {}).await
    }

    async fn pause_source(&self, name: SourceName, paused: bool) -> Result<bool, StoreError> {
        let pause = move |queue: &Connection| {
            let row = params![name.function.as_str(), name.source, paused];
            Ok(queue.execute("UPDATE sources SET paused = ?3 WHERE function = ?1 AND name = ?2", row)? > 0)
        };
        self.writer.write(pause, || {}).await
    }

    async fn take(&self, name: SourceName, batches: Vec<Batch>) -> Result<(), StoreError> {
        self.require_disk()?;
        let limits = self.limits;
        let take = move |queue: &Connection| {
            let (function, source) = (name.function.as_str(), &name.source);
            for Batch { event, marks } in &batches {
                let sql = "SELECT EXISTS (SELECT 1 FROM marks WHERE function = ?1 AND source = ?2 AND key = ?3
                    AND value = ?4)";
                let mut seen = queue.prepare(sql)?;
                let mut twice = false;
                for Mark { key, value } in marks {
                    twice |= seen.query_row(params![function, source, key, value], |row| row.get::<_, bool>(0))?;
                }
                if twice {
                    continue;
                }
                require_room(queue, event, &limits)?;
                insert(queue, event, WAITING, None)?;
                let sql = "INSERT OR REPLACE INTO marks (function, source, key, value, event, state)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let mut remember = queue.prepare(sql)?;
                for Mark { key, value } in marks {
                    remember.execute(params![function, source, key, value, event.id.to_string(), KEPT])?;
                }
            }
            Ok(())
        };
        self.writer.write(take, self.changed()).await
    }

    async fn marks(&self, name: SourceName) -> Result<Vec<(Mark, MarkState)>, StoreError> {
        let marks = move |queue: &Connection| {
            let sql = "SELECT key, value, state FROM marks WHERE function = ?1 AND source = ?2";
            let mut query = queue.prepare(sql)?;
            let mut rows = query.query(params![name.function.as_str(), name.source])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let state = match row.get::<_, i64>(2)? {
                    KEPT => MarkState::Kept,
                    DONE => MarkState::Done,
                    GIVEN_UP => MarkState::GivenUp,
                    other => return Err(damaged(&format_args!("a mark in state {other}"))),
                };
                found.push((Mark { key: row.get(0)?, value: row.get(1)? }, state));
            }
            Ok(found)
        };
        self.readers.read(marks).await
    }

    async fn forget_marks(&self, name: SourceName, keys: Vec<String>) -> Result<(), StoreError> {
        let forget = move |queue: &Connection| {
            let mut delete = queue.prepare("DELETE FROM marks WHERE function = ?1 AND source = ?2 AND key = ?3")?;
            for key in &keys {
                delete.execute(params![name.function.as_str(), name.source, key])?;
            }
            Ok(())
        };
        self.writer.write(forget, || {}).await
    }
}

fn rows(queue: &Connection) -> Result<Vec<(SourceName, bool)>, StoreError> {
    let mut query = queue.prepare("SELECT function, name, paused FROM sources")?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((SourceName { function: function(row.get(0)?)?, source: row.get(1)? }, row.get(2)?));
    }
    Ok(found)
}
