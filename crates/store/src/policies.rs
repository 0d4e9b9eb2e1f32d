//! Resource policies: statements of who may use a function or a layer, as AWS's tools write and read them. Kept, and asked
//! by nobody here.

use async_trait::async_trait;
use model::{FunctionName, LayerName};
use serde_json::Value;

use crate::StoreError;

/// What a policy is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// With the qualifier that it was given for: a version, an alias, or none.
    Function(FunctionName, Option<String>),
    Layer(LayerName, u64),
}

/// A policy. It goes with what it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Objects, each with a `Sid` of its own; at least one.
    pub statements: Vec<Value>,
    /// Never the same for two policies.
    pub revision: String,
}

/// Policies. Every write is durable when its future resolves.
#[async_trait]
pub trait Policies: Send + Sync {
    async fn policy(&self, of: &Subject) -> Result<Option<Policy>, StoreError>;

    /// Puts a policy, or none, in the place of the one of that revision (none: of no policy). False: another one is there.
    async fn replace_policy(
        &self,
        of: &Subject,
        revision: Option<String>,
        by: Option<Policy>,
    ) -> Result<bool, StoreError>;
}
