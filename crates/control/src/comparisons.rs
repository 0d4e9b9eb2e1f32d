//! Comparisons: the same function with the same events on every isolation, measured.
//!
//! ```text
//! POST ──► running ──► done ──► stored, the newest 20 of each function
//!             │ └────► failed      told until the next one begins
//!             └DELETE► cancelled
//! ```
//!
//! The platform runs one at a time; what is asked here is checked before it begins. Costs are no part of what is
//! kept: they are of the prices and the call rate at the time of reading.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use model::{ComparisonId, Fault, FaultCode, Function, FunctionName, Isolation, Prices, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::StoredComparison;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Params, Segment};
use crate::figures::{CallRate, IsolationFigures, Setting, Since, costs, live};
use crate::platform::{IsolationView, Machine, Severity};
use crate::{Api, Shared};

/// What a comparison is to measure. Everything has a default, together about a minute.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComparisonWrite {
    /// What the function is called with, one after the other; at most 20. Default: `{}`.
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Box<RawValue>>>,
    /// Cold starts on each isolation, from nothing and as many from stems: 1 to 200, default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<u32>,
    /// Warm calls on each isolation: 1 to 10000, default 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm: Option<u32>,
    /// How long each isolation is kept busy for its throughput: 0 (not at all) to 60, default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Clients that keep it busy, no more than `scale.max`: 1 to 64, default 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// Default: all that work and are strong enough for the function.
    #[schema(value_type = Option<Vec<String>>, example = json!(["namespace", "gvisor"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolations: Option<Vec<Isolation>>,
}

/// What a comparison measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComparisonPlan {
    /// Different events.
    pub events: u32,
    pub cold: u32,
    pub warm: u32,
    pub seconds: u32,
    pub clients: u32,
}

/// A comparison, as far as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    #[schema(value_type = String, format = "uuid")]
    pub id: ComparisonId,
    #[schema(value_type = String)]
    pub function: FunctionName,
    pub revision: u64,
    pub state: ComparisonState,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub begun: String,
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    pub progress: ComparisonProgress,
    pub plan: ComparisonPlan,
    /// The function's configuration, as far as cost depends on it.
    pub setting: Setting,
    /// Where it was measured.
    pub machine: Machine,
    /// One entry for each isolation that this program knows. Figures are there once it is done.
    pub isolations: Vec<IsolationFigures>,
    /// What was measured less than asked for.
    pub notes: Vec<String>,
    /// Only with `failed`.
    pub error: Option<ComparisonError>,
    /// The function's real calls, which costs are told for. Only with `done`.
    #[serde(default)]
    pub calls: Option<CallRate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ComparisonState {
    Running,
    Done,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ComparisonProgress {
    /// What is measured now: `cold starts`.
    pub phase: String,
    /// Of `total`, which is no unit of anything.
    pub done: u32,
    pub total: u32,
}

/// Why a comparison failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparisonError {
    /// Stable; `hearth explain CODE` tells more.
    #[schema(value_type = String, example = "HEARTH-F008")]
    pub code: FaultCode,
    pub message: String,
    #[schema(value_type = Option<String>)]
    pub isolation: Option<Isolation>,
    /// What the function answered, in AWS Lambda's shape.
    #[schema(value_type = Option<serde_json::Value>)]
    pub answer: Option<serde_json::Value>,
}

/// What the platform is asked to run: the comparison as it begins, and what the function is called with.
#[derive(Debug, Clone)]
pub struct ComparisonOrder {
    pub comparison: Comparison,
    /// At least one.
    pub events: Vec<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparisonList {
    /// Newest first.
    pub comparisons: Vec<Comparison>,
}

/// Compare the isolations for a function
///
/// The function really runs, some hundred times on each isolation, with all that it does outside. One comparison runs
/// at a time.
#[utoipa::path(post, path = "/api/v1/functions/{name}/comparisons", operation_id = "compare", tag = "comparisons",
    params(("name" = String, Path)), request_body = ComparisonWrite,
    responses((status = 202, description = "it runs: ask for it by its id", body = Comparison),
        (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "another one runs", body = ErrorBody),
        (status = 422, description = "an isolation does not work here", body = ErrorBody)))]
pub(crate) async fn start(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    Input(write): Input<ComparisonWrite>,
) -> Result<(StatusCode, Json<Comparison>), ApiError> {
    let function = api.functions.get(&name).await?;
    let order = order(&api, &function, write)?;
    let comparison = order.comparison.clone();
    api.platform.compare(order)?;
    Ok((StatusCode::ACCEPTED, Json(comparison)))
}

/// One comparison: how far it is, or what it found
#[utoipa::path(get, path = "/api/v1/comparisons/{id}", operation_id = "get_comparison", tag = "comparisons",
    params(("id" = String, Path), Since),
    responses((status = 200, body = Comparison), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(api): State<Api>,
    Segment(id): Segment<ComparisonId>,
    Params(since): Params<Since>,
) -> Result<Json<Comparison>, ApiError> {
    let mut comparison = match api.platform.comparison(id) {
        Some(comparison) => comparison,
        None => {
            let absent = || ApiError::not_found(format!("no comparison {id}"));
            read(api.comparisons.comparison(id).await?.ok_or_else(absent)?)?
        }
    };
    if comparison.state == ComparisonState::Done {
        let prices = crate::prices::current(&api).await?.0;
        let calls = live(&api, &comparison.function, &since).await?.calls;
        pay(&mut comparison, &prices, calls);
    }
    Ok(Json(comparison))
}

