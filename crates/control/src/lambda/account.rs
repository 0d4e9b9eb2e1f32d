//! What the account has and may have.

use serde_json::json;

use super::{Answer, store};
use crate::Api;

/// AWS's own defaults. What is really there is this machine's memory and disk.
const CODE: u64 = 80_530_636_800;
const UNPACKED: u64 = 262_144_000;
const ZIPPED: u64 = 52_428_800;
const CONCURRENCY: u32 = 1000;

pub async fn settings(api: &Api) -> Answer {
    let functions = api.functions.list().await.map_err(store)?;
    let size: u64 = functions.iter().map(|function| function.code_size).sum();
    Ok(Some(json!({
        "AccountLimit": {
            "TotalCodeSize": CODE,
            "CodeSizeUnzipped": UNPACKED,
            "CodeSizeZipped": ZIPPED,
            "ConcurrentExecutions": CONCURRENCY,
            // Reserving takes nothing from others here: it bounds the one.
            "UnreservedConcurrentExecutions": CONCURRENCY,
        },
        "AccountUsage": {"TotalCodeSize": size, "FunctionCount": functions.len()},
    })))
}
