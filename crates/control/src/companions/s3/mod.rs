//! S3: buckets and objects by path (`/bucket/key`), enough of it for deployment packages and for what goes with them.
//!
//! ```text
//! head ─► signature ─► operation, by method and query ─► body, read whole and checked: its hash, its pieces, its checksums
//!      ─► the operation, in the file of its noun ─► XML, or bytes
//! ```
//!
//! Refused by name, and never passed over: whatever else S3 can be asked for, buckets as host names, objects over 1 GiB.

mod body;
mod buckets;
mod input;
mod multipart;
mod objects;
mod range;
mod tagging;

use aws::AwsError;
use aws::sigv4::{S3Signed, SigError, SignedRequest, verify_s3};
use aws::xml::{self, Lists};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use model::{RequestId, Timestamp};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::auth::security_headers;
use crate::{Api, audit, lambda};

pub(crate) use objects::fetch;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// What may stand in a query beside what the operations here read.
const PASSED: [&str; 9] = [
    "x-id",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Content-Sha256",
    "X-Amz-User-Agent",
];

/// A request whose head is right.
struct Asked {
    parts: Parts,
    bucket: String,
    /// Empty for the bucket itself.
    key: String,
    /// Decoded, in their order.
    query: Vec<(String, String)>,
}

type Answer = Result<Response, AwsError>;

pub(super) async fn handle(api: &Api, request: Request) -> Response {
    let id = RequestId::random();
    let head = request.method() == Method::HEAD;
    let path = request.uri().path().to_owned();
    let mut response = match answer(api, request).await {
        Ok(response) => response,
        Err(error) => {
            if error.status.is_server_error() {
                tracing::warn!(request_id = %id, service = "s3", kind = error.kind, "{}", error.message);
            }
            failure(&error, &path, head, &id)
        }
    };
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    // What somebody put into a bucket shall do nothing in the dashboard's name, whatever type it says it is of.
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'"),
    );
    security_headers(headers);
    response
}

/// Whether a URL is signed as S3's were before Signature Version 4; some clients still make such ones.
pub(super) fn old_signature(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    has("AWSAccessKeyId") && has("Signature") && has("Expires")
}

