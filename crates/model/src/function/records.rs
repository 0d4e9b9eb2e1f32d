//! What is kept of a function's calls beside their records.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidId;
use crate::record::RecordOutcome;

/// `[records]` of a function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordRules {
    pub payloads: KeepPayloads,
}

/// Of which calls the event and the answer are kept. They may hold whatever callers send, so nobody's are unless a
/// function says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepPayloads {
    #[default]
    None,
    /// Those that failed.
    Errors,
    All,
}

// === impl RecordRules ===

impl RecordRules {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

// === impl KeepPayloads ===

impl KeepPayloads {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Errors => "errors",
            Self::All => "all",
        }
    }

    /// Whether a call that ended so is among them.
    pub fn wants(self, outcome: RecordOutcome) -> bool {
        match self {
            Self::None => false,
            Self::Errors => outcome != RecordOutcome::Ok,
            Self::All => true,
        }
    }
}

impl fmt::Display for KeepPayloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeepPayloads {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let found = [Self::None, Self::Errors, Self::All].into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| {
            let given = text.chars().take(40).collect();
            InvalidId { what: "choice of payloads", given, expected: "none, errors or all" }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FaultCode;

    #[test]
    fn payloads_are_kept_of_the_calls_that_were_named() {
        let failed = RecordOutcome::Fault(FaultCode::HandlerError);
        let kept = |text: &str| {
            let choice: KeepPayloads = text.parse().unwrap();
            (choice.wants(RecordOutcome::Ok), choice.wants(failed))
        };
        assert_eq!([kept("none"), kept("errors"), kept("all")], [(false, false), (false, true), (true, true)]);
        assert!("some".parse::<KeepPayloads>().unwrap_err().to_string().contains("none, errors or all"));
    }
}
