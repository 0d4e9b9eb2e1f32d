//! What a web function's server takes requests in. What the caller speaks is another matter.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebProtocol {
    #[default]
    Http1,
    /// HTTP/2 in clear, by prior knowledge, as gRPC servers do.
    H2c,
}

// === impl WebProtocol ===

impl WebProtocol {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for WebProtocol {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "http1" => Ok(Self::Http1),
            "h2c" => Ok(Self::H2c),
            _ => {
                let given = text.chars().take(40).collect();
                Err(InvalidId { what: "protocol", given, expected: "http1 or h2c" })
            }
        }
    }
}
