//! Invocation records: how each call went.

use axum::Json;
use axum::extract::State;
use model::{Door, FaultCode, FunctionName, Isolation, Record, RecordOutcome, RequestId, Stage};
use serde::{Deserialize, Serialize};
use store::RecordQuery;
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Params, Segment};

const DEFAULT: usize = 50;
const MOST: usize = 1000;

/// How one invocation went. All durations are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordView {
    pub request_id: String,
    pub function: String,
    pub revision: u64,
    /// None when no instance was reached.
    pub instance: Option<String>,
    /// `invoke` (AWS's Invoke), `http` (the ingress), `async` (the queue of events) or `compare` (a comparison's measurement).
    #[schema(value_type = String, example = "invoke")]
    pub door: Door,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub received: String,
    /// The same moment: microseconds since 1970-01-01T00:00:00Z.
    #[serde(default)]
    pub received_us: i64,
    /// Whether the call waited for an instance to be made.
    pub cold: bool,
    /// Cold only: whether a sandbox with its runtime up was there to become the instance.
    #[serde(default)]
    pub stem: bool,
    /// What the instance's sandbox was made with, or was to be.
    #[schema(value_type = Option<String>, example = "namespace")]
    #[serde(default)]
    pub isolation: Option<Isolation>,
    pub outcome: OutcomeView,
    /// Waiting for an instance, all of the cold start included.
    pub queued_us: u64,
    /// Cold only: making the sandbox, until its first process runs.
    pub sandbox_us: Option<u64>,
    /// Cold only: from there until the runtime said hello.
    pub runtime_us: Option<u64>,
    /// Cold only: loading the function's code.
    pub init_us: Option<u64>,
    /// From handing over the event to the answer.
    pub handler_us: u64,
    /// Highest memory use of the instance so far, bytes; none where it cannot be measured.
    pub memory_peak: Option<u64>,
    /// Processor time during the call; none where it cannot be measured.
    pub cpu_us: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Where the time went, one stage after the other. Of a cold call from the receipt of the request to its answer,
    /// without gaps; of a warm one from where the engine took it over.
    #[serde(default)]
    pub stages: Vec<StageView>,
}

/// One stage of an invocation. Microseconds, counted from the receipt of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageView {
    #[schema(example = "sandbox")]
    pub name: String,
    pub start_us: u64,
    pub took_us: u64,
    /// What it consists of, as far as that was measured; the rest is named `other`.
    #[serde(default)]
    pub parts: Vec<PartView>,
}

/// A part of a stage, also counted from the receipt of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartView {
    #[schema(example = "clone")]
    pub name: String,
    pub start_us: u64,
    pub took_us: u64,
}

/// Whether it went well and, if not, what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeView {
    pub status: OutcomeStatus,
    /// Only with `fault`: its stable code.
    #[schema(value_type = Option<String>, example = "HEARTH-F001")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<FaultCode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeStatus {
    Ok,
    Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvocationList {
    /// Newest first.
    pub invocations: Vec<RecordView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HowMany {
    /// 1 to 1000, default 50.
    limit: Option<usize>,
}

/// A function's newest invocations
#[utoipa::path(get, path = "/api/v1/functions/{name}/invocations", operation_id = "list_invocations",
    tag = "invocations",
    params(("name" = String, Path), HowMany),
    responses((status = 200, body = InvocationList), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_function(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    Params(HowMany { limit }): Params<HowMany>,
) -> Result<Json<InvocationList>, ApiError> {
    let limit = limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::invalid(format!("limit: expected 1 to {MOST}, got {limit}")));
    }
    let query = RecordQuery { function: Some(name.clone()), limit, ..RecordQuery::default() };
    let records = api.telemetry.records(query).await?;
    if records.is_empty() {
        // Records outlive their function; only a name that never was is an error.
        api.functions.get(&name).await?;
    }
    Ok(Json(InvocationList { invocations: records.into_iter().map(RecordView::from).collect() }))
}

/// One invocation
#[utoipa::path(get, path = "/api/v1/invocations/{request_id}", operation_id = "get_invocation", tag = "invocations",
    params(("request_id" = String, Path)),
    responses((status = 200, body = RecordView), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Segment(id): Segment<RequestId>) -> Result<Json<RecordView>, ApiError> {
    let query = RecordQuery { request_id: Some(id), limit: 1, ..RecordQuery::default() };
    let record = api.telemetry.records(query).await?.into_iter().next();
    let absent = || ApiError::not_found(format!("no record of an invocation {id}"));
    record.map(|record| Json(record.into())).ok_or_else(absent)
}

impl From<Record> for RecordView {
    fn from(record: Record) -> Self {
        let stages = record.waterfall().into_iter().map(StageView::from).collect();
        Self {
            request_id: record.request_id.to_string(),
            function: record.function.into(),
            revision: record.revision.0,
            instance: record.instance.map(String::from),
            door: record.door,
            received: record.received.rfc3339(),
            received_us: record.received.micros(),
            cold: record.cold,
            stem: record.stem,
            isolation: record.isolation,
            outcome: match record.outcome {
                RecordOutcome::Ok => OutcomeView { status: OutcomeStatus::Ok, code: None },
                RecordOutcome::Fault(code) => OutcomeView { status: OutcomeStatus::Fault, code: Some(code) },
            },
            queued_us: record.queued_us,
            sandbox_us: record.sandbox_us,
            runtime_us: record.runtime_us,
            init_us: record.init_us,
            handler_us: record.handler_us,
            memory_peak: record.memory_peak,
            cpu_us: record.cpu_us,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            stages,
        }
    }
}

impl From<Stage> for StageView {
    fn from(stage: Stage) -> Self {
        let part = |part: model::waterfall::Part| PartView {
            name: part.name.into_owned(),
            start_us: part.start_us,
            took_us: part.took_us,
        };
        Self {
            name: stage.name.into_owned(),
            start_us: stage.start_us,
            took_us: stage.took_us,
            parts: stage.parts.into_iter().map(part).collect(),
        }
    }
}
