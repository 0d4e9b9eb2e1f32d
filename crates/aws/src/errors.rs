//! Errors as AWS Lambda's REST-JSON protocol says them: a status, `x-amzn-ErrorType`, and a JSON body.
//!
//! The shapes follow the service model that SDKs are generated from, so that boto3 raises
//! `lambda.exceptions.ResourceNotFoundException` and the like. Each exception has its own idea of `Message`
//! or `message`; so has this file.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use model::{Blame, Fault, FaultCode, RequestId};

use crate::function_ref::InvalidFunctionRef;
use crate::sigv4::SigError;

/// One error, ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    pub status: StatusCode,
    /// The exception's name.
    pub kind: &'static str,
    pub message: String,
    /// Why a call was throttled.
    pub reason: Option<&'static str>,
    /// Seconds after which a retry is worth trying.
    pub retry_after: Option<u64>,
    /// Hearth's own code, answered as `x-hearth-fault`.
    pub fault: Option<FaultCode>,
}

/// Header that carries Hearth's own fault code.
pub const FAULT_HEADER: &str = "x-hearth-fault";

/// Exceptions whose member is `Message`; all others have `message`.
const CAPITAL: &[&str] =
    &["ResourceNotFoundException", "ServiceException", "InvalidRuntimeException", "SnapStartException"];

// === impl AwsError ===

impl AwsError {
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), reason: None, retry_after: None, fault: None }
    }

    /// The payload of an Invoke is not JSON, or is not what it should be.
    pub fn invalid_content(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestContentException", message)
            .with_fault(FaultCode::InvalidRequest)
    }

    /// A parameter has a value that is not taken.
    pub fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameterValueException", message)
            .with_fault(FaultCode::InvalidRequest)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message).with_fault(FaultCode::NotFound)
    }

    /// The request's payload is over the limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", message)
            .with_fault(FaultCode::RequestTooLarge)
    }

    /// The input breaks a constraint of the service model.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message).with_fault(FaultCode::InvalidRequest)
    }

    /// A value of another type than the service model's.
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SerializationException", message).with_fault(FaultCode::InvalidRequest)
    }

    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", message).with_fault(FaultCode::Unauthorized)
    }

    /// Names Hearth's own code beside AWS's.
    pub fn with_fault(mut self, code: FaultCode) -> Self {
        self.fault = Some(code);
        self
    }

    fn with_retry(mut self, reason: Option<&'static str>, after: Option<Duration>) -> Self {
        self.reason = reason;
        // Rounded up: a retry that comes too early is a retry wasted.
        self.retry_after = Some(after.map_or(1, |after| after.as_millis().div_ceil(1000).max(1) as u64));
        self
    }

    /// The JSON body.
    pub fn body(&self) -> Bytes {
        let user = self.status.is_client_error();
        let key = if CAPITAL.contains(&self.kind) { "Message" } else { "message" };
        let mut body = serde_json::Map::new();
        if let Some(reason) = self.reason {
            body.insert("Reason".into(), reason.into());
        }
        body.insert("Type".into(), if user { "User" } else { "Service" }.into());
        body.insert(key.into(), self.message.as_str().into());
        serde_json::Value::Object(body).to_string().into()
    }

    /// The whole answer.
    pub fn response<B: From<Bytes>>(&self, request_id: &RequestId) -> Response<B> {
        let mut response = Response::new(B::from(self.body()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.kind));
        if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
            headers.insert("x-amzn-requestid", id);
        }
        if let Some(code) = self.fault {
            headers.insert(FAULT_HEADER, HeaderValue::from_static(code.as_str()));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<&Fault> for AwsError {
    fn from(fault: &Fault) -> Self {
        use FaultCode::*;
        let message = fault.message.as_str();
        let error = match fault.code {
            InvalidRequest | InvalidPackage | ImageRefused => Self::invalid_parameter(message),
            Unauthorized => Self::access_denied(message),
            NotFound => Self::not_found(message),
            RequestTooLarge => Self::too_large(message),
            Conflict => Self::new(StatusCode::CONFLICT, "ResourceConflictException", message),
            NoForkPoint => Self::new(StatusCode::BAD_REQUEST, "SnapStartException", message),
            TooManyRequests => Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", message)
                .with_retry(Some("ReservedFunctionConcurrentInvocationLimitExceeded"), fault.retry_after),
            // All of the machine is in use, as all of the account's concurrency may be on AWS.
            NoCapacity => Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", message)
                .with_retry(Some("ConcurrentInvocationLimitExceeded"), fault.retry_after),
            Draining => Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", message)
                .with_retry(None, fault.retry_after),
            IsolationUnavailable | RuntimeUnavailable => {
                Self::new(StatusCode::BAD_GATEWAY, "InvalidRuntimeException", message)
            }
            // AWS's KMSNotFound and EFSMountFailure and the like, which belong to services that are not here.
            SecretUnusable | MountRefused => Self::new(StatusCode::BAD_GATEWAY, "ResourceNotReadyException", message),
            Timeout | OutOfMemory | Exited | InitFailed | InitTimeout | ResponseTooLarge | Protocol | HandlerError
            | SandboxFailed | Store | PackageDamaged | Internal => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message)
            }
        };
        error.with_fault(fault.code)
    }
}

