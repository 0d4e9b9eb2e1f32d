//! A message queue as a function's event source; AWS calls it an event source mapping.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::function::duration_text;
use crate::id::QueueName;
use crate::pattern::EventPattern;
use crate::version::Qualifier;

/// Patterns of one queue source: AWS Lambda's, once they are asked to raise it.
pub const MAX_FILTERS: usize = 10;

/// What a record of a queue has at its top, and so what patterns may name there.
const RECORD: [&str; 9] = [
    "messageId",
    "receiptHandle",
    "body",
    "attributes",
    "messageAttributes",
    "md5OfBody",
    "eventSource",
    "eventSourceARN",
    "awsRegion",
];

/// Messages of a queue, in batches that the function takes whole or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSource {
    /// The queue's.
    pub name: QueueName,
    /// Messages of one call, at most.
    #[serde(default = "ten")]
    pub batch: u32,
    /// How long a batch may wait for more.
    #[serde(default, with = "duration_text")]
    pub window: Duration,
    /// Batches that the function has at once, at most; none: as [`QueueSource::concurrency`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Whether anything is taken from the queue.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Whether the function may name those messages of a batch that failed.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub partial: bool,
    /// Only messages whose record one of these wants; all others are deleted. None: all are wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<EventPattern>,
    /// The version or alias that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<Qualifier>,
    /// AWS's tools keep them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}
fn is_yes(is: &bool) -> bool {
    *is
}
fn ten() -> u32 {
    10
}

// === impl QueueSource ===

impl QueueSource {
    /// A queue's, with the defaults.
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            batch: ten(),
            window: Duration::ZERO,
            concurrency: None,
            enabled: true,
            partial: true,
            filters: Vec::new(),
            qualifier: None,
            tags: BTreeMap::new(),
        }
    }

    /// Batches that the function has at once, at most.
    pub fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(5)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let concurrency = self.concurrency();
        if !(1..=1000).contains(&concurrency) {
            return Err(format!("concurrency = {concurrency} is out of range: expected 1 to 1000"));
        }
        if self.filters.len() > MAX_FILTERS {
            return Err(format!("{} filters: at most {MAX_FILTERS} are allowed", self.filters.len()));
        }
        match self.filters.iter().flat_map(EventPattern::fields).find(|field| !RECORD.contains(field)) {
            Some(field) => {
                let field: String = field.chars().take(80).collect();
                Err(format!("filters: a record has no {field:?}: expected one of {}", RECORD.join(", ")))
            }
            None => Ok(()),
        }
    }
}
