//! Keys that callers of routes show: made and removed by those who manage them, kept as hashes.

use async_trait::async_trait;
use model::{FunctionName, RoutePattern, SecretName, Timestamp};

use crate::StoreError;

/// An API key, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name, for people; as secrets are named.
    pub name: SecretName,
    pub sha256: [u8; 32],
    /// Where it is valid: routes of these functions, and these routes; with neither, everywhere.
    pub functions: Vec<FunctionName>,
    pub routes: Vec<RoutePattern>,
    pub created: Timestamp,
}

/// API keys. Every write is durable when its future resolves, and counted by [`crate::Functions::changes`].
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Keeps a new one; refused where its name is taken.
    async fn add_api_key(&self, key: ApiKey) -> Result<(), StoreError>;

    /// All of them by name.
    async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    async fn remove_api_key(&self, name: &SecretName) -> Result<(), StoreError>;
}

// === impl ApiKey ===

impl ApiKey {
    /// Whether it is valid on this route of that function.
    pub fn fits(&self, function: &FunctionName, route: &RoutePattern) -> bool {
        let everywhere = self.functions.is_empty() && self.routes.is_empty();
        everywhere || self.functions.contains(function) || self.routes.contains(route)
    }
}
