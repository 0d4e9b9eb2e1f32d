//! Message queues in the queue's database. Sends that come at once share a sync to disk, and so do receives and deletes.

use async_trait::async_trait;
use model::{QueueName, QueueRules, RequestId, Timestamp, message_bytes};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;

use super::rows::{damaged, id};
use super::{BATCH, EventLimits, SqliteQueue};
use crate::StoreError;
use crate::messages::{Messages, NewMessage, QueueInfo, Received, Release, Take};

const SELECT: &str = "SELECT name, rules, created, bytes, sent, deleted, dead, expired, purged,
    (SELECT count(*) FROM messages WHERE queue = name AND visible <= ?1),
    (SELECT count(*) FROM messages WHERE queue = name AND visible > ?1 AND receives > 0),
    (SELECT count(*) FROM messages WHERE queue = name AND visible > ?1 AND receives = 0),
    (SELECT min(sent) FROM messages WHERE queue = name), coalesce(changed, created) FROM message_queues";

#[async_trait]
impl Messages for SqliteQueue {
    async fn put_queue(&self, name: QueueName, rules: QueueRules, now: Timestamp) -> Result<bool, StoreError> {
        rules.validate(&name).map_err(|why| StoreError::BadQueue { queue: name.clone(), why })?;
        let put = move |queue: &Connection| {
            if let Some(dead) = &rules.dead_letter {
                self::rules(queue, dead)?;
            }
            let text = serde_json::to_string(&rules).map_err(|error| damaged(&error))?;
            let sql = "UPDATE message_queues SET rules = ?2, changed = ?3 WHERE name = ?1";
            if queue.prepare(sql)?.execute(params![name.as_str(), text, now.micros()])? > 0 {
                return Ok(false);
            }
            let sql = "INSERT INTO message_queues (name, rules, created) VALUES (?1, ?2, ?3)";
            queue.prepare(sql)?.execute(params![name.as_str(), text, now.micros()])?;
            Ok(true)
        };
        self.writer.write(put, self.messages_moved()).await
    }

    async fn message_queue(&self, name: QueueName, now: Timestamp) -> Result<QueueInfo, StoreError> {
        let info = move |queue: &Connection| {
            let mut query = queue.prepare(&format!("{SELECT} WHERE name = ?2"))?;
            let mut rows = query.query(params![now.micros(), name.as_str()])?;
            rows.next()?.map(info).transpose()?.ok_or(StoreError::NoSuchQueue(name))
        };
        self.readers.read(info).await
    }

    async fn queue_rules(&self, name: QueueName) -> Result<QueueRules, StoreError> {
        self.readers.read(move |queue: &Connection| rules(queue, &name)).await
    }

