//! Functions in the catalogue. A revision is a row that never changes; a function's row says which one holds.

use std::collections::HashSet;

use async_trait::async_trait;
use model::{CodeHash, Function, FunctionName, FunctionSpec, Revision, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;

use super::SqliteStore;
use super::database::Schema;
use crate::{Functions, StoreError};

pub(super) const SCHEMA: Schema = Schema {
    file: "catalogue.db",
    application_id: 0x4845_4143, // HEAC
    settings: "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 16777216;",
    migrations: &[
        "
        CREATE TABLE functions (
            name TEXT NOT NULL PRIMARY KEY,
            revision INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        -- Immutable. A table with row ids, because specifications are too long for the inside of a tree.
        CREATE TABLE revisions (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
            revision INTEGER NOT NULL,
            spec TEXT NOT NULL,
            code TEXT NOT NULL,
            code_size INTEGER NOT NULL,
            modified INTEGER NOT NULL,
            UNIQUE (name, revision)
        ) STRICT;
        CREATE INDEX revisions_code ON revisions (code);

        -- Outlives the function, so that one made again under its name does not repeat a revision.
        CREATE TABLE counters (
            name TEXT NOT NULL PRIMARY KEY,
            revision INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE tokens (
            sha256 BLOB NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            added INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ",
        "
        CREATE TABLE comparisons (
            id TEXT NOT NULL PRIMARY KEY,
            name TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
            begun INTEGER NOT NULL,
            body TEXT NOT NULL
        ) STRICT;
        CREATE INDEX comparisons_name ON comparisons (name, begun);

        -- At most one row.
        CREATE TABLE prices (
            one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
            prices TEXT NOT NULL
        ) STRICT;
    ",
        super::secrets::MIGRATION,
    ],
};

const CURRENT: &str = "SELECT r.spec, r.revision, r.code, r.code_size, r.modified FROM functions f
    JOIN revisions r ON r.name = f.name AND r.revision = f.revision";

#[async_trait]
impl Functions for SqliteStore {
    async fn put(&self, spec: FunctionSpec, code: CodeHash, expect: Option<u64>) -> Result<Function, StoreError> {
        let (packages, history, changes) = (self.packages.clone(), self.history, self.changes.clone());
        let put = move |catalogue: &Connection| {
            let found = revision(catalogue, &spec.name)?;
            if let Some(expected) = expect.filter(|&expected| expected != found) {
                return Err(StoreError::Conflict { name: spec.name, expected, found });
            }
            super::secrets::require(catalogue, &spec)?;
            let code_size = packages.size(&code).ok_or_else(|| StoreError::NoSuchPackage(code.clone()))?;
            packages.settle(&code)?;
            let modified = Timestamp::now();
            let revision = Revision(next_revision(catalogue, &spec.name)?);
            let function = Function { spec, revision, code, code_size, modified };
            insert(catalogue, &function, history)?;
            Ok(function)
        };
        self.writer.write(put, move || changes.send_modify(|count| *count += 1)).await
    }

    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError> {
        let name = name.clone();
        let get = move |catalogue: &Connection| {
            let sql = format!("{CURRENT} WHERE f.name = ?1");
            let found = catalogue.prepare(&sql)?.query_row([name.as_str()], raw).optional()?;
            found.ok_or(StoreError::NoSuchFunction(name))?.parse()
        };
        self.readers.read(get).await
    }

    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        let list = |catalogue: &Connection| all(catalogue, &format!("{CURRENT} ORDER BY f.name"), []);
        self.readers.read(list).await
    }

    async fn delete(&self, name: &FunctionName) -> Result<(), StoreError> {
        let (name, changes) = (name.clone(), self.changes.clone());
        let delete = move |catalogue: &Connection| {
            // Its revisions go with it, by the foreign key.
            match catalogue.execute("DELETE FROM functions WHERE name = ?1", [name.as_str()])? {
                0 => Err(StoreError::NoSuchFunction(name)),
                _ => Ok(()),
            }
        };
        self.writer.write(delete, move || changes.send_modify(|count| *count += 1)).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl SqliteStore {
    /// All revisions of a function that are kept, newest first: the current one and those to roll back to.
    pub async fn history(&self, name: &FunctionName) -> Result<Vec<Function>, StoreError> {
        let name = name.clone();
        let history = move |catalogue: &Connection| {
            let sql = "SELECT spec, revision, code, code_size, modified FROM revisions
                WHERE name = ?1 ORDER BY revision DESC";
            match all(catalogue, sql, [name.as_str()])? {
                none if none.is_empty() => Err(StoreError::NoSuchFunction(name)),
                found => Ok(found),
            }
        };
        self.readers.read(history).await
    }
}

/// Packages that a kept revision refers to.
pub(super) fn used(catalogue: &Connection) -> Result<HashSet<CodeHash>, StoreError> {
    let mut query = catalogue.prepare("SELECT DISTINCT code FROM revisions")?;
    let codes = query.query_map([], |row| row.get::<_, String>(0))?;
    codes.map(|code| CodeHash::try_from(code?).map_err(|error| damaged(&error))).collect()
}

/// The revision that holds; 0 if there is no such function.
fn revision(catalogue: &Connection, name: &FunctionName) -> Result<u64, StoreError> {
    let mut query = catalogue.prepare("SELECT revision FROM functions WHERE name = ?1")?;
    let found: Option<i64> = query.query_row([name.as_str()], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0) as u64)
}

fn next_revision(catalogue: &Connection, name: &FunctionName) -> Result<u64, StoreError> {
    let sql = "INSERT INTO counters (name, revision) VALUES (?1, 1)
        ON CONFLICT (name) DO UPDATE SET revision = revision + 1 RETURNING revision";
    let next: i64 = catalogue.prepare(sql)?.query_row([name.as_str()], |row| row.get(0))?;
    Ok(next as u64)
}

fn insert(catalogue: &Connection, function: &Function, history: u32) -> Result<(), StoreError> {
    let Function { spec, revision, code, code_size, modified } = function;
    let name = spec.name.as_str();
    let json = serde_json::to_string(spec).map_err(|error| damaged(&error))?;
    let current = "INSERT INTO functions (name, revision) VALUES (?1, ?2)
        ON CONFLICT (name) DO UPDATE SET revision = excluded.revision";
    catalogue.execute(current, params![name, revision.0 as i64])?;
    catalogue.execute(
        "INSERT INTO revisions (name, revision, spec, code, code_size, modified) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![name, revision.0 as i64, json, code.as_str(), *code_size as i64, modified.micros()],
    )?;
    let prune = "DELETE FROM revisions WHERE name = ?1 AND revision <
        (SELECT min(revision) FROM (SELECT revision FROM revisions WHERE name = ?1 ORDER BY revision DESC LIMIT ?2))";
    catalogue.execute(prune, params![name, i64::from(history) + 1])?;
    Ok(())
}

/// A row as it is stored.
struct Raw {
    spec: String,
    revision: i64,
    code: String,
    code_size: i64,
    modified: i64,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        spec: row.get(0)?,
        revision: row.get(1)?,
        code: row.get(2)?,
        code_size: row.get(3)?,
        modified: row.get(4)?,
    })
}

fn all(catalogue: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Function>, StoreError> {
    let mut query = catalogue.prepare(sql)?;
    query.query_map(params, raw)?.map(|row| row?.parse()).collect()
}

impl Raw {
    fn parse(self) -> Result<Function, StoreError> {
        Ok(Function {
            spec: serde_json::from_str(&self.spec).map_err(|error| damaged(&error))?,
            revision: Revision(self.revision as u64),
            code: CodeHash::try_from(self.code).map_err(|error| damaged(&error))?,
            code_size: self.code_size as u64,
            modified: Timestamp(self.modified),
        })
    }
}

pub(super) fn damaged(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("catalogue.db holds what cannot be read: {error}"))
}
