//! Reading requests: path segments, query strings and JSON bodies, each refused in words that name the key.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::request::Parts;
use http_body_util::BodyExt;
use model::{Fault, FaultCode};
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::nearest::explain_unknown;

/// Longest JSON body. A function's configuration has at most a few kilobytes.
const MAX_JSON_BYTES: usize = 256 * 1024;

/// How long a client may take between two pieces of its body.
const STALLED: Duration = Duration::from_secs(20);

/// One path segment that is an identifier.
pub(crate) struct Segment<T>(pub T);

/// The query string.
pub(crate) struct Params<T>(pub T);

/// A JSON body, no longer than `MOST`.
pub(crate) struct Input<T, const MOST: usize = MAX_JSON_BYTES>(pub T);

impl<S: Send + Sync, T> FromRequestParts<S> for Segment<T>
where
    T: FromStr<Err: Display>,
{
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error: PathRejection| ApiError::invalid(format!("the path: {}", error.body_text())))?;
        text.parse().map(Self).map_err(|error: T::Err| ApiError::invalid(error.to_string()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let read = Query::try_from_uri(&parts.uri);
        read.map(|Query(params)| Self(params)).map_err(|error| {
            let text = error.body_text();
            let text = text.rsplit_once("Failed to deserialize query string: ").map_or(text.as_str(), |(_, t)| t);
            ApiError::invalid(format!("the query string: {}", explain_unknown(text)))
        })
    }
}

impl<S: Send + Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for Input<T, MOST> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_content_type(request.headers(), &["application/json"])?;
        let bytes = read_body(request, MOST).await?;
        parse_json(&bytes).map(Self)
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would take an array as a struct's fields in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(ApiError::invalid("the body: expected a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let text = error.inner().to_string();
        let text = explain_unknown(&text);
        match path.as_str() {
            "." => ApiError::invalid(format!("the body: {text}")),
            path if text.starts_with("unknown key") => {
                // The path ends with the unknown key itself.
                let above = path.rsplit_once('.').map(|(above, _)| format!("{above}: ")).unwrap_or_default();
                ApiError::invalid(format!("the body: {above}{text}"))
            }
            path => ApiError::invalid(format!("the body: {}: {text}", path.chars().take(200).collect::<String>())),
        }
    })?;
    reader.end().map_err(|error| ApiError::invalid(format!("the body: {error}")))?;
    Ok(value)
}

/// Refuses any other content type: a form of another web site can send `text/plain`, but not these.
pub(crate) fn require_content_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if allowed.iter().any(|allowed| essence.eq_ignore_ascii_case(allowed)) {
        return Ok(());
    }
    let message = format!("Content-Type: expected {}, got {:?}", allowed.join(" or "), cut(given));
    Err(ApiError::invalid(message).with_status(http::StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

/// The whole body, no longer than `limit`; refused before it is read where its length is announced.
pub(crate) async fn read_body(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut body: Body = request.into_body();
    // Untouched memory costs nothing, and growing by doubling would hold the body twice.
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0) as usize);
    loop {
        let frame = tokio::time::timeout(STALLED, body.frame()).await.map_err(|_| {
            let message = format!("the body stalled for {} s", STALLED.as_secs());
            ApiError::invalid(message).with_status(http::StatusCode::REQUEST_TIMEOUT)
        })?;
        let Some(frame) = frame else { return Ok(bytes.freeze()) };
        let frame = frame.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&data);
    }
}

/// The same, and all of it within a time: what waits for a place does so for an upload as slow as that at most.
pub(crate) async fn read_within(most: Duration, request: Request, limit: usize) -> Result<Bytes, ApiError> {
    tokio::time::timeout(most, read_body(request, limit)).await.map_err(|_| {
        let message = format!("the upload took longer than {} s", most.as_secs());
        ApiError::invalid(message).with_status(http::StatusCode::REQUEST_TIMEOUT)
    })?
}

fn too_large(limit: usize) -> ApiError {
    let size = match limit / (1024 * 1024) {
        0 => format!("{} KiB", limit / 1024),
        mib => format!("{mib} MiB"),
    };
    Fault::new(FaultCode::RequestTooLarge, format!("the body is over {size}, the most that is taken here")).into()
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
