//! No two functions answer the same route. Looked at in the transaction that writes a function, so that of two deploys
//! at once one is refused.

use model::FunctionSpec;
use rusqlite::Connection;

use super::functions::damaged;
use crate::StoreError;

/// Refuses a function that declares a route of another one's.
pub(super) fn require_free(catalogue: &Connection, spec: &FunctionSpec) -> Result<(), StoreError> {
    if spec.routes.is_empty() {
        return Ok(());
    }
    // Only specifications with routes are read whole; the pattern may find too many, never too few.
    let sql = "SELECT r.spec FROM functions f JOIN revisions r ON r.name = f.name AND r.revision = f.revision
        WHERE f.name <> ?1 AND r.spec LIKE '%\"http\":[%' ORDER BY f.name";
    let mut query = catalogue.prepare(sql)?;
    let specs = query.query_map([spec.name.as_str()], |row| row.get::<_, String>(0))?;
    for other in specs {
        let other: FunctionSpec = serde_json::from_str(&other?).map_err(|error| damaged(&error))?;
        for route in &spec.routes {
            if let Some(taken) = other.routes.iter().find(|taken| taken.route.collides(&route.route)) {
                let (route, taken) = (route.route.to_string(), taken.route.to_string());
                return Err(StoreError::RouteTaken { route, function: other.name, taken });
            }
        }
    }
    Ok(())
}
