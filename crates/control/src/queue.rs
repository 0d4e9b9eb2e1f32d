//! The queue of asynchronous events: its numbers, its events, those that were set aside.

use axum::Json;
use axum::extract::State;
use model::{FunctionName, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::queue::{EventQuery, EventState, QueueCounts, QueuedEvent};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Params, Segment};

const DEFAULT: usize = 50;
const MOST: usize = 1000;

/// Exact numbers of a function's events since its first: at any time `enqueued` is the sum of `waiting`, `done`,
/// `failed`, `dead` and `purged`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueCountsView {
    pub function: String,
    pub enqueued: u64,
    /// Those that run among them.
    pub waiting: u64,
    pub done: u64,
    /// Given up and not kept, because the function says so.
    pub failed: u64,
    /// Given up and kept.
    pub dead: u64,
    pub purged: u64,
    /// Of the payloads that are kept.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    pub functions: Vec<QueueCountsView>,
}

/// An event in the queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Also the request id of every run of it.
    pub id: String,
    pub function: String,
    /// `waiting`, `running` or `dead`.
    #[schema(value_type = String, example = "waiting")]
    pub state: EventStateView,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub received: String,
    /// When it may run next; RFC 3339. Of a dead one nothing.
    #[schema(format = DateTime)]
    pub due: Option<String>,
    /// Runs begun.
    pub attempts: u32,
    /// Runs that the function failed.
    pub failures: u32,
    /// Runs that could not begin, one after the other.
    pub throttles: u32,
    /// Why it was given up.
    #[schema(example = "RetriesExhausted")]
    pub condition: Option<String>,
    /// What the last run that failed said.
    pub error: Option<String>,
    pub bytes: u64,
    /// Only where one event is asked for.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventStateView {
    Waiting,
    Running,
    Dead,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// Oldest first.
    pub events: Vec<EventView>,
}

/// Which events: one by its id, one function's, or all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventChoice {
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionName>,
    /// All of them; to be said where neither id nor function is.
    pub all: bool,
    /// When purging: those that wait, and not those that are dead.
    pub waiting: bool,
}

/// How many events were changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventsChanged {
    pub count: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Only this function's.
    #[param(value_type = Option<String>)]
    function: Option<FunctionName>,
    /// Those that were given up and kept, instead of those that wait or run.
    #[serde(default)]
    dead: bool,
    /// 1 to 1000; default 50.
    limit: Option<usize>,
}

/// Numbers of all functions' events
#[utoipa::path(get, path = "/api/v1/queue", operation_id = "get_queue", tag = "queue",
    responses((status = 200, body = QueueView)))]
pub(crate) async fn counts(State(api): State<Api>) -> Result<Json<QueueView>, ApiError> {
    let counts = api.queue.counts().await?;
    Ok(Json(QueueView { functions: counts.into_iter().map(QueueCountsView::from).collect() }))
}

/// Events that wait or run, or those that are dead, oldest first
#[utoipa::path(get, path = "/api/v1/queue/events", operation_id = "list_events", tag = "queue",
    params(Which),
    responses((status = 200, body = EventList), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(State(api): State<Api>, Params(which): Params<Which>) -> Result<Json<EventList>, ApiError> {
    let limit = which.limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::invalid(format!("limit = {limit} is out of range: expected 1 to {MOST}")));
    }
    let query = EventQuery { function: which.function, id: None, dead: which.dead, limit };
    let events = api.queue.events(query).await?;
    Ok(Json(EventList { events: events.into_iter().map(|event| view(event, false)).collect() }))
}

/// One event, with its payload; when it is done it is gone
#[utoipa::path(get, path = "/api/v1/queue/events/{id}", operation_id = "get_event", tag = "queue",
    params(("id" = String, Path)),
    responses((status = 200, body = EventView), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Segment(id): Segment<RequestId>) -> Result<Json<EventView>, ApiError> {
    let absent = || {
        ApiError::not_found(format!(
            "no event {id} is in the queue: it is done or purged, or never was; GET /api/v1/invocations/{id} tells of \
             its last run"
        ))
    };
    Ok(Json(view(api.queue.event(id).await?.ok_or_else(absent)?, true)))
}

/// Let dead events run again, as if they were new
#[utoipa::path(post, path = "/api/v1/queue/redrive", operation_id = "redrive_events", tag = "queue",
    request_body = EventChoice,
    responses((status = 200, body = EventsChanged), (status = 400, body = ErrorBody)))]
pub(crate) async fn redrive(
    State(api): State<Api>,
    Input(choice): Input<EventChoice>,
) -> Result<Json<EventsChanged>, ApiError> {
    if choice.waiting {
        return Err(ApiError::invalid("waiting: only dead events can be redriven"));
    }
    let count = api.queue.redrive(choice.query()?, Timestamp::now()).await?;
    Ok(Json(EventsChanged { count }))
}

/// Remove dead events, or such as wait
#[utoipa::path(post, path = "/api/v1/queue/purge", operation_id = "purge_events", tag = "queue",
    request_body = EventChoice,
    responses((status = 200, body = EventsChanged), (status = 400, body = ErrorBody)))]
pub(crate) async fn purge(
    State(api): State<Api>,
    Input(choice): Input<EventChoice>,
) -> Result<Json<EventsChanged>, ApiError> {
    let count = api.queue.purge(choice.query()?).await?;
    Ok(Json(EventsChanged { count }))
}

fn view(event: QueuedEvent, whole: bool) -> EventView {
    let QueuedEvent { event, state, bytes, due, attempts, progress, condition, error } = event;
    // It was checked when it came in.
    let payload = || serde_json::from_slice(&event.payload).unwrap_or_else(|_| RawValue::NULL.to_owned());
    EventView {
        id: event.id.to_string(),
        function: event.function.to_string(),
        state: match state {
            EventState::Waiting => EventStateView::Waiting,
            EventState::Running => EventStateView::Running,
            EventState::Dead => EventStateView::Dead,
        },
        received: event.received.rfc3339(),
        due: (state != EventState::Dead).then(|| due.rfc3339()),
        attempts,
        failures: progress.failures,
        throttles: progress.throttles,
        condition,
        error,
        bytes,
        payload: whole.then(payload),
    }
}

// === impl EventChoice ===

impl EventChoice {
    /// Nobody shall purge everything by forgetting a name.
    fn query(self) -> Result<EventQuery, ApiError> {
        let Self { id, function, all, waiting } = self;
        if all == (id.is_some() || function.is_some()) {
            return Err(ApiError::invalid("which events? expected id, function, or all = true and neither of them"));
        }
        Ok(EventQuery { function, id, dead: !waiting, limit: 0 })
    }
}

impl From<QueueCounts> for QueueCountsView {
    fn from(counts: QueueCounts) -> Self {
        let QueueCounts { function, enqueued, waiting, done, failed, dead, purged, bytes } = counts;
        Self { function: function.into(), enqueued, waiting, done, failed, dead, purged, bytes }
    }
}
