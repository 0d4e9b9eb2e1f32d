//! Comparisons and prices in the catalogue.

use async_trait::async_trait;
use model::{ComparisonId, FunctionName, Prices, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::functions::damaged;
use crate::{Comparisons, StoreError, StoredComparison};

/// Comparisons of each function that are kept.
const KEPT: u32 = 20;

const SELECT: &str = "SELECT id, name, begun, body FROM comparisons";

#[async_trait]
impl Comparisons for SqliteStore {
    async fn keep(&self, comparison: StoredComparison) -> Result<(), StoreError> {
        let keep = move |catalogue: &Connection| {
            let StoredComparison { id, function, begun, body } = comparison;
            let name = function.as_str();
            // Its function may be gone by now, and it with it.
            let sql = "INSERT INTO comparisons (id, name, begun, body) SELECT ?1, name, ?3, ?4 FROM functions WHERE name = ?2";
            if catalogue.execute(sql, params![id.to_string(), name, begun.micros(), body])? == 0 {
                return Err(StoreError::NoSuchFunction(function));
            }
            let prune = "DELETE FROM comparisons WHERE name = ?1 AND id NOT IN
                (SELECT id FROM comparisons WHERE name = ?1 ORDER BY begun DESC, rowid DESC LIMIT ?2)";
            catalogue.execute(prune, params![name, KEPT])?;
            Ok(())
        };
        self.writer.write(keep, || {}).await
    }

    async fn comparison(&self, id: ComparisonId) -> Result<Option<StoredComparison>, StoreError> {
        let comparison = move |catalogue: &Connection| {
            let sql = format!("{SELECT} WHERE id = ?1");
            let found = catalogue.prepare(&sql)?.query_row([id.to_string()], raw).optional()?;
            found.map(parse).transpose()
        };
        self.readers.read(comparison).await
    }

    async fn comparisons(&self, function: &FunctionName) -> Result<Vec<StoredComparison>, StoreError> {
        let function = function.clone();
        let comparisons = move |catalogue: &Connection| {
            let sql = format!("{SELECT} WHERE name = ?1 ORDER BY begun DESC, rowid DESC");
            let mut query = catalogue.prepare(&sql)?;
            query.query_map([function.as_str()], raw)?.map(|row| parse(row?)).collect()
        };
        self.readers.read(comparisons).await
    }

    async fn prices(&self) -> Result<Option<Prices>, StoreError> {
        let prices = |catalogue: &Connection| {
            let mut query = catalogue.prepare("SELECT prices FROM prices")?;
            let found: Option<String> = query.query_row([], |row| row.get(0)).optional()?;
            found.map(|text| serde_json::from_str(&text).map_err(|error| damaged(&error))).transpose()
        };
        self.readers.read(prices).await
    }

    async fn set_prices(&self, prices: Prices) -> Result<(), StoreError> {
        let set = move |catalogue: &Connection| {
            let json = serde_json::to_string(&prices).map_err(|error| damaged(&error))?;
            let sql = "INSERT INTO prices (one, prices) VALUES (1, ?1)
                ON CONFLICT (one) DO UPDATE SET prices = excluded.prices";
            catalogue.execute(sql, params![json])?;
            Ok(())
        };
        self.writer.write(set, || {}).await
    }
}

type Raw = (String, String, i64, String);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn parse((id, function, begun, body): Raw) -> Result<StoredComparison, StoreError> {
    Ok(StoredComparison {
        id: id.parse().map_err(|error| damaged(&error))?,
        function: function.try_into().map_err(|error| damaged(&error))?,
        begun: Timestamp(begun),
        body,
    })
}
