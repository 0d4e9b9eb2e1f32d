//! Schedules beside the queue, so that a tick and its event are one transaction.

use async_trait::async_trait;
use model::{Overlap, Timestamp};
use rusqlite::{Connection, params};

use super::SqliteQueue;
use super::rows::{WAITING, function, insert};
use crate::StoreError;
use crate::schedules::{ScheduleName, ScheduleState, Schedules, Tick};

#[async_trait]
impl Schedules for SqliteQueue {
    async fn know(&self, all: Vec<(ScheduleName, String)>, now: Timestamp) -> Result<Vec<ScheduleState>, StoreError> {
        let know = move |queue: &Connection| {
            let sql = "INSERT INTO schedules (function, name, meaning, last) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (function, name) DO UPDATE SET meaning = excluded.meaning, last = excluded.last
                WHERE meaning <> excluded.meaning";
            let mut known = queue.prepare(sql)?;
            for (name, meaning) in &all {
                known.execute(params![name.function.as_str(), name.schedule, meaning, now.micros()])?;
            }
            for state in states(queue)? {
                if !all.iter().any(|(name, _)| *name == state.name) {
                    let ScheduleName { function, schedule } = &state.name;
                    let row = params![function.as_str(), schedule];
                    queue.execute("DELETE FROM schedules WHERE function = ?1 AND name = ?2", row)?;
                }
            }
            states(queue)
        };
        self.writer.write(know, || {}).await
    }

    async fn states(&self) -> Result<Vec<ScheduleState>, StoreError> {
        self.readers.read(|queue: &Connection| states(queue)).await
    }

    async fn tick(
        &self,
        name: ScheduleName,
        ticks: Vec<Tick>,
        overlap: Overlap,
        last: Timestamp,
    ) -> Result<(), StoreError> {
        let tick = move |queue: &Connection| {
            let (function, schedule) = (name.function.as_str(), &name.schedule);
            let sql = "UPDATE schedules SET last = ?3 WHERE function = ?1 AND name = ?2 AND paused = 0";
            if queue.prepare(sql)?.execute(params![function, schedule, last.micros()])? == 0 {
                return Ok(());
            }
            let lane = format!("{function}/{schedule}");
            let (mut made, mut skipped) = (0, 0);
            for Tick { tick, event, due } in &ticks {
                let sql = "INSERT OR IGNORE INTO ticks (function, name, tick, minute)
                    VALUES (?1, ?2, ?3, (SELECT minute FROM house))";
                if queue.prepare(sql)?.execute(params![function, schedule, tick.micros()])? == 0 {
                    continue;
                }
                let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE lane = ?1 AND state < 2)";
                if overlap == Overlap::Skip && queue.prepare(sql)?.query_row([&lane], |row| row.get(0))? {
                    skipped += 1;
                    continue;
                }
                insert(queue, event, WAITING, None)?;
                let serial = overlap == Overlap::Queue;
                let sql = "UPDATE events SET due = ?2, lane = ?3, serial = ?4 WHERE id = ?1";
                queue.prepare(sql)?.execute(params![event.id.to_string(), due.micros(), lane, serial])?;
                made += 1;
            }
            let sql = "UPDATE schedules SET enqueued = enqueued + ?3, skipped = skipped + ?4
                WHERE function = ?1 AND name = ?2";
            queue.prepare(sql)?.execute(params![function, schedule, made, skipped])?;
            Ok(())
        };
        self.writer.write(tick, self.changed()).await
    }

    async fn pause(&self, name: ScheduleName, paused: bool, now: Timestamp) -> Result<bool, StoreError> {
        let pause = move |queue: &Connection| {
            // What goes on begins now; what was not paused is left as it is.
            let sql = "UPDATE schedules SET last = iif(paused AND NOT ?3, ?4, last), paused = ?3
                WHERE function = ?1 AND name = ?2";
            let row = params![name.function.as_str(), name.schedule, paused, now.micros()];
            Ok(queue.execute(sql, row)? > 0)
        };
        self.writer.write(pause, self.changed()).await
    }
}

fn states(queue: &Connection) -> Result<Vec<ScheduleState>, StoreError> {
    let sql = "SELECT function, name, last, paused, enqueued, skipped FROM schedules ORDER BY function, name";
    let mut query = queue.prepare(sql)?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(ScheduleState {
            name: ScheduleName { function: function(row.get(0)?)?, schedule: row.get(1)? },
            last: Timestamp(row.get(2)?),
            paused: row.get(3)?,
            enqueued: row.get::<_, i64>(4)? as u64,
            skipped: row.get::<_, i64>(5)? as u64,
        });
    }
    Ok(found)
}
