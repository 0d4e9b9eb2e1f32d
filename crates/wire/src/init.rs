//! The JSON body of INIT: all that a bootstrap learns before it loads function code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The body of INIT. Unknown members are ignored, so that a newer host can say more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    pub handler: String,
    pub task_root: String,
    /// The whole environment that the function sees beyond what the process was started with.
    pub env: BTreeMap<String, String>,
    pub function: InitFunction,
}

/// The function as its context object shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFunction {
    pub name: String,
    pub version: String,
    pub arn: String,
    pub memory_mb: u32,
    pub timeout_ms: u64,
    pub log_group: String,
    pub log_stream: String,
}
