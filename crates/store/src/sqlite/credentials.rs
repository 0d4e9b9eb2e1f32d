//! Tokens in the catalogue: their hashes only, for nobody needs to read them back.

use async_trait::async_trait;
use model::{SecretName, Timestamp, TokenId};
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::functions::damaged;
use crate::{Credentials, StoreError, StoredToken};

/// For the catalogue's schema. Tokens of before were all the installation's own, one for each time that its file was
/// made; those whose file was overwritten stay valid, and can now be seen and revoked.
pub(super) const MIGRATION: &str = "
    ALTER TABLE tokens RENAME TO tokens_before;
    CREATE TABLE tokens (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        sha256 BLOB NOT NULL UNIQUE,
        -- JSON: a list of texts.
        scopes TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        last_used INTEGER,
        access_key_id TEXT UNIQUE,
        own INTEGER NOT NULL
    ) STRICT;
    INSERT INTO tokens (id, name, sha256, scopes, created, own)
        SELECT 'tok_' || lower(hex(substr(sha256, 1, 6))),
            CASE newest WHEN 1 THEN 'admin' ELSE 'admin-' || lower(hex(substr(sha256, 1, 6))) END,
            sha256, '[\"admin\"]', added, newest
        FROM (SELECT sha256, added, row_number() OVER (ORDER BY added DESC, sha256) = 1 AS newest FROM tokens_before);
    DROP TABLE tokens_before;
";

/// Tokens of one installation at most.
const MOST: i64 = 1000;

#[async_trait]
impl Credentials for SqliteStore {
    async fn add_token(&self, token: StoredToken) -> Result<(), StoreError> {
        let add = move |catalogue: &Connection| {
            let StoredToken { id, name, sha256, scopes, created, expires, last_used, access_key_id, own } = token;
            if own {
                catalogue.execute("DELETE FROM tokens WHERE own = 1", [])?;
            }
            let count: i64 = catalogue.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))?;
            if count >= MOST {
                return Err(StoreError::TooManyTokens(MOST));
            }
            let scopes = serde_json::to_string(&scopes).map_err(|error| damaged(&error))?;
            let sql = "INSERT INTO tokens (id, name, sha256, scopes, created, expires, last_used, access_key_id, own)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
            let (expires, last_used) = (expires.map(Timestamp::micros), last_used.map(Timestamp::micros));
            let row = params![
                id.as_str(),
                name.as_str(),
                sha256,
                scopes,
                created.micros(),
                expires,
                last_used,
                access_key_id,
                own
            ];
            match catalogue.execute(sql, row)? {
                0 => Err(StoreError::TokenTaken(name)),
                _ => Ok(()),
            }
        };
        self.writer.write(add, || {}).await
    }

    async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError> {
        let list = |catalogue: &Connection| {
            let sql = "SELECT id, name, sha256, scopes, created, expires, last_used, access_key_id, own FROM tokens
                ORDER BY name";
            let mut query = catalogue.prepare(sql)?;
            let mut rows = query.query([])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                let (id, name, scopes): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
                tokens.push(StoredToken {
                    id: TokenId::try_from(id).map_err(|error| damaged(&error))?,
                    name: SecretName::try_from(name).map_err(|error| damaged(&error))?,
                    sha256: row.get(2)?,
                    scopes: serde_json::from_str(&scopes).map_err(|error| damaged(&error))?,
                    created: Timestamp(row.get(4)?),
                    expires: row.get::<_, Option<i64>>(5)?.map(Timestamp),
                    last_used: row.get::<_, Option<i64>>(6)?.map(Timestamp),
                    access_key_id: row.get(7)?,
                    own: row.get(8)?,
                });
            }
            Ok(tokens)
        };
        self.readers.read(list).await
    }

    async fn remove_token(&self, id: &TokenId) -> Result<(), StoreError> {
        let id = id.clone();
        let remove = move |catalogue: &Connection| {
            let sql = "SELECT own FROM tokens WHERE id = ?1";
            match catalogue.query_row(sql, [id.as_str()], |row| row.get::<_, bool>(0)).optional()? {
                None => Err(StoreError::NoSuchToken(id)),
                Some(true) => Err(StoreError::OwnToken(id)),
                Some(false) => {
                    catalogue.execute("DELETE FROM tokens WHERE id = ?1", [id.as_str()])?;
                    Ok(())
                }
            }
        };
        self.writer.write(remove, || {}).await
    }

    async fn tokens_used(&self, used: Vec<(TokenId, Timestamp)>) -> Result<(), StoreError> {
        let note = move |catalogue: &Connection| {
            let mut update = catalogue.prepare("UPDATE tokens SET last_used = ?2 WHERE id = ?1")?;
            for (id, at) in used {
                update.execute(params![id.as_str(), at.micros()])?;
            }
            Ok(())
        };
        self.writer.write(note, || {}).await
    }
}
