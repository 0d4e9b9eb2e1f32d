//! The JSON body of INIT: all that a bootstrap learns before it loads function code.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The body of INIT. Unknown members are ignored, so that a newer host can say more.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    pub handler: String,
    pub task_root: String,
    /// The whole environment that the function sees beyond what the process was started with.
    pub env: BTreeMap<String, String>,
    /// Files that the bootstrap writes before any function code is loaded, for the function alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InitFile>,
    pub function: InitFunction,
}

/// A file that is made in the sandbox, by who starts the function there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFile {
    /// Absolute, below a folder that the sandbox may write to.
    pub path: String,
    /// Base64, with padding.
    pub content: String,
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

impl fmt::Debug for Init {
    /// Variables and files by name only: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Init");
        shown.field("handler", &self.handler).field("task_root", &self.task_root);
        shown.field("env", &self.env.keys().collect::<Vec<_>>()).field("files", &self.files);
        shown.field("function", &self.function).finish()
    }
}

impl fmt::Debug for InitFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ***", self.path)
    }
}
