//! What was done to a function and by whom; what differs between two revisions of it; and the way back.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Function, FunctionName, Revision, Version};
use serde::{Deserialize, Serialize};
use store::StoreError;
use store::versions::{Deed, Deploy, HistoryEntry, How};
use utoipa::{IntoParams, ToSchema};

use crate::actor::Actor;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Params, Segment};
use crate::functions::{answer, require_fits_here, settle};
use crate::{Api, canary};

/// Entries in an answer unless it is asked for more or less.
const USUAL: usize = 50;

/// One entry of a function's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryRow {
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// Who made the change: the credential, or Hearth itself.
    #[schema(example = "admin token")]
    pub by: String,
    /// `deployed`, `configured`, `rolled-back`, `removed`, `published`, `version-removed`, `alias-set`, `alias-removed`,
    /// `canary-begun`, `canary-promoted` or `canary-rolled-back`.
    #[schema(value_type = String, example = "configured")]
    pub what: Deed,
    /// Of the function, after it.
    pub revision: u64,
    /// More of it in words.
    pub text: String,
    /// Settings that differ from the revision before.
    pub changes: Vec<ChangeView>,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    #[schema(example = "scale.min")]
    pub key: String,
    /// What it was; left out: it was not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<serde_json::Value>,
    /// What it is; left out: it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryList {
    /// Newest first.
    pub history: Vec<HistoryRow>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HowMuch {
    /// At most so many entries, 1 to 300; default 50.
    limit: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiffView {
    pub from: u64,
    pub to: u64,
    pub changes: Vec<ChangeView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Between {
    /// A revision.
    from: u64,
    /// Another revision; default: what the function is now.
    to: Option<u64>,
}

/// Where to go back to; nothing said: to the revision before this one, or, while a canary runs, to what served before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackWrite {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// A published version's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What was done to a function, newest first
///
/// The last 300 entries; of a function that was removed, for 30 days.
#[utoipa::path(get, path = "/api/v1/functions/{name}/history", operation_id = "function_history", tag = "versions",
    params(("name" = String, Path), HowMuch),
    responses((status = 200, body = HistoryList), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    Params(much): Params<HowMuch>,
) -> Result<Json<HistoryList>, ApiError> {
    let limit = much.limit.unwrap_or(USUAL);
    if !(1..=300).contains(&limit) {
        return Err(ApiError::invalid(format!("limit = {limit} is out of range: expected 1 to 300")));
    }
    let history = api.versions.history_of(&name, limit).await?;
    Ok(Json(HistoryList { history: history.into_iter().map(HistoryRow::from).collect() }))
}

/// What differs between two revisions
#[utoipa::path(get, path = "/api/v1/functions/{name}/diff", operation_id = "function_diff", tag = "versions",
    params(("name" = String, Path), Between),
    responses((status = 200, body = DiffView),
        (status = 404, description = "no such function, or the revision is not kept", body = ErrorBody)))]
pub(crate) async fn diff(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    Params(between): Params<Between>,
) -> Result<Json<DiffView>, ApiError> {
    let from = api.versions.revision(&name, Revision(between.from)).await?;
    let to = match between.to {
        Some(to) => api.versions.revision(&name, Revision(to)).await?,
        None => api.functions.get(&name).await?,
    };
    let changes = model::changes(&from, &to).into_iter().map(ChangeView::from).collect();
    Ok(Json(DiffView { from: from.revision.0, to: to.revision.0, changes }))
}

/// Go back: a new revision that is what an earlier one was, code and configuration
#[utoipa::path(post, path = "/api/v1/functions/{name}/rollback", operation_id = "roll_back", tag = "versions",
    params(("name" = String, Path)), request_body = RollbackWrite,
    responses((status = 200, body = crate::FunctionView),
        (status = 400, body = ErrorBody),
        (status = 404, description = "no such function, or the revision is not kept", body = ErrorBody),
        (status = 409, description = "a canary runs, or it changed meanwhile", body = ErrorBody),
        (status = 422, description = "what it needs is not here any more", body = ErrorBody)))]
pub(crate) async fn roll_back(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    actor: Actor,
    Input(write): Input<RollbackWrite>,
) -> Result<Response, ApiError> {
    if write == RollbackWrite::default()
        && let Some(running) = canary::running(&api, &name).await?
    {
        let function = canary::end(&api, &running, model::CanaryEnd::RolledBack, "it was asked for", &actor).await?;
        return Ok(answer(&api, StatusCode::OK, function));
    }
    let _turn = api.image_use.read().await;
    let now = api.functions.get(&name).await?;
    let to = target(&api, &now, &write).await?;
    let Function { spec, code, revision, .. } = to;
    actor.require_may_give(&spec, Some(&now.spec))?;
    require_fits_here(&api, &spec, &code).await?;
    let (how, expect) = (How::RollBack { to: revision }, Some(now.revision.0));
    let function = api.versions.deploy(Deploy { spec, code, expect, by: actor.0, how }).await?;
    settle(&api, &name).await?;
    Ok(answer(&api, StatusCode::OK, function))
}

async fn target(api: &Api, now: &Function, write: &RollbackWrite) -> Result<Function, ApiError> {
    let name = &now.spec.name;
    match *write {
        RollbackWrite { revision: Some(_), version: Some(_) } => {
            Err(ApiError::invalid("revision and version are both said: expected one of them"))
        }
        RollbackWrite { version: Some(number), .. } => {
            let versions = api.versions.versions(name).await?;
            let found = versions.into_iter().find(|one| one.function.version == Version::Number(number));
            let found = found.ok_or_else(|| StoreError::NoSuchVersion { name: name.clone(), version: number })?;
            Ok(found.function)
        }
        RollbackWrite { revision: Some(revision), .. } if revision == now.revision.0 => {
            Err(ApiError::invalid(format!("function {name} is at revision {revision}: expected an earlier one")))
        }
        RollbackWrite { revision: Some(revision), .. } => Ok(api.versions.revision(name, Revision(revision)).await?),
        RollbackWrite { revision: None, version: None } => {
            // Revisions count on where a function was removed and made again.
            let before = now.revision.0.saturating_sub(1);
            Ok(api.versions.revision(name, Revision(before)).await?)
        }
    }
}

impl From<HistoryEntry> for HistoryRow {
    fn from(entry: HistoryEntry) -> Self {
        let HistoryEntry { at, by, deed, revision, text, changes } = entry;
        let changes = changes.into_iter().map(ChangeView::from).collect();
        Self { at: at.rfc3339(), by, what: deed, revision: revision.0, text, changes }
    }
}

impl From<model::Change> for ChangeView {
    fn from(model::Change { key, from, to }: model::Change) -> Self {
        Self { key, from, to }
    }
}
