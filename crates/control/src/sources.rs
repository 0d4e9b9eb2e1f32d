//! Event sources: how they fare, paused, let go on; and whether a function can have those that it names.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{
    AsyncRules, Fault, FaultCode, FunctionName, FunctionSpec, Mount, QueueName, Source, SourceState, SourceStatus,
    Target, Timestamp, allowed_mount,
};
use serde::{Deserialize, Serialize};
use store::StoreError;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::platform::BoxFuture;
use crate::{Api, Shared};

/// The sources that run.
pub trait SourcesState: Send + Sync + 'static {
    /// By function and name. Returns at once.
    fn statuses(&self) -> Vec<SourceStatus>;

    /// Pauses a source, or lets it go on. False: there is none of that name. Durable when it resolves.
    fn pause(&self, function: FunctionName, source: String, paused: bool) -> BoxFuture<'_, Result<bool, StoreError>>;
}

/// An event source of a function, and how it fares since the server began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    pub function: String,
    #[schema(example = "orders")]
    pub name: String,
    /// `queue`, `mqtt` or `folder`.
    #[schema(example = "queue")]
    pub kind: String,
    /// `starting`, `running`, `paused` or `failing`.
    #[schema(value_type = String, example = "running")]
    pub state: SourceState,
    /// Messages that wait at the source, or files that are not settled; none: it cannot be known.
    pub lag: Option<u64>,
    /// Messages that were taken from the source, and are not settled.
    pub in_flight: u64,
    /// Messages that were handed over.
    pub delivered: u64,
    /// Messages that the function failed; each comes again, or is set aside.
    pub failed: u64,
    /// RFC 3339.
    pub last_delivered: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// RFC 3339.
    pub last_error_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceList {
    pub sources: Vec<SourceView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Only this function's.
    #[param(value_type = Option<String>)]
    function: Option<FunctionName>,
}

/// All event sources, by function
#[utoipa::path(get, path = "/api/v1/sources", operation_id = "list_sources", tag = "sources",
    params(Which),
    responses((status = 200, body = SourceList)))]
pub(crate) async fn list(State(api): State<Api>, Params(which): Params<Which>) -> Result<Json<SourceList>, ApiError> {
    let all = api.sources.statuses().into_iter();
    let wanted = all.filter(|one| which.function.as_ref().is_none_or(|function| *function == one.function));
    Ok(Json(SourceList { sources: wanted.map(SourceView::from).collect() }))
}

/// Pause an event source: nothing is taken from it
#[utoipa::path(post, path = "/api/v1/functions/{name}/sources/{source}/pause", operation_id = "pause_source",
    tag = "sources", params(("name" = String, Path), ("source" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn pause(
    State(api): State<Api>,
    Path((function, source)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    set_paused(&api, function, source, true).await
}

/// Let an event source go on
#[utoipa::path(post, path = "/api/v1/functions/{name}/sources/{source}/resume", operation_id = "resume_source",
    tag = "sources", params(("name" = String, Path), ("source" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn resume(
    State(api): State<Api>,
    Path((function, source)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    set_paused(&api, function, source, false).await
}

async fn set_paused(api: &Shared, function: String, source: String, paused: bool) -> Result<StatusCode, ApiError> {
    let name: FunctionName = function.parse()?;
    let found = api.functions.get(&name).await?;
    let mut names = found.spec.sources.iter().map(Source::name);
    if !names.any(|one| one == source) {
        let near = crate::nearest(&source, found.spec.sources.iter().map(Source::name));
        let near = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
        let given: String = source.chars().take(80).collect();
        return Err(ApiError::not_found(format!("function {name} has no event source named {given}{near}")));
    }
    if !paused && found.spec.sources.iter().any(|one| one.name() == source && !one.enabled()) {
        let text =
            format!("source {source} is switched off where function {name} is configured: say enabled = true there");
        return Err(Fault::new(FaultCode::Conflict, text).into());
    }
    if api.sources.pause(name, source.clone(), paused).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    // It is deployed, and was not begun yet.
    Err(Fault::new(FaultCode::Conflict, format!("source {source} is only just made: try again")).into())
}

/// Refuses a function that names a message queue that is not there, or a folder that may not be read.
pub(crate) async fn require_there(api: &Shared, spec: &FunctionSpec) -> Result<(), ApiError> {
    for queue in queues(spec) {
        match api.messages.message_queue(queue.clone(), Timestamp::now()).await {
            Ok(_) => {}
            Err(error @ StoreError::NoSuchQueue(_)) => {
                return Err(ApiError::invalid(error.to_string()).with_status(StatusCode::UNPROCESSABLE_ENTITY));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let list = api.platform.allowed_mounts();
    for source in &spec.sources {
        for (folder, writes) in source.folders() {
            let path = "/mnt/x".parse().map_err(|error: model::InvalidMount| ApiError::invalid(error.to_string()))?;
            let asked = Mount { host: folder.clone(), path, read_only: !writes };
            if let Err(why) = allowed_mount(&list, &asked) {
                let text = format!("source {}: {why}", source.name());
                return Err(Fault::new(FaultCode::MountRefused, text).into());
            }
        }
    }
    Ok(())
}

/// The message queues that a function refers to.
pub(crate) fn queues(spec: &FunctionSpec) -> Vec<&QueueName> {
    let sources = spec.sources.iter().filter_map(|source| match source {
        Source::Queue(queue) => Some(&queue.name),
        _ => None,
    });
    let AsyncRules { on_success, on_failure, .. } = &spec.asynchronous;
    let told = [on_success, on_failure].into_iter().flatten().filter_map(|target| match target {
        Target::Queue(queue) => Some(queue),
        Target::Function(_) => None,
    });
    sources.chain(told).collect()
}

impl From<SourceStatus> for SourceView {
    fn from(status: SourceStatus) -> Self {
        let SourceStatus { function, name, kind, state, lag, in_flight, delivered, failed, last_delivered, last_error } =
            status;
        let (last_error_at, last_error) = last_error.map(|(at, why)| (at.rfc3339(), why)).unzip();
        Self {
            function: function.into(),
            name,
            kind: kind.to_owned(),
            state,
            lag,
            in_flight,
            delivered,
            failed,
            last_delivered: last_delivered.map(Timestamp::rfc3339),
            last_error,
            last_error_at,
        }
    }
}
