//! The queue in a database of its own, so that events wait for no deploy and no log line. Enqueues that come at once
//! share one sync to disk, and so do leases and their ends.

mod messages;
mod rows;
mod schedules;
mod schema;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use model::{FunctionName, RequestId, Timestamp};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::database::{self, Readers};
use super::writer::Writer;
use crate::StoreError;
use crate::queue::{
    Enqueued, EventQuery, EventState, NewEvent, Queue, QueueCounts, QueuedEvent, Ready, Settlement, Told,
};
use rows::{DEAD, RUNNING, WAITING, count, insert, take};
pub(super) use schema::SCHEMA;

/// How long a key names its event.
const KEYS: Duration = Duration::from_secs(24 * 3600);
/// How long dead events are kept, in minutes that servers ran.
const DEAD_AGE: i64 = 14 * 1440;
/// How long ticks are remembered that became events, in minutes that servers ran: longer than a clock goes back without
/// being taken for wrong.
const TICKS: i64 = 3 * 1440;
/// Rows of one transaction of the house-keeping, so that nobody waits long for it.
const BATCH: usize = 1000;
/// How long what was seen of the disk is believed.
const DISK_SEEN: Duration = Duration::from_secs(1);

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct EventLimits {
    /// Events of one function that wait or are dead; default 100,000.
    pub of_function: u64,
    /// Events of all functions; default 1,000,000.
    pub of_all: u64,
    /// Bytes of payload in all; default 4 GiB.
    pub bytes: u64,
    /// No event is taken when the disk has less room than this; default 256 MiB.
    pub reserve: u64,
}

/// The queue of one machine.
pub struct SqliteQueue {
    writer: Writer,
    readers: Arc<Readers>,
    changes: watch::Sender<u64>,
    /// The same of message queues.
    messages: watch::Sender<u64>,
    limits: EventLimits,
    dir: PathBuf,
    /// When the disk was looked at, and whether it had room.
    disk: Mutex<Option<(Instant, bool)>>,
}

// === impl EventLimits ===

impl Default for EventLimits {
    fn default() -> Self {
        Self { of_function: 100_000, of_all: 1_000_000, bytes: 4 << 30, reserve: 256 << 20 }
    }
}

// === impl SqliteQueue ===

impl SqliteQueue {
    /// Opens the queue in a data directory whose store is open: it has the lock. Blocks, for milliseconds.
    pub fn open(dir: &Path, limits: EventLimits) -> Result<Arc<Self>, StoreError> {
        let conn = database::open_durable(dir, &SCHEMA)?;
        Ok(Arc::new(Self {
            writer: Writer::start("store-queue", conn)?,
            readers: Readers::new(dir, &SCHEMA, 4),
            changes: watch::Sender::new(0),
            messages: watch::Sender::new(0),
            limits,
            dir: dir.to_owned(),
            disk: Mutex::default(),
        }))
    }

    /// Writes what was given and ends the thread. Blocks. A second call does nothing.
    pub fn close(&self) {
        self.readers.close();
        self.writer.close();
    }

    pub(super) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    fn changed(&self) -> impl FnOnce() + Send + use<> {
        let changes = self.changes.clone();
        move || changes.send_modify(|count| *count += 1)
    }

    fn messages_moved(&self) -> impl FnOnce() + Send + use<> {
        let messages = self.messages.clone();
        move || messages.send_modify(|count| *count += 1)
    }

