//! Provisioned concurrency: instances of a version, or of what an alias leads to, that are kept ready.

use async_trait::async_trait;
use model::{FunctionName, Qualifier, Timestamp};

use crate::StoreError;

/// So many instances shall be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    pub function: FunctionName,
    /// A version or an alias, never `$LATEST`.
    pub qualifier: Qualifier,
    pub count: u32,
    pub modified: Timestamp,
}

/// What is kept ready. Every write is durable when its future resolves, and counted by [`crate::Functions::changes`].
#[async_trait]
pub trait Provisions: Send + Sync {
    /// Of one function, by qualifier.
    async fn provisioned(&self, name: &FunctionName) -> Result<Vec<Provisioned>, StoreError>;

    /// Sets how many, or none. The version or alias must be there, and takes it along when it goes.
    async fn provision(&self, name: &FunctionName, qualifier: &Qualifier, count: Option<u32>)
    -> Result<(), StoreError>;
}
