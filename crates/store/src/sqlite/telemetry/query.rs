//! Reading records and log lines. One index leads to the rows; the other conditions are checked on each.

use std::time::Duration;

use model::{Record, Timestamp};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::rows::{self, State};
use crate::{LogPage, LogQuery, RecordQuery, StoreError};

/// Lines are nearly in order of time: a line is at most this much older than one written before it.
const DISORDER: Duration = Duration::from_secs(300);

/// A record is written when its call is over: it came in at most this much earlier than one written before it.
const LONGEST_CALL: Duration = Duration::from_secs(1800);

/// A page ends with the line whose message takes it beyond this, whatever its limit.
const PAGE_BYTES: usize = 16 << 20;

pub(super) fn records(conn: &Connection, query: &RecordQuery) -> Result<Vec<Record>, StoreError> {
    let mut filter = Filter::default();
    if let Some(id) = query.request_id {
        filter.add("r.request = ?", Value::Blob(rows::request_bytes(id).into()));
    }
    if let Some(function) = &query.function {
        let Some(id) = rows::name_id(conn, function)? else { return Ok(Vec::new()) };
        // The plus keeps it off the index where the request's leads to fewer.
        let condition = if query.request_id.is_some() { "+r.function = ?" } else { "r.function = ?" };
        filter.add(condition, Value::Integer(id));
    }
    if let Some(door) = query.except {
        filter.add("r.door <> ?", Value::Text(rows::door_text(door)?));
    }
    let sql = format!("{} {} ORDER BY r.id DESC", rows::RECORD, filter.sql());
    let mut statement = conn.prepare(&sql)?;
    let mut found = statement.query(rusqlite::params_from_iter(filter.values))?;
    let mut records = Vec::new();
    while records.len() < query.limit {
        let Some(row) = found.next()? else { break };
        if let Some(since) = query.since {
            let received = Timestamp(row.get(5)?);
            if received < since - LONGEST_CALL {
                break;
            }
            if received < since {
                continue;
            }
        }
        records.push(rows::read_record(row)?);
    }
    Ok(records)
}

pub(super) fn logs(conn: &Connection, query: &LogQuery) -> Result<LogPage, StoreError> {
    // Cursor and lines of one moment, or a line between the two would be missed by who follows.
    let snapshot = conn.unchecked_transaction()?;
    let newest = State::load(&snapshot)?.next_line as u64 - 1;
    let after = query.after;
    let nothing = LogPage { lines: Vec::new(), cursor: newest.max(after.unwrap_or(0)) };
    if query.limit == 0 {
        return Ok(LogPage { cursor: after.unwrap_or(newest), ..nothing });
    }
    let mut filter = Filter::default();
    if let Some(id) = query.request_id {
        filter.add("l.request = ?", Value::Blob(rows::request_bytes(id).into()));
    }
    if let Some(function) = &query.function {
        let Some(id) = rows::name_id(&snapshot, function)? else { return Ok(nothing) };
        let condition = if query.request_id.is_some() { "+l.function = ?" } else { "l.function = ?" };
        filter.add(condition, Value::Integer(id));
    }
    if let Some(after) = after {
        filter.add("l.id > ?", Value::Integer(after.try_into().unwrap_or(i64::MAX)));
    }
    let order = if after.is_some() { "ASC" } else { "DESC" };
    let sql = format!("{} {} ORDER BY l.id {order}", rows::LINE, filter.sql());
    let needle = query.grep.as_deref().map(Needle::new);

    let mut statement = snapshot.prepare(&sql)?;
    let mut found = statement.query(rusqlite::params_from_iter(filter.values))?;
    let mut page = nothing;
    let mut bytes = 0;
    'rows: while let Some(row) = found.next()? {
        // A row may be several lines, and is passed over where none of them can match.
        if let Some(since) = query.since {
            let time = Timestamp(row.get(2)?);
            if after.is_none() && time < since - DISORDER {
                break;
            }
            if time < since {
                continue;
            }
        }
        if let Some(needle) = &needle
            && !needle.is_in(row.get_ref(6)?.as_bytes().unwrap_or_default())
        {
            continue;
        }
        let mut lines = rows::read_lines(row)?;
        if after.is_none() {
            lines.reverse();
        }
        for (id, line) in lines {
            let is_new = after.is_none_or(|after| id as u64 > after);
            let matches = needle.as_ref().is_none_or(|needle| needle.is_in(line.message.as_bytes()));
            if !is_new || !matches || query.since.is_some_and(|since| line.time < since) {
                continue;
            }
            bytes += line.message.len();
            page.lines.push(line);
            if page.lines.len() == query.limit || bytes > PAGE_BYTES {
                if after.is_some() {
                    page.cursor = id as u64;
                }
                break 'rows;
            }
        }
    }
    if after.is_none() {
        page.lines.reverse();
    }
    Ok(page)
}

#[derive(Default)]
struct Filter {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Filter {
    fn add(&mut self, condition: &'static str, value: Value) {
        self.conditions.push(condition);
        self.values.push(value);
    }

    fn sql(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }
}

/// A plain text to be found in any case.
enum Needle {
    Ascii(Vec<u8>),
    Other(String),
}

impl Needle {
    fn new(text: &str) -> Self {
        if text.is_ascii() { Self::Ascii(text.to_ascii_lowercase().into()) } else { Self::Other(text.to_lowercase()) }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        match self {
            Self::Ascii(needle) => {
                let Some((&first, rest)) = needle.split_first() else { return true };
                let mut text = text;
                while let Some(at) = text.iter().position(|byte| byte.to_ascii_lowercase() == first) {
                    text = &text[at + 1..];
                    match text.get(..rest.len()) {
                        None => return false,
                        Some(next) if next.eq_ignore_ascii_case(rest) => return true,
                        Some(_) => {}
                    }
                }
                false
            }
            Self::Other(needle) => String::from_utf8_lossy(text).to_lowercase().contains(needle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_any_case() {
        let found = |needle: &str, text: &str| Needle::new(needle).is_in(text.as_bytes());
        for (needle, text) in [
            ("", "x"),
            ("x", "x"),
            ("Time OUT", "a timeTime out"),
            ("100%", "at 100% now"),
            ("_", "a_b"),
            ("ÄRGER", "nur ärger"),
        ] {
            assert!(found(needle, text), "{needle} in {text}");
        }
        for (needle, text) in [("x", ""), ("ab", "a"), ("a_b", "axb"), ("100%", "1000"), ("é", "e")] {
            assert!(!found(needle, text), "{needle} in {text}");
        }
    }
}
