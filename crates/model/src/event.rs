//! What becomes of events that nobody waits for: how often they are tried, how long, and who hears of the end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::function::{InvalidSpec, duration_text};
use crate::quantity::show_duration;
use crate::source::Target;

/// Longest event of an asynchronous invocation, bytes: AWS Lambda's 1 MB.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A function's rules for its asynchronous events; the defaults are AWS Lambda's, but that nothing is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AsyncRules {
    /// How often an event is run again after the function failed, 0 to 10.
    pub retries: u32,
    /// Before the first of them; the n-th waits n times as long: 1 and 2 minutes by default.
    #[serde(with = "duration_text")]
    pub retry_delay: Duration,
    /// An event that could not be run within this time is given up, 1 s to 14 days.
    #[serde(with = "duration_text")]
    pub max_age: Duration,
    /// The function or message queue that gets AWS's invocation record of each event that went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Target>,
    /// The function or message queue that gets AWS's invocation record of each event that was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Target>,
    /// Whether events that were given up are kept, to be looked at and run again.
    pub dead_letter: bool,
}

// === impl AsyncRules ===

impl Default for AsyncRules {
    fn default() -> Self {
        Self {
            retries: 2,
            retry_delay: Duration::from_secs(60),
            max_age: Duration::from_secs(6 * 3600),
            on_success: None,
            on_failure: None,
            dead_letter: true,
        }
    }
}

impl AsyncRules {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidSpec> {
        let range = |key, ok, given: String, expected| {
            if ok { Ok(()) } else { Err(InvalidSpec::OutOfRange { key, given, expected }) }
        };
        range("async.retries", self.retries <= 10, self.retries.to_string(), "0 to 10")?;
        let (delay, age) = (self.retry_delay, self.max_age);
        let fits = delay >= Duration::from_millis(10) && delay <= Duration::from_secs(86_400);
        range("async.retry-delay", fits, show_duration(delay), "10ms to 1d")?;
        let fits = age >= Duration::from_secs(1) && age <= Duration::from_secs(14 * 86_400);
        range("async.max-age", fits, show_duration(age), "1s to 14d")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_what_is_out_of_range() {
        let rules = AsyncRules { on_failure: Some("f".parse().unwrap()), ..AsyncRules::default() };
        let text = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<AsyncRules>(&text).unwrap(), rules);
        assert_eq!(serde_json::from_str::<AsyncRules>("{}").unwrap(), AsyncRules::default());
        assert_eq!(rules.validate(), Ok(()));
        let said = |rules: AsyncRules| rules.validate().unwrap_err().to_string();
        assert!(said(AsyncRules { retries: 11, ..rules.clone() }).contains("async.retries = 11"));
        assert!(said(AsyncRules { max_age: Duration::ZERO, ..rules.clone() }).contains("async.max-age"));
        assert!(said(AsyncRules { retry_delay: Duration::ZERO, ..rules }).contains("async.retry-delay"));
    }
}