    async fn message_queues(&self, now: Timestamp) -> Result<Vec<QueueInfo>, StoreError> {
        let all = move |queue: &Connection| {
            let mut query = queue.prepare(&format!("{SELECT} ORDER BY name"))?;
            let mut rows = query.query(params![now.micros()])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(info(row)?);
            }
            Ok(found)
        };
        self.readers.read(all).await
    }

    async fn remove_queue(&self, name: QueueName) -> Result<(), StoreError> {
        let gone = name.clone();
        let check = move |queue: &Connection| {
            rules(queue, &gone)?;
            let mut query = queue.prepare("SELECT name, rules FROM message_queues")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                if read_rules(&row.get::<_, String>(1)?)?.dead_letter.as_ref() == Some(&gone) {
                    let by = queue_name(row.get(0)?)?;
                    return Err(StoreError::QueueUsed { queue: gone, by });
                }
            }
            Ok(())
        };
        self.writer.write(check, || {}).await?;
        self.purge_queue(name.clone()).await?;
        let remove = move |queue: &Connection| {
            // What was sent meanwhile goes too.
            queue.prepare("DELETE FROM messages WHERE queue = ?1")?.execute([name.as_str()])?;
            queue.prepare("DELETE FROM message_queues WHERE name = ?1")?.execute([name.as_str()])?;
            Ok(())
        };
        self.writer.write(remove, self.messages_moved()).await
    }

    async fn send(
        &self,
        name: QueueName,
        messages: Vec<NewMessage>,
        now: Timestamp,
    ) -> Result<Vec<RequestId>, StoreError> {
        self.require_disk()?;
        let mut sized = Vec::new();
        for message in messages {
            let bytes = message_bytes(&message.body, &message.attributes).map_err(StoreError::BadMessage)?;
            sized.push((message, bytes));
        }
        let limits = self.limits;
        let send = move |queue: &Connection| {
            let rules = rules(queue, &name)?;
            require_room(queue, &sized, &limits)?;
            let mut ids = Vec::new();
            for (NewMessage { body, attributes, visible, trace }, bytes) in &sized {
                if *bytes > rules.max_bytes() {
                    let most = rules.max_bytes();
                    let why = format!("the message has {bytes} bytes: queue {name} takes at most {most}");
                    return Err(StoreError::BadMessage(why));
                }
                let attributes = serde_json::to_string(attributes).map_err(|error| damaged(&error))?;
                let visible = visible.unwrap_or(now + rules.delay);
                ids.push(insert(queue, &name, (body, &attributes, trace.as_deref()), *bytes, now, visible)?);
            }
            Ok(ids)
        };
        self.writer.write(send, self.messages_moved()).await
    }

    async fn receive(&self, name: QueueName, take: Take, now: Timestamp) -> Result<Vec<Received>, StoreError> {
        let receive = move |queue: &Connection| {
            let rules = rules(queue, &name)?;
            let until = take.until.unwrap_or(now + rules.visibility);
            let (mut found, mut room, mut dead_letters) = (Vec::new(), take.bytes, 0);
            'more: while found.len() < take.most {
                let candidates = visible(queue, &name, now, take.most - found.len())?;
                if candidates.is_empty() {
                    break;
                }
                for (seq, bytes, receives) in candidates {
                    if let (Some(most), Some(dead)) = (rules.max_receives, &rules.dead_letter)
                        && receives >= most
                    {
                        moved(queue, seq, bytes, &name, dead, Some(&name), now)?;
                        dead_letters += 1;
                        if dead_letters >= BATCH {
                            // The rest with the next one: others wait for the writer.
                            break 'more;
                        }
                        continue;
                    }
                    if bytes as u64 > room && !found.is_empty() {
                        break 'more;
                    }
                    room = room.saturating_sub(bytes as u64);
                    let receipt = RequestId::random();
                    let sql = "UPDATE messages SET receives = receives + 1, visible = ?2, first = coalesce(first, ?3),
                        receipt = ?4, held = ?5 WHERE seq = ?1";
                    let row = params![seq, until.micros(), now.micros(), receipt.to_string(), take.held];
                    queue.prepare(sql)?.execute(row)?;
                    found.push(received(queue, seq)?);
                    if until <= now {
                        // Visible again at once: it must not be received twice by one who asks for many.
                        break 'more;
                    }
                }
            }
            Ok(found)
        };
        self.writer.write(receive, || {}).await
    }

    async fn delete_messages(&self, name: QueueName, receipts: Vec<RequestId>) -> Result<Vec<bool>, StoreError> {
        let delete = move |queue: &Connection| {
            rules(queue, &name)?;
            let mut deleted = Vec::new();
            for receipt in receipts {
                let sql = "DELETE FROM messages WHERE queue = ?1 AND receipt = ?2 RETURNING bytes";
                let row = params![name.as_str(), receipt.to_string()];
                let bytes: Option<i64> = queue.prepare(sql)?.query_row(row, |row| row.get(0)).optional()?;
                if let Some(bytes) = bytes {
                    count(queue, &name, "present = present - 1, deleted = deleted + 1", -bytes)?;
                }
                deleted.push(bytes.is_some());
            }
            Ok(deleted)
        };
        self.writer.write(delete, || {}).await
    }

    async fn release(&self, name: QueueName, releases: Vec<Release>) -> Result<Vec<bool>, StoreError> {
        let release = move |queue: &Connection| {
            rules(queue, &name)?;
            let mut released = Vec::new();
            for Release { receipt, visible, uncount } in releases {
                let sql =
                    "UPDATE messages SET visible = ?3, receives = receives - ?4 WHERE queue = ?1 AND receipt = ?2";
                let row = params![name.as_str(), receipt.to_string(), visible.micros(), i64::from(uncount)];
                released.push(queue.prepare(sql)?.execute(row)? > 0);
            }
            Ok(released)
        };
        self.writer.write(release, self.messages_moved()).await
    }

    async fn purge_queue(&self, name: QueueName) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let name = name.clone();
            let purge = move |queue: &Connection| {
                rules(queue, &name)?;
                remove(queue, &name, "queue = ?1", params![name.as_str()], "purged")
            };
            let count = self.writer.write(purge, || {}).await?;
            all += count as u64;
            if count < BATCH {
                return Ok(all);
            }
        }
    }

    async fn redrive_queue(&self, name: QueueName, now: Timestamp) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let name = name.clone();
            let redrive = move |queue: &Connection| {
                rules(queue, &name)?;
                let sql = format!(
                    "SELECT seq, bytes, origin FROM messages WHERE queue = ?1 AND visible <= ?2 AND origin IN
                    (SELECT name FROM message_queues) ORDER BY visible, seq LIMIT {BATCH}"
                );
                let mut query = queue.prepare(&sql)?;
                let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
                let found = query.query_map(params![name.as_str(), now.micros()], row)?;
                let found: Vec<(i64, i64, String)> = found.collect::<Result<_, _>>()?;
                for (seq, bytes, origin) in &found {
                    moved(queue, *seq, *bytes, &name, &queue_name(origin.clone())?, None, now)?;
                }
                Ok(found.len())
            };
            let count = self.writer.write(redrive, self.messages_moved()).await?;
            all += count as u64;
            if count < BATCH {
                return Ok(all);
            }
        }
    }

    async fn next_visible(&self, name: QueueName) -> Result<Option<Timestamp>, StoreError> {
        let next = move |queue: &Connection| {
            rules(queue, &name)?;
            let mut query = queue.prepare("SELECT min(visible) FROM messages WHERE queue = ?1")?;
            Ok(query.query_row([name.as_str()], |row| row.get::<_, Option<i64>>(0))?.map(Timestamp))
        };
        self.readers.read(next).await
    }

    async fn recover_messages(&self, now: Timestamp) -> Result<u64, StoreError> {
        let recover = move |queue: &Connection| {
            let sql = "UPDATE messages SET held = 0, visible = min(visible, ?1) WHERE held = 1";
            Ok(queue.prepare(sql)?.execute([now.micros()])? as u64)
        };
        self.writer.write(recover, self.messages_moved()).await
    }

    async fn expire_messages(&self, now: Timestamp) -> Result<u64, StoreError> {
        let expire = move |queue: &Connection| {
            let mut query = queue.prepare("SELECT name, rules FROM message_queues")?;
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let all: Vec<_> = query.query_map([], row)?.collect::<Result<_, _>>()?;
            let mut gone = 0;
            for (name, rules) in all {
                let (name, oldest) = (queue_name(name)?, now - read_rules(&rules)?.retention);
                let values = params![name.as_str(), oldest.micros()];
                gone += remove(queue, &name, "queue = ?1 AND sent < ?2", values, "expired")?;
            }
            Ok(gone as u64)
        };
        self.writer.write(expire, || {}).await
    }

    fn messages_changed(&self) -> watch::Receiver<u64> {
        self.messages.subscribe()
    }
}

