//! API tokens: made, listed and revoked. A token is in the answer that makes it, and nowhere else.

use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;
use model::{Fault, FaultCode, SecretName, Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use store::StoredToken;
use utoipa::ToSchema;

use crate::Api;
use crate::audit::Object;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Input, Segment};
use crate::holders::Holder;
use crate::scope::Scopes;
use crate::token::Token;

/// How long a token may be valid that does not stay so.
const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(3650 * 86_400);

/// A token that shall be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenWrite {
    /// 1 to 128 of `A-Z a-z 0-9 . - _`; no two tokens have the same.
    #[schema(value_type = String, example = "ci")]
    pub name: SecretName,
    /// 1 to 50 of `admin`, `read`, `secrets:write`, `invoke:NAME`, `deploy:NAME`, `logs:NAME`; NAME may have `*` for any
    /// text.
    #[schema(example = json!(["deploy:web-*", "logs:web-*"]))]
    pub scopes: Vec<String>,
    /// How long it is valid, `1m` to `3650d`; not said or null: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30d")]
    pub expires_in: Option<String>,
    /// Whether an access key for AWS's tools goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<bool>,
}

/// A token, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// No secret.
    #[schema(value_type = String, example = "tok_1a2b3c4d5e6f")]
    pub id: TokenId,
    #[schema(value_type = String, example = "ci")]
    pub name: SecretName,
    pub scopes: Vec<String>,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub created: String,
    /// RFC 3339; null: never.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
    /// RFC 3339; null: never.
    #[schema(format = DateTime)]
    pub last_used: Option<String>,
    /// Of the access key for AWS's tools that goes with it.
    #[schema(example = "HKIA…")]
    pub access_key_id: Option<String>,
    /// Whether it is the installation's own, in the file `admin.token`: that is not revoked here.
    pub own: bool,
}

/// An access key for AWS's tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessKeyView {
    #[schema(example = "HKIA…")]
    pub access_key_id: String,
    /// Shown this once.
    pub secret_access_key: String,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    pub token: TokenView,
    /// The token itself, shown this once.
    #[schema(example = "hth_…")]
    pub secret: String,
    pub aws: Option<AccessKeyView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    pub tokens: Vec<TokenView>,
}

/// All API tokens, by name; only their hashes are kept
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens", tag = "tokens",
    responses((status = 200, body = TokenList)))]
pub(crate) async fn list(State(api): State<Api>) -> Json<TokenList> {
    Json(TokenList { tokens: api.tokens.all().iter().map(|holder| view(holder)).collect() })
}

/// Make an API token
///
/// The answer has the token, which nobody can read again.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create_token", tag = "tokens",
    request_body = TokenWrite,
    responses((status = 201, body = TokenMade), (status = 400, body = ErrorBody),
        (status = 409, description = "the name is taken", body = ErrorBody)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Input(write): Input<TokenWrite>,
) -> Result<(StatusCode, Extension<Object>, Json<TokenMade>), ApiError> {
    let TokenWrite { name, scopes, expires_in, aws } = write;
    let scopes = Scopes::read(scopes.iter().map(String::as_str));
    let scopes = scopes.map_err(|error| ApiError::invalid(format!("scopes: {error}")))?;
    let created = Timestamp::now();
    let expires = expires_in.as_deref().map(lasts).transpose()?.map(|lasts| created + lasts);
    let no_randomness =
        |error| Fault::new(FaultCode::Internal, "the system gives no random numbers for a token").with_detail(error);
    let token = Token::generate().map_err(no_randomness)?;
    let aws = match aws {
        Some(true) => {
            let mut entropy = [0; 10];
            getrandom::fill(&mut entropy).map_err(no_randomness)?;
            let access_key_id = aws::credentials::access_key_id(entropy);
            let secret_access_key = api
                .keys
                .secret_of(&access_key_id)
                .ok_or_else(|| Fault::new(FaultCode::Internal, "this Hearth has no access keys"))?;
            Some(AccessKeyView { access_key_id, secret_access_key })
        }
        _ => None,
    };
    let sha256 = token.sha256();
    let stored = StoredToken {
        id: TokenId::of(&sha256),
        name,
        sha256,
        scopes: scopes.texts(),
        created,
        expires,
        last_used: None,
        access_key_id: aws.as_ref().map(|key| key.access_key_id.clone()),
        own: false,
    };
    api.credentials.add_token(stored.clone()).await?;
    let token_view = view(&api.tokens.add(stored));
    // Who made which, for the audit log.
    let object = Object(format!("tokens/{} ({})", token_view.id, token_view.name));
    Ok((
        StatusCode::CREATED,
        Extension(object),
        Json(TokenMade { token: token_view, secret: token.as_str().to_owned(), aws }),
    ))
}

/// Revoke an API token: it, its access key and its sessions are worth nothing from the next request on
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", operation_id = "revoke_token", tag = "tokens",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody),
        (status = 409, description = "it is the installation's own", body = ErrorBody)))]
pub(crate) async fn revoke(State(api): State<Api>, Segment(id): Segment<TokenId>) -> Result<StatusCode, ApiError> {
    let removed = api.credentials.remove_token(&id).await;
    // Also where it was not there any more: whoever says it again has not heard the first answer.
    if matches!(removed, Ok(()) | Err(store::StoreError::NoSuchToken(_))) {
        api.tokens.remove(&id);
    }
    removed?;
    Ok(StatusCode::NO_CONTENT)
}

/// `30d` and the like; more than the year that other times have.
fn lasts(text: &str) -> Result<Duration, ApiError> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()).filter(|days| *days <= 3650);
    let read = days.map(|days| Duration::from_secs(days * 86_400)).or_else(|| model::parse_duration(text).ok());
    read.filter(|time| (LEAST..=MOST).contains(time)).ok_or_else(|| {
        let given: String = text.chars().take(40).collect();
        ApiError::invalid(format!("expires_in: expected 1m to 3650d, like 12h or 30d, got {given:?}"))
    })
}

fn view(holder: &Holder) -> TokenView {
    TokenView {
        id: holder.id.clone(),
        name: holder.name.clone(),
        scopes: holder.scopes.texts(),
        created: holder.created.rfc3339(),
        expires: holder.expires.map(Timestamp::rfc3339),
        last_used: holder.last_used().map(Timestamp::rfc3339),
        access_key_id: holder.access_key_id.clone(),
        own: holder.own,
    }
}
