//! Versions and aliases in the catalogue. A version is a number for a revision, which then is kept; an alias a name
//! for a version. Numbers are counted beside the revisions, and outlive the function as those do.

use async_trait::async_trait;
use model::{
    Alias, AliasName, Canary, CanaryEnd, Function, FunctionName, PublishedVersion, Revision, Timestamp, Version, Weight,
};
use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::alias_env;
use super::canaries;
use super::functions::{self, Raw, damaged};
use super::history::{self, Told};
use crate::StoreError;
use crate::versions::{AliasChange, Deed, Deploy, HistoryEntry, Publish, Published, Versions};

/// For the catalogue's schema.
pub(super) const MIGRATION: &str = "
    CREATE TABLE versions (
        name TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        version INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        description TEXT NOT NULL,
        published INTEGER NOT NULL,
        PRIMARY KEY (name, version)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE version_counters (
        name TEXT NOT NULL PRIMARY KEY,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE aliases (
        name TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        alias TEXT NOT NULL,
        version INTEGER, -- none: $LATEST
        second INTEGER, -- another version, with a share of the calls
        weight INTEGER, -- of ten thousand
        description TEXT NOT NULL,
        revision INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        PRIMARY KEY (name, alias)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE canaries (
        name TEXT NOT NULL PRIMARY KEY REFERENCES functions (name) ON DELETE CASCADE,
        stable INTEGER NOT NULL, -- the revision that serves the rest
        revision INTEGER NOT NULL,
        version INTEGER NOT NULL,
        rules TEXT NOT NULL,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Of functions that are gone too.
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        at INTEGER NOT NULL,
        by TEXT NOT NULL,
        deed TEXT NOT NULL,
        revision INTEGER NOT NULL,
        text TEXT NOT NULL,
        changes TEXT NOT NULL
    ) STRICT;
    CREATE INDEX history_name ON history (name, id);
";

const SELECT: &str = "SELECT r.spec, r.revision, r.code, r.code_size, r.modified, v.version, v.description, v.published
    FROM versions v JOIN revisions r ON r.name = v.name AND r.revision = v.revision";

/// For the catalogue's schema.
pub(super) const ALIAS_ENV_MIGRATION: &str = "
    -- Variables of its own, an object.
    ALTER TABLE aliases ADD COLUMN env TEXT NOT NULL DEFAULT '{}';
";

const ALIAS: &str = "SELECT name, alias, version, second, weight, description, revision, modified, env FROM aliases";

#[async_trait]
impl Versions for SqliteStore {
    async fn deploy(&self, deploy: Deploy) -> Result<Function, StoreError> {
        let packages = self.packages.clone();
        let kept = self.history;
        let work = move |catalogue: &Connection| functions::deploy(catalogue, &packages, kept, deploy);
        self.change(work).await
    }

    async fn remove(&self, name: &FunctionName, by: &str) -> Result<(), StoreError> {
        let remove = || {
            let (name, by) = (name.clone(), by.to_owned());
            self.change(move |catalogue| functions::remove(catalogue, &name, &by))
        };
        self.clean_up(remove).await
    }

    async fn publish(
        &self,
        name: &FunctionName,
        publish: Publish,
        by: &str,
    ) -> Result<(PublishedVersion, bool), StoreError> {
        let (name, by) = (name.clone(), by.to_owned());
        let work = move |catalogue: &Connection| {
            let current = functions::current(catalogue, &name)?;
            if let Some(expected) = publish.expect.filter(|expected| *expected != current.revision.0) {
                return Err(StoreError::Conflict { name, expected, found: current.revision.0 });
            }
            if let Some(expected) = publish.code.filter(|code| *code != current.code) {
                return Err(StoreError::OtherCode { name, expected, found: current.code });
            }
            // Nothing that a version has is another: no new one is made, as on AWS.
            if let Some(newest) = newest(catalogue, &name)?.filter(|newest| is_same_version(&newest.function, &current))
            {
                return Ok((newest, false));
            }
            make(catalogue, &current, publish.description, &by)
        };
        self.change(work).await
    }

    async fn versions(&self, name: &FunctionName) -> Result<Vec<PublishedVersion>, StoreError> {
        let name = name.clone();
        let list = move |catalogue: &Connection| {
            functions::require(catalogue, &name)?;
            versions(catalogue, &format!("{SELECT} WHERE v.name = ?1 ORDER BY v.version"), [name.as_str()])
        };
        self.readers.read(list).await
    }

    async fn remove_version(&self, name: &FunctionName, version: u64, by: &str) -> Result<(), StoreError> {
        let (name, by) = (name.clone(), by.to_owned());
        let work = move |catalogue: &Connection| {
            let current = functions::current(catalogue, &name)?;
            let number = version as i64;
            let sql = "SELECT alias FROM aliases WHERE name = ?1 AND (version = ?2 OR second = ?2) ORDER BY alias";
            let mut query = catalogue.prepare(sql)?;
            let names = query.query_map(params![name.as_str(), number], |row| row.get::<_, String>(0))?;
            let mut users: Vec<String> = names.collect::<Result<_, _>>()?;
            users.iter_mut().for_each(|alias| *alias = format!("the alias {alias}"));
            if canaries::find(catalogue, &name)?.is_some_and(|canary| canary.version == version) {
                users.push("the canary that runs".into());
            }
            if !users.is_empty() {
                return Err(StoreError::VersionUsed { name, version, users });
            }
            let sql = "DELETE FROM versions WHERE name = ?1 AND version = ?2";
            if catalogue.execute(sql, params![name.as_str(), number])? == 0 {
                return Err(StoreError::NoSuchVersion { name, version });
            }
            let text = format!("version {version}");
            history::tell(catalogue, Told::of(&current, &by, Deed::VersionRemoved).text(text))
        };
        self.change(work).await
    }

    async fn aliases(&self, name: &FunctionName) -> Result<Vec<Alias>, StoreError> {
        let name = name.clone();
        let list = move |catalogue: &Connection| {
            functions::require(catalogue, &name)?;
            aliases_of(catalogue, &name)
        };
        self.readers.read(list).await
    }

    async fn set_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        change: AliasChange,
        by: &str,
    ) -> Result<(Alias, bool), StoreError> {
        let (name, alias, by) = (name.clone(), alias.clone(), by.to_owned());
        self.change(move |catalogue| set_alias(catalogue, name, alias, change, &by)).await
    }

    async fn remove_alias(&self, name: &FunctionName, alias: &AliasName, by: &str) -> Result<(), StoreError> {
        let (name, alias, by) = (name.clone(), alias.clone(), by.to_owned());
        let work = move |catalogue: &Connection| {
            let current = functions::current(catalogue, &name)?;
            let sql = "DELETE FROM aliases WHERE name = ?1 AND alias = ?2";
            if catalogue.execute(sql, [name.as_str(), alias.as_str()])? == 0 {
                return Err(StoreError::NoSuchAlias { name, alias });
            }
            history::tell(catalogue, Told::of(&current, &by, Deed::AliasRemoved).text(alias.to_string()))
        };
        self.change(work).await
    }

    async fn revision(&self, name: &FunctionName, revision: Revision) -> Result<Function, StoreError> {
        let name = name.clone();
        let get = move |catalogue: &Connection| {
            functions::require(catalogue, &name)?;
            let found = functions::kept(catalogue, &name, revision)?;
            found.ok_or(StoreError::NoSuchRevision { name, revision })
        };
        self.readers.read(get).await
    }

    async fn history_of(&self, name: &FunctionName, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let name = name.clone();
        self.readers.read(move |catalogue| history::read(catalogue, &name, limit)).await
    }

    async fn canaries(&self) -> Result<Vec<Canary>, StoreError> {
        self.readers.read(canaries::all).await
    }

    async fn end_canary(
        &self,
        name: &FunctionName,
        revision: Revision,
        end: CanaryEnd,
        why: &str,
        by: &str,
    ) -> Result<Function, StoreError> {
        let (name, why, by, kept) = (name.clone(), why.to_owned(), by.to_owned(), self.history);
        self.change(move |catalogue| canaries::end(catalogue, kept, &name, revision, end, &why, &by)).await
    }
}

/// All there is, of one moment.
pub(super) fn published(catalogue: &Connection) -> Result<Published, StoreError> {
    let snapshot = catalogue.unchecked_transaction()?;
    Ok(Published {
        functions: Some(functions::list(&snapshot)?),
        versions: versions(&snapshot, SELECT, [])?,
        aliases: aliases(&snapshot, ALIAS, [])?,
        canaries: canaries::all(&snapshot)?,
        provisioned: super::provisioned::read(&snapshot, None)?,
    })
}

/// A version that is what the function is now; the newest one, if that is.
pub(super) fn make(
    catalogue: &Connection,
    current: &Function,
    description: Option<String>,
    by: &str,
) -> Result<(PublishedVersion, bool), StoreError> {
    let name = current.spec.name.as_str();
    if let Some(newest) = newest(catalogue, &current.spec.name)?
        && newest.function.spec == current.spec
        && newest.function.code == current.code
    {
        return Ok((newest, false));
    }
    let next = "INSERT INTO version_counters (name, version) VALUES (?1, 1)
        ON CONFLICT (name) DO UPDATE SET version = version + 1 RETURNING version";
    let number: i64 = catalogue.query_row(next, [name], |row| row.get(0))?;
    let description = description.unwrap_or_else(|| current.spec.description.clone());
    let published = Timestamp::now();
    let sql = "INSERT INTO versions (name, version, revision, description, published) VALUES (?1, ?2, ?3, ?4, ?5)";
    let revision = current.revision.0 as i64;
    catalogue.execute(sql, params![name, number, revision, description, published.micros()])?;
    history::tell(catalogue, Told::of(current, by, Deed::Published).text(format!("version {number}")))?;
    let function = Function { version: Version::Number(number as u64), ..current.clone() };
    Ok((PublishedVersion { function, description, published }, true))
}

fn newest(catalogue: &Connection, name: &FunctionName) -> Result<Option<PublishedVersion>, StoreError> {
    let newest = format!("{SELECT} WHERE v.name = ?1 ORDER BY v.version DESC LIMIT 1");
    Ok(versions(catalogue, &newest, [name.as_str()])?.pop())
}

/// Whether they differ in nothing but what is the function's, and not a version's: what `$LATEST` says of it holds for all.
fn is_same_version(one: &Function, other: &Function) -> bool {
    let level = |function: &Function| {
        let mut spec = function.spec.clone();
        spec.aws = spec.aws.of_version();
        spec.asynchronous = Default::default();
        spec.sources = Vec::new();
        spec.url_rules = Default::default();
        spec
    };
    one.code == other.code && level(one) == level(other)
}

fn set_alias(
    catalogue: &Connection,
    name: FunctionName,
    alias: AliasName,
    change: AliasChange,
    by: &str,
) -> Result<(Alias, bool), StoreError> {
    let current = functions::current(catalogue, &name)?;
    let sql = format!("{ALIAS} WHERE name = ?1 AND alias = ?2");
    let before = aliases(catalogue, &sql, [name.as_str(), alias.as_str()])?.pop();
    let found = before.as_ref().map_or(0, |before| before.revision);
    if let Some(expected) = change.expect.filter(|expected| *expected != found) {
        return Err(StoreError::AliasConflict { name, alias, expected, found });
    }
    let Some(version) = change.version.or(before.as_ref().map(|before| before.version)) else {
        return Err(StoreError::NoSuchAlias { name, alias });
    };
    let second = match change.second {
        Some(second) => second,
        // Who points it elsewhere does not mean the share that a version had beside the old one.
        None if change.version.is_some() => None,
        None => before.as_ref().and_then(|before| before.second),
    };
    for number in version.number().into_iter().chain(second.map(|(number, _)| number)) {
        let sql = "SELECT 1 FROM versions WHERE name = ?1 AND version = ?2";
        if !catalogue.prepare(sql)?.exists(params![name.as_str(), number as i64])? {
            return Err(StoreError::NoSuchVersion { name, version: number });
        }
    }
    if let Some((number, _)) = second
        && version.number().is_none_or(|first| first == number)
    {
        return Err(StoreError::BadRouting { alias, version, second: number });
    }
    let description =
        change.description.or(before.as_ref().map(|before| before.description.clone())).unwrap_or_default();
    let made = before.is_none();
    let mut env = before.as_ref().map(|before| before.env.clone()).unwrap_or_default();
    for (name, value) in change.env {
        match value {
            Some(value) => env.insert(name, value),
            None => env.remove(&name),
        };
    }
    let after = Alias {
        function: name,
        name: alias,
        description,
        version,
        second,
        env,
        revision: found + 1,
        modified: Timestamp::now(),
    };
    alias_env::require_fit(catalogue, &current, &after)?;
    let env_text = serde_json::to_string(&after.env).map_err(|error| damaged(&error))?;
    let sql = "INSERT INTO aliases (name, alias, version, second, weight, description, revision, modified, env)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version, second = excluded.second,
            weight = excluded.weight, description = excluded.description, revision = excluded.revision,
            modified = excluded.modified, env = excluded.env";
    catalogue.execute(
        sql,
        params![
            after.function.as_str(),
            after.name.as_str(),
            version.number().map(|number| number as i64),
            second.map(|(number, _)| number as i64),
            second.map(|(_, weight)| weight.parts()),
            after.description,
            after.revision as i64,
            after.modified.micros(),
            env_text,
        ],
    )?;
    let points = |alias: &Alias| match alias.second {
        None => format!("version {}", alias.version),
        Some((number, weight)) => format!("version {}, {weight} to version {number}", alias.version),
    };
    let text = match &before {
        Some(before) => format!("{}: {}, was {}", after.name, points(&after), points(before)),
        None => format!("{}: {}", after.name, points(&after)),
    };
    let nothing = Default::default();
    let changes = model::env_changes(before.as_ref().map_or(&nothing, |before| &before.env), &after.env);
    history::tell(catalogue, Told::of(&current, by, Deed::AliasSet).text(text).changes(changes))?;
    Ok((after, made))
}

fn versions(
    catalogue: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<PublishedVersion>, StoreError> {
    let row = |row: &Row<'_>| {
        let raw = functions::raw(row)?;
        Ok((raw, row.get::<_, i64>(5)?, row.get::<_, String>(6)?, row.get::<_, i64>(7)?))
    };
    let one = |row: rusqlite::Result<(Raw, i64, String, i64)>| {
        let (raw, version, description, published) = row?;
        let function = Function { version: Version::Number(version as u64), ..raw.parse()? };
        Ok(PublishedVersion { function, description, published: Timestamp(published) })
    };
    catalogue.prepare(sql)?.query_map(params, row)?.map(one).collect()
}

/// A function's aliases, by name.
pub(super) fn aliases_of(catalogue: &Connection, name: &FunctionName) -> Result<Vec<Alias>, StoreError> {
    aliases(catalogue, &format!("{ALIAS} WHERE name = ?1 ORDER BY alias"), [name.as_str()])
}

/// A version of a function, if it is there.
pub(super) fn version(
    catalogue: &Connection,
    name: &FunctionName,
    number: u64,
) -> Result<Option<Function>, StoreError> {
    let sql = format!("{SELECT} WHERE v.name = ?1 AND v.version = ?2");
    Ok(versions(catalogue, &sql, params![name.as_str(), number as i64])?.pop().map(|found| found.function))
}

/// All aliases there are.
pub(super) fn all_aliases(catalogue: &Connection) -> Result<Vec<Alias>, StoreError> {
    aliases(catalogue, &format!("{ALIAS} ORDER BY name, alias"), [])
}

fn aliases(catalogue: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Alias>, StoreError> {
    let mut query = catalogue.prepare(sql)?;
    let mut rows = query.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let number = |at| -> rusqlite::Result<Option<u64>> { Ok(row.get::<_, Option<i64>>(at)?.map(|n| n as u64)) };
        let weight = row.get::<_, Option<u16>>(4)?.and_then(Weight::from_parts);
        found.push(Alias {
            function: row.get::<_, String>(0)?.try_into().map_err(|error| damaged(&error))?,
            name: row.get::<_, String>(1)?.try_into().map_err(|error| damaged(&error))?,
            version: number(2)?.map_or(Version::Latest, Version::Number),
            second: number(3)?.zip(weight),
            description: row.get(5)?,
            revision: row.get::<_, i64>(6)? as u64,
            modified: Timestamp(row.get(7)?),
            env: serde_json::from_str(&row.get::<_, String>(8)?).map_err(|error| damaged(&error))?,
        });
    }
    Ok(found)
}

impl SqliteStore {
    /// Writes what engine and others then read anew.
    pub(super) async fn change<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let changes = self.changes.clone();
        self.writer.write(work, move || changes.send_modify(|count| *count += 1)).await
    }
}
