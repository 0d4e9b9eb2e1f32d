//! Resource policies in the catalogue, one row each.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::SqliteStore;
use super::functions::{self, damaged};
use crate::StoreError;
use crate::policies::{Policies, Policy, Subject};

#[async_trait]
impl Policies for SqliteStore {
    async fn policy(&self, of: &Subject) -> Result<Option<Policy>, StoreError> {
        let of = of.clone();
        self.readers.read(move |catalogue| find(catalogue, &of)).await
    }

    async fn replace_policy(
        &self,
        of: &Subject,
        revision: Option<String>,
        by: Option<Policy>,
    ) -> Result<bool, StoreError> {
        let of = of.clone();
        let replace = move |catalogue: &Connection| {
            if let Subject::Function(name, _) = &of {
                // It may have been removed since it was looked at, and its policies with it.
                functions::require(catalogue, name)?;
            }
            if find(catalogue, &of)?.map(|found| found.revision) != revision {
                return Ok(false);
            }
            let (kind, name, qualifier) = key(&of);
            let Some(Policy { statements, revision }) = by else {
                let sql = "DELETE FROM policies WHERE kind = ?1 AND name = ?2 AND qualifier = ?3";
                catalogue.execute(sql, params![kind, name, qualifier])?;
                return Ok(true);
            };
            let statements = serde_json::to_string(&statements).map_err(|error| damaged(&error))?;
            let sql = "INSERT OR REPLACE INTO policies (kind, name, qualifier, statements, revision)
                VALUES (?1, ?2, ?3, ?4, ?5)";
            catalogue.execute(sql, params![kind, name, qualifier, statements, revision])?;
            Ok(true)
        };
        self.writer.write(replace, || {}).await
    }
}

fn key(of: &Subject) -> (&'static str, &str, String) {
    match of {
        Subject::Function(name, qualifier) => ("function", name.as_str(), qualifier.clone().unwrap_or_default()),
        Subject::Layer(name, version) => ("layer", name.as_str(), version.to_string()),
    }
}

fn find(catalogue: &Connection, of: &Subject) -> Result<Option<Policy>, StoreError> {
    let (kind, name, qualifier) = key(of);
    let sql = "SELECT statements, revision FROM policies WHERE kind = ?1 AND name = ?2 AND qualifier = ?3";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let found = catalogue.query_row(sql, params![kind, name, qualifier], read).optional()?;
    let policy = |(statements, revision): (String, String)| {
        let statements: Vec<Value> = serde_json::from_str(&statements).map_err(|error| damaged(&error))?;
        Ok(Policy { statements, revision })
    };
    found.map(policy).transpose()
}