    /// Fails when the disk has no more room than what is kept for all else.
    fn require_disk(&self) -> Result<(), StoreError> {
        let mut seen = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let room = match *seen {
            Some((at, room)) if at.elapsed() < DISK_SEEN => room,
            _ => {
                let disk = rustix::fs::statvfs(&self.dir)
                    .map_err(|error| StoreError::io(self.dir.display(), &error.into()))?;
                let room = disk.f_bavail.saturating_mul(disk.f_frsize) >= self.limits.reserve;
                *seen = Some((Instant::now(), room));
                room
            }
        };
        if room { Ok(()) } else { Err(StoreError::DiskFull) }
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn enqueue(&self, event: NewEvent) -> Result<Enqueued, StoreError> {
        self.require_disk()?;
        let limits = self.limits;
        let enqueue = move |queue: &Connection| {
            if let Some(earlier) = known(queue, &event)? {
                return Ok(Enqueued { id: earlier, repeated: true });
            }
            require_room(queue, &event, &limits)?;
            insert(queue, &event, WAITING, None)?;
            Ok(Enqueued { id: event.id, repeated: false })
        };
        self.writer.write(enqueue, self.changed()).await
    }

    async fn recover(&self) -> Result<u64, StoreError> {
        let recover = |queue: &Connection| {
            let sql = "UPDATE events SET state = ?1, losses = losses + 1 WHERE state = ?2";
            Ok(queue.execute(sql, [WAITING, RUNNING])? as u64)
        };
        self.writer.write(recover, self.changed()).await
    }

    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        let ready = |queue: &Connection| {
            let sql =
                "SELECT c.function, (SELECT min(e.due) FROM events e WHERE e.state = 0 AND e.function = c.function)
                FROM counters c WHERE c.waiting > 0 ORDER BY c.function";
            let mut query = queue.prepare(sql)?;
            let mut rows = query.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(due) = row.get::<_, Option<i64>>(1)? {
                    found.push(Ready { function: rows::function(row.get(0)?)?, due: Timestamp(due) });
                }
            }
            Ok(found)
        };
        self.readers.read(ready).await
    }

    async fn lease(
        &self,
        asks: Vec<(FunctionName, usize)>,
        now: Timestamp,
        bytes: u64,
    ) -> Result<Vec<QueuedEvent>, StoreError> {
        let lease = move |queue: &Connection| {
            let mut leased = Vec::new();
            let mut room = bytes;
            for (function, most) in asks {
                for (seq, size) in due(queue, &function, now, most)? {
                    if size > room && !leased.is_empty() {
                        break;
                    }
                    room = room.saturating_sub(size);
                    let sql = "UPDATE events SET state = ?1, attempts = attempts + 1 WHERE seq = ?2";
                    queue.prepare(sql)?.execute(params![RUNNING, seq])?;
                    leased.push(rows::whole(queue, seq)?);
                }
            }
            Ok(leased)
        };
        self.writer.write(lease, || {}).await
    }

    async fn settle(&self, id: RequestId, settlement: Settlement) -> Result<(), StoreError> {
        let tells = matches!(
            &settlement,
            Settlement::Done { then: Some(Told::Message { .. }) }
                | Settlement::GivenUp { then: Some(Told::Message { .. }), .. }
        );
        let settle = move |queue: &Connection| match settlement {
            Settlement::Done { then } => {
                take(queue, id, RUNNING, "done")?;
                sources::ended(queue, id, sources::DONE)?;
                then.map_or(Ok(()), |then| tell(queue, &then))
            }
            Settlement::Again { due, progress, error } => {
                rows::update(queue, id, WAITING, due, &progress, None, error.as_deref())
            }
            Settlement::GivenUp { keep, condition, progress, error, then } => {
                sources::ended(queue, id, sources::GIVEN_UP)?;
                if keep {
                    let due = Timestamp(0);
                    rows::update(queue, id, DEAD, due, &progress, Some(&condition), error.as_deref())?;
                    rows::dies(queue, id)?;
                    let sql = "UPDATE counters SET waiting = waiting - 1, dead = dead + 1 WHERE function =
                            (SELECT function FROM events WHERE id = ?1)";
                    queue.prepare(sql)?.execute([id.to_string()])?;
                } else {
                    take(queue, id, RUNNING, "failed")?;
                }
                then.map_or(Ok(()), |then| tell(queue, &then))
            }
        };
        let (changed, moved) = (self.changed(), if tells { Some(self.messages_moved()) } else { None });
        let then = move || {
            changed();
            if let Some(moved) = moved {
                moved();
            }
        };
        self.writer.write(settle, then).await
    }

    async fn shift(&self, back_micros: i64) -> Result<(), StoreError> {
        let shift = move |queue: &Connection| {
            queue
                .execute("UPDATE events SET due = due - ?1, received = received - ?1 WHERE state < 2", [back_micros])?;
            messages::shift(queue, back_micros)
        };
        self.writer.write(shift, self.changed()).await
    }

    async fn counts(&self) -> Result<Vec<QueueCounts>, StoreError> {
        self.readers.read(|queue: &Connection| rows::counts(queue)).await
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<QueuedEvent>, StoreError> {
        let events = move |queue: &Connection| {
            let (filter, values) = filter(&query, if query.dead { "= 2" } else { "< 2" });
            let sql = format!("{} WHERE {filter} ORDER BY seq LIMIT {}", rows::SELECT, query.limit);
            let mut statement = queue.prepare(&sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(values))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(rows::event(row)?);
            }
            Ok(found)
        };
        self.readers.read(events).await
    }

    async fn event(&self, id: RequestId) -> Result<Option<QueuedEvent>, StoreError> {
        let event = move |queue: &Connection| {
            let mut query = queue.prepare("SELECT seq FROM events WHERE id = ?1")?;
            let seq: Option<i64> = query.query_row([id.to_string()], |row| row.get(0)).optional()?;
            seq.map(|seq| rows::whole(queue, seq)).transpose()
        };
        self.readers.read(event).await
    }

    async fn redrive(&self, which: EventQuery, now: Timestamp) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let which = which.clone();
            let redrive = move |queue: &Connection| {
                let (filter, values) = filter(&which, "= 2");
                let found = chosen(queue, &filter, &values)?;
                for (seq, function, _) in &found {
                    // Its age counts anew: it would be given up at once.
                    let sql =
                        "UPDATE events SET state = 0, due = ?1, received = ?1, failures = 0, throttles = 0, kills = 0,
                        losses = 0, condition = NULL, minute = NULL WHERE seq = ?2";
                    queue.prepare(sql)?.execute(params![now.micros(), seq])?;
                    count(queue, function, "dead = dead - 1, waiting = waiting + 1", 0)?;
                }
                Ok(found.len())
            };
            let count = self.writer.write(redrive, self.changed()).await?;
            all += count as u64;
            if count < BATCH {
                return Ok(all);
            }
        }
    }

    async fn purge(&self, which: EventQuery) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let which = which.clone();
            let purge = move |queue: &Connection| {
                let (filter, values) = filter(&which, if which.dead { "= 2" } else { "= 0" });
                remove(queue, &filter, &values, if which.dead { "dead" } else { "waiting" })
            };
            let count = self.writer.write(purge, || {}).await?;
            all += count as u64;
            if count < BATCH {
                return Ok(all);
            }
        }
    }

    async fn expire(&self, now: Timestamp, minutes: u32) -> Result<u64, StoreError> {
        let expire = move |queue: &Connection| {
            queue.execute("DELETE FROM keys WHERE at < ?1", [(now - KEYS).micros()])?;
            // Only where something grows older: an idle Hearth writes nothing.
            let sql = "UPDATE house SET minute = minute + ?1 WHERE ?1 > 0 AND
                (EXISTS (SELECT 1 FROM ticks) OR EXISTS (SELECT 1 FROM events WHERE minute IS NOT NULL))";
            queue.execute(sql, [minutes])?;
            let minute: i64 = queue.query_row("SELECT minute FROM house", [], |row| row.get(0))?;
            queue.execute("DELETE FROM ticks WHERE minute < ?1", [minute - TICKS])?;
            let old: [Box<dyn ToSql>; 1] = [Box::new(minute - DEAD_AGE)];
            Ok(remove(queue, "state = 2 AND minute < ?", &old, "dead")? as u64)
        };
        self.writer.write(expire, || {}).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// The event that has the key of this one; none: the key is this one's from now on.
fn known(queue: &Connection, event: &NewEvent) -> Result<Option<RequestId>, StoreError> {
    let Some(key) = &event.key else { return Ok(None) };
    let sha256: [u8; 32] = Sha256::digest(&event.payload).into();
    let function = event.function.as_str();
    let since = (event.received - KEYS).micros();
    let sql = "SELECT id, sha256 FROM keys WHERE function = ?1 AND key = ?2 AND at >= ?3";
    let mut query = queue.prepare(sql)?;
    let found =
        query.query_row(params![function, key, since], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)));
    if let Some((id, before)) = found.optional()? {
        if before != sha256 {
            return Err(StoreError::KeyReused(key.clone()));
        }
        return Ok(Some(rows::id(&id)?));
    }
    let sql = "INSERT OR REPLACE INTO keys (function, key, id, sha256, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![function, key, event.id.to_string(), sha256, event.received.micros()];
    queue.prepare(sql)?.execute(row)?;
    Ok(None)
}

