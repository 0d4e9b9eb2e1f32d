//! Schedules: when functions are called by the clock, paused, let go on, run now.

use axum::Json;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::StatusCode;
use model::trace::{Trace, Trigger};
use model::{FunctionName, RequestId, Schedule, Timestamp, show_duration};
use serde::{Deserialize, Serialize};
use store::queue::NewEvent;
use store::schedules::{ScheduleName, ScheduleState};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::{Api, Shared};

/// Ticks that are shown.
const SHOWN: usize = 10;

/// A schedule of a function, as it is deployed, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    pub function: String,
    #[schema(example = "nightly")]
    pub name: String,
    #[schema(example = "0 3 * * *")]
    pub cron: String,
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
    /// `skip`, `queue` or `allow`.
    #[schema(value_type = String, example = "skip")]
    pub overlap: model::Overlap,
    /// `skip`, `once` or `all`.
    #[schema(value_type = String, example = "once")]
    pub missed: model::Missed,
    pub missed_most: u32,
    #[schema(example = "0s")]
    pub jitter: String,
    pub start: Option<String>,
    pub end: Option<String>,
    /// The version or alias that is called.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub qualifier: Option<String>,
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<serde_json::Value>,
    pub paused: bool,
    /// Ticks that became events.
    pub enqueued: u64,
    /// Ticks that were passed over, because the event of an earlier one waited or ran.
    pub skipped: u64,
    /// The next ticks, at most ten; none while it is paused. RFC 3339.
    pub next: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleList {
    pub schedules: Vec<ScheduleView>,
}

/// The event that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventMade {
    pub id: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Only this function's.
    #[param(value_type = Option<String>)]
    function: Option<FunctionName>,
}

/// All schedules, by function, with their next ticks
#[utoipa::path(get, path = "/api/v1/schedules", operation_id = "list_schedules", tag = "schedules",
    params(Which),
    responses((status = 200, body = ScheduleList)))]
pub(crate) async fn list(State(api): State<Api>, Params(which): Params<Which>) -> Result<Json<ScheduleList>, ApiError> {
    let states = api.schedules.states().await?;
    let mut schedules = Vec::new();
    for function in api.functions.list().await? {
        let name = function.spec.name;
        if which.function.as_ref().is_none_or(|wanted| *wanted == name) {
            schedules.extend(function.spec.schedules.into_iter().map(|one| view(&name, one, &states)));
        }
    }
    // And those that were made through AWS's APIs.
    for own in api.functions.own_schedules().await? {
        if which.function.as_ref().is_none_or(|wanted| *wanted == own.function) {
            let mut shown = view(&own.function, own.schedule, &states);
            if !own.enabled {
                shown.paused = true;
                shown.next.clear();
            }
            schedules.push(shown);
        }
    }
    Ok(Json(ScheduleList { schedules }))
}

/// Pause a schedule: no tick of it becomes an event
#[utoipa::path(post, path = "/api/v1/functions/{name}/schedules/{schedule}/pause", operation_id = "pause_schedule",
    tag = "schedules", params(("name" = String, Path), ("schedule" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn pause(
    State(api): State<Api>,
    Path((function, schedule)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    set_paused(&api, function, schedule, true).await
}

/// Let a schedule go on; what it missed is not made up for
#[utoipa::path(post, path = "/api/v1/functions/{name}/schedules/{schedule}/resume", operation_id = "resume_schedule",
    tag = "schedules", params(("name" = String, Path), ("schedule" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn resume(
    State(api): State<Api>,
    Path((function, schedule)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    set_paused(&api, function, schedule, false).await
}

/// Make an event of a schedule now, beside its ticks, also while it is paused
#[utoipa::path(post, path = "/api/v1/functions/{name}/schedules/{schedule}/run", operation_id = "run_schedule",
    tag = "schedules", params(("name" = String, Path), ("schedule" = String, Path)),
    responses((status = 202, body = EventMade), (status = 404, body = ErrorBody)))]
pub(crate) async fn run(
    State(api): State<Api>,
    Path((function, schedule)): Path<(String, String)>,
) -> Result<(StatusCode, Json<EventMade>), ApiError> {
    let (function, schedule) = find(&api, function, &schedule).await?;
    let now = Timestamp::now();
    let id = RequestId::at(now);
    let payload: Bytes = aws::scheduled::payload(&function, &schedule, now, &id, *crate::PLACE);
    let event = NewEvent {
        id,
        function,
        qualifier: schedule.qualifier,
        payload,
        received: now,
        trace_id: Trace::event(Trigger::Timer, now),
        client_context: String::new(),
        hops: 0,
        key: None,
    };
    let id = api.queue.enqueue(event).await?.id.to_string();
    Ok((StatusCode::ACCEPTED, Json(EventMade { id })))
}

async fn set_paused(api: &Shared, function: String, schedule: String, paused: bool) -> Result<StatusCode, ApiError> {
    let (function, found) = find(api, function, &schedule).await?;
    let name = ScheduleName { function, schedule: found.name };
    if api.schedules.pause(name, paused, Timestamp::now()).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    // It is deployed, and the ticker has not seen it yet.
    let fault =
        model::Fault::new(model::FaultCode::Conflict, format!("schedule {schedule} is only just made: try again"));
    Err(fault.into())
}

async fn find(api: &Shared, function: String, schedule: &str) -> Result<(FunctionName, Schedule), ApiError> {
    let name: FunctionName = function.parse()?;
    let mut found = api.functions.get(&name).await?;
    let own = api.functions.own_schedules().await?;
    found.spec.schedules.extend(own.into_iter().filter(|own| own.function == name).map(|own| own.schedule));
    let all: Vec<_> = found.spec.schedules.iter().map(|one| one.name.clone()).collect();
    let absent = || {
        let near = crate::nearest(schedule, all.iter().map(String::as_str));
        let near = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
        let given: String = schedule.chars().take(80).collect();
        ApiError::not_found(format!("function {name} has no schedule named {given}{near}"))
    };
    let schedule = found.spec.schedules.into_iter().find(|one| one.name == schedule).ok_or_else(absent)?;
    Ok((name, schedule))
}

fn view(function: &FunctionName, schedule: Schedule, states: &[ScheduleState]) -> ScheduleView {
    let state = states.iter().find(|one| one.name.function == *function && one.name.schedule == schedule.name);
    let paused = state.is_some_and(|state| state.paused);
    let mut next = Vec::new();
    if let Ok(table) = schedule.timetable() {
        let from = state.map_or(Timestamp::now(), |state| state.last.max(Timestamp::now()));
        let ticks = std::iter::successors(table.next(from), |tick| table.next(*tick));
        next.extend(ticks.take(if paused { 0 } else { SHOWN }).map(Timestamp::rfc3339));
    }
    let Schedule { name, cron, timezone, overlap, missed, missed_most, jitter, start, end, qualifier, payload } =
        schedule;
    let jitter = show_duration(jitter);
    let (enqueued, skipped) = state.map_or((0, 0), |state| (state.enqueued, state.skipped));
    let function = function.to_string();
    ScheduleView {
        function,
        name,
        cron,
        timezone,
        overlap,
        missed,
        missed_most,
        jitter,
        start,
        end,
        qualifier: qualifier.map(String::from),
        payload,
        paused,
        enqueued,
        skipped,
        next,
    }
}
