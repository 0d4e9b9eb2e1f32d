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
    /// What the agent runs. Only the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// A program that speaks something else than this protocol, and is run by the agent, which does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub mode: Mode,
    /// Program and arguments. A program without a slash is looked for in the task root and then in `PATH`.
    pub command: Vec<String>,
    /// Where a web function listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path that a web function answers at once it takes requests. None: as soon as it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// The folder whose programs run beside the function's, and are told of its events: AWS Lambda's extensions. Only
    /// with [`Mode::Runtime`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
}

/// How the program is told of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It asks for them, over AWS Lambda's Runtime API.
    Runtime,
    /// It is an HTTP server.
    Web,
    /// It is run for each: the event on standard input, the result on standard output.
    Command,
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
