//! Tokens in the catalogue: their hashes only, for nobody needs to read them back.

use async_trait::async_trait;
use model::Timestamp;
use rusqlite::{Connection, params};

use super::SqliteStore;
use crate::{Credentials, StoreError};

#[async_trait]
impl Credentials for SqliteStore {
    async fn add_token(&self, name: &str, sha256: [u8; 32]) -> Result<(), StoreError> {
        let name = name.to_owned();
        let add = move |catalogue: &Connection| {
            let sql = "INSERT INTO tokens (sha256, name, added) VALUES (?1, ?2, ?3)
                ON CONFLICT (sha256) DO UPDATE SET name = excluded.name";
            catalogue.execute(sql, params![sha256, name, Timestamp::now().micros()])?;
            Ok(())
        };
        self.writer.write(add, || {}).await
    }

    async fn tokens(&self) -> Result<Vec<[u8; 32]>, StoreError> {
        let tokens = |catalogue: &Connection| {
            let mut query = catalogue.prepare("SELECT sha256 FROM tokens ORDER BY added")?;
            let rows = query.query_map([], |row| row.get::<_, [u8; 32]>(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.readers.read(tokens).await
    }
}
