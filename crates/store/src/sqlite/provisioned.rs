//! Provisioned concurrency in the catalogue, one row for each version or alias.

use async_trait::async_trait;
use model::{FunctionName, Qualifier, Timestamp, Version};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::functions::{self, damaged};
use crate::StoreError;
use crate::provisioned::{Provisioned, Provisions};

#[async_trait]
impl Provisions for SqliteStore {
    async fn provisioned(&self, name: &FunctionName) -> Result<Vec<Provisioned>, StoreError> {
        let name = name.clone();
        self.readers.read(move |catalogue| read(catalogue, Some(&name))).await
    }

    async fn provision(
        &self,
        name: &FunctionName,
        qualifier: &Qualifier,
        count: Option<u32>,
    ) -> Result<(), StoreError> {
        let (name, qualifier) = (name.clone(), qualifier.clone());
        self.change(move |catalogue| set(catalogue, name, qualifier, count)).await
    }
}

fn set(catalogue: &Connection, name: FunctionName, qualifier: Qualifier, count: Option<u32>) -> Result<(), StoreError> {
    functions::require(catalogue, &name)?;
    let text = qualifier.to_string();
    let Some(count) = count else {
        catalogue
            .execute("DELETE FROM provisioned WHERE name = ?1 AND qualifier = ?2", params![name.as_str(), text])?;
        return Ok(());
    };
    match qualifier {
        Qualifier::Version(Version::Number(version)) => {
            let sql = "SELECT 1 FROM versions WHERE name = ?1 AND version = ?2";
            if !catalogue.prepare(sql)?.exists(params![name.as_str(), version as i64])? {
                return Err(StoreError::NoSuchVersion { name, version });
            }
        }
        Qualifier::Alias(alias) => {
            let sql = "SELECT 1 FROM aliases WHERE name = ?1 AND alias = ?2";
            if !catalogue.prepare(sql)?.exists([name.as_str(), alias.as_str()])? {
                return Err(StoreError::NoSuchAlias { name, alias });
            }
        }
        Qualifier::Version(Version::Latest) => {
            return Err(StoreError::Failed(format!("nothing is provisioned for {name}:$LATEST")));
        }
    }
    let sql = "INSERT OR REPLACE INTO provisioned (name, qualifier, count, modified) VALUES (?1, ?2, ?3, ?4)";
    catalogue.execute(sql, params![name.as_str(), text, count, Timestamp::now().micros()])?;
    Ok(())
}

/// Of one function, or of all.
pub(super) fn read(catalogue: &Connection, name: Option<&FunctionName>) -> Result<Vec<Provisioned>, StoreError> {
    let sql = "SELECT name, qualifier, count, modified FROM provisioned WHERE ?1 IS NULL OR name = ?1
        ORDER BY name, qualifier";
    let mut query = catalogue.prepare(sql)?;
    let mut rows = query.query(params![name.map(FunctionName::as_str)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Provisioned {
            function: FunctionName::try_from(row.get::<_, String>(0)?).map_err(|error| damaged(&error))?,
            qualifier: row.get::<_, String>(1)?.parse().map_err(|error: model::InvalidId| damaged(&error))?,
            count: row.get(2)?,
            modified: Timestamp(row.get(3)?),
        });
    }
    Ok(found)
}
