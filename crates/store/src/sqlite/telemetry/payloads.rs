//! What calls were given and answered, of functions that ask for it: a row beside the record, with the record's id. It
//! goes with its record, and before it where there is too much: the oldest first, of one function and of all.

use bytes::Bytes;
use model::{Payloads, RequestId};
use rusqlite::{Connection, OptionalExtension, params};

use super::retention::{Retention, Sizes};
use super::rows::State;
use crate::StoreError;

/// Where the bytes of each function's are counted.
const SIZES: &str = "payload_sizes";

/// Bytes of a row.
const BYTES: &str = "octet_length(input) + coalesce(octet_length(output), 0)";

pub(super) fn read(conn: &Connection, id: RequestId) -> Result<Option<Payloads>, StoreError> {
    // An event may be run again under its id: the newest is what is shown as its record, too.
    let sql = "SELECT p.input, p.output FROM payloads p WHERE p.id =
        (SELECT r.id FROM records r WHERE r.request = ?1 ORDER BY r.id DESC LIMIT 1)";
    let found = conn.query_row(sql, [id.bytes()], |row| {
        let output = row.get::<_, Option<Vec<u8>>>(1)?.map(Bytes::from);
        Ok(Payloads { input: row.get::<_, Vec<u8>>(0)?.into(), output })
    });
    Ok(found.optional()?)
}

/// Takes those away whose records are gone, up to this id.
pub(super) fn forget(conn: &Connection, state: &mut State, until: i64, sizes: &mut Sizes) -> rusqlite::Result<()> {
    let sql = format!("SELECT function, sum({BYTES}) FROM payloads WHERE id <= ?1 GROUP BY function");
    let mut sums = conn.prepare(&sql)?;
    let mut found = sums.query([until])?;
    while let Some(row) = found.next()? {
        let bytes: i64 = row.get(1)?;
        sizes.add(row.get(0)?, -bytes);
        state.payload_bytes -= bytes;
    }
    drop(found);
    conn.execute("DELETE FROM payloads WHERE id <= ?1", [until]).map(drop)
}

/// Takes the oldest away, `step` rows at most of each kind. True if more is left to do.
pub(super) fn trim(
    conn: &Connection,
    retention: &Retention,
    state: &mut State,
    step: usize,
    sizes: &mut Sizes,
) -> rusqlite::Result<bool> {
    let most = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let (all, own) = (most(retention.payload_bytes), most(retention.function_payload_bytes));
    let mut more = false;
    for (function, bytes) in sizes.write(conn, SIZES)? {
        more |= take(conn, state, step, Some(function), bytes - own, sizes)?;
    }
    let over = state.payload_bytes - all;
    more |= take(conn, state, step, None, over, sizes)?;
    sizes.write(conn, SIZES)?;
    Ok(more)
}

/// The oldest of a function's, or of all, as far as they are `over` bytes.
fn take(
    conn: &Connection,
    state: &mut State,
    step: usize,
    function: Option<i64>,
    over: i64,
    sizes: &mut Sizes,
) -> rusqlite::Result<bool> {
    if over <= 0 {
        return Ok(false);
    }
    let which = if function.is_some() { "function = ?1" } else { "?1 IS NULL" };
    let sql = format!("SELECT id, function, {BYTES} FROM payloads WHERE {which} ORDER BY id LIMIT ?2");
    let mut oldest = conn.prepare(&sql)?;
    let mut found = oldest.query(params![function, step as i64])?;
    let (mut last, mut taken, mut count) = (None, 0, 0);
    while taken < over
        && let Some(row) = found.next()?
    {
        let bytes: i64 = row.get(2)?;
        last = Some(row.get::<_, i64>(0)?);
        sizes.add(row.get(1)?, -bytes);
        taken += bytes;
        count += 1;
    }
    drop(found);
    state.payload_bytes -= taken;
    if let Some(last) = last {
        conn.execute(&format!("DELETE FROM payloads WHERE {which} AND id <= ?2"), params![function, last])?;
    }
    Ok(count == step)
}
