//! Who did what to a function and when, in the catalogue: written in the same transaction as what was done.

use std::time::Duration;

use model::{Change, Function, FunctionName, Revision, Timestamp};
use rusqlite::{Connection, Row, params};

use super::functions::damaged;
use crate::StoreError;
use crate::versions::{Deed, HistoryEntry};

/// Entries of one function.
const MOST: i64 = 300;

/// How long those of a function that is gone are kept.
const AFTER_END: Duration = Duration::from_secs(30 * 24 * 3600);

/// An entry to be written.
pub(super) struct Told<'a> {
    function: &'a Function,
    by: &'a str,
    deed: Deed,
    text: String,
    changes: Vec<Change>,
}

// === impl Told ===

impl<'a> Told<'a> {
    /// About the function as it is now.
    pub fn of(function: &'a Function, by: &'a str, deed: Deed) -> Self {
        Self { function, by, deed, text: String::new(), changes: Vec::new() }
    }

    pub fn text(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    pub fn changes(mut self, changes: Vec<Change>) -> Self {
        self.changes = changes;
        self
    }
}

pub(super) fn tell(catalogue: &Connection, told: Told<'_>) -> Result<(), StoreError> {
    let Told { function, by, deed, text, changes } = told;
    let name = function.spec.name.as_str();
    let deed = serde_json::to_string(&deed).map_err(|error| damaged(&error))?;
    let changes = serde_json::to_string(&changes).map_err(|error| damaged(&error))?;
    let now = Timestamp::now();
    let sql = "INSERT INTO history (name, at, by, deed, revision, text, changes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![name, now.micros(), by, deed.trim_matches('"'), function.revision.0 as i64, text, changes];
    catalogue.prepare(sql)?.execute(row)?;
    let prune = "DELETE FROM history WHERE name = ?1 AND id <=
        (SELECT id FROM history WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    catalogue.prepare(prune)?.execute(params![name, MOST])?;
    Ok(())
}

/// Forgets functions that have been gone for long.
pub(super) fn forget(catalogue: &Connection) -> Result<(), StoreError> {
    let before = Timestamp::now() - AFTER_END;
    let sql = "DELETE FROM history WHERE name NOT IN (SELECT name FROM functions) AND name NOT IN
        (SELECT name FROM history WHERE at >= ?1)";
    catalogue.execute(sql, [before.micros()])?;
    Ok(())
}

pub(super) fn read(catalogue: &Connection, name: &FunctionName, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
    type Columns = (i64, String, String, i64, String, String);
    let sql = "SELECT at, by, deed, revision, text, changes FROM history WHERE name = ?1 ORDER BY id DESC LIMIT ?2";
    let row = |row: &Row<'_>| -> rusqlite::Result<Columns> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    };
    let one = |row: rusqlite::Result<Columns>| {
        let (at, by, deed, revision, text, changes) = row?;
        Ok(HistoryEntry {
            at: Timestamp(at),
            by,
            deed: serde_json::from_str(&format!("{deed:?}")).map_err(|error| damaged(&error))?,
            revision: Revision(revision as u64),
            text,
            changes: serde_json::from_str(&changes).map_err(|error| damaged(&error))?,
        })
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found: Result<Vec<_>, StoreError> =
        catalogue.prepare(sql)?.query_map(params![name.as_str(), limit], row)?.map(one).collect();
    let found = found?;
    if found.is_empty() {
        super::functions::require(catalogue, name)?;
    }
    Ok(found)
}
