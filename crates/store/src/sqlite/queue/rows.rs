//! Rows of the queue: written, changed, read, and counted in the same breath.

use bytes::Bytes;
use model::{FunctionName, Qualifier, RequestId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::state;
use crate::StoreError;
use crate::queue::{NewEvent, Progress, QueueCounts, QueuedEvent};

pub(super) const WAITING: i64 = 0;
pub(super) const RUNNING: i64 = 1;
pub(super) const DEAD: i64 = 2;

pub(super) const SELECT: &str = "SELECT id, function, state, due, received, bytes, trace_id, client_context, hops,
    attempts, failures, throttles, kills, losses, condition, error, qualifier FROM events";

/// A new row in `state`, and its function's numbers.
pub(super) fn insert(
    queue: &Connection,
    event: &NewEvent,
    state: i64,
    condition: Option<&str>,
) -> Result<(), StoreError> {
    // Taken apart, so that nothing added to the type is forgotten here. The key is kept elsewhere.
    let NewEvent { id, function, qualifier, payload, received, trace_id, client_context, hops, key: _ } = event;
    let (received, bytes) = (received.micros(), payload.len() as i64);
    let sql =
        "INSERT INTO events (id, function, state, due, received, bytes, trace_id, client_context, hops, condition,
            qualifier) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let (id, name) = (id.to_string(), function.as_str());
    let qualifier = qualifier.as_ref().map(ToString::to_string);
    let row = params![id, name, state, received, bytes, trace_id, client_context, hops, condition, qualifier];
    queue.prepare(sql)?.execute(row)?;
    let sql = "INSERT INTO payloads (seq, body) VALUES (?1, ?2)";
    queue.prepare(sql)?.execute(params![queue.last_insert_rowid(), &payload[..]])?;
    queue.prepare("INSERT OR IGNORE INTO counters (function) VALUES (?1)")?.execute([name])?;
    if state == DEAD {
        dies(queue, event.id)?;
    }
    let counted = if state == DEAD { "dead" } else { "waiting" };
    count(queue, name, &format!("enqueued = enqueued + 1, {counted} = {counted} + 1"), bytes)
}

/// Notes when an event was set aside.
pub(super) fn dies(queue: &Connection, id: RequestId) -> Result<(), StoreError> {
    let sql = "UPDATE events SET minute = (SELECT minute FROM house) WHERE id = ?1";
    queue.prepare(sql)?.execute([id.to_string()])?;
    Ok(())
}

/// Changes a function's numbers; `change` is SQL of this crate's.
pub(super) fn count(queue: &Connection, function: &str, change: &str, bytes: i64) -> Result<(), StoreError> {
    let sql = format!("UPDATE counters SET {change}, bytes = bytes + ?2 WHERE function = ?1");
    match queue.prepare(&sql)?.execute(params![function, bytes])? {
        1 => Ok(()),
        _ => Err(damaged(&format_args!("no numbers of {function}"))),
    }
}

/// Removes an event that is in `state`, and counts it as `end`.
pub(super) fn take(queue: &Connection, id: RequestId, state: i64, end: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM events WHERE id = ?1 AND state = ?2 RETURNING function, bytes";
    let mut delete = queue.prepare(sql)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let found = delete.query_row(params![id.to_string(), state], row).optional()?;
    let (function, bytes) = found.ok_or_else(|| not_leased(id))?;
    count(queue, &function, &format!("waiting = waiting - 1, {end} = {end} + 1"), -bytes)
}

/// Writes how a running event fared.
pub(super) fn update(
    queue: &Connection,
    id: RequestId,
    state: i64,
    due: Timestamp,
    progress: &Progress,
    condition: Option<&str>,
    error: Option<&str>,
) -> Result<(), StoreError> {
    let Progress { failures, throttles, kills, losses } = progress;
    let sql = "UPDATE events SET state = ?2, due = ?3, failures = ?4, throttles = ?5, kills = ?6, losses = ?7,
        condition = ?8, error = coalesce(?9, error) WHERE id = ?1 AND state = 1";
    let id_text = id.to_string();
    let row = params![id_text, state, due.micros(), failures, throttles, kills, losses, condition, error];
    match queue.prepare(sql)?.execute(row)? {
        1 => Ok(()),
        _ => Err(not_leased(id)),
    }
}

fn not_leased(id: RequestId) -> StoreError {
    StoreError::Failed(format!("event {id} is not leased"))
}

/// A row of [`SELECT`], without the payload.
pub(super) fn event(row: &Row<'_>) -> Result<QueuedEvent, StoreError> {
    Ok(QueuedEvent {
        event: NewEvent {
            id: id(&row.get::<_, String>(0)?)?,
            function: function(row.get(1)?)?,
            qualifier: qualifier(row.get(16)?)?,
            payload: Bytes::new(),
            received: Timestamp(row.get(4)?),
            trace_id: row.get(6)?,
            client_context: row.get(7)?,
            hops: row.get(8)?,
            key: None,
        },
        state: state(row.get(2)?)?,
        due: Timestamp(row.get(3)?),
        bytes: row.get::<_, i64>(5)? as u64,
        attempts: row.get(9)?,
        progress: Progress {
            failures: row.get(10)?,
            throttles: row.get(11)?,
            kills: row.get(12)?,
            losses: row.get(13)?,
        },
        condition: row.get(14)?,
        error: row.get(15)?,
    })
}

/// An event with its payload.
pub(super) fn whole(queue: &Connection, seq: i64) -> Result<QueuedEvent, StoreError> {
    let mut query = queue.prepare(&format!("{SELECT} WHERE seq = ?1"))?;
    let mut rows = query.query([seq])?;
    let row = rows.next()?.ok_or_else(|| damaged(&format_args!("no row {seq}")))?;
    let mut found = event(row)?;
    let mut payload = queue.prepare("SELECT body FROM payloads WHERE seq = ?1")?;
    found.event.payload = payload.query_row([seq], |row| row.get::<_, Vec<u8>>(0))?.into();
    Ok(found)
}

pub(super) fn counts(queue: &Connection) -> Result<Vec<QueueCounts>, StoreError> {
    let sql = "SELECT function, enqueued, waiting, done, failed, dead, purged, bytes FROM counters ORDER BY function";
    let mut query = queue.prepare(sql)?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
        found.push(QueueCounts {
            function: function(row.get(0)?)?,
            enqueued: number(1)?,
            waiting: number(2)?,
            done: number(3)?,
            failed: number(4)?,
            dead: number(5)?,
            purged: number(6)?,
            bytes: number(7)?,
        });
    }
    Ok(found)
}

pub(super) fn id(text: &str) -> Result<RequestId, StoreError> {
    text.parse().map_err(|error| damaged(&error))
}

pub(super) fn function(text: String) -> Result<FunctionName, StoreError> {
    text.try_into().map_err(|error| damaged(&error))
}

fn qualifier(text: Option<String>) -> Result<Option<Qualifier>, StoreError> {
    text.map(Qualifier::try_from).transpose().map_err(|error| damaged(&error))
}

pub(super) fn damaged(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("queue.db holds what cannot be read: {error}"))
}
