//! Looking for records by what happened to them. A page looks at so many rows only, so that what is rare does not hold a
//! connection for as long as it takes to find it.

use model::{Blame, Isolation};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::query::{Filter, Needle};
use super::rows;
use crate::StoreError;
use crate::observe::{RecordPage, RecordSearch};

/// Rows that a page looks at.
const LOOK: i64 = 100_000;

pub(super) fn records(conn: &Connection, search: &RecordSearch) -> Result<RecordPage, StoreError> {
    let conn = conn.unchecked_transaction()?;
    let mut filter = Filter::default();
    if let Some(function) = &search.function {
        let Some(id) = rows::name_id(&conn, function)? else { return Ok(RecordPage::default()) };
        filter.add("r.function = ?", Value::Integer(id));
    }
    match search.ok {
        Some(true) => filter.add("r.fault IS NULL AND ?", Value::Integer(1)),
        Some(false) => filter.add("r.fault IS NOT NULL AND ?", Value::Integer(1)),
        None => {}
    }
    if let Some(code) = search.code {
        filter.add("r.fault = ?", Value::Text(code.as_str().into()));
    }
    if let Some(blame) = search.blame {
        // The letter after the dash says it, in every code.
        let like = match blame {
            Blame::Caller => "HEARTH-C%",
            Blame::Function => "HEARTH-F%",
            Blame::Platform => "HEARTH-P%",
        };
        filter.add("r.fault LIKE ?", Value::Text(like.into()));
    }
    if let Some(cold) = search.cold {
        filter.add("r.cold = ?", Value::Integer(cold.into()));
    }
    if let Some(isolation) = search.isolation {
        filter.add("r.isolation = ?", Value::Text(Isolation::as_str(isolation).into()));
    }
    if let Some(door) = search.door {
        filter.add("r.door = ?", Value::Text(rows::door_text(door)?));
    }
    if let Some(least) = search.min_duration {
        let micros = i64::try_from(least.as_micros()).unwrap_or(i64::MAX);
        filter.add("r.queued_us + r.handler_us >= ?", Value::Integer(micros));
    }
    if let Some(since) = search.since {
        filter.add("r.received >= ?", Value::Integer(since.micros()));
    }
    if let Some(until) = search.until {
        filter.add("r.received <= ?", Value::Integer(until.micros()));
    }
    let newest: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM records", [], |row| row.get(0))?;
    let oldest: i64 = conn.query_row("SELECT coalesce(min(id), 0) FROM records", [], |row| row.get(0))?;
    let before = search.before.map_or(newest + 1, |before| i64::try_from(before).unwrap_or(i64::MAX)).min(newest + 1);
    let down_to = before.saturating_sub(LOOK).max(0);
    filter.add("r.id < ?", Value::Integer(before));
    filter.add("r.id >= ?", Value::Integer(down_to));
    let needle = search.text.as_deref().map(Needle::new);

    let sql = format!("{} {} ORDER BY r.id DESC", rows::RECORD, filter.sql());
    let mut statement = conn.prepare(&sql)?;
    let mut found = statement.query(rusqlite::params_from_iter(filter.values))?;
    let mut page = RecordPage { records: Vec::new(), next: (down_to > oldest).then_some(down_to as u64) };
    while let Some(row) = found.next()? {
        if let Some(needle) = &needle
            && !needle.is_in(row.get_ref(21)?.as_bytes_or_null().ok().flatten().unwrap_or_default())
        {
            continue;
        }
        page.records.push(rows::read_record(row)?);
        if page.records.len() >= search.limit {
            let id = row.get::<_, i64>(22)?;
            page.next = (id > oldest).then_some(id as u64);
            break;
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use model::FaultCode;

    use super::*;

    #[test]
    fn a_code_names_whose_fault_it_is() {
        for code in FaultCode::ALL {
            let letter = match code.blame() {
                Blame::Caller => 'C',
                Blame::Function => 'F',
                Blame::Platform => 'P',
            };
            assert!(code.as_str().starts_with(&format!("HEARTH-{letter}")), "{code}");
        }
    }
}
