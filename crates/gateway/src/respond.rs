//! Answers of the ingress that do not come from a function.
//!
//! The ingress talks to the public: it says what the caller can act on, and of anything else only a code. The
//! rest is in the log, under the request id.

use std::time::Duration;

use aws::errors::FAULT_HEADER;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use model::trace::Cause;
use model::{Blame, Fault, FaultCode, RequestId, Timestamp, Trace};

use crate::Response;
use crate::trace::{self, TRACE_ID};

/// What every answer of one request carries.
pub(crate) struct Reference {
    pub id: RequestId,
    pub trace: Trace,
}

// === impl Reference ===

impl Reference {
    pub fn new(headers: &HeaderMap, received: Timestamp) -> Self {
        let trace = Trace::begin(trace::said(headers), Cause::Call, received);
        Self { id: RequestId::at(received), trace }
    }

    /// This was answered.
    pub fn answered(&self, response: &Response) {
        if let Some(call) = self.trace.call() {
            call.answered(response.status().as_u16());
        }
    }

    pub fn stamp(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::try_from(self.id.to_string()) {
            headers.insert("x-amzn-requestid", id);
        }
        if let Ok(trace) = HeaderValue::from_str(self.trace.told().to_xray().as_str()) {
            headers.insert(TRACE_ID, trace);
        }
    }

    /// `{"Message": …, "Code": …}`
    pub fn refuse(&self, status: StatusCode, code: FaultCode, message: &str) -> Response {
        let body = serde_json::json!({ "Message": message, "Code": code.as_str() }).to_string();
        self.failed(status, code, body.into())
    }

    /// The function failed or could not be run: 502, with the bytes that AWS's function URLs give.
    pub fn bad_gateway(&self, code: FaultCode) -> Response {
        self.failed(StatusCode::BAD_GATEWAY, code, Bytes::from_static(b"Internal Server Error"))
    }

    fn failed(&self, status: StatusCode, code: FaultCode, body: Bytes) -> Response {
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(FAULT_HEADER, HeaderValue::from_static(code.as_str()));
        self.stamp(headers);
        if let Some(id) = headers.get("x-amzn-requestid").cloned() {
            headers.insert("x-hearth-request-id", id);
        }
        response
    }

    /// The invocation did not run.
    pub fn fault(&self, fault: &Fault) -> Response {
        let refuse = |status, message| self.refuse(status, fault.code, message);
        let response = match fault.code {
            FaultCode::NotFound => refuse(StatusCode::NOT_FOUND, &fault.message),
            FaultCode::InvalidRequest => refuse(StatusCode::BAD_REQUEST, &fault.message),
            FaultCode::RequestTooLarge => refuse(StatusCode::PAYLOAD_TOO_LARGE, &fault.message),
            FaultCode::TooManyRequests | FaultCode::NoCapacity => {
                refuse(StatusCode::TOO_MANY_REQUESTS, "Rate Exceeded.")
            }
            code if code.blame() == Blame::Function => return self.bad_gateway(code),
            code if code.retry() => refuse(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            _ => refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        if fault.code.retry() { retry_after(response, fault.retry_after) } else { response }
    }
}

/// Names the whole seconds after which a retry is worth trying: one, if nothing better is known.
pub(crate) fn retry_after(mut response: Response, after: Option<Duration>) -> Response {
    let seconds = after.map_or(1, |after| after.as_millis().div_ceil(1000).max(1) as u64);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Ends the connection after this answer: part of a request may still be on its way.
pub(crate) fn and_close(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
