//! What is remembered of event sources: which are paused, and what those that look at things that stay have seen.

use async_trait::async_trait;
use model::FunctionName;

use crate::StoreError;
use crate::queue::NewEvent;

/// A source's name: its function's and its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName {
    pub function: FunctionName,
    pub source: String,
}

/// Something that a source has seen, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub key: String,
    pub value: String,
}

/// What became of the event that was made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkState {
    Kept,
    Done,
    GivenUp,
}

/// An event, and what it is made of.
#[derive(Debug, Clone)]
pub struct Batch {
    pub event: NewEvent,
    pub marks: Vec<Mark>,
}

/// Sources. What one has seen is remembered in the transaction that keeps the event, so that it is made once.
#[async_trait]
pub trait Sources: Send + Sync {
    /// All sources that there are: others are forgotten, with what they have seen. Returns those that are paused.
    async fn know_sources(&self, all: Vec<SourceName>) -> Result<Vec<SourceName>, StoreError>;

    /// False if it is not known.
    async fn pause_source(&self, name: SourceName, paused: bool) -> Result<bool, StoreError>;

    /// Keeps events, all or none, and remembers their marks. Durable when it resolves. A mark that is there already in the
    /// same form takes no event: nothing of its batch is kept.
    async fn take(&self, name: SourceName, batches: Vec<Batch>) -> Result<(), StoreError>;

    async fn marks(&self, name: SourceName) -> Result<Vec<(Mark, MarkState)>, StoreError>;

    async fn forget_marks(&self, name: SourceName, keys: Vec<String>) -> Result<(), StoreError>;
}
