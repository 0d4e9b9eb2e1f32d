//! Functions in the catalogue. A revision is a row that never changes; a function's row says which one holds.

use std::collections::HashSet;

use async_trait::async_trait;
use model::{Canary, CodeHash, Function, FunctionName, FunctionSpec, Revision, Timestamp, Version};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;

use super::database::Schema;
use super::history::{self, Told};
use super::{SqliteStore, canaries};
use crate::packages::DiskPackages;
use crate::versions::{Deed, Deploy, How, Published, Versions};
use crate::{Functions, OwnSchedule, StoreError};

/// Whoever does not say who they are.
const UNKNOWN: &str = "unknown";

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
        super::versions::MIGRATION,
        super::api_keys::MIGRATION,
        super::layers::MIGRATION,
        super::companions::MIGRATION,
        super::versions::ALIAS_ENV_MIGRATION,
        super::credentials::MIGRATION,
    ],
};

const CURRENT: &str = "SELECT r.spec, r.revision, r.code, r.code_size, r.modified FROM functions f
    JOIN revisions r ON r.name = f.name AND r.revision = f.revision";

#[async_trait]
impl Functions for SqliteStore {
    async fn put(&self, spec: FunctionSpec, code: CodeHash, expect: Option<u64>) -> Result<Function, StoreError> {
        Versions::deploy(self, Deploy { spec, code, expect, by: UNKNOWN.into(), how: How::Deploy }).await
    }

    async fn get(&self, name: &FunctionName) -> Result<Function, StoreError> {
        let name = name.clone();
        self.readers.read(move |catalogue| current(catalogue, &name)).await
    }

    async fn list(&self) -> Result<Vec<Function>, StoreError> {
        self.readers.read(list).await
    }

    async fn own_schedules(&self) -> Result<Vec<OwnSchedule>, StoreError> {
        self.readers.read(super::companions::own_schedules).await
    }

    async fn delete(&self, name: &FunctionName) -> Result<(), StoreError> {
        Versions::remove(self, name, UNKNOWN).await
    }