/// Stop a comparison that runs
///
/// What it has measured is dropped. Its last calls come to their end.
#[utoipa::path(delete, path = "/api/v1/comparisons/{id}", operation_id = "cancel_comparison", tag = "comparisons",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn cancel(State(api): State<Api>, Segment(id): Segment<ComparisonId>) -> Result<StatusCode, ApiError> {
    if api.platform.cancel_comparison(id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::not_found(format!("no comparison {id} runs")))
}

/// A function's comparisons that came to their end
#[utoipa::path(get, path = "/api/v1/functions/{name}/comparisons", operation_id = "list_comparisons",
    tag = "comparisons",
    params(("name" = String, Path), Since),
    responses((status = 200, body = ComparisonList), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    Params(since): Params<Since>,
) -> Result<Json<ComparisonList>, ApiError> {
    api.functions.get(&name).await?;
    let prices = crate::prices::current(&api).await?.0;
    let calls = live(&api, &name, &since).await?.calls;
    let stored = api.comparisons.comparisons(&name).await?;
    let mut comparisons = stored.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    comparisons.iter_mut().for_each(|one| pay(one, &prices, calls.clone()));
    Ok(Json(ComparisonList { comparisons }))
}

fn read(stored: StoredComparison) -> Result<Comparison, ApiError> {
    serde_json::from_str(&stored.body).map_err(|error| {
        let fault = Fault::new(FaultCode::Store, format!("comparison {} cannot be read", stored.id));
        fault.with_detail(error).into()
    })
}

/// Adds what it costs, as if all the function's calls ran on each isolation.
fn pay(comparison: &mut Comparison, prices: &Prices, calls: CallRate) {
    for one in &mut comparison.isolations {
        if let Some(figures) = &one.figures {
            one.costs = costs(figures, &comparison.setting, calls.rate, prices);
        }
    }
    comparison.calls = Some(calls);
}

fn order(api: &Shared, function: &Function, write: ComparisonWrite) -> Result<ComparisonOrder, ApiError> {
    let ComparisonWrite { events, cold, warm, seconds, clients, isolations: asked } = write;
    let within = |key: &str, given: Option<u32>, default: u32, least: u32, most: u32| match given.unwrap_or(default) {
        given if (least..=most).contains(&given) => Ok(given),
        given => Err(ApiError::invalid(format!("{key}: expected {least} to {most}, got {given}"))),
    };
    let events: Vec<_> = match events {
        None => vec![Bytes::from_static(b"{}")],
        Some(events) => events.into_iter().map(|event| Bytes::from(String::from(Box::<str>::from(event)))).collect(),
    };
    if !(1..=20).contains(&events.len()) {
        return Err(ApiError::invalid(format!("events: expected 1 to 20, got {}", events.len())));
    }
    let plan = ComparisonPlan {
        events: events.len() as u32,
        cold: within("cold", cold, 10, 1, 200)?,
        warm: within("warm", warm, 200, 1, 10_000)?,
        seconds: within("seconds", seconds, 5, 0, 60)?,
        clients: within("clients", clients, 8, 1, 64)?.min(function.spec.scale.max),
    };
    let isolations = isolations(api, function, asked.as_deref())?;
    let comparison = Comparison {
        id: ComparisonId::random(),
        function: function.spec.name.clone(),
        revision: function.revision.0,
        state: ComparisonState::Running,
        begun: Timestamp::now().rfc3339(),
        ended: None,
        progress: ComparisonProgress::default(),
        plan,
        setting: Setting::of(api, function),
        machine: api.platform.host(),
        isolations,
        notes: Vec::new(),
        error: None,
        calls: None,
    };
    Ok(ComparisonOrder { comparison, events })
}

/// All isolations, those without a reason to be measured. An isolation that was asked for and cannot be is an error.
fn isolations(
    api: &Shared,
    function: &Function,
    asked: Option<&[Isolation]>,
) -> Result<Vec<IsolationFigures>, ApiError> {
    if asked.is_some_and(<[_]>::is_empty) {
        return Err(ApiError::invalid("isolations is empty: name some, or leave it out for all that work"));
    }
    let known = api.platform.isolations();
    let mut found = Vec::new();
    for isolation in Isolation::ALL.iter().copied() {
        let wanted = asked.is_none_or(|asked| asked.contains(&isolation));
        let broken = crate::functions::why_not(&known, isolation);
        let weak = function.spec.at_least.filter(|floor| !isolation.meets(Some(*floor)));
        let weak = weak.map(|floor| format!("weaker than the function's at_least = {floor}"));
        if let (true, Some(why)) = (asked.is_some() && wanted, &broken) {
            let text =
                format!("the {isolation} isolation does not work here ({why}): `hearth doctor` tells what to do");
            return Err(Fault::new(FaultCode::IsolationUnavailable, text).into());
        }
        if let (true, Some(why)) = (asked.is_some() && wanted, &weak) {
            return Err(ApiError::invalid(format!("isolations: {isolation} is {why}")));
        }
        let reason = broken.map(|why| format!("does not work here: {why}")).or(weak);
        let reason = reason.or_else(|| (!wanted).then(|| "not asked for".to_owned()));
        let notes = if reason.is_none() { weaker(&known, isolation) } else { Vec::new() };
        found.push(IsolationFigures { isolation, reason, figures: None, notes, costs: Vec::new() });
    }
    if found.iter().all(|one| one.reason.is_some()) {
        let text = "no isolation works here that is strong enough for the function: `hearth doctor` tells why";
        return Err(Fault::new(FaultCode::IsolationUnavailable, text).into());
    }
    Ok(found)
}

fn weaker(known: &[IsolationView], isolation: Isolation) -> Vec<String> {
    let findings = known.iter().filter(|one| one.isolation == isolation).flat_map(|one| &one.findings);
    let weaker = findings.filter(|finding| finding.severity == Severity::Weaker);
    weaker.map(|finding| format!("{}: {}", finding.subject, finding.state)).collect()
}
