//! A backup of all that Hearth keeps, while it goes on working. What opens secrets is not in it: no API can read a secret,
//! and neither can whoever has a backup.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use model::Fault;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::platform::BoxFuture;

/// Makes backups.
pub trait Backups: Send + Sync {
    /// A tar, as it is read. A fault: another one is being made, or the store cannot be copied.
    fn backup(&self, logs: bool) -> BoxFuture<'_, Result<Body, Fault>>;
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Whether logs and records are in it; default true.
    #[serde(default = "yes")]
    logs: bool,
}

fn yes() -> bool {
    true
}

/// A backup of all that Hearth keeps
///
/// A tar of functions with their code, versions, aliases and history, sealed secrets, events that wait, schedules and
/// messages; logs and records if wanted. Of one moment each, whatever runs meanwhile. The keys that open secrets are not in
/// it, nor images. `hearth restore` makes a data directory of it. One at a time.
#[utoipa::path(get, path = "/api/v1/backup", operation_id = "backup", tag = "platform",
    params(Which),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar"),
        (status = 409, description = "another one is being made", body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Params(which): Params<Which>) -> Result<Response, ApiError> {
    let body = api.backups.backup(which.logs).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], body).into_response())
}
