//! How the answers of an event function reach those who call it over HTTP.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

/// AWS's `InvokeMode` of a function URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvokeMode {
    /// Whole, as the result of the handler says.
    #[default]
    Buffered,
    /// As the function writes them, if it does.
    Stream,
}

// === impl InvokeMode ===

impl InvokeMode {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// As hearth.toml and Hearth's API have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Stream => "stream",
        }
    }

    /// As AWS has it.
    pub fn as_aws(self) -> &'static str {
        match self {
            Self::Buffered => "BUFFERED",
            Self::Stream => "RESPONSE_STREAM",
        }
    }
}

impl fmt::Display for InvokeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for InvokeMode {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let found = [Self::Buffered, Self::Stream].into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| {
            let given = text.chars().take(40).collect();
            InvalidId { what: "invoke mode", given, expected: "buffered or stream" }
        })
    }
}