pub(super) fn refuse_old_signature(request: &Request) -> Response {
    let message = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256: in boto3, \
                   Config(signature_version=\"s3v4\").";
    failure(&invalid(message), request.uri().path(), request.method() == Method::HEAD, &RequestId::random())
}

async fn answer(api: &Api, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let signed =
        SignedRequest { method: &parts.method, path: parts.uri.path(), query, headers: &parts.headers, body: b"" };
    let signed = verify_s3(&signed, |id| api.keys.secret(id), Timestamp::now()).map_err(|error| refused(&error))?;
    let holder = api.tokens.of_access_key(&signed.identity.access_key_id);
    // Revoked since then: a moment ago.
    let holder = holder.ok_or_else(|| refused(&SigError::UnknownKey))?;
    lambda::admit(api, &holder)?;
    path_style(api, &parts.headers)?;
    let asked = Asked::new(parts)?;
    if !asked.is_recorded() {
        return carry_out(api, asked, body, signed).await;
    }
    let (action, from) = (format!("s3:{}", asked.parts.method), asked.parts.extensions.get().copied());
    let record = audit::Asked::of_aws(api, &action, asked.parts.uri.path(), from).await.map_err(lambda::refused)?;
    let api = api.clone();
    audit::to_the_end(async move {
        let done = carry_out(&api, asked, body, signed).await;
        let (status, code) = match &done {
            Ok(response) => (response.status(), None),
            Err(error) => (error.status, error.fault),
        };
        record.ended(&api, &holder, status, code).await;
        done
    })
    .await
}

async fn carry_out(api: &Api, asked: Asked, body: Body, signed: S3Signed) -> Answer {
    let (method, has_key) = (asked.parts.method.clone(), !asked.key.is_empty());
    if asked.bucket.is_empty() {
        asked.only(&[])?;
        return match method {
            Method::GET => buckets::list(api).await,
            _ => Err(not_allowed(&method)),
        };
    }
    let body = || body::read(api, &asked, body, signed);
    match (method.as_str(), has_key) {
        _ if asked.has("tagging") => tagging::answer(api, &asked, &body().await?.bytes).await,
        ("PUT", false) => {
            asked.only(&[])?;
            body().await?;
            buckets::create(api, &asked).await
        }
        ("HEAD", false) => buckets::head(api, &asked).await,
        ("DELETE", false) => {
            asked.only(&[])?;
            buckets::delete(api, &asked).await
        }
        ("GET", false) if asked.has("location") => buckets::location(api, &asked).await,
        ("GET", false) if asked.has("versioning") => buckets::versioning(api, &asked).await,
        ("GET", false) => buckets::objects(api, &asked).await,
        ("POST", false) if asked.has("delete") => {
            let body = body().await?;
            objects::delete_many(api, &asked, &body.bytes).await
        }
        ("PUT", true) if asked.has("uploadId") => multipart::upload_part(api, &asked, body().await?).await,
        ("PUT", true) => {
            asked.only(&[])?;
            objects::put(api, &asked, body().await?).await
        }
        ("GET" | "HEAD", true) => objects::get(api, &asked).await,
        ("DELETE", true) if asked.has("uploadId") => multipart::abort(api, &asked).await,
        ("DELETE", true) => {
            asked.only(&[])?;
            objects::delete(api, &asked).await
        }
        ("POST", true) if asked.has("uploads") => multipart::create(api, &asked).await,
        ("POST", true) if asked.has("uploadId") => {
            let body = body().await?;
            multipart::complete(api, &asked, &body.bytes).await
        }
        _ => Err(not_allowed(&method)),
    }
}

// === impl Asked ===

impl Asked {
    /// Whether it goes into the audit log: what removes, and what makes a bucket. Objects come as messages do.
    fn is_recorded(&self) -> bool {
        match self.parts.method {
            Method::GET | Method::HEAD => false,
            Method::DELETE => true,
            _ => self.key.is_empty(),
        }
    }

    fn new(parts: Parts) -> Result<Self, AwsError> {
        let decode = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
            text.map_err(|_| invalid("Path and query must be UTF-8"))
        };
        let path = parts.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (bucket, key) = (decode(bucket)?, decode(key)?);
        if key.len() > 1024 {
            return Err(AwsError::new(StatusCode::BAD_REQUEST, "KeyTooLongError", "Your key is too long"));
        }
        let mut query = Vec::new();
        for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.push((decode(name)?, decode(&value.replace('+', " "))?));
        }
        Ok(Self { parts, bucket, key, query })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Refuses a request for something that these parameters do not say.
    fn only(&self, known: &[&str]) -> Result<(), AwsError> {
        let known = |name: &str| PASSED.contains(&name) || known.contains(&name);
        match self.query.iter().find(|(name, _)| !known(name)) {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                Err(not_implemented(format!("{} with {name:?} is not supported here", self.parts.method)))
            }
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A bucket in the host's name is no address of ours, and its path would be read as another bucket's.
fn path_style(api: &Api, headers: &HeaderMap) -> Result<(), AwsError> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match host.split_once('.') {
        Some((bucket, rest)) if !api.hosts.allows(host) && api.hosts.allows(rest) => Err(invalid(format!(
            "The bucket {bucket:?} is in the host's name: Hearth's S3 wants it in the path, as clients send it with \
             addressing style `path`"
        ))),
        _ => Ok(()),
    }
}

fn document(name: &str, value: &Value) -> Response {
    let mut content = String::new();
    xml::content(&mut content, value, Lists::Repeated);
    let mut response = Response::new(Body::from(xml::document(name, NAMESPACE, &content)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn failure(error: &AwsError, path: &str, head: bool, id: &RequestId) -> Response {
    let code = match error.kind {
        "ServiceException" => "InternalError",
        "ServiceUnavailableException" => "SlowDown",
        "InvalidParameterValueException" | "InvalidRequestContentException" => "InvalidArgument",
        "RequestTooLargeException" => "EntityTooLarge",
        "ResourceConflictException" => "InvalidRequest",
        kind => kind,
    };
    let mut response = if head || error.status == StatusCode::NOT_MODIFIED {
        empty(error.status)
    } else {
        let mut content = String::new();
        let value = json!({"Code": code, "Message": error.message, "Resource": path, "RequestId": id.to_string()});
        xml::element(&mut content, "Error", &value, Lists::Repeated);
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{content}");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = error.status;
        response
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn refused(error: &SigError) -> AwsError {
    let (status, kind) = match error {
        SigError::UnknownKey => (StatusCode::FORBIDDEN, "InvalidAccessKeyId"),
        SigError::SessionToken => (StatusCode::BAD_REQUEST, "InvalidToken"),
        SigError::Mismatch => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
        SigError::Expired { .. } | SigError::NotYet { .. } => (StatusCode::FORBIDDEN, "RequestTimeTooSkewed"),
        SigError::BodyHash => (StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch"),
        SigError::Incomplete(_) | SigError::Duplicate(_) | SigError::Scope(_) => {
            (StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed")
        }
        SigError::Missing | SigError::Unsigned(_) => (StatusCode::FORBIDDEN, "AccessDenied"),
    };
    AwsError::new(status, kind, error.to_string())
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

fn not_implemented(message: impl Into<String>) -> AwsError {
    AwsError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
}

fn not_allowed(method: &Method) -> AwsError {
    let message = format!("{method} is not supported here with this path and query");
    AwsError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}

fn no_bucket(name: &str) -> AwsError {
    AwsError::new(StatusCode::NOT_FOUND, "NoSuchBucket", format!("The specified bucket does not exist: {name}"))
}

fn no_key(key: &str) -> AwsError {
    AwsError::new(StatusCode::NOT_FOUND, "NoSuchKey", format!("The specified key does not exist: {key}"))
}

fn too_large(most: usize) -> AwsError {
    let message = format!("Your proposed upload exceeds the maximum allowed size: {most} bytes");
    AwsError::new(StatusCode::BAD_REQUEST, "EntityTooLarge", message)
}
