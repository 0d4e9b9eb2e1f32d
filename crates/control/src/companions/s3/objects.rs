//! Objects: kept, given, removed.

use std::collections::BTreeMap;

use aws::AwsError;
use aws::checksum::{self, Checksum};
use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::body::Sent;
use super::buckets::{self, date, with};
use super::input::Element;
use super::range::range_of;
use super::{Answer, Asked, document, empty, invalid, no_bucket, no_key, not_implemented, tagging};
use crate::Api;
use crate::companions::kept::{self, Kept};
use crate::companions::tags::Tags;
use crate::lambda;

/// Bytes read from the disk at once.
const PIECE: usize = 1 << 20;
/// Bytes of all metadata that are the user's.
const METADATA: usize = 2048;
/// Headers that are kept and given back as they are.
const KEPT: [&str; 6] =
    ["content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Object {
    /// Where its bytes are; the store goes by this member's name.
    pub object: String,
    pub size: u64,
    pub etag: String,
    /// Microseconds.
    pub modified: i64,
    /// By the headers' names.
    pub headers: BTreeMap<String, String>,
    /// Header and value.
    pub checksum: Option<(String, String)>,
    #[serde(default)]
    pub tags: Tags,
}

impl Kept for Object {
    const KIND: &'static str = "s3-object";
}

// === impl Object ===

impl Object {
    /// As lists show it.
    pub fn listed(&self, key: &str) -> Value {
        json!({
            "Key": key, "LastModified": date(self.modified), "ETag": format!("\"{}\"", self.etag), "Size": self.size,
            "StorageClass": "STANDARD",
        })
    }
}

