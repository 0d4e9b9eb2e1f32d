//! Who may speak to the API, and from where: host allow-list, cross-site refusal, token and scopes; security headers.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};
use model::{Fault, FaultCode};

use crate::Api;
use crate::access::{self, Need};
use crate::actor::Actor;
use crate::audit::{self, Asked};
use crate::error::ApiError;

/// Answers 421 to a host that is not ours. Probes, which come by address, are let through.
pub(crate) async fn require_known_host(State(api): State<Api>, request: Request, next: Next) -> Response {
    let probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    if probe || host_of(&request).is_some_and(|host| api.hosts.allows(host)) {
        return next.run(request).await;
    }
    let message = "this host name is not known here: use localhost, 127.0.0.1 or the listen address";
    ApiError::new(StatusCode::MISDIRECTED_REQUEST, Fault::new(FaultCode::InvalidRequest, message)).into_response()
}

/// Answers 403 to a browser that was sent here by another site.
pub(crate) async fn refuse_cross_site(request: Request, next: Next) -> Response {
    if cross_site(request.method(), request.uri(), request.headers()) {
        let message = "this request was made by another web site: the API takes none of those";
        let fault = Fault::new(FaultCode::Unauthorized, message);
        return ApiError::new(StatusCode::FORBIDDEN, fault).into_response();
    }
    next.run(request).await
}

/// Answers 401 without a valid token, 403 or 404 where its scopes are not enough, 429 where it asks too often.
pub(crate) async fn require_token(State(api): State<Api>, request: Request, next: Next) -> Response {
    let operation = access::operation(&request);
    let (mut request, function) = access::function_of(request).await;
    let holder = if operation.need == Need::Nothing {
        None
    } else {
        let given = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let Some(holder) = given.and_then(|text| api.tokens.of_authorization(text)) else {
            return no_token(given.is_some());
        };
        if let Err(wait) = api.tokens.admit(&holder, Instant::now()) {
            return too_often(wait).into_response();
        }
        Some(holder)
    };
    let asked = Asked::of(operation, &request);
    if let Err(error) = asked.ready(&api, operation).await {
        return error.into_response();
    }
    let refused = match (&holder, access::invocation_of(&request)) {
        (Some(holder), Some(id)) => access::check_invocation(&api, operation.need, &holder.scopes, id).await.err(),
        (Some(holder), None) => operation.need.check(&holder.scopes, function.as_deref()).err().map(ApiError::from),
        (None, _) => None,
    };
    if let Some(holder) = &holder {
        request.extensions_mut().insert(Actor::token(holder.clone()));
    }
    let recorded = operation.audited;
    let work = async move {
        let response = match refused {
            Some(refusal) => refusal.into_response(),
            None => next.run(request).await,
        };
        asked.answered(&api, holder.as_deref(), response).await
    };
    if recorded { audit::to_the_end(work).await } else { work.await }
}

fn no_token(given: bool) -> Response {
    let message = if given {
        "this token is not valid: it is wrong, was revoked or has expired; the admin token is in the file admin.token of \
         the data directory"
    } else {
        "no token: send `Authorization: Bearer hth_…`, with the token from the file admin.token of the data directory, or \
         one that `hearth token create` made"
    };
    let mut answer = ApiError::from(Fault::new(FaultCode::Unauthorized, message)).into_response();
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// What the holder of a token who asks too often is told.
pub(crate) fn too_often(wait: Duration) -> ApiError {
    let message =
        "this token asks too often: wait as long as Retry-After says, or start Hearth with a higher --api-rate";
    Fault::new(FaultCode::TooManyRequests, message).with_retry_after(wait.max(Duration::from_secs(1))).into()
}

/// Whether a browser made this request for another site. Go 1.25's algorithm: what `Sec-Fetch-Site` says, else
/// whether `Origin` is the host; a request with neither comes from no browser. Reading is always allowed: without
/// CORS no other site sees the answer.
pub fn cross_site(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = uri.authority().map(|name| name.as_str()).or_else(|| headers.get(header::HOST)?.to_str().ok());
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    match (from, host) {
        (Some(from), Some(host)) => !from.eq_ignore_ascii_case(host),
        _ => true,
    }
}

/// Adds the headers that every answer on the control listener carries, where a handler has not set its own.
pub fn security_headers(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The one host that a request names: by its target, else by exactly one `Host` header.
pub(crate) fn host_of(request: &Request) -> Option<&str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => header?.to_str().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        cross_site(&method, &Uri::from_static("/api/v1/functions"), &map)
    }

    #[test]
    fn another_site_may_not_write() {
        let host = ("host", "localhost:7070");
        assert!(asked(Method::POST, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(asked(Method::PUT, &[host, ("sec-fetch-site", "same-site")]));
        assert!(asked(Method::DELETE, &[host, ("origin", "http://evil.example")]));
        assert!(asked(Method::DELETE, &[host, ("origin", "http://localhost:8080")]), "a function's own page");
        assert!(asked(Method::DELETE, &[host, ("origin", "null")]));
    }

    #[test]
    fn our_own_pages_and_programs_may_write_and_all_may_read() {
        let host = ("host", "localhost:7070");
        assert!(!asked(Method::POST, &[host]));
        assert!(!asked(Method::POST, &[host, ("sec-fetch-site", "same-origin")]));
        assert!(!asked(Method::POST, &[host, ("sec-fetch-site", "none")]));
        assert!(!asked(Method::PATCH, &[host, ("origin", "http://LOCALHOST:7070")]));
        assert!(!asked(Method::GET, &[host, ("sec-fetch-site", "cross-site")]));
    }
}
