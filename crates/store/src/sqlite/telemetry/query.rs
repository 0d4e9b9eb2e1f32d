//! Reading records and log lines. One index leads to the rows; the other conditions are checked on each.

use std::time::Duration;

use model::{Blame, Door, FaultCode, FunctionName, Record, Revision, Tally, Timestamp};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::rows::{self, State};
use crate::{LogPage, LogQuery, RecordQuery, StoreError};

/// Lines are nearly in order of time: a line is at most this much older than one written before it.
pub(super) const DISORDER: Duration = Duration::from_secs(300);

/// A record is written when its call is over: it came in at most this much earlier than one written before it.
const LONGEST_CALL: Duration = Duration::from_secs(1800);

/// A page ends with the line whose message takes it beyond this, whatever its limit.
const PAGE_BYTES: usize = 16 << 20;

pub(super) fn records(conn: &Connection, query: &RecordQuery) -> Result<Vec<Record>, StoreError> {
    let mut filter = Filter::default();
    if let Some(id) = query.request_id {
        filter.add("r.request = ?", Value::Blob(id.bytes().into()));
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

/// Calls that never ran, and those that measure, say nothing of the code.
pub(super) fn tally(
    conn: &Connection,
    function: &FunctionName,
    revision: Revision,
    after: u64,
) -> Result<(Tally, u64), StoreError> {
    let snapshot = conn.unchecked_transaction()?;
    let newest = State::load(&snapshot)?.next_record as u64 - 1;
    let mut tally = Tally::default();
    let Some(id) = rows::name_id(&snapshot, function)? else { return Ok((tally, newest)) };
    let sql = "SELECT fault, count(*) FROM records WHERE function = ?1 AND id > ?2 AND revision = ?3 AND door <> ?4
        GROUP BY fault";
    let mut statement = snapshot.prepare(sql)?;
    let values = (id, after as i64, revision.0 as i64, rows::door_text(Door::Compare)?);
    let mut found = statement.query(values)?;
    while let Some(row) = found.next()? {
        let calls = row.get::<_, i64>(1)? as u64;
        // What another Hearth knew as a fault is one.
        let code = row.get::<_, Option<String>>(0)?.map(|code| code.parse::<FaultCode>().ok());
        match code.map(|code| code.is_none_or(|code| code.blame() == Blame::Function)) {
            None => tally.calls += calls,
            Some(true) => (tally.calls, tally.errors) = (tally.calls + calls, tally.errors + calls),
            Some(false) => {}
        }
    }
    Ok((tally, newest))
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
        filter.add("l.request = ?", Value::Blob(id.bytes().into()));
    }
    if let Some(function) = &query.function {
        let Some(id) = rows::name_id(&snapshot, function)? else { return Ok(nothing) };
        let condition = if query.request_id.is_some() { "+l.function = ?" } else { "l.function = ?" };
        filter.add(condition, Value::Integer(id));
    }
    if let Some(instance) = &query.instance {
        filter.add("l.instance = ?", Value::Integer(rows::instance_number(instance)));
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
            let matches = needle.as_ref().is_none_or(|needle| needle.is_in(line.message.as_bytes()))
                && query.until.is_none_or(|until| line.time <= until)
                && query.level.is_none_or(|least| line.level >= Some(least))
                && query.field.as_ref().is_none_or(|(path, value)| has_field(&line.message, path, value));
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

/// Whether a line is a JSON object with that value at that path, whose keys have dots between them. Texts are compared
/// without their quotes, all else as JSON has it.
fn has_field(line: &str, path: &str, value: &str) -> bool {
    // What does not have the value in it is not worth parsing; an escaped text may hide it.
    if !line.starts_with('{') || !(line.contains(value) || line.contains('\\')) {
        return false;
    }
    let Ok(json) = serde_json::from_str::<serde_json::Value>(line) else { return false };
    let found = path.split('.').try_fold(&json, |json, key| json.get(key));
    match found {
        Some(serde_json::Value::String(text)) => text == value,
        Some(other) => {
            let text = other.to_string();
            text == value
        }
        None => false,
    }
}

#[derive(Default)]
pub(super) struct Filter {
    conditions: Vec<&'static str>,
    pub values: Vec<Value>,
}

impl Filter {
    pub fn add(&mut self, condition: &'static str, value: Value) {
        self.conditions.push(condition);
        self.values.push(value);
    }

    pub fn sql(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!("WHERE {}", self.conditions.join(" AND ")) }
    }
}

/// A plain text to be found in any case.
pub(super) enum Needle {
    Ascii(Vec<u8>),
    Other(String),
}

impl Needle {
    pub fn new(text: &str) -> Self {
        if text.is_ascii() { Self::Ascii(text.to_ascii_lowercase().into()) } else { Self::Other(text.to_lowercase()) }
    }

    pub fn is_in(&self, text: &[u8]) -> bool {
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
    fn a_field_is_found_by_its_path_and_value() {
        let line = r#"{"user":{"id":42,"name":"J\u00f6rg"},"ok":true,"a.b":1}"#;
        for (path, value) in [("user.id", "42"), ("user.name", "Jörg"), ("ok", "true")] {
            assert!(has_field(line, path, value), "{path}={value}");
        }
        for (path, value) in [("user.id", "4"), ("user", "42"), ("id", "42"), ("user.id.x", "42"), ("", "true")] {
            assert!(!has_field(line, path, value), "{path}={value}");
        }
        assert!(!has_field("user.id 42", "user.id", "42"));
        assert!(!has_field(r#"{"x":1"#, "x", "1"), "cut off");
    }

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
