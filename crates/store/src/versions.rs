//! Versions, aliases, canaries and the history of a function: what is promised of them, whatever keeps them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::{
    Alias, AliasName, Canary, CanaryEnd, CanaryRules, Change, CodeHash, EnvValue, Function, FunctionName, FunctionSpec,
    PublishedVersion, Revision, Timestamp, Version, Weight,
};
use serde::{Deserialize, Serialize};

use crate::{Provisioned, StoreError};

/// A new revision of a function, and who makes it.
#[derive(Debug, Clone)]
pub struct Deploy {
    /// Must have passed `validate`.
    pub spec: FunctionSpec,
    pub code: CodeHash,
    /// Only if the function is at that revision; 0: does not exist.
    pub expect: Option<u64>,
    pub by: String,
    pub how: How,
}

/// How a new revision comes in.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// It gets all calls.
    Deploy,
    /// It is what an earlier revision was.
    RollBack { to: Revision },
    /// It is published, and gets a share of the calls until it is judged. The rules must have passed `validate`.
    Canary(CanaryRules),
}

/// What is to be published.
#[derive(Debug, Clone, Default)]
pub struct Publish {
    /// None: the function's own.
    pub description: Option<String>,
    /// Only if the function is at that revision.
    pub expect: Option<u64>,
    /// Only if that is its code.
    pub code: Option<CodeHash>,
}

/// What an alias shall be, as far as it is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AliasChange {
    /// Needed to make one.
    pub version: Option<Version>,
    pub description: Option<String>,
    /// None: as it is, but nothing where `version` is said.
    pub second: Option<Option<(u64, Weight)>>,
    /// Variables of its own that are set or, with none, removed; the others stay.
    pub env: BTreeMap<String, Option<EnvValue>>,
    /// Only if the alias is at that revision; 0: does not exist.
    pub expect: Option<u64>,
}

/// Versions, aliases and canaries of all functions, of one moment.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// The functions at that moment; none: the store cannot tell, and they are listed by themselves.
    pub functions: Option<Vec<Function>>,
    pub versions: Vec<PublishedVersion>,
    pub aliases: Vec<Alias>,
    pub canaries: Vec<Canary>,
    pub provisioned: Vec<Provisioned>,
}

/// What was done to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// New code, or a new function.
    Deployed,
    /// Settings only.
    Configured,
    RolledBack,
    Removed,
    Published,
    VersionRemoved,
    AliasSet,
    AliasRemoved,
    CanaryBegun,
    CanaryPromoted,
    CanaryRolledBack,
}

/// One entry of a function's history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    pub at: Timestamp,
    pub by: String,
    pub deed: Deed,
    /// Of the function after it.
    pub revision: Revision,
    /// In words, where there is more to say than the deed: the alias, the reason.
    pub text: String,
    /// Against the revision before.
    pub changes: Vec<Change>,
}

/// Writes are durable when they resolve, whole, and kept in the function's history. While a canary runs the function
/// takes no other deploy.
#[async_trait]
pub trait Versions: Send + Sync {
    /// As [`crate::Functions::put`].
    async fn deploy(&self, deploy: Deploy) -> Result<Function, StoreError>;

    /// As [`crate::Functions::delete`]. Its versions and aliases go with it; their numbers are not given again.
    async fn remove(&self, name: &FunctionName, by: &str) -> Result<(), StoreError>;

    /// Makes what `$LATEST` is a version. The newest one again, and false, if nothing changed since.
    async fn publish(
        &self,
        name: &FunctionName,
        publish: Publish,
        by: &str,
    ) -> Result<(PublishedVersion, bool), StoreError>;

    /// A function's versions, oldest first.
    async fn versions(&self, name: &FunctionName) -> Result<Vec<PublishedVersion>, StoreError>;

    /// Refused while an alias or a canary needs it.
    async fn remove_version(&self, name: &FunctionName, version: u64, by: &str) -> Result<(), StoreError>;

    /// A function's aliases by name.
    async fn aliases(&self, name: &FunctionName) -> Result<Vec<Alias>, StoreError>;

    /// Makes or changes one; true: it was made.
    async fn set_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        change: AliasChange,
        by: &str,
    ) -> Result<(Alias, bool), StoreError>;

    async fn remove_alias(&self, name: &FunctionName, alias: &AliasName, by: &str) -> Result<(), StoreError>;

    /// The last revisions are kept, and those that versions and canaries are of.
    async fn revision(&self, name: &FunctionName, revision: Revision) -> Result<Function, StoreError>;

    /// What was done to a function, newest first; of a function that is gone too.
    async fn history_of(&self, name: &FunctionName, limit: usize) -> Result<Vec<HistoryEntry>, StoreError>;

    /// The canaries that run.
    async fn canaries(&self) -> Result<Vec<Canary>, StoreError>;

    /// Ends the canary of that revision: it gets all calls, or a new revision does that is what served before.
    async fn end_canary(
        &self,
        name: &FunctionName,
        revision: Revision,
        end: CanaryEnd,
        why: &str,
        by: &str,
    ) -> Result<Function, StoreError>;
}