fn require_room(queue: &Connection, event: &NewEvent, limits: &EventLimits) -> Result<(), StoreError> {
    let sql = "SELECT coalesce(sum(waiting + dead), 0), coalesce(sum(bytes), 0),
        coalesce(sum(waiting + dead) FILTER (WHERE function = ?1), 0) FROM counters";
    let numbers = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (all, bytes, of_function) = queue.prepare(sql)?.query_row([event.function.as_str()], numbers)?;
    let full = |what| Err(StoreError::QueueFull { function: event.function.clone(), what });
    if of_function as u64 >= limits.of_function {
        return full("events of this function");
    }
    if all as u64 >= limits.of_all {
        return full("events of all functions");
    }
    if bytes as u64 + event.payload.len() as u64 > limits.bytes {
        return full("bytes of all functions' events");
    }
    Ok(())
}

/// An event about another one. It is never refused: the other one makes room.
fn tell(queue: &Connection, told: &Told) -> Result<(), StoreError> {
    let event = match told {
        Told::Event(event) => event,
        Told::Message { queue: name, body, now } => return messages::tell(queue, name, body, *now),
    };
    if event.hops > MAX_HOPS {
        return insert(queue, event, DEAD, Some("RecursionLimit"));
    }
    insert(queue, event, WAITING, None)
}

