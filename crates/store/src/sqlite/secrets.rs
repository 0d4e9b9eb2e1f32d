//! Secrets in the catalogue: sealed, one row each. A value is in the clear in memory only, between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use model::{FunctionName, FunctionSpec, SecretName, SecretValue, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::functions::damaged;
use crate::StoreError;
use crate::keyring::{Keyring, NotOpened, Sealed};
use crate::secrets::{KeyRotation, SecretInfo, SecretValues, Secrets};

/// For the catalogue's schema.
pub(super) const MIGRATION: &str = "
    CREATE TABLE secrets (
        name TEXT NOT NULL PRIMARY KEY,
        -- Never the same for two values, whatever their names are.
        version INTEGER NOT NULL UNIQUE,
        key TEXT NOT NULL,
        nonce BLOB NOT NULL,
        sealed BLOB NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL
    ) STRICT;

    -- One row: the last version that was given out.
    CREATE TABLE secret_versions (
        one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        last INTEGER NOT NULL
    ) STRICT;
    INSERT INTO secret_versions (one, last) VALUES (1, 0);
";

#[async_trait]
impl Secrets for SqliteStore {
    async fn set_secret(&self, name: SecretName, value: SecretValue) -> Result<(SecretInfo, bool), StoreError> {
        let (keys, changes) = (self.keys.clone(), self.changes.clone());
        let set = move |catalogue: &Connection| {
            // Here and not before: whoever rotates keys waits for the same thread.
            let sealed = keys.read().unwrap_or_else(PoisonError::into_inner).clone().seal(&name, &value)?;
            let now = Timestamp::now();
            let created = "SELECT created FROM secrets WHERE name = ?1";
            let created: Option<i64> = catalogue.query_row(created, [name.as_str()], |row| row.get(0)).optional()?;
            let next = "UPDATE secret_versions SET last = last + 1 RETURNING last";
            let version: i64 = catalogue.query_row(next, [], |row| row.get(0))?;
            let sql = "INSERT INTO secrets (name, version, key, nonce, sealed, created, modified)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
                ON CONFLICT (name) DO UPDATE SET version = excluded.version, key = excluded.key,
                    nonce = excluded.nonce, sealed = excluded.sealed, modified = excluded.modified";
            let Sealed { key, nonce, bytes } = sealed;
            catalogue.execute(sql, params![name.as_str(), version, key, nonce, bytes, now.micros()])?;
            let info = SecretInfo { name, created: created.map_or(now, Timestamp), modified: now };
            Ok((info, created.is_none()))
        };
        self.writer.write(set, move || changes.send_modify(|count| *count += 1)).await
    }

    async fn secrets(&self) -> Result<Vec<SecretInfo>, StoreError> {
        let list = |catalogue: &Connection| {
            let mut query = catalogue.prepare("SELECT name, created, modified FROM secrets ORDER BY name")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let info = |row: rusqlite::Result<(String, i64, i64)>| {
                let (name, created, modified) = row?;
                let (created, modified) = (Timestamp(created), Timestamp(modified));
                Ok(SecretInfo { name: parse(name)?, created, modified })
            };
            rows.map(info).collect()
        };
        self.readers.read(list).await
    }

    async fn remove_secret(&self, name: &SecretName, even_used: bool) -> Result<(), StoreError> {
        let (name, changes) = (name.clone(), self.changes.clone());
        let remove = move |catalogue: &Connection| {
            let functions = if even_used { Vec::new() } else { users(catalogue, &name)? };
            if !functions.is_empty() {
                return Err(StoreError::SecretUsed { name, functions });
            }
            match catalogue.execute("DELETE FROM secrets WHERE name = ?1", [name.as_str()])? {
                0 => Err(StoreError::NoSuchSecret(name)),
                _ => Ok(()),
            }
        };
        self.writer.write(remove, move || changes.send_modify(|count| *count += 1)).await
    }