/// A message about an event. It is never refused but where its queue is gone, which is said.
pub(super) fn tell(queue: &Connection, name: &QueueName, body: &str, now: Timestamp) -> Result<(), StoreError> {
    match rules(queue, name) {
        Ok(rules) => insert(queue, name, (body, "{}", None), body.len(), now, now + rules.delay).map(drop),
        Err(StoreError::NoSuchQueue(_)) => {
            tracing::error!(queue = %name, "a destination of asynchronous events is not there: its message is lost");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Moves the times of messages, after the clock went back.
pub(super) fn shift(queue: &Connection, back_micros: i64) -> Result<(), StoreError> {
    let sql = "UPDATE messages SET visible = visible - ?1, sent = sent - ?1";
    queue.prepare(sql)?.execute([back_micros])?;
    Ok(())
}

fn insert(
    queue: &Connection,
    name: &QueueName,
    (body, attributes, trace): (&str, &str, Option<&str>),
    bytes: usize,
    now: Timestamp,
    visible: Timestamp,
) -> Result<RequestId, StoreError> {
    let id = RequestId::random();
    let sql = "INSERT INTO messages (id, queue, bytes, sent, visible) VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![id.to_string(), name.as_str(), bytes as i64, now.micros(), visible.micros()];
    queue.prepare(sql)?.execute(row)?;
    let sql = "INSERT INTO message_bodies (seq, body, attributes, trace) VALUES (?1, ?2, ?3, ?4)";
    queue.prepare(sql)?.execute(params![queue.last_insert_rowid(), body, attributes, trace])?;
    count(queue, name, "present = present + 1, sent = sent + 1", bytes as i64)?;
    Ok(id)
}

/// Moves a message to another queue, where nobody has received it yet.
fn moved(
    queue: &Connection,
    seq: i64,
    bytes: i64,
    from: &QueueName,
    to: &QueueName,
    origin: Option<&QueueName>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE messages SET queue = ?2, origin = ?3, visible = ?4, receives = 0, first = NULL, receipt = NULL,
        held = 0 WHERE seq = ?1";
    let row = params![seq, to.as_str(), origin.map(QueueName::as_str), now.micros()];
    queue.prepare(sql)?.execute(row)?;
    count(queue, from, "present = present - 1, dead = dead + 1", -bytes)?;
    count(queue, to, "present = present + 1, sent = sent + 1", bytes)
}

/// Changes a queue's numbers; `change` is SQL of this file's.
fn count(queue: &Connection, name: &QueueName, change: &str, bytes: i64) -> Result<(), StoreError> {
    let sql = format!("UPDATE message_queues SET {change}, bytes = bytes + ?2 WHERE name = ?1");
    match queue.prepare(&sql)?.execute(params![name.as_str(), bytes])? {
        1 => Ok(()),
        _ => Err(StoreError::NoSuchQueue(name.clone())),
    }
}

fn require_room(queue: &Connection, messages: &[(NewMessage, usize)], limits: &EventLimits) -> Result<(), StoreError> {
    let sql = "SELECT coalesce(sum(present), 0), coalesce(sum(bytes), 0) FROM message_queues";
    let numbers = |row: &Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
    let (present, bytes) = queue.prepare(sql)?.query_row([], numbers)?;
    if present + messages.len() as u64 > limits.of_all {
        return Err(StoreError::MessagesFull("messages of all queues"));
    }
    let more: usize = messages.iter().map(|(_, bytes)| bytes).sum();
    if bytes + more as u64 > limits.bytes {
        return Err(StoreError::MessagesFull("bytes of all queues' messages"));
    }
    Ok(())
}

/// Row, bytes and count of receives of what may be received now.
fn visible(
    queue: &Connection,
    name: &QueueName,
    now: Timestamp,
    most: usize,
) -> Result<Vec<(i64, i64, u32)>, StoreError> {
    let sql =
        "SELECT seq, bytes, receives FROM messages WHERE queue = ?1 AND visible <= ?2 ORDER BY visible, seq LIMIT ?3";
    let mut query = queue.prepare(sql)?;
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let found = query.query_map(params![name.as_str(), now.micros(), most as i64], row)?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn received(queue: &Connection, seq: i64) -> Result<Received, StoreError> {
    let sql = "SELECT id, receipt, body, attributes, sent, first, receives, origin, trace
        FROM messages JOIN message_bodies USING (seq) WHERE seq = ?1";
    let mut query = queue.prepare(sql)?;
    let mut rows = query.query([seq])?;
    let row = rows.next()?.ok_or_else(|| damaged(&format_args!("no message {seq}")))?;
    Ok(Received {
        id: id(&row.get::<_, String>(0)?)?,
        receipt: id(&row.get::<_, String>(1)?)?,
        body: row.get(2)?,
        attributes: serde_json::from_str(&row.get::<_, String>(3)?).map_err(|error| damaged(&error))?,
        sent: Timestamp(row.get(4)?),
        first_received: Timestamp(row.get(5)?),
        receives: row.get(6)?,
        origin: row.get::<_, Option<String>>(7)?.map(queue_name).transpose()?,
        trace: row.get(8)?,
    })
}

/// Removes some of the messages that a condition chooses, and counts them as `counted`.
fn remove(
    queue: &Connection,
    name: &QueueName,
    filter: &str,
    values: &[&dyn rusqlite::ToSql],
    counted: &str,
) -> Result<usize, StoreError> {
    let sql = format!("SELECT seq, bytes FROM messages WHERE {filter} ORDER BY seq LIMIT {BATCH}");
    let mut query = queue.prepare(&sql)?;
    let found = query.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(i64, i64)> = found.collect::<Result<_, _>>()?;
    for (seq, bytes) in &found {
        queue.prepare("DELETE FROM messages WHERE seq = ?1")?.execute([seq])?;
        count(queue, name, &format!("present = present - 1, {counted} = {counted} + 1"), -bytes)?;
    }
    Ok(found.len())
}

fn rules(queue: &Connection, name: &QueueName) -> Result<QueueRules, StoreError> {
    let mut query = queue.prepare("SELECT rules FROM message_queues WHERE name = ?1")?;
    let text: Option<String> = query.query_row([name.as_str()], |row| row.get(0)).optional()?;
    read_rules(&text.ok_or_else(|| StoreError::NoSuchQueue(name.clone()))?)
}

fn read_rules(text: &str) -> Result<QueueRules, StoreError> {
    serde_json::from_str(text).map_err(|error| damaged(&error))
}

fn queue_name(text: String) -> Result<QueueName, StoreError> {
    text.try_into().map_err(|error| damaged(&error))
}

fn info(row: &Row<'_>) -> Result<QueueInfo, StoreError> {
    let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
    Ok(QueueInfo {
        name: queue_name(row.get(0)?)?,
        rules: read_rules(&row.get::<_, String>(1)?)?,
        created: Timestamp(row.get(2)?),
        bytes: number(3)?,
        sent: number(4)?,
        deleted: number(5)?,
        dead: number(6)?,
        expired: number(7)?,
        purged: number(8)?,
        visible: number(9)?,
        in_flight: number(10)?,
        delayed: number(11)?,
        oldest: row.get::<_, Option<i64>>(12)?.map(Timestamp),
        changed: Timestamp(row.get(13)?),
    })
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