/// Destinations in a row, as AWS detects recursive loops: the next is set aside.
const MAX_HOPS: u32 = 16;

/// Rows that are due, with the bytes of their payloads.
fn due(
    queue: &Connection,
    function: &FunctionName,
    now: Timestamp,
    most: usize,
) -> Result<Vec<(i64, u64)>, StoreError> {
    // Of a lane that is serial, only the oldest, and only if none runs.
    let sql = "SELECT seq, bytes FROM events e WHERE state = 0 AND function = ?1 AND due <= ?2
        AND (serial = 0 OR NOT EXISTS (SELECT 1 FROM events o WHERE o.lane = e.lane AND o.seq < e.seq AND o.state < 2))
        ORDER BY due, seq LIMIT ?3";
    let mut query = queue.prepare(sql)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64));
    let found = query.query_map(params![function.as_str(), now.micros(), most as i64], row)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The condition that chooses events, and its values.
fn filter(which: &EventQuery, state: &str) -> (String, Vec<Box<dyn ToSql>>) {
    let (mut text, mut values) = (format!("state {state}"), Vec::<Box<dyn ToSql>>::new());
    if let Some(function) = &which.function {
        text += " AND function = ?";
        values.push(Box::new(function.to_string()));
    }
    if let Some(id) = which.id {
        text += " AND id = ?";
        values.push(Box::new(id.to_string()));
    }
    (text, values)
}

type Chosen = (i64, String, i64);

/// Row, function and bytes of some of the events that a condition chooses.
fn chosen(queue: &Connection, filter: &str, values: &[Box<dyn ToSql>]) -> Result<Vec<Chosen>, StoreError> {
    let sql = format!("SELECT seq, function, bytes FROM events WHERE {filter} ORDER BY seq LIMIT {BATCH}");
    let mut query = queue.prepare(&sql)?;
    let found =
        query.query_map(rusqlite::params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Purges some of the events that a condition chooses, all of which were counted as `counted`.
fn remove(queue: &Connection, filter: &str, values: &[Box<dyn ToSql>], counted: &str) -> Result<usize, StoreError> {
    let found = chosen(queue, filter, values)?;
    for (seq, function, bytes) in &found {
        queue.prepare("DELETE FROM events WHERE seq = ?1")?.execute([seq])?;
        count(queue, function, &format!("{counted} = {counted} - 1, purged = purged + 1"), -bytes)?;
    }
    Ok(found.len())
}

/// What a state is as its number.
fn state(number: i64) -> Result<EventState, StoreError> {
    match number {
        WAITING => Ok(EventState::Waiting),
        RUNNING => Ok(EventState::Running),
        DEAD => Ok(EventState::Dead),
        other => Err(rows::damaged(&format_args!("state {other}"))),
    }
}
