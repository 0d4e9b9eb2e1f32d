//! The span of one call: begun by the door, ended by the engine, and handed on when both have let go of it. A call that has no
//! record has no span.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};

use super::{Context, SpanId, TraceId};
use crate::record::Record;
use crate::time::Timestamp;

/// Takes the spans of calls that ended.
pub trait Spans: Send + Sync {
    /// In the middle of a call: must neither block nor fail.
    fn put(&self, span: Finished);
}

/// What led to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody who waits for the answer.
    Call,
    /// An event that was kept: its `attempt`-th run, counted from 1.
    Event {
        attempt: u32,
        /// When it was made.
        received: Timestamp,
        /// The span of its way here, which all its runs are below.
        enqueued: SpanId,
        trigger: Trigger,
    },
    /// Messages that an event source brought.
    Messages,
}

/// What made an event, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A call that nobody waits for, or a destination.
    Other,
    /// A schedule.
    Timer,
    /// An event source.
    Pubsub,
}

/// The HTTP request that a call is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    pub method: String,
    /// With parameters in the place of what differs: `/orders/{id}`.
    pub route: String,
    pub path: String,
    pub scheme: &'static str,
}

/// A call that is recorded.
pub struct Call {
    id: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    state: Option<Arc<str>>,
    cause: Cause,
    http: OnceLock<Http>,
    /// 0: none.
    status: AtomicU16,
    end: OnceLock<(Record, Timestamp)>,
    spans: Arc<dyn Spans>,
}

/// A call's span, whole.
#[derive(Debug, Clone)]
pub struct Finished {
    pub id: TraceId,
    pub span: SpanId,
    /// Of an event: of its maker; its runs are below [`Cause::Event::enqueued`].
    pub parent: Option<SpanId>,
    pub state: Option<Arc<str>>,
    pub cause: Cause,
    pub http: Option<Http>,
    /// What was answered over HTTP.
    pub status: Option<u16>,
    pub record: Record,
    pub ended: Timestamp,
}

// === impl Call ===

impl Call {
    pub(super) fn new(said: &Context, span: SpanId, cause: Cause, spans: Arc<dyn Spans>) -> Self {
        Self {
            id: said.id,
            span,
            parent: said.parent,
            state: said.state.clone(),
            cause,
            http: OnceLock::new(),
            status: AtomicU16::new(0),
            end: OnceLock::new(),
            spans,
        }
    }

    /// The request that it is. What was said first stays.
    pub fn is_http(&self, http: Http) {
        let _ = self.http.set(http);
    }

    pub fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, record: Record, now: Timestamp) {
        let _ = self.end.set((record, now));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some((record, ended)) = self.end.take() else { return };
        self.spans.put(Finished {
            id: self.id,
            span: self.span,
            parent: self.parent,
            state: self.state.take(),
            cause: self.cause,
            http: self.http.take(),
            status: Some(*self.status.get_mut()).filter(|status| *status != 0),
            record,
            ended,
        });
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).field("span", &self.span).finish_non_exhaustive()
    }
}

// === impl Trigger ===

impl Trigger {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Timer => "timer",
            Self::Pubsub => "pubsub",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "timer" => Self::Timer,
            "pubsub" => Self::Pubsub,
            _ => Self::Other,
        }
    }
}