/// The record's name.
pub(super) fn key(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

/// What is kept of a request's headers.
pub(super) fn headers(asked: &Asked) -> Result<BTreeMap<String, String>, AwsError> {
    let mut kept = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in &asked.parts.headers {
        let name = name.as_str();
        let own = name.starts_with("x-amz-meta-");
        if !own && !KEPT.contains(&name) {
            let refused = ["x-amz-server-side", "x-amz-object-lock", "x-amz-website", "x-amz-grant"];
            if refused.iter().any(|prefix| name.starts_with(prefix)) || name == "x-amz-copy-source" {
                return Err(not_implemented(format!("{name} is not supported here")));
            }
            continue;
        }
        let text = value.to_str().map_err(|_| invalid(format!("{name}: expected ASCII")))?;
        let text = match name {
            // How it was sent, not what it is.
            "content-encoding" => {
                text.split(',').map(str::trim).filter(|one| *one != "aws-chunked").collect::<Vec<_>>().join(",")
            }
            _ => text.to_owned(),
        };
        if own {
            bytes += name.len() + text.len();
        }
        if !text.is_empty() {
            kept.insert(name.to_owned(), text);
        }
    }
    if bytes > METADATA {
        let message = format!("Your metadata headers exceed the maximum allowed metadata size: {METADATA} bytes");
        return Err(AwsError::new(StatusCode::BAD_REQUEST, "MetadataTooLarge", message));
    }
    Ok(kept)
}

pub(super) async fn put(api: &Api, asked: &Asked, sent: Sent) -> Answer {
    buckets::require(api, &asked.bucket).await?;
    let (headers, tags) = (headers(asked)?, tagging::of_header(asked)?);
    let etag = hex(&checksum::md5(&sent.bytes));
    let size = sent.bytes.len() as u64;
    let object = Object {
        object: api.objects.keep(sent.bytes).await.map_err(lambda::store)?,
        size,
        etag: etag.clone(),
        modified: Timestamp::now().micros(),
        headers,
        checksum: sent.checksum.map(|(kind, value)| (kind.header().to_owned(), value)),
        tags,
    };
    let sum = object.checksum.clone();
    replace(api, asked, object).await?;
    let mut response = with(empty(StatusCode::OK), "etag", &format!("\"{etag}\""));
    if let Some((kind, value)) = &sum {
        response = checked(response, kind, value, "FULL_OBJECT");
    }
    Ok(response)
}

/// Puts an object into the place of what is there, if what is asked of that holds.
pub(super) async fn replace(api: &Api, asked: &Asked, object: Object) -> Result<(), AwsError> {
    let blob = object.object.clone();
    let replaced = kept::change(api, &key(&asked.bucket, &asked.key), |old: Option<Object>| {
        let none_match = asked.header("if-none-match");
        let fits = match (asked.header("if-match"), &old) {
            (Some(wanted), Some(old)) => same(wanted, &old.etag),
            (Some(_), None) => return Err(no_key(&asked.key)),
            (None, old) => none_match.is_none_or(|wanted| !(old.is_some() && wanted == "*")),
        };
        if fits { Ok(Some(object.clone())) } else { Err(precondition()) }
    })
    .await;
    match replaced {
        Ok(Some(old)) => api.objects.discard(vec![old.object]).await,
        Ok(None) => {}
        Err(error) => {
            api.objects.discard(vec![blob]).await;
            return Err(error);
        }
    }
    Ok(())
}

pub(super) async fn get(api: &Api, asked: &Asked) -> Answer {
    asked.only(&[])?;
    buckets::require(api, &asked.bucket).await?;
    let found = kept::get::<Object>(api, &key(&asked.bucket, &asked.key)).await?;
    let object = found.ok_or_else(|| no_key(&asked.key))?;
    if asked.header("if-match").is_some_and(|wanted| !same(wanted, &object.etag)) {
        return Err(precondition());
    }
    if asked.header("if-none-match").is_some_and(|wanted| wanted == "*" || same(wanted, &object.etag)) {
        return Err(AwsError::new(StatusCode::NOT_MODIFIED, "NotModified", "Not Modified"));
    }
    let range = asked.header("range").map(|range| range_of(range, object.size)).transpose()?.flatten();
    let (from, length) = range.unwrap_or((0, object.size));
    let mut response = match asked.parts.method {
        Method::HEAD => empty(StatusCode::OK),
        _ => Response::new(body(api, &object.object, from, length)),
    };
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = (from + length).saturating_sub(1);
        response = with(response, "content-range", &format!("bytes {from}-{last}/{}", object.size));
    } else if asked.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
        && let Some((kind, value)) = &object.checksum
    {
        response = checked(response, kind, value, "FULL_OBJECT");
    }
    response = with(response, "content-length", &length.to_string());
    response = with(response, "etag", &format!("\"{}\"", object.etag));
    response = with(response, "accept-ranges", "bytes");
    response = with(response, "last-modified", &http_date(object.modified));
    if !object.tags.is_empty() {
        response = with(response, "x-amz-tagging-count", &object.tags.len().to_string());
    }
    if !object.headers.contains_key("content-type") {
        response = with(response, "content-type", "binary/octet-stream");
    }
    for (name, value) in &object.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// An object's bytes, a piece at a time.
fn body(api: &Api, id: &str, from: u64, length: u64) -> Body {
    let state = (api.clone(), id.to_owned(), from, from + length);
    Body::from_stream(unfold(state, |(api, id, from, end)| async move {
        if from >= end {
            return None;
        }
        let read = api.objects.read_object(&id, from, PIECE.min((end - from) as usize)).await;
        let read = match read {
            Ok(bytes) if bytes.is_empty() => Err(std::io::Error::other("the object ends early")),
            read => read.map_err(std::io::Error::other),
        };
        // After an error there is nothing to go on with.
        let next = read.as_ref().map_or(end, |bytes| from + bytes.len() as u64);
        Some((read, (api, id, next, end)))
    }))
}

pub(super) async fn delete(api: &Api, asked: &Asked) -> Answer {
    buckets::require(api, &asked.bucket).await?;
    remove(api, &asked.bucket, &asked.key).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn delete_many(api: &Api, asked: &Asked, body: &[u8]) -> Answer {
    asked.only(&["delete"])?;
    buckets::require(api, &asked.bucket).await?;
    let given = Element::parse(body)?;
    let quiet = given.text_of("Quiet") == Some("true");
    let keys: Option<Vec<&str>> = given.all("Object").map(|one| one.text_of("Key")).collect();
    let keys = keys.filter(|keys| (1..=1000).contains(&keys.len()));
    let keys = keys.ok_or_else(|| super::input::malformed("expected 1 to 1000 objects, each with a key"))?;
    let mut deleted = Vec::new();
    for key in keys {
        remove(api, &asked.bucket, key).await?;
        deleted.push(json!({"Key": key}));
    }
    Ok(document("DeleteResult", &if quiet { Value::Null } else { json!({"Deleted": deleted}) }))
}

/// What is not there is as good as removed.
async fn remove(api: &Api, bucket: &str, name: &str) -> Result<(), AwsError> {
    if let Some(old) = kept::change(api, &key(bucket, name), |_: Option<Object>| Ok(None)).await? {
        api.objects.discard(vec![old.object]).await;
    }
    Ok(())
}

/// A whole object, for what is deployed from a bucket.
pub(crate) async fn fetch(api: &Api, bucket: &str, name: &str, most: usize) -> Result<Bytes, AwsError> {
    let failed = |error: AwsError| {
        let message = format!(
            "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: {}",
            error.kind, error.message
        );
        AwsError::invalid_parameter(message)
    };
    if kept::get::<buckets::Bucket>(api, bucket).await?.is_none() {
        return Err(failed(no_bucket(bucket)));
    }
    let object = kept::get::<Object>(api, &key(bucket, name)).await?.ok_or_else(|| failed(no_key(name)))?;
    if object.size > most as u64 {
        let message = format!("The package s3://{bucket}/{name} has {} bytes: at most {most} are taken", object.size);
        return Err(AwsError::invalid_parameter(message));
    }
    let mut whole = BytesMut::with_capacity(object.size as usize);
    while (whole.len() as u64) < object.size {
        let piece = api.objects.read_object(&object.object, whole.len() as u64, PIECE).await.map_err(lambda::store)?;
        if piece.is_empty() {
            let message = format!("The object s3://{bucket}/{name} ends early");
            return Err(AwsError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

pub(super) fn checked(response: Response, kind: &str, value: &str, how: &str) -> Response {
    match Checksum::of_header(kind) {
        Some(kind) => with(with(response, kind.header(), value), "x-amz-checksum-type", how),
        None => response,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn same(wanted: &str, etag: &str) -> bool {
    wanted.trim_matches('"') == etag
}

fn precondition() -> AwsError {
    let message = "At least one of the pre-conditions you specified did not hold";
    AwsError::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
}

fn http_date(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) => time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        Err(_) => String::new(),
    }
}
