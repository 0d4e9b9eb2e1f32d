//! Errors as callers see them: a status, and a body with a stable code.
//!
//! A handler fails with an [`ApiError`]. Its body is written at the very outside, in [`envelope`], where the
//! request's id is known; there, too, the inside text goes to the log and nowhere else.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use model::{Blame, Fault, FaultCode, InvalidId, InvalidSpec, RequestId};
use serde::{Deserialize, Serialize};
use store::StoreError;
use utoipa::ToSchema;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Stable; `hearth explain CODE` tells more.
    #[schema(value_type = String, example = "HEARTH-C003")]
    pub code: FaultCode,
    /// For people: what went wrong, and what to do.
    pub message: String,
    /// Who has to act: `caller`, `function` or `platform`.
    #[schema(value_type = String, example = "caller")]
    pub blame: Blame,
    /// Whether the same request may succeed later with nothing changed.
    pub retry: bool,
    /// Names this request in the server's log.
    #[schema(value_type = String, format = "uuid")]
    pub request_id: RequestId,
}

/// Why a request was not done.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    fault: Fault,
}

/// The status that goes with a fault's code.
pub fn status_of(code: FaultCode) -> StatusCode {
    use FaultCode::*;
    match code {
        InvalidRequest => StatusCode::BAD_REQUEST,
        Unauthorized => StatusCode::UNAUTHORIZED,
        NotFound => StatusCode::NOT_FOUND,
        RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        // Well-formed, and not possible here.
        InvalidPackage | ImageRefused | SecretUnusable | MountRefused | IsolationUnavailable | RuntimeUnavailable => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Conflict => StatusCode::CONFLICT,
        NoCapacity | Store | Draining => StatusCode::SERVICE_UNAVAILABLE,
        Timeout | InitTimeout => StatusCode::GATEWAY_TIMEOUT,
        OutOfMemory | Exited | InitFailed | ResponseTooLarge | Protocol | HandlerError | NoForkPoint => {
            StatusCode::BAD_GATEWAY
        }
        SandboxFailed | PackageDamaged | Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The outermost layer: names the request, writes error bodies, adds security headers.
pub(crate) async fn envelope(request: Request, next: Next) -> Response {
    let request_id = RequestId::random();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        let (code, status) = (fault.code, response.status());
        if status.is_server_error() {
            let detail = fault.detail.as_deref().unwrap_or_default();
            tracing::error!(%request_id, %method, path, %code, detail, "{}", fault.message);
        } else {
            tracing::debug!(%request_id, %method, path, %code, "{}", fault.message);
        }
        if let Some(after) = fault.retry_after {
            let seconds = after.as_secs().max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        let (blame, retry) = (code.blame(), code.retry());
        let body = ErrorBody { code, message: fault.message, blame, retry, request_id };
        // No type of it can fail to serialise.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = if method == Method::HEAD { Body::empty() } else { Body::from(body) };
    }
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    crate::security_headers(response.headers_mut());
    response
}

pub(crate) async fn no_such_route(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("nothing is at {path}: GET /api/v1/openapi.json lists what there is");
    Fault::new(FaultCode::NotFound, message).into()
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let (method, path): (String, String) =
        (method.as_str().chars().take(20).collect(), uri.path().chars().take(200).collect());
    let fault = Fault::new(FaultCode::InvalidRequest, format!("{path} does not take {method}"));
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, fault)
}

// === impl ApiError ===

impl ApiError {
    pub fn into_fault(self) -> Fault {
        self.fault
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn new(status: StatusCode, fault: Fault) -> Self {
        Self { status, fault }
    }

    /// A request that cannot be understood.
    pub fn invalid(message: impl Into<String>) -> Self {
        Fault::new(FaultCode::InvalidRequest, message).into()
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Fault::new(FaultCode::NotFound, message).into()
    }

    /// The same fault under another status.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub fn code(&self) -> FaultCode {
        self.fault.code
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self.fault);
        response
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self { status: status_of(fault.code), fault }
    }
}

impl From<InvalidId> for ApiError {
    fn from(error: InvalidId) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<InvalidSpec> for ApiError {
    fn from(error: InvalidSpec) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        let fault = match error {
            StoreError::NoSuchVersion { .. }
            | StoreError::NoSuchAlias { .. }
            | StoreError::NoSuchRevision { .. }
            | StoreError::NoCanary(_)
            | StoreError::NoSuchFunction(_)
            | StoreError::NoSuchQueue(_) => Fault::new(FaultCode::NotFound, text),
            StoreError::QueueUsed { .. } => Fault::new(FaultCode::Conflict, text),
            StoreError::TooMany { .. } => Fault::new(FaultCode::Conflict, text),
            StoreError::MessagesFull(_) => Fault::new(FaultCode::TooManyRequests, text),
            StoreError::BadMessage(_) | StoreError::BadQueue { .. } => Fault::new(FaultCode::InvalidRequest, text),
            StoreError::DamagedPackage(_) => Fault::new(FaultCode::PackageDamaged, text),
            StoreError::NoSuchPackage(_) | StoreError::BadPackage(_) => Fault::new(FaultCode::InvalidPackage, text),
            StoreError::NoSuchSecret(_) | StoreError::SecretLocked { .. } => {
                Fault::new(FaultCode::SecretUnusable, text)
            }
            StoreError::SecretUsed { .. } | StoreError::KeyFile(_) => Fault::new(FaultCode::Conflict, text),
            StoreError::RouteTaken { .. } | StoreError::ApiKeyTaken(_) | StoreError::TooManyApiKeys(_) => {
                Fault::new(FaultCode::Conflict, text)
            }
            StoreError::TokenTaken(_) | StoreError::TooManyTokens(_) | StoreError::OwnToken(_) => {
                Fault::new(FaultCode::Conflict, text)
            }
            StoreError::NoSuchToken(_) => Fault::new(FaultCode::NotFound, text),
            StoreError::NoSuchApiKey(_) => Fault::new(FaultCode::NotFound, text),
            StoreError::BadAliasEnv { .. } => Fault::new(FaultCode::InvalidRequest, text),
            StoreError::BadRouting { .. } => Fault::new(FaultCode::InvalidRequest, text),
            StoreError::VersionUsed { .. } | StoreError::AliasConflict { .. } | StoreError::OtherCode { .. } => {
                Fault::new(FaultCode::Conflict, text)
            }
            StoreError::CanaryRuns(_) => Fault::new(FaultCode::Conflict, text),
            StoreError::Conflict { .. } => Fault::new(FaultCode::Conflict, text),
            StoreError::QueueFull { .. } => Fault::new(FaultCode::TooManyRequests, text),
            StoreError::KeyReused(_) => Fault::new(FaultCode::Conflict, text),
            StoreError::DiskFull => {
                let message = "the disk that holds the data directory is full: nothing was changed";
                let fault = Fault::new(FaultCode::Store, message);
                return Self::new(StatusCode::INSUFFICIENT_STORAGE, fault);
            }
            StoreError::Disk(_) => {
                let message = "the disk that holds the data directory failed: nothing is changed any more until \
                               Hearth starts again; its log says more";
                Fault::new(FaultCode::Store, message).with_detail(text)
            }
            StoreError::Failed(_) => Fault::new(FaultCode::Store, "the store did not answer").with_detail(text),
            StoreError::Closed => Fault::new(FaultCode::Draining, "the server is ending and takes no new work"),
        };
        fault.into()
    }
}
