//! What the services beside Lambda keep: small records of their own form, and the bytes of objects.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use model::{FunctionName, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StoreError;

/// The kind of records that hold [`OwnSchedules`], beside whatever else: [`crate::Functions::changes`] counts their changes
/// too.
pub const SCHEDULES: &str = "schedule";

/// What [`crate::Functions::own_schedules`] reads of such a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSchedules {
    pub schedules: Vec<OwnSchedule>,
}

/// A schedule that belongs to no function's manifest, but was made through an API of AWS's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSchedule {
    pub function: FunctionName,
    /// Its name holds a colon, so that it is none of the function's own.
    pub schedule: Schedule,
    /// Whether it ticks.
    pub enabled: bool,
}

/// Records by kind and name. Every write is durable when its future resolves, and whole.
#[async_trait]
pub trait Companions: Send + Sync {
    async fn record(&self, kind: &'static str, name: &str) -> Result<Option<Value>, StoreError>;

    /// Those whose names begin with `prefix` and come behind `after` (empty: from the first), by name, at most `limit`.
    async fn records(
        &self,
        kind: &'static str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StoreError>;

    /// Makes a record of nothing, another one of it, or nothing: only if it is `old` at that moment. False if it is not.
    async fn swap(
        &self,
        kind: &'static str,
        name: &str,
        old: Option<Value>,
        new: Option<Value>,
    ) -> Result<bool, StoreError>;
}

/// Bytes that a record refers to by the member `object` of its body. Those that none refers to are removed when the store
/// is opened.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Keeps bytes under a new id. Durable when it resolves.
    async fn keep(&self, bytes: Bytes) -> Result<String, StoreError>;

    /// Keeps what these hold, one after another, under a new id. They stay.
    async fn join(&self, ids: Vec<String>) -> Result<String, StoreError>;

    /// At most `length` bytes from there on.
    async fn read_object(&self, id: &str, from: u64, length: usize) -> Result<Bytes, StoreError>;

    /// Removes them, those that are there.
    async fn discard(&self, ids: Vec<String>);
}

/// The ids that records refer to.
pub(crate) type Referred = BTreeSet<String>;
