//! Takes away the oldest records and lines: by age, and by how much there is. A little with each batch, never
//! much at once.

use std::collections::HashMap;
use std::time::Duration;

use model::Timestamp;
use rusqlite::{Connection, params};

use super::payloads;
use super::rows::State;

/// How long records and log lines are kept. Whichever bound is reached first holds.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Default 14 days.
    pub age: Duration,
    /// Bytes of the messages of all log lines; default 512 MiB.
    pub log_bytes: u64,
    /// The same of one function's lines, so that its flood does not take the others' history; default 128 MiB.
    pub function_log_bytes: u64,
    /// Bytes of what all calls were given and answered, as far as that is kept; default 256 MiB.
    pub payload_bytes: u64,
    /// The same of one function's calls; default 64 MiB.
    pub function_payload_bytes: u64,
    /// Count of records; default 1,000,000.
    pub records: u64,
}

/// Where the bytes of each function's lines are counted.
const LOG_SIZES: &str = "log_sizes";

/// Rows taken away at once at least, where there are as many.
const STEP: usize = 1_000;

/// What a transaction changes of the bytes that each function's lines, or payloads, have.
#[derive(Default)]
pub(super) struct Sizes(HashMap<i64, i64>);

// === impl Sizes ===

impl Sizes {
    pub fn add(&mut self, function: i64, bytes: i64) {
        *self.0.entry(function).or_default() += bytes;
    }

    /// Writes what has changed; tells how many bytes those functions have now.
    pub fn write(&mut self, conn: &Connection, table: &str) -> rusqlite::Result<Vec<(i64, i64)>> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let sql =
            format!("INSERT INTO {table} VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bytes = bytes + ?2 RETURNING bytes");
        let mut add = conn.prepare(&sql)?;
        self.0
            .drain()
            .map(|(function, bytes)| Ok((function, add.query_row([function, bytes], |row| row.get(0))?)))
            .collect()
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(14 * 86_400),
            log_bytes: 512 << 20,
            function_log_bytes: 128 << 20,
            payload_bytes: 256 << 20,
            function_payload_bytes: 64 << 20,
            records: 1_000_000,
        }
    }
}

/// Trims in the open transaction, after `added` rows; twice as fast as they come. True if more is left to do.
pub(super) fn trim(
    conn: &Connection,
    retention: &Retention,
    state: &mut State,
    added: usize,
    now: Timestamp,
    sizes: &mut Sizes,
    payload_sizes: &mut Sizes,
) -> rusqlite::Result<bool> {
    let step = STEP.max(2 * added);
    let before = (now - retention.age).micros();
    let lines = trim_lines(conn, retention, state, step, before, sizes)?;
    for (function, bytes) in sizes.write(conn, LOG_SIZES)? {
        let over = bytes.saturating_sub(i64::try_from(retention.function_log_bytes).unwrap_or(i64::MAX));
        if over > 0 {
            trim_function(conn, state, step, function, over, sizes)?;
        }
    }
    sizes.write(conn, LOG_SIZES)?;
    let records = trim_records(conn, retention, state, step, before, payload_sizes)?;
    let payloads = payloads::trim(conn, retention, state, step, payload_sizes)?;
    Ok(lines == step || records == step || payloads)
}

fn trim_lines(
    conn: &Connection,
    retention: &Retention,
    state: &mut State,
    step: usize,
    before: i64,
    sizes: &mut Sizes,
) -> rusqlite::Result<usize> {
    let most = i64::try_from(retention.log_bytes).unwrap_or(i64::MAX);
    let mut oldest =
        conn.prepare("SELECT id, time, octet_length(message), function FROM lines ORDER BY id LIMIT ?1")?;
    let mut rows = oldest.query([step as i64])?;
    let (mut last, mut count) = (None, 0);
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= before && state.log_bytes <= most {
            break;
        }
        last = Some(row.get::<_, i64>(0)?);
        state.log_bytes -= row.get::<_, i64>(2)?;
        sizes.add(row.get(3)?, -row.get::<_, i64>(2)?);
        count += 1;
    }
    drop(rows);
    if let Some(last) = last {
        conn.execute("DELETE FROM lines WHERE id <= ?1", [last])?;
    }
    Ok(count)
}

/// Takes the oldest of one function's lines, `over` bytes of them. What is left to do is done with its next lines.
fn trim_function(
    conn: &Connection,
    state: &mut State,
    step: usize,
    function: i64,
    over: i64,
    sizes: &mut Sizes,
) -> rusqlite::Result<()> {
    let oldest = "SELECT id, octet_length(message) FROM lines WHERE function = ?1 ORDER BY id LIMIT ?2";
    let mut oldest = conn.prepare(oldest)?;
    let mut rows = oldest.query(params![function, step as i64])?;
    let (mut last, mut taken) = (None, 0);
    while taken < over
        && let Some(row) = rows.next()?
    {
        last = Some(row.get::<_, i64>(0)?);
        taken += row.get::<_, i64>(1)?;
    }
    drop(rows);
    if let Some(last) = last {
        conn.execute("DELETE FROM lines WHERE function = ?1 AND id <= ?2", [function, last])?;
        state.log_bytes -= taken;
        sizes.add(function, -taken);
    }
    Ok(())
}

fn trim_records(
    conn: &Connection,
    retention: &Retention,
    state: &mut State,
    step: usize,
    before: i64,
    payload_sizes: &mut Sizes,
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
        payloads::forget(conn, state, last, payload_sizes)?;
    }
    Ok(count)
}
