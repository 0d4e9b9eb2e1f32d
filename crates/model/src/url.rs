//! What holds at a function's own URL: who may call it, and what browsers are told.

use serde::{Deserialize, Serialize};

use crate::route::Cors;

/// Who may call a function's own URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UrlAuth {
    /// Whoever reaches the ingress.
    #[default]
    None,
    /// Whoever signs with an access key of Hearth's (AWS Signature Version 4, service `lambda`).
    AwsIam,
}

/// The rules of a URL. Those of what is deployed now hold for every version's URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UrlRules {
    pub auth: UrlAuth,
    /// In the place of what the function itself says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

// === impl UrlRules ===

impl UrlRules {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub fn validate(&self) -> Result<(), String> {
        self.cors.as_ref().map_or(Ok(()), Cors::check).map_err(|why| format!("url_rules: cors: {why}"))
    }
}
