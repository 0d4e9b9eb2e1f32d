//! API tokens: made and revoked by those who manage them, kept as hashes.

use async_trait::async_trait;
use model::{SecretName, Timestamp, TokenId};

use crate::StoreError;

/// A token, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    pub id: TokenId,
    /// For people; as secrets are named.
    pub name: SecretName,
    pub sha256: [u8; 32],
    /// What it lets its holder do, in words that only those above read.
    pub scopes: Vec<String>,
    pub created: Timestamp,
    /// From then on it is worth nothing.
    pub expires: Option<Timestamp>,
    pub last_used: Option<Timestamp>,
    /// The access key of AWS's kind that goes with it.
    pub access_key_id: Option<String>,
    /// Whether it is the installation's own, of the file in the data directory.
    pub own: bool,
}

/// Secrets of the installation itself. Every write is durable when its future resolves.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Keeps a new one; refused where its name is taken. The installation's own takes the place of the one before.
    async fn add_token(&self, token: StoredToken) -> Result<(), StoreError>;

    /// All of them by name, expired ones as well.
    async fn tokens(&self) -> Result<Vec<StoredToken>, StoreError>;

    /// Removes one; the installation's own is not removed so.
    async fn remove_token(&self, id: &TokenId) -> Result<(), StoreError>;

    /// When they were last used. One that is not there any more is passed over.
    async fn tokens_used(&self, used: Vec<(TokenId, Timestamp)>) -> Result<(), StoreError>;
}
