//! Secrets: set by those who manage them, read by nobody but who makes instances. Two traits, so that what serves an API
//! cannot read a value even by mistake.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use model::{SecretName, SecretValue, Timestamp};

use crate::StoreError;

/// A secret, without what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    pub name: SecretName,
    pub created: Timestamp,
    /// When its value was last set.
    pub modified: Timestamp,
}

/// What a change of the key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    /// Names the key that holds now.
    pub key: String,
    /// Values that were sealed anew.
    pub secrets: usize,
}

/// Secrets, for those who manage them. Every write is durable when its future resolves, and counted by
/// [`crate::Functions::changes`].
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Makes a secret, or gives it another value. True: it is new.
    async fn set_secret(&self, name: SecretName, value: SecretValue) -> Result<(SecretInfo, bool), StoreError>;

    /// All of them by name.
    async fn secrets(&self) -> Result<Vec<SecretInfo>, StoreError>;

    /// Removes one. Refused while the current revision of a function refers to it, unless `even_used`.
    async fn remove_secret(&self, name: &SecretName, even_used: bool) -> Result<(), StoreError>;

    /// Seals every value with a new key, and forgets the old ones. What an interrupted one leaves can be opened.
    async fn rotate_key(&self) -> Result<KeyRotation, StoreError>;
}

/// What secrets hold, for whoever makes instances.
#[async_trait]
pub trait SecretValues: Send + Sync {
    /// All secrets. The number changes whenever the value does, also of one that was removed and made again.
    async fn secret_versions(&self) -> Result<BTreeMap<SecretName, u64>, StoreError>;

    /// Those of `names` that are there.
    async fn reveal(&self, names: BTreeSet<SecretName>) -> Result<BTreeMap<SecretName, SecretValue>, StoreError>;
}
