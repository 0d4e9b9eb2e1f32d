//! A function's rules for its asynchronous events, as they are written and shown.

use std::time::Duration;

use model::{AsyncRules, Target, show_duration};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::write::{said, set, time_text};

/// What becomes of events that nobody waits for, as far as it is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AsyncWrite {
    /// How often an event is run again after the function failed, 0 to 10; default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Before the first of them; the n-th waits n times as long; default 1m.
    #[schema(value_type = Option<String>, example = "1m")]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub retry_delay: Option<Duration>,
    /// An event that could not be run within this time is given up, 1s to 14d; default 6h.
    #[schema(value_type = Option<String>, example = "6h")]
    #[serde(skip_serializing_if = "Option::is_none", with = "time_text")]
    pub max_age: Option<Duration>,
    /// The function that gets AWS's invocation record of each event that went well, or the message queue, `queue:NAME`;
    /// null: none, the default.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub on_success: Option<Option<Target>>,
    /// The same of each event that was given up.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub on_failure: Option<Option<Target>>,
    /// Whether events that were given up are kept, to be looked at and run again; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<bool>,
}

/// What becomes of events that nobody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsyncView {
    pub retries: u32,
    #[schema(example = "1m")]
    pub retry_delay: String,
    #[schema(example = "6h")]
    pub max_age: String,
    pub on_success: Option<String>,
    pub on_failure: Option<String>,
    pub dead_letter: bool,
}

// === impl AsyncWrite ===

impl AsyncWrite {
    pub(crate) fn apply(self, rules: &mut AsyncRules) {
        let Self { retries, retry_delay, max_age, on_success, on_failure, dead_letter } = self;
        set(&mut rules.retries, retries);
        set(&mut rules.retry_delay, retry_delay);
        set(&mut rules.max_age, max_age);
        set(&mut rules.on_success, on_success);
        set(&mut rules.on_failure, on_failure);
        set(&mut rules.dead_letter, dead_letter);
    }
}

impl From<AsyncRules> for AsyncView {
    fn from(rules: AsyncRules) -> Self {
        let AsyncRules { retries, retry_delay, max_age, on_success, on_failure, dead_letter } = rules;
        Self {
            retries,
            retry_delay: show_duration(retry_delay),
            max_age: show_duration(max_age),
            on_success: on_success.map(String::from),
            on_failure: on_failure.map(String::from),
            dead_letter,
        }
    }
}

impl Default for AsyncView {
    fn default() -> Self {
        AsyncRules::default().into()
    }
}
