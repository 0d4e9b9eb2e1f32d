//! Takes away the oldest records and lines: by age, and by how much there is. A little with each batch, never
//! much at once.

use std::time::Duration;

use model::Timestamp;
use rusqlite::{Connection, params};

use super::rows::State;

/// How long records and log lines are kept. Whichever bound is reached first holds.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Default 14 days.
    pub age: Duration,
    /// Bytes of the messages of all log lines; default 512 MiB.
    pub log_bytes: u64,
    /// Count of records; default 1,000,000.
    pub records: u64,
}

/// Rows taken away at once at least, where there are as many.
const STEP: usize = 1_000;

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(14 * 86_400), log_bytes: 512 << 20, records: 1_000_000 }
    }
}

/// Trims in the open transaction, after `added` rows; twice as fast as they come. True if more is left to do.
pub(super) fn trim(
    conn: &Connection,
    retention: &Retention,
    state: &mut State,
    added: usize,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let step = STEP.max(2 * added);
    let before = (now - retention.age).micros();
    let lines = trim_lines(conn, retention, state, step, before)?;
    let records = trim_records(conn, retention, state, step, before)?;
    Ok(lines == step || records == step)
}

fn trim_lines(
    conn: &Connection,
    retention: &Retention,
    state: &mut State,
    step: usize,
    before: i64,
) -> rusqlite::Result<usize> {
    let most = i64::try_from(retention.log_bytes).unwrap_or(i64::MAX);
    let mut oldest = conn.prepare("SELECT id, time, octet_length(message) FROM lines ORDER BY id LIMIT ?1")?;
    let mut rows = oldest.query([step as i64])?;
    let (mut last, mut count) = (None, 0);
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= before && state.log_bytes <= most {
            break;
        }
        last = Some(row.get::<_, i64>(0)?);
        state.log_bytes -= row.get::<_, i64>(2)?;
        count += 1;
    }
    drop(rows);
    if let Some(last) = last {
        conn.execute("DELETE FROM lines WHERE id <= ?1", [last])?;
    }
    Ok(count)
}

fn trim_records(
    conn: &Connection,
    retention: &Retention,
    state: &State,
    step: usize,
    before: i64,
) -> rusqlite::Result<usize> {
    // Ids have no gaps, so the count is a difference.
    let first = state.next_record.saturating_sub(i64::try_from(retention.records).unwrap_or(i64::MAX));
    let mut oldest = conn.prepare("SELECT id, received FROM records ORDER BY id LIMIT ?1")?;
    let mut rows = oldest.query([step as i64])?;
    let (mut last, mut count) = (None, 0);
    while let Some(row) = rows.next()? {
        let id = row.get::<_, i64>(0)?;
        if row.get::<_, i64>(1)? >= before && id >= first {
            break;
        }
        last = Some(id);
        count += 1;
    }
    drop(rows);
    if let Some(last) = last {
        conn.execute("DELETE FROM records WHERE id <= ?1", params![last])?;
    }
    Ok(count)
}
