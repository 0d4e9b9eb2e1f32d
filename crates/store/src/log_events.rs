//! Log lines as those see them who go through them by place and time: streams of instances, pages in either direction.

use async_trait::async_trait;
use model::{FunctionName, InstanceId, LogLine, Timestamp, Version};

use crate::StoreError;

/// What one instance wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    pub instance: InstanceId,
    /// That it served; `$LATEST` too where no call of it was recorded.
    pub version: Version,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Which lines of a function to read.
#[derive(Debug, Clone)]
pub struct EventsQuery {
    pub function: FunctionName,
    /// Only this one's.
    pub instance: Option<InstanceId>,
    /// Only lines from then on.
    pub from: Option<Timestamp>,
    /// Only lines until then.
    pub until: Option<Timestamp>,
    /// Only lines behind this place, oldest first; else those before `before`, newest first.
    pub after: Option<u64>,
    pub before: Option<u64>,
    pub limit: usize,
}

/// Lines with their places, which grow with every line that is written.
#[derive(Debug, Clone, Default)]
pub struct EventsPage {
    pub events: Vec<(u64, LogLine)>,
    /// Where to go on, in the same direction; none at the end. A page looks at so many lines only: it may have none, and yet
    /// the next some.
    pub next: Option<u64>,
}

#[async_trait]
pub trait LogEvents: Send + Sync {
    /// The instances whose lines are kept. Sees every line given before the call.
    async fn streams(&self, function: &FunctionName) -> Result<Vec<LogStream>, StoreError>;

    /// Whose lines are kept, and how many bytes of them.
    async fn logged_functions(&self) -> Result<Vec<(FunctionName, u64)>, StoreError>;

    /// Sees every line given before the call.
    async fn events(&self, query: EventsQuery) -> Result<EventsPage, StoreError>;
}