impl From<&SigError> for AwsError {
    fn from(error: &SigError) -> Self {
        Self::new(error.status(), error.kind(), error.to_string()).with_fault(FaultCode::Unauthorized)
    }
}

impl From<InvalidFunctionRef> for AwsError {
    fn from(error: InvalidFunctionRef) -> Self {
        // What AWS's front door answers before the Lambda service is reached.
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", error.to_string())
            .with_fault(FaultCode::InvalidRequest)
    }
}

/// What AWS names a function's failure in `errorType`, where the platform and not the runtime says it.
pub fn error_type(code: FaultCode) -> &'static str {
    match code {
        FaultCode::Timeout | FaultCode::InitTimeout => "Sandbox.Timedout",
        FaultCode::OutOfMemory | FaultCode::Exited => "Runtime.ExitError",
        FaultCode::ResponseTooLarge => "Function.ResponseSizeTooLarge",
        FaultCode::InitFailed => "Runtime.InitError",
        FaultCode::Protocol => "Runtime.Protocol",
        FaultCode::NoForkPoint => "SnapStartException",
        _ if code.blame() == Blame::Function => "Runtime.Unknown",
        _ => "Hearth.Platform",
    }
}

/// `{"errorType": …, "errorMessage": …}` for a failure that the platform noticed.
pub fn failure_payload(fault: &Fault) -> Bytes {
    serde_json::json!({ "errorType": error_type(fault.code), "errorMessage": fault.message }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: &AwsError) -> (u16, &'static str, String) {
        (error.status.as_u16(), error.kind, String::from_utf8(error.body().to_vec()).unwrap())
    }

    #[test]
    fn a_missing_function_reads_as_on_aws() {
        let fault = Fault::new(FaultCode::NotFound, "Function not found: f");
        let body = r#"{"Type":"User","Message":"Function not found: f"}"#;
        // serde_json's map sorts its keys; JSON has no order.
        let (status, kind, text) = shown(&AwsError::from(&fault));
        assert_eq!((status, kind), (404, "ResourceNotFoundException"));
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&text), read(body));
    }

    #[test]
    fn a_throttled_call_says_when_to_come_back() {
        let fault =
            Fault::new(FaultCode::TooManyRequests, "Rate Exceeded.").with_retry_after(Duration::from_millis(1500));
        let response = AwsError::from(&fault).response::<Bytes>(&RequestId::random());
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["x-amzn-errortype"], "TooManyRequestsException");
        assert_eq!(response.headers()["x-hearth-fault"], "HEARTH-C006");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded");
        assert_eq!(body["message"], "Rate Exceeded.");
    }

    #[test]
    fn every_fault_has_an_error_status_and_keeps_its_code() {
        for code in FaultCode::ALL {
            let error = AwsError::from(&Fault::new(*code, "x").with_detail("/secret/path"));
            assert!(error.status.is_client_error() || error.status.is_server_error(), "{code}");
            assert_eq!(error.fault, Some(*code));
            assert!(!shown(&error).2.contains("secret"), "{code}");
        }
    }
}