    async fn published(&self) -> Result<Published, StoreError> {
        self.readers.read(super::versions::published).await
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

/// Packages that a kept revision, or a version of a layer, refers to.
pub(super) fn used(catalogue: &Connection) -> Result<HashSet<CodeHash>, StoreError> {
    let sql = "SELECT code FROM revisions UNION SELECT code FROM layers
        UNION SELECT spec ->> '$.layers.tree' FROM revisions WHERE spec ->> '$.layers.tree' IS NOT NULL";
    let mut query = catalogue.prepare(sql)?;
    let codes = query.query_map([], |row| row.get::<_, String>(0))?;
    codes.map(|code| CodeHash::try_from(code?).map_err(|error| damaged(&error))).collect()
}

/// A new revision, and what its history says of it.
pub(super) fn deploy(
    catalogue: &Connection,
    packages: &DiskPackages,
    history: u32,
    deploy: Deploy,
) -> Result<Function, StoreError> {
    let Deploy { spec, code, expect, by, how } = deploy;
    let before = find(catalogue, &spec.name)?;
    let found = before.as_ref().map_or(0, |before| before.revision.0);
    if let Some(expected) = expect.filter(|&expected| expected != found) {
        return Err(StoreError::Conflict { name: spec.name, expected, found });
    }
    if canaries::find(catalogue, &spec.name)?.is_some() {
        return Err(StoreError::CanaryRuns(spec.name));
    }
    super::secrets::require(catalogue, &spec)?;
    super::routes::require_free(catalogue, &spec)?;
    super::alias_env::require_aliases_fit(catalogue, &spec)?;
    let code_size = packages.size(&code).ok_or_else(|| StoreError::NoSuchPackage(code.clone()))?;
    packages.settle(&code)?;
    if let Some(model::Layers { tree, .. }) = &spec.layers {
        packages.size(tree).ok_or_else(|| StoreError::NoSuchPackage(tree.clone()))?;
        packages.settle(tree)?;
    }
    let function = write(catalogue, spec, code, code_size, history)?;
    let changes = before.as_ref().map(|before| model::changes(before, &function)).unwrap_or_default();
    let same_code = before.as_ref().is_some_and(|before| before.code == function.code);
    let deed = match how {
        How::RollBack { .. } => Deed::RolledBack,
        _ if same_code => Deed::Configured,
        _ => Deed::Deployed,
    };
    let text = match how {
        How::RollBack { to } => format!("to what revision {to} was"),
        _ => String::new(),
    };
    history::tell(catalogue, Told::of(&function, &by, deed).text(text).changes(changes))?;
    if let How::Canary(rules) = how {
        let stable = before.ok_or_else(|| StoreError::NoSuchFunction(function.spec.name.clone()))?;
        let (published, _) = super::versions::make(catalogue, &function, None, &by)?;
        let version = published.function.version.number().unwrap_or_default();
        let (name, revision, since) = (function.spec.name.clone(), function.revision, function.modified);
        let canary = Canary { function: name, stable, revision, version, rules, since };
        canaries::begin(catalogue, &canary, &by, &function)?;
    }
    Ok(function)
}

pub(super) fn remove(catalogue: &Connection, name: &FunctionName, by: &str) -> Result<(), StoreError> {
    let gone = current(catalogue, name)?;
    // All that is its goes with it, by the foreign keys.
    catalogue.execute("DELETE FROM functions WHERE name = ?1", [name.as_str()])?;
    history::tell(catalogue, Told::of(&gone, by, Deed::Removed))?;
    history::forget(catalogue)
}

/// Writes the next revision, which then holds.
pub(super) fn write(
    catalogue: &Connection,
    spec: FunctionSpec,
    code: CodeHash,
    code_size: u64,
    history: u32,
) -> Result<Function, StoreError> {
    let modified = Timestamp::now();
    let revision = Revision(next_revision(catalogue, &spec.name)?);
    let function = Function { spec, version: Version::Latest, revision, code, code_size, modified };
    insert(catalogue, &function, history)?;
    Ok(function)
}

/// All functions by name.
pub(super) fn list(catalogue: &Connection) -> Result<Vec<Function>, StoreError> {
    all(catalogue, &format!("{CURRENT} ORDER BY f.name"), [])
}

fn find(catalogue: &Connection, name: &FunctionName) -> Result<Option<Function>, StoreError> {
    let sql = format!("{CURRENT} WHERE f.name = ?1");
    let found = catalogue.prepare(&sql)?.query_row([name.as_str()], raw).optional()?;
    found.map(Raw::parse).transpose()
}

/// The function as it is now.
pub(super) fn current(catalogue: &Connection, name: &FunctionName) -> Result<Function, StoreError> {
    find(catalogue, name)?.ok_or_else(|| StoreError::NoSuchFunction(name.clone()))
}

/// A revision that is still kept.
pub(super) fn kept(
    catalogue: &Connection,
    name: &FunctionName,
    revision: Revision,
) -> Result<Option<Function>, StoreError> {
    let sql = "SELECT spec, revision, code, code_size, modified FROM revisions WHERE name = ?1 AND revision = ?2";
    let found = catalogue.prepare(sql)?.query_row(params![name.as_str(), revision.0 as i64], raw).optional()?;
    found.map(Raw::parse).transpose()
}

/// Refuses the name of what is not there.
pub(super) fn require(catalogue: &Connection, name: &FunctionName) -> Result<(), StoreError> {
    let there = catalogue.prepare("SELECT 1 FROM functions WHERE name = ?1")?.exists([name.as_str()])?;
    if there { Ok(()) } else { Err(StoreError::NoSuchFunction(name.clone())) }
}

fn next_revision(catalogue: &Connection, name: &FunctionName) -> Result<u64, StoreError> {
    let sql = "INSERT INTO counters (name, revision) VALUES (?1, 1)
        ON CONFLICT (name) DO UPDATE SET revision = revision + 1 RETURNING revision";
    let next: i64 = catalogue.prepare(sql)?.query_row([name.as_str()], |row| row.get(0))?;
    Ok(next as u64)
}

fn insert(catalogue: &Connection, function: &Function, history: u32) -> Result<(), StoreError> {
    let Function { spec, version: _, revision, code, code_size, modified } = function;
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
        (SELECT min(revision) FROM (SELECT revision FROM revisions WHERE name = ?1 ORDER BY revision DESC LIMIT ?2))
        AND revision NOT IN (SELECT revision FROM versions WHERE name = ?1)
        AND revision NOT IN (SELECT stable FROM canaries WHERE name = ?1)";
    // One beside the current one at least: a canary is about to need it.
    catalogue.execute(prune, params![name, i64::from(history).max(1) + 1])?;
    Ok(())
}

/// A row as it is stored.
pub(super) struct Raw {
    spec: String,
    revision: i64,
    code: String,
    code_size: i64,
    modified: i64,
}

pub(super) fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
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
    pub(super) fn parse(self) -> Result<Function, StoreError> {
        Ok(Function {
            spec: serde_json::from_str(&self.spec).map_err(|error| damaged(&error))?,
            version: Version::Latest,
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
