//! Login and logout of the dashboard. What a session is: `sessions.rs`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{self, HeaderMap};
use http::{StatusCode, Uri};
use model::{Fault, FaultCode, SecretName, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Api;
use crate::actor::Actor;
use crate::auth::too_often;
use crate::error::{ApiError, ErrorBody};
use crate::extract::Input;
use crate::holders::Holder;
use crate::sessions::{self, LINK_LASTS, Refused};

/// Where a request comes from; put into it by whoever took the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Who a login let in; beside the answer, for the audit log.
#[derive(Clone)]
pub(crate) struct LoggedIn(pub Arc<Holder>);

/// What a browser shows to be let in: one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginWrite {
    /// Any that is valid, like the one in the file `admin.token`.
    token: Option<String>,
    /// The code of a link that was made with a token.
    link: Option<String>,
}

/// A session, as its page sees it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// To be sent with every request as `X-Hearth-Session`, beside the cookie; only at login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Seconds until it ends, if nothing is asked with it; null: the caller has a token, and no session.
    pub ends_in: Option<u64>,
    /// What it may do: the scopes of its token.
    pub scopes: Vec<String>,
    /// The token that was shown, or with which the link was made.
    pub token: SessionToken,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionToken {
    #[schema(value_type = String, example = "tok_1a2b3c4d5e6f")]
    pub id: TokenId,
    #[schema(value_type = String, example = "admin")]
    pub name: SecretName,
}

/// A link's code.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// Goes behind `/#login=` of the dashboard's address.
    pub link: String,
    /// Seconds.
    pub ends_in: u64,
}

/// Log a browser in
///
/// Needs no token in the header. Sets the session's cookie; the session needs its key as well.
#[utoipa::path(post, path = "/api/v1/session", operation_id = "login", tag = "session",
    request_body = LoginWrite, security(()),
    responses((status = 201, body = SessionView),
        (status = 401, description = "neither a valid token nor a link that is still good", body = ErrorBody),
        (status = 429, description = "too many logins failed from this address", body = ErrorBody)))]
pub(crate) async fn login(
    State(api): State<Api>,
    from: Option<Extension<Peer>>,
    headers: HeaderMap,
    uri: Uri,
    Input(LoginWrite { token, link }): Input<LoginWrite>,
) -> Result<Response, ApiError> {
    let now = Instant::now();
    let from = from.map(|Extension(Peer(address))| address);
    let made = match (token, link) {
        (Some(token), None) => api.sessions.login(token.trim(), from, now),
        (None, Some(link)) => api.sessions.login_by_link(&link, from, now),
        _ => return Err(ApiError::invalid("the body: expected either `token` or `link`")),
    };
    let login = made.map_err(|refused| match refused {
        Refused::Wrong => Fault::new(
            FaultCode::Unauthorized,
            "this does not log in: expected a token that is valid, like the one in the file admin.token of the data \
             directory, or a login link that is not ten minutes old and was not used yet",
        ),
        Refused::Wait(time) => Fault::new(
            FaultCode::TooManyRequests,
            "too many logins failed from this address: wait as long as Retry-After says",
        )
        .with_retry_after(time.max(Duration::from_secs(1))),
        Refused::NoRandomness => Fault::new(FaultCode::Internal, "the system has no randomness for a session"),
    })?;
    api.tokens.admit(&login.holder, now).map_err(too_often)?;
    let ends_in = Some(sessions::IDLE.as_secs());
    let view = view(Some(login.key.as_str().to_owned()), ends_in, &login.holder);
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    if let Some(cookie) = sessions::set_cookie(&port(&headers, &uri), Some(&login.cookie)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response.extensions_mut().insert(LoggedIn(login.holder));
    Ok(response)
}

fn view(key: Option<String>, ends_in: Option<u64>, holder: &Holder) -> SessionView {
    let token = SessionToken { id: holder.id.clone(), name: holder.name.clone() };
    SessionView { key, ends_in, scopes: holder.scopes.texts(), token }
}

/// Whether one is logged in, and for how long
#[utoipa::path(get, path = "/api/v1/session", operation_id = "get_session", tag = "session",
    responses((status = 200, body = SessionView)))]
pub(crate) async fn get(State(api): State<Api>, actor: Actor, headers: HeaderMap, uri: Uri) -> Json<SessionView> {
    let left = api.sessions.left(&headers, &port(&headers, &uri), Instant::now());
    Json(view(None, left.map(|left| left.as_secs()), &actor.1))
}

/// Log out
#[utoipa::path(delete, path = "/api/v1/session", operation_id = "logout", tag = "session",
    responses((status = 204, description = "there is no session any more")))]
pub(crate) async fn logout(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Response {
    let port = port(&headers, &uri);
    api.sessions.logout(&headers, &port);
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = sessions::set_cookie(&port, None) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// A link that logs in, once, with the scopes of the token that makes it
#[utoipa::path(post, path = "/api/v1/session/link", operation_id = "login_link", tag = "session",
    responses((status = 201, body = LinkView)))]
pub(crate) async fn link(State(api): State<Api>, actor: Actor) -> Result<Response, ApiError> {
    let code = api.sessions.link(&actor.1.id, Instant::now()).map_err(|error| {
        Fault::new(FaultCode::Internal, "the system has no randomness for a link").with_detail(error.to_string())
    })?;
    let view = LinkView { link: code.as_str().to_owned(), ends_in: LINK_LASTS.as_secs() };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// The port that the browser speaks to.
fn port(headers: &HeaderMap, uri: &Uri) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = uri.authority().map(|name| name.as_str()).or(host).unwrap_or_default();
    sessions::port_of(host).to_owned()
}
