//! Canaries in the catalogue: at most one for each function, and its end.

use model::{Canary, CanaryEnd, Function, FunctionName, Revision, Timestamp};
use rusqlite::{Connection, Row, params};

use super::functions::{self, damaged};
use super::history::{self, Told};
use crate::StoreError;
use crate::versions::Deed;

const SELECT: &str = "SELECT name, stable, revision, version, rules, since FROM canaries";

pub(super) fn all(catalogue: &Connection) -> Result<Vec<Canary>, StoreError> {
    read(catalogue, &format!("{SELECT} ORDER BY name"), [])
}

pub(super) fn find(catalogue: &Connection, name: &FunctionName) -> Result<Option<Canary>, StoreError> {
    Ok(read(catalogue, &format!("{SELECT} WHERE name = ?1"), [name.as_str()])?.pop())
}

fn read(catalogue: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Canary>, StoreError> {
    type Numbers = (String, i64, i64, i64, String, i64);
    let row = |row: &Row<'_>| -> rusqlite::Result<Numbers> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    };
    let mut query = catalogue.prepare(sql)?;
    let found: Vec<Numbers> = query.query_map(params, row)?.collect::<Result<_, _>>()?;
    let one = |(name, stable, revision, version, rules, since): Numbers| {
        let function = FunctionName::try_from(name).map_err(|error| damaged(&error))?;
        let stable = functions::kept(catalogue, &function, Revision(stable as u64))?;
        Ok(Canary {
            stable: stable
                .ok_or_else(|| damaged(&format_args!("a canary of {function} without what served before")))?,
            function,
            revision: Revision(revision as u64),
            version: version as u64,
            rules: serde_json::from_str(&rules).map_err(|error| damaged(&error))?,
            since: Timestamp(since),
        })
    };
    found.into_iter().map(one).collect()
}

/// Begins one, of what is in the catalogue already.
pub(super) fn begin(catalogue: &Connection, canary: &Canary, by: &str, current: &Function) -> Result<(), StoreError> {
    let rules = serde_json::to_string(&canary.rules).map_err(|error| damaged(&error))?;
    let sql = "INSERT INTO canaries (name, stable, revision, version, rules, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (stable, revision) = (canary.stable.revision.0 as i64, canary.revision.0 as i64);
    let (name, version, since) = (canary.function.as_str(), canary.version as i64, canary.since.micros());
    catalogue.execute(sql, params![name, stable, revision, version, rules, since])?;
    let text = format!(
        "revision {} (version {version}) gets {} of the calls for {}, revision {} the rest",
        canary.revision,
        canary.rules.weight,
        model::show_duration(canary.rules.lasts),
        canary.stable.revision
    );
    history::tell(catalogue, Told::of(current, by, Deed::CanaryBegun).text(text))
}

pub(super) fn end(
    catalogue: &Connection,
    kept: u32,
    name: &FunctionName,
    revision: Revision,
    end: CanaryEnd,
    why: &str,
    by: &str,
) -> Result<Function, StoreError> {
    let current = functions::current(catalogue, name)?;
    let canary = find(catalogue, name)?.filter(|canary| canary.revision == revision);
    let canary = canary.ok_or_else(|| StoreError::NoCanary(name.clone()))?;
    catalogue.execute("DELETE FROM canaries WHERE name = ?1", [name.as_str()])?;
    match end {
        CanaryEnd::Promoted => {
            history::tell(catalogue, Told::of(&current, by, Deed::CanaryPromoted).text(why.to_owned()))?;
            Ok(current)
        }
        CanaryEnd::RolledBack => {
            let Canary { stable, .. } = canary;
            let changes = model::changes(&current, &stable);
            let text = format!("to what revision {} was: {why}", stable.revision);
            let function = functions::write(catalogue, stable.spec, stable.code, stable.code_size, kept)?;
            let told = Told::of(&function, by, Deed::CanaryRolledBack).text(text).changes(changes);
            history::tell(catalogue, told)?;
            Ok(function)
        }
    }
}
