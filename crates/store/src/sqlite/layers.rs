//! Layers in the catalogue: a row for each version, which keeps its package.

use async_trait::async_trait;
use model::{CodeHash, LayerName, Timestamp};
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::SqliteStore;
use super::functions::damaged;
use crate::StoreError;
use crate::layers::{LayerVersion, Layers, NewLayer};

/// For the catalogue's schema: what AWS's tools say of functions beside what these are.
pub(super) const MIGRATION: &str = "
    CREATE TABLE layers (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        code TEXT NOT NULL,
        size INTEGER NOT NULL,
        description TEXT NOT NULL,
        license TEXT NOT NULL,
        -- JSON, both.
        runtimes TEXT NOT NULL,
        architectures TEXT NOT NULL,
        created INTEGER NOT NULL,
        PRIMARY KEY (name, version)
    ) STRICT, WITHOUT ROWID;

    -- Outlives the versions, so that no number is given twice.
    CREATE TABLE layer_counters (
        name TEXT NOT NULL PRIMARY KEY,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- See policies.rs.
    CREATE TABLE policies (
        kind TEXT NOT NULL, -- function or layer
        name TEXT NOT NULL,
        qualifier TEXT NOT NULL, -- a version or an alias, or nothing
        statements TEXT NOT NULL,
        revision TEXT NOT NULL,
        PRIMARY KEY (kind, name, qualifier)
    ) STRICT;

    CREATE TRIGGER policies_of_functions AFTER DELETE ON functions BEGIN
        DELETE FROM policies WHERE kind = 'function' AND name = OLD.name;
    END;
    CREATE TRIGGER policies_of_versions AFTER DELETE ON versions BEGIN
        DELETE FROM policies WHERE kind = 'function' AND name = OLD.name AND qualifier = CAST(OLD.version AS TEXT);
    END;
    CREATE TRIGGER policies_of_aliases AFTER DELETE ON aliases BEGIN
        DELETE FROM policies WHERE kind = 'function' AND name = OLD.name AND qualifier = OLD.alias;
    END;
    CREATE TRIGGER policies_of_layers AFTER DELETE ON layers BEGIN
        DELETE FROM policies WHERE kind = 'layer' AND name = OLD.name AND qualifier = CAST(OLD.version AS TEXT);
    END;

    -- See provisioned.rs.
    CREATE TABLE provisioned (
        name TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        qualifier TEXT NOT NULL,
        count INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        PRIMARY KEY (name, qualifier)
    ) STRICT;

    CREATE TRIGGER provisioned_of_versions AFTER DELETE ON versions BEGIN
        DELETE FROM provisioned WHERE name = OLD.name AND qualifier = CAST(OLD.version AS TEXT);
    END;
    CREATE TRIGGER provisioned_of_aliases AFTER DELETE ON aliases BEGIN
        DELETE FROM provisioned WHERE name = OLD.name AND qualifier = OLD.alias;
    END;
";

const SELECT: &str =
    "SELECT name, version, code, size, description, license, runtimes, architectures, created FROM layers";

#[async_trait]
impl Layers for SqliteStore {
    async fn publish_layer(&self, layer: NewLayer) -> Result<LayerVersion, StoreError> {
        let packages = self.packages.clone();
        let publish = move |catalogue: &Connection| {
            let size = packages.size(&layer.code).ok_or_else(|| StoreError::NoSuchPackage(layer.code.clone()))?;
            packages.settle(&layer.code)?;
            let next = "INSERT INTO layer_counters (name, version) VALUES (?1, 1)
                ON CONFLICT (name) DO UPDATE SET version = version + 1 RETURNING version";
            let version: i64 = catalogue.query_row(next, [layer.name.as_str()], |row| row.get(0))?;
            let created = Timestamp::now();
            let NewLayer { name, code, description, license, runtimes, architectures } = &layer;
            let sql = "INSERT INTO layers (name, version, code, size, description, license, runtimes, architectures,
                created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let (runtimes, architectures) = (json(runtimes)?, json(architectures)?);
            catalogue.execute(
                sql,
                params![
                    name.as_str(),
                    version,
                    code.as_str(),
                    size as i64,
                    description,
                    license,
                    runtimes,
                    architectures,
                    created.micros()
                ],
            )?;
            Ok(LayerVersion { layer, version: version as u64, size, created })
        };
        self.writer.write(publish, || {}).await
    }

    async fn layer_versions(&self, name: Option<&LayerName>) -> Result<Vec<LayerVersion>, StoreError> {
        let name = name.cloned();
        let list = move |catalogue: &Connection| {
            let sql = format!("{SELECT} WHERE ?1 IS NULL OR name = ?1 ORDER BY name, version DESC");
            read(catalogue, &sql, params![name.as_ref().map(LayerName::as_str)])
        };
        self.readers.read(list).await
    }

    async fn layer_version(&self, name: &LayerName, version: u64) -> Result<Option<LayerVersion>, StoreError> {
        let name = name.clone();
        let get = move |catalogue: &Connection| {
            let sql = format!("{SELECT} WHERE name = ?1 AND version = ?2");
            Ok(read(catalogue, &sql, params![name.as_str(), version as i64])?.pop())
        };
        self.readers.read(get).await
    }

    async fn remove_layer_version(&self, name: &LayerName, version: u64) -> Result<bool, StoreError> {
        let name = name.clone();
        let remove = move |catalogue: &Connection| {
            let sql = "DELETE FROM layers WHERE name = ?1 AND version = ?2";
            Ok(catalogue.execute(sql, params![name.as_str(), version as i64])? > 0)
        };
        self.writer.write(remove, || {}).await
    }
}

fn json(texts: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(texts).map_err(|error| damaged(&error))
}

fn read(catalogue: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<LayerVersion>, StoreError> {
    let mut query = catalogue.prepare(sql)?;
    let mut rows = query.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(version(row)?);
    }
    Ok(found)
}

fn version(row: &Row<'_>) -> Result<LayerVersion, StoreError> {
    let texts = |at| -> Result<Vec<String>, StoreError> {
        serde_json::from_str(&row.get::<_, String>(at)?).map_err(|error| damaged(&error))
    };
    let layer = NewLayer {
        name: LayerName::try_from(row.get::<_, String>(0)?).map_err(|error| damaged(&error))?,
        code: CodeHash::try_from(row.get::<_, String>(2)?).map_err(|error| damaged(&error))?,
        description: row.get(4)?,
        license: row.get(5)?,
        runtimes: texts(6)?,
        architectures: texts(7)?,
    };
    let (version, size) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(3)? as u64);
    Ok(LayerVersion { layer, version, size, created: Timestamp(row.get(8)?) })
}
