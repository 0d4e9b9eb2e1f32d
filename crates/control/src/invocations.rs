//! Invocation records: how each call went.

use axum::Json;
use axum::extract::State;
use model::{Blame, Door, FaultCode, FunctionName, Isolation, Kept, Record, RequestId, Stage};
use serde::{Deserialize, Serialize};
use store::RecordQuery;
use store::observe::{RecordPage, RecordSearch};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Params, Segment};
use crate::logs::moment;
use crate::payloads;

const DEFAULT: usize = 50;
const MOST: usize = 1000;

/// How one invocation went. All durations are microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordView {
    pub request_id: String,
    pub function: String,
    pub revision: u64,
    /// The version that ran: `$LATEST`, or the number of a published one.
    #[schema(example = "$LATEST")]
    #[serde(default)]
    pub version: String,
    /// What the caller had asked for behind the function's name, an alias or a version; none: nothing.
    #[schema(example = "prod")]
    #[serde(default)]
    pub qualifier: Option<String>,
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
    /// What went wrong, in a line; none where it went well.
    #[serde(default)]
    pub error: Option<String>,
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
    /// What the sandbox might hold at most, bytes; none in records of before that was kept.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// Time in the handler, each millisecond that was begun, as AWS Lambda bills it.
    #[serde(default)]
    pub billed_ms: u64,
    /// The same times that memory, in GB (2³⁰ bytes) times seconds.
    #[serde(default)]
    pub gb_seconds: Option<f64>,
    /// The invocation whose event this was once more.
    #[serde(default)]
    pub replay_of: Option<String>,
    /// Whether its event and answer were kept; `GET /api/v1/invocations/{request_id}/payloads` has them, or says why not.
    #[serde(default)]
    pub payloads: KeptView,
    /// The trace that it belongs to, 32 hexadecimal digits: where its caller named one, or Hearth exports traces.
    #[schema(example = "4bf92f3577b34da6a3ce929d0e0e4736")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// Where the time went, one stage after the other. Of a cold call from the receipt of the request to its answer,
    /// without gaps; of a warm one from where the engine took it over.
    #[serde(default)]
    pub stages: Vec<StageView>,
}

/// What became of an invocation's event and answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeptView {
    /// The function does not ask for it, or not of calls that end so.
    #[default]
    None,
    Kept,
    /// They came faster than they could be written.
    Dropped,
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvocationList {
    /// Newest first.
    pub invocations: Vec<RecordView>,
}

/// Some of the invocations that were looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvocationPage {
    /// Newest first, without their stages.
    pub invocations: Vec<RecordView>,
    /// To go on behind these, ask with `before`; none at the end. A page may have none of what is rare, and yet a `next`.
    pub next: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sought {
    /// Only this function's.
    #[param(value_type = Option<String>)]
    function: Option<FunctionName>,
    /// `ok` or `fault`.
    #[param(value_type = Option<String>)]
    status: Option<OutcomeStatus>,
    /// Only with this fault's code.
    #[param(value_type = Option<String>)]
    code: Option<FaultCode>,
    /// `caller`, `function` or `platform`: only with a fault of whose.
    #[param(value_type = Option<String>)]
    blame: Option<Blame>,
    /// Whether the call waited for an instance to be made.
    cold: Option<bool>,
    #[param(value_type = Option<String>)]
    isolation: Option<Isolation>,
    /// `invoke`, `http`, `async` or `compare`.
    #[param(value_type = Option<String>)]
    trigger: Option<Door>,
    /// Only calls that took so long, waiting and handler together: `100ms`.
    min_duration: Option<String>,
    /// Only with this text in their error, in any case.
    text: Option<String>,
    /// Only calls that came in from then on: RFC 3339, or a time back from now like `10m`.
    since: Option<String>,
    /// Only calls that came in until then.
    until: Option<String>,
    /// Only those behind this: the `next` of another page.
    before: Option<u64>,
    /// 1 to 1000, default 50.
    limit: Option<usize>,
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

/// Invocations of all functions, by what happened to them
#[utoipa::path(get, path = "/api/v1/invocations", operation_id = "search_invocations", tag = "invocations", params(Sought),
    responses((status = 200, body = InvocationPage), (status = 400, body = ErrorBody)))]
pub(crate) async fn search(
    State(api): State<Api>,
    Params(sought): Params<Sought>,
) -> Result<Json<InvocationPage>, ApiError> {
    let limit = sought.limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::invalid(format!("limit: expected 1 to {MOST}, got {limit}")));
    }
    let least =
        |text: &str| model::parse_duration(text).map_err(|error| ApiError::invalid(format!("min_duration: {error}")));
    let search = RecordSearch {
        function: sought.function,
        ok: sought.status.map(|status| status == OutcomeStatus::Ok),
        code: sought.code,
        blame: sought.blame,
        cold: sought.cold,
        isolation: sought.isolation,
        door: sought.trigger,
        min_duration: sought.min_duration.as_deref().map(least).transpose()?,
        text: sought.text.filter(|text| !text.is_empty()),
        since: sought.since.as_deref().map(|text| moment("since", text)).transpose()?,
        until: sought.until.as_deref().map(|text| moment("until", text)).transpose()?,
        before: sought.before,
        limit,
    };
    let RecordPage { records, next } = api.observe.search(search).await?;
    let view = |record| RecordView { stages: Vec::new(), ..RecordView::from(record) };
    Ok(Json(InvocationPage { invocations: records.into_iter().map(view).collect(), next }))
}

/// One invocation
#[utoipa::path(get, path = "/api/v1/invocations/{request_id}", operation_id = "get_invocation", tag = "invocations",
    params(("request_id" = String, Path)),
    responses((status = 200, body = RecordView), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Segment(id): Segment<RequestId>) -> Result<Json<RecordView>, ApiError> {
    let record = payloads::record_of(&api, id).await?;
    record.map(|record| Json(record.into())).ok_or_else(|| payloads::no_record(&id))
}

impl From<Record> for RecordView {
    fn from(record: Record) -> Self {
        let stages = record.waterfall().into_iter().map(StageView::from).collect();
        let gb_seconds = record.gb_seconds();
        Self {
            request_id: record.request_id.to_string(),
            function: record.function.into(),
            revision: record.revision.0,
            version: record.version.to_string(),
            qualifier: record.qualifier.map(String::from),
            instance: record.instance.map(String::from),
            door: record.door,
            received: record.received.rfc3339(),
            received_us: record.received.micros(),
            cold: record.cold,
            stem: record.stem,
            isolation: record.isolation,
            outcome: record.outcome.into(),
            error: record.error,
            queued_us: record.queued_us,
            sandbox_us: record.sandbox_us,
            runtime_us: record.runtime_us,
            init_us: record.init_us,
            handler_us: record.handler_us,
            memory_peak: record.memory_peak,
            cpu_us: record.cpu_us,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            memory_limit: record.memory.map(|memory| memory.bytes()),
            billed_ms: record.billed_ms,
            gb_seconds,
            replay_of: record.replay_of.map(|id| id.to_string()),
            payloads: match record.payloads {
                Kept::No => KeptView::None,
                Kept::Yes => KeptView::Kept,
                Kept::Dropped => KeptView::Dropped,
            },
            trace_id: record.trace.map(|id| id.to_string()),
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
