//! Canaries: begun with a deploy, shown, and ended by hand before they end themselves.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use model::{Canary, CanaryEnd, CanaryRules, Function, FunctionName, Idle, Timestamp, Weight};
use serde::{Deserialize, Serialize};
use store::StoreError;
use store::versions::How;
use utoipa::ToSchema;

use crate::Api;
use crate::actor::Actor;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::functions::{answer, change, precondition, settle};
use crate::write::FunctionWrite;

/// A canary that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CanaryView {
    pub function: String,
    /// The revision that is tried, `$LATEST`.
    pub revision: u64,
    /// The same, published.
    pub version: u64,
    /// The revision that serves the rest.
    pub stable: u64,
    /// Of the calls without a qualifier, what the new revision gets, 0 to 1.
    #[schema(example = 0.1)]
    pub weight: f64,
    /// Then it gets all.
    #[serde(rename = "for")]
    #[schema(example = "5m")]
    pub lasts: String,
    /// Over this share of calls that fail it is rolled back, 0 to 1.
    #[schema(example = 0.05)]
    pub max_error_rate: f64,
    /// No rate is taken of fewer calls.
    pub min_calls: u64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub since: String,
    /// When it gets all, if nothing goes wrong; RFC 3339.
    #[schema(format = DateTime)]
    pub until: String,
    /// Of the new revision, so far.
    pub calls: u64,
    /// Those that failed by the function's own fault.
    pub errors: u64,
}

/// A deploy that is tried on a share of the calls first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryWrite {
    /// The share of the calls, between 0 and 1.
    #[schema(example = 0.1)]
    pub weight: f64,
    /// 1s to 7d; default 5m.
    #[schema(value_type = Option<String>, example = "5m")]
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Idle>,
    /// 0 to 1; default 0.05.
    #[schema(example = 0.05)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<f64>,
    /// Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_calls: Option<u64>,
    /// What changes, as for `PATCH` of the function.
    pub change: FunctionWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryDecision {
    /// The new revision gets all calls.
    Promote,
    /// What served before does.
    RollBack,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryEndWrite {
    pub end: CanaryDecision,
}

/// The canary that runs
#[utoipa::path(get, path = "/api/v1/functions/{name}/canary", operation_id = "get_canary", tag = "versions",
    params(("name" = String, Path)),
    responses((status = 200, body = CanaryView), (status = 404, description = "none runs", body = ErrorBody)))]
pub(crate) async fn get(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
) -> Result<Json<CanaryView>, ApiError> {
    api.functions.get(&name).await?;
    let canary = running(&api, &name).await?.ok_or(StoreError::NoCanary(name))?;
    let tally = api.telemetry.tally(&canary.function, canary.revision, 0).await?.0;
    Ok(Json(CanaryView { calls: tally.calls, errors: tally.errors, ..canary.into() }))
}

/// Change a function, for a share of its calls first
///
/// A new revision, published as a version too. Of the calls without a qualifier it gets its share, what served before
/// gets the rest. It is rolled back when too many of its calls fail, and gets all when its time is over.
#[utoipa::path(post, path = "/api/v1/functions/{name}/canary", operation_id = "begin_canary", tag = "versions",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = CanaryWrite,
    responses((status = 200, body = crate::FunctionView),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, description = "one runs already", body = ErrorBody),
        (status = 412, description = "it changed meanwhile", body = ErrorBody),
        (status = 422, description = "package, runtime, isolation, secret or mount is not here", body = ErrorBody)))]
pub(crate) async fn begin(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    actor: Actor,
    headers: HeaderMap,
    Input(write): Input<CanaryWrite>,
) -> Result<Response, ApiError> {
    let CanaryWrite { weight, lasts, max_error_rate, min_calls, change: write } = write;
    let share = |key: &str, share: f64| {
        Weight::try_from(share).map_err(|error| ApiError::invalid(format!("canary {key}: {error}")))
    };
    let mut rules = CanaryRules::new(share("weight", weight)?);
    rules.lasts = match lasts {
        None => rules.lasts,
        Some(Idle::For(time)) => time,
        Some(Idle::Auto) => return Err(ApiError::invalid("canary for = auto: expected a time, like 5m")),
    };
    if let Some(rate) = max_error_rate {
        rules.max_error_rate = share("max_error_rate", rate)?;
    }
    rules.min_calls = min_calls.unwrap_or(rules.min_calls);
    rules.validate().map_err(|error| ApiError::invalid(error.to_string()))?;
    let function = change(&api, &name, precondition(&headers)?, write, How::Canary(rules), actor).await?;
    Ok(answer(&api, StatusCode::OK, function))
}

/// End the canary that runs
#[utoipa::path(post, path = "/api/v1/functions/{name}/canary/end", operation_id = "end_canary", tag = "versions",
    params(("name" = String, Path)), request_body = CanaryEndWrite,
    responses((status = 200, body = crate::FunctionView),
        (status = 404, description = "none runs", body = ErrorBody)))]
pub(crate) async fn finish(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    actor: Actor,
    Input(write): Input<CanaryEndWrite>,
) -> Result<Response, ApiError> {
    api.functions.get(&name).await?;
    let canary = running(&api, &name).await?.ok_or(StoreError::NoCanary(name))?;
    let how = match write.end {
        CanaryDecision::Promote => CanaryEnd::Promoted,
        CanaryDecision::RollBack => CanaryEnd::RolledBack,
    };
    let function = end(&api, &canary, how, "it was asked for", &actor).await?;
    Ok(answer(&api, StatusCode::OK, function))
}

/// The canary of a function, if one runs.
pub(crate) async fn running(api: &Api, name: &FunctionName) -> Result<Option<Canary>, ApiError> {
    Ok(api.versions.canaries().await?.into_iter().find(|canary| canary.function == *name))
}

pub(crate) async fn end(
    api: &Api,
    canary: &Canary,
    end: CanaryEnd,
    why: &str,
    actor: &Actor,
) -> Result<Function, ApiError> {
    let ended = api.versions.end_canary(&canary.function, canary.revision, end, why, &actor.0).await?;
    settle(api, &canary.function).await?;
    Ok(ended)
}

impl From<Canary> for CanaryView {
    fn from(canary: Canary) -> Self {
        let Canary { function, stable, revision, version, rules, since } = canary;
        let lasts: Duration = rules.lasts;
        let until: Timestamp = since + lasts;
        Self {
            function: function.into(),
            revision: revision.0,
            version,
            stable: stable.revision.0,
            weight: rules.weight.as_f64(),
            lasts: model::show_duration(lasts),
            max_error_rate: rules.max_error_rate.as_f64(),
            min_calls: rules.min_calls,
            since: since.rfc3339(),
            until: until.rfc3339(),
            calls: 0,
            errors: 0,
        }
    }
}
