//! API keys: made, listed and removed. A key is in the answer that makes it, and nowhere else.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use model::{Fault, FaultCode, FunctionName, RoutePattern, SecretName, Timestamp};
use serde::{Deserialize, Serialize};
use store::ApiKey;
use utoipa::ToSchema;

use crate::Api;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::functions::settle;
use crate::token::Token;

/// Functions and routes that one key may name.
const MOST: usize = 100;

/// A key that shall be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyWrite {
    /// 1 to 128 of `A-Z a-z 0-9 . - _`.
    #[schema(value_type = String, example = "doorbell")]
    pub name: SecretName,
    /// It is valid for the routes of these functions; with neither these nor routes, for all.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub functions: Vec<FunctionName>,
    /// It is valid for these routes.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub routes: Vec<RoutePattern>,
}

/// A key, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyView {
    #[schema(value_type = String, example = "doorbell")]
    pub name: SecretName,
    #[schema(value_type = Vec<String>)]
    pub functions: Vec<FunctionName>,
    #[schema(value_type = Vec<String>)]
    pub routes: Vec<RoutePattern>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created: String,
}

/// A key that was made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyMade {
    #[schema(value_type = String, example = "doorbell")]
    pub name: SecretName,
    /// The key itself, shown this once.
    #[schema(example = "hak_…")]
    pub key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyList {
    pub keys: Vec<ApiKeyView>,
}

/// All API keys, by name; only their hashes are kept
#[utoipa::path(get, path = "/api/v1/keys", operation_id = "list_api_keys", tag = "routes",
    responses((status = 200, body = ApiKeyList)))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<ApiKeyList>, ApiError> {
    let view = |ApiKey { name, functions, routes, created, .. }| {
        let created = Timestamp::rfc3339(created);
        ApiKeyView { name, functions, routes, created }
    };
    Ok(Json(ApiKeyList { keys: api.api_keys.api_keys().await?.into_iter().map(view).collect() }))
}

/// Make an API key
///
/// The answer has the key, which nobody can read again.
#[utoipa::path(post, path = "/api/v1/keys", operation_id = "make_api_key", tag = "routes",
    request_body = ApiKeyWrite,
    responses((status = 201, body = ApiKeyMade), (status = 400, body = ErrorBody),
        (status = 409, description = "the name is taken", body = ErrorBody)))]
pub(crate) async fn make(
    State(api): State<Api>,
    Input(write): Input<ApiKeyWrite>,
) -> Result<(StatusCode, Json<ApiKeyMade>), ApiError> {
    let ApiKeyWrite { name, functions, routes } = write;
    if functions.len() + routes.len() > MOST {
        return Err(ApiError::invalid(format!("the key names more than {MOST} functions and routes: make several")));
    }
    let token = Token::api_key().map_err(|error| {
        Fault::new(FaultCode::Internal, "the system gives no random numbers for a key").with_detail(error)
    })?;
    let key = ApiKey { name: name.clone(), sha256: token.sha256(), functions, routes, created: Timestamp::now() };
    api.api_keys.add_api_key(key).await?;
    settle(&api, &name).await?;
    Ok((StatusCode::CREATED, Json(ApiKeyMade { name, key: token.as_str().to_owned() })))
}

/// Remove an API key: nobody is let in by it any more
#[utoipa::path(delete, path = "/api/v1/keys/{name}", operation_id = "delete_api_key", tag = "routes",
    params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub(crate) async fn delete(State(api): State<Api>, Segment(name): Segment<SecretName>) -> Result<StatusCode, ApiError> {
    api.api_keys.remove_api_key(&name).await?;
    settle(&api, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
