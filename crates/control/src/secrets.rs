//! Secrets: set, listed and removed. No answer has a value in it: what serves this API cannot read one.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::{MAX_SECRET_BYTES, SecretName, SecretValue};
use serde::{Deserialize, Serialize};
use store::SecretInfo;
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Params, Segment, read_body, require_content_type};
use crate::functions::settle;

/// A secret, without what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    #[schema(value_type = String, example = "photo-api-key")]
    pub name: SecretName,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created: String,
    /// When its value was last set.
    #[schema(format = DateTime)]
    pub modified: String,
    /// Functions whose current revision refers to it.
    pub functions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    pub secrets: Vec<SecretView>,
}

/// A key that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyRotationView {
    /// Names the key that holds now.
    #[schema(example = "1f0e9c3a")]
    pub key: String,
    /// Values that were sealed anew.
    pub secrets: usize,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RemoveParams {
    /// Also if functions refer to it: their calls fail from then on.
    force: bool,
}

/// All secrets, by name
#[utoipa::path(get, path = "/api/v1/secrets", operation_id = "list_secrets", tag = "secrets",
    responses((status = 200, body = SecretList)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<SecretList>, ApiError> {
    let (secrets, functions) = (api.secrets.secrets().await?, api.functions.list().await?);
    let view = |info: SecretInfo| {
        let users = functions.iter().filter(|one| one.spec.all_secret_names().contains(&info.name));
        view(&info, users.map(|one| one.spec.name.to_string()).collect())
    };
    Ok(Json(SecretList { secrets: secrets.into_iter().map(view).collect() }))
}

/// Make a secret, or give it another value
///
/// The body is the value as it is, 1 byte to 64 KiB. Instances that have the old value are replaced, as on a deploy.
#[utoipa::path(put, path = "/api/v1/secrets/{name}", operation_id = "put_secret", tag = "secrets",
    params(("name" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "it has another value", body = SecretView),
        (status = 201, description = "made", body = SecretView),
        (status = 400, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody)))]
pub(crate) async fn put(
    State(api): State<Api>,
    Segment(name): Segment<SecretName>,
    request: Request,
) -> Result<Response, ApiError> {
    // Not JSON: what is wrong with a JSON body is told with pieces of it.
    require_content_type(request.headers(), &["application/octet-stream"])?;
    let body = read_body(request, MAX_SECRET_BYTES).await?;
    // The very buffer that was read into, where nobody else has it: it is wiped with the value.
    let body = body.try_into_mut().map_or_else(|shared| shared.to_vec(), Vec::from);
    let value = SecretValue::new(body).map_err(|error| ApiError::invalid(format!("secret {name}: {error}")))?;
    let (info, new) = api.secrets.set_secret(name, value).await?;
    settle(&api, &info.name).await?;
    let functions = api.functions.list().await?;
    let users = functions.iter().filter(|one| one.spec.all_secret_names().contains(&info.name));
    let view = view(&info, users.map(|one| one.spec.name.to_string()).collect());
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view)).into_response())
}

/// Remove a secret
///
/// Refused while functions refer to it, unless it is forced.
#[utoipa::path(delete, path = "/api/v1/secrets/{name}", operation_id = "delete_secret", tag = "secrets",
    params(("name" = String, Path), RemoveParams),
    responses((status = 204),
        (status = 404, body = ErrorBody),
        (status = 409, description = "functions refer to it", body = ErrorBody)))]
pub(crate) async fn delete(
    State(api): State<Api>,
    Segment(name): Segment<SecretName>,
    Params(RemoveParams { force }): Params<RemoveParams>,
) -> Result<StatusCode, ApiError> {
    api.secrets.remove_secret(&name, force).await.map_err(|error| match error {
        store::StoreError::NoSuchSecret(name) => ApiError::not_found(format!("no secret named {name}")),
        other => other.into(),
    })?;
    settle(&api, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change the key that secrets are sealed with
///
/// Every value is sealed anew, and the old key forgotten. No instance is replaced.
#[utoipa::path(post, path = "/api/v1/secrets-key", operation_id = "rotate_secret_key", tag = "secrets",
    responses((status = 200, body = KeyRotationView),
        (status = 409, description = "the key's file is the operator's, and has no new key", body = ErrorBody)))]
pub(crate) async fn rotate(State(api): State<Api>) -> Result<Json<KeyRotationView>, ApiError> {
    let rotation = api.secrets.rotate_key().await?;
    Ok(Json(KeyRotationView { key: rotation.key, secrets: rotation.secrets }))
}

fn view(info: &SecretInfo, functions: Vec<String>) -> SecretView {
    let SecretInfo { name, created, modified } = info;
    SecretView { name: name.clone(), created: created.rfc3339(), modified: modified.rfc3339(), functions }
}
