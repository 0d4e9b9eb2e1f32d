//! What clients of AWS Lambda's API say of a function that means nothing here but to them: kept, and given back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Kept for AWS's tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsNotes {
    /// The ARN of its execution role. Hearth gives functions no AWS credentials.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// X-Ray's `Active`, instead of `PassThrough`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub active_tracing: bool,
    /// Whether somebody configured its asynchronous events; also where what was said is what is usual.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub events_configured: bool,
    /// Whether somebody reserved concurrency for it; also where that is as much as is usual.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub concurrency_reserved: bool,
    /// Its own lines are JSON, of this level at least: what its runtime is told. None: text, as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_logs: Option<String>,
}

impl AwsNotes {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Without what is said of a function as a whole, and of none of its versions.
    pub fn of_version(&self) -> Self {
        let Self { role, tags: _, active_tracing, events_configured: _, concurrency_reserved: _, json_logs } = self;
        let (role, json_logs) = (role.clone(), json_logs.clone());
        Self { role, active_tracing: *active_tracing, json_logs, ..Self::default() }
    }
}