    async fn rotate_key(&self) -> Result<KeyRotation, StoreError> {
        let keys = self.keys.clone();
        // All of it on the writer's thread: nothing is sealed with a key that is about to go. It is a few small files and
        // rows, and nobody does it often.
        let reseal = move |catalogue: &Connection| {
            let before = keys.read().unwrap_or_else(PoisonError::into_inner).clone();
            let ring = Arc::new(before.rotated()?);
            let mut all = catalogue.prepare("SELECT name, key, nonce, sealed FROM secrets")?;
            let rows = all.query_map([], sealed)?.collect::<Result<Vec<_>, _>>()?;
            let count = rows.len();
            for (name, old) in rows {
                let name = parse(name)?;
                let value = open(&ring, &name, &old)?;
                let Sealed { key, nonce, bytes } = ring.seal(&name, &value)?;
                let sql = "UPDATE secrets SET key = ?2, nonce = ?3, sealed = ?4 WHERE name = ?1";
                catalogue.execute(sql, params![name.as_str(), key, nonce, bytes])?;
            }
            // Before it is committed: who reads what is new must be able to open it.
            *keys.write().unwrap_or_else(PoisonError::into_inner) = ring.clone();
            Ok((ring, count))
        };
        let (ring, secrets) = self.writer.write(reseal, || {}).await?;
        let keys = self.keys.clone();
        let forget = move |_: &Connection| {
            let current = keys.read().unwrap_or_else(PoisonError::into_inner).clone();
            // Unless another one has begun meanwhile: that one forgets, when its values are on disk.
            if current.current() == ring.current() {
                let alone = Arc::new(ring.forget_others()?);
                *keys.write().unwrap_or_else(PoisonError::into_inner) = alone;
            }
            Ok(KeyRotation { key: ring.current().to_owned(), secrets })
        };
        self.writer.write(forget, || {}).await
    }
}

#[async_trait]
impl SecretValues for SqliteStore {
    async fn secret_versions(&self) -> Result<BTreeMap<SecretName, u64>, StoreError> {
        let list = |catalogue: &Connection| {
            let mut query = catalogue.prepare("SELECT name, version FROM secrets")?;
            let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            let one = |row: rusqlite::Result<(String, i64)>| {
                row.map_err(StoreError::from).and_then(|(name, version)| Ok((parse(name)?, version as u64)))
            };
            rows.map(one).collect()
        };
        self.readers.read(list).await
    }

    async fn reveal(&self, names: BTreeSet<SecretName>) -> Result<BTreeMap<SecretName, SecretValue>, StoreError> {
        let keys = self.keys.clone();
        let reveal = move |catalogue: &Connection| {
            let mut query = catalogue.prepare("SELECT name, key, nonce, sealed FROM secrets WHERE name = ?1")?;
            let mut found = BTreeMap::new();
            for name in names {
                let Some((_, row)) = query.query_row([name.as_str()], sealed).optional()? else { continue };
                let ring = keys.read().unwrap_or_else(PoisonError::into_inner).clone();
                let value = open(&ring, &name, &row)?;
                found.insert(name, value);
            }
            Ok(found)
        };
        self.readers.read(reveal).await
    }
}

/// Refuses a function that refers to what is not there.
pub(super) fn require(catalogue: &Connection, spec: &FunctionSpec) -> Result<(), StoreError> {
    let mut query = catalogue.prepare("SELECT 1 FROM secrets WHERE name = ?1")?;
    for name in spec.all_secret_names() {
        if !query.exists([name.as_str()])? {
            return Err(StoreError::NoSuchSecret(name));
        }
    }
    Ok(())
}

/// Functions that refer to it: as they are now, by a version, or by what serves beside a canary.
fn users(catalogue: &Connection, secret: &SecretName) -> Result<Vec<FunctionName>, StoreError> {
    let sql = "SELECT r.spec FROM revisions r WHERE EXISTS
            (SELECT 1 FROM functions f WHERE f.name = r.name AND f.revision = r.revision)
        OR EXISTS (SELECT 1 FROM versions v WHERE v.name = r.name AND v.revision = r.revision)
        OR EXISTS (SELECT 1 FROM canaries c WHERE c.name = r.name AND c.stable = r.revision)
        ORDER BY r.name";
    let mut query = catalogue.prepare(sql)?;
    let specs = query.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for spec in specs {
        let spec: FunctionSpec = serde_json::from_str(&spec?).map_err(|error| damaged(&error))?;
        if spec.all_secret_names().contains(secret) {
            found.push(spec.name);
            found.dedup();
        }
    }
    found.extend(super::alias_env::users(catalogue, secret)?);
    found.sort();
    found.dedup();
    Ok(found)
}

fn parse(name: String) -> Result<SecretName, StoreError> {
    SecretName::try_from(name).map_err(|error| damaged(&error))
}

fn sealed(row: &Row<'_>) -> rusqlite::Result<(String, Sealed)> {
    Ok((row.get(0)?, Sealed { key: row.get(1)?, nonce: row.get(2)?, bytes: row.get(3)? }))
}

fn open(ring: &Keyring, name: &SecretName, sealed: &Sealed) -> Result<SecretValue, StoreError> {
    ring.open(name, sealed).map_err(|why| match why {
        NotOpened::NoKey => StoreError::SecretLocked { name: name.clone(), key: sealed.key.clone() },
        NotOpened::Damaged => StoreError::Failed(format!("secret {name} is damaged: set it again")),
    })
}
