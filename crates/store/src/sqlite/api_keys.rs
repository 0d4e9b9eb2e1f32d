//! API keys in the catalogue, one row each: their hashes only.

use async_trait::async_trait;
use model::{SecretName, Timestamp};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::functions::damaged;
use crate::StoreError;
use crate::api_keys::{ApiKey, ApiKeys};

/// For the catalogue's schema.
pub(super) const MIGRATION: &str = "
    CREATE TABLE api_keys (
        name TEXT NOT NULL PRIMARY KEY,
        sha256 BLOB NOT NULL UNIQUE,
        -- JSON: what they are valid for.
        functions TEXT NOT NULL,
        routes TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
";

/// API keys of one installation at most: each request that shows one is compared with all.
const MOST: i64 = 1000;

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn add_api_key(&self, key: ApiKey) -> Result<(), StoreError> {
        let changes = self.changes.clone();
        let add = move |catalogue: &Connection| {
            let ApiKey { name, sha256, functions, routes, created } = key;
            let count: i64 = catalogue.query_row("SELECT count(*) FROM api_keys", [], |row| row.get(0))?;
            if count >= MOST {
                return Err(StoreError::TooManyApiKeys(MOST));
            }
            let functions = serde_json::to_string(&functions).map_err(|error| damaged(&error))?;
            let routes = serde_json::to_string(&routes).map_err(|error| damaged(&error))?;
            let sql = "INSERT INTO api_keys (name, sha256, functions, routes, created) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT DO NOTHING";
            match catalogue.execute(sql, params![name.as_str(), sha256, functions, routes, created.micros()])? {
                0 => Err(StoreError::ApiKeyTaken(name)),
                _ => Ok(()),
            }
        };
        self.writer.write(add, move || changes.send_modify(|count| *count += 1)).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let list = |catalogue: &Connection| {
            let sql = "SELECT name, sha256, functions, routes, created FROM api_keys ORDER BY name";
            let mut query = catalogue.prepare(sql)?;
            let mut rows = query.query([])?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                let (name, functions, routes): (String, String, String) = (row.get(0)?, row.get(2)?, row.get(3)?);
                keys.push(ApiKey {
                    name: SecretName::try_from(name).map_err(|error| damaged(&error))?,
                    sha256: row.get(1)?,
                    functions: serde_json::from_str(&functions).map_err(|error| damaged(&error))?,
                    routes: serde_json::from_str(&routes).map_err(|error| damaged(&error))?,
                    created: Timestamp(row.get(4)?),
                });
            }
            Ok(keys)
        };
        self.readers.read(list).await
    }

    async fn remove_api_key(&self, name: &SecretName) -> Result<(), StoreError> {
        let (name, changes) = (name.clone(), self.changes.clone());
        let remove = move |catalogue: &Connection| match catalogue
            .execute("DELETE FROM api_keys WHERE name = ?1", [name.as_str()])?
        {
            0 => Err(StoreError::NoSuchApiKey(name)),
            _ => Ok(()),
        };
        self.writer.write(remove, move || changes.send_modify(|count| *count += 1)).await
    }
}
