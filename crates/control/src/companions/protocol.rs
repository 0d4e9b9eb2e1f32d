//! The protocols that AWS's services speak: how a request names its operation, how answers and errors are written.

use aws::AwsError;
use aws::errors::FAULT_HEADER;
use aws::service::{Form, Model, Operation};
use aws::xml::{self, Lists};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode};
use model::RequestId;
use serde_json::{Value, json};

use super::Reply;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

pub(super) const JSON_1_1: &str = "application/x-amz-json-1.1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// All in the body, the operation in `X-Amz-Target` behind a prefix.
    Json { target: &'static str, content_type: &'static str },
    /// A form that names the operation; answers are XML.
    Query { namespace: &'static str, version: &'static str },
    /// Method and path are the operation, as with Lambda.
    RestJson,
}

// === impl Protocol ===

impl Protocol {
    /// For errors where there is no service to say it.
    pub const JSON: Self = Self::Json { target: "", content_type: JSON_1_1 };
    pub const QUERY: Self = Self::Query { namespace: "http://webservices.amazon.com/AWSFault/2005-15-09", version: "" };

    /// What a request of an unknown service seems to be in.
    pub fn guess(service: &str, request: &Request) -> Self {
        let post = request.method() == Method::POST && request.uri().path() == "/";
        match post {
            true if request.headers().contains_key("x-amz-target") => Self::JSON,
            true => Self::QUERY,
            // Paths and XML; an error reads as the query protocol's.
            false if matches!(service, "cloudfront" | "route53") => Self::QUERY,
            false => Self::RestJson,
        }
    }

    /// The operation of a request and its input, checked.
    pub fn read<'a>(self, model: &'a Model, parts: &Parts, body: &[u8]) -> Result<(&'a Operation, Value), AwsError> {
        match self {
            Self::Json { target: prefix, .. } => {
                let given = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
                let name = given.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
                let found = name.and_then(|name| model.operation(name)).filter(|_| is_post(parts));
                let operation = found.ok_or_else(|| {
                    let why = match name {
                        Some(name) => format!("The operation {name:?} is not here"),
                        None if is_form(parts) => {
                            "The query protocol is not taken here: use a client of today, which sends JSON".into()
                        }
                        None => format!("Expected POST / with X-Amz-Target: {prefix}.OPERATION, got {given:?}"),
                    };
                    unknown("UnknownOperationException", &why, model)
                })?;
                Ok((operation, model.json_input(operation, body)?))
            }
            Self::Query { version, .. } => {
                let form = if is_post(parts) { body } else { parts.uri.query().unwrap_or_default().as_bytes() };
                let form = Form::parse(form)?;
                let name = form.get("Action").unwrap_or_default();
                if form.get("Version") != Some(version) {
                    let message = format!(
                        "Could not find operation {name} for version {:?}: expected {version}",
                        form.get("Version")
                    );
                    return Err(AwsError::new(StatusCode::BAD_REQUEST, "InvalidAction", message));
                }
                let why = || format!("The action {name} is not valid for this web service");
                let operation = model.operation(name).ok_or_else(|| unknown("InvalidAction", &why(), model))?;
                Ok((operation, model.form_input(operation, &form)?))
            }
            Self::RestJson => {
                let query = parts.uri.query().unwrap_or_default();
                let why = || format!("{} {} is no operation of this service", parts.method, parts.uri.path());
                let found = model.find(&parts.method, parts.uri.path(), query);
                let found = found.ok_or_else(|| unknown("UnknownOperationException", &why(), model))?;
                let input = model.input(&found, query, &parts.headers, body)?;
                Ok((found.operation, input))
            }
        }
    }

    /// A success.
    pub fn reply(self, operation: &Operation, reply: Reply, id: &RequestId) -> Response {
        let value = match reply {
            Reply::Whole(mut response) => {
                response.headers_mut().extend(id_header(id));
                return response;
            }
            Reply::Value(value) => Some(value),
            Reply::Nothing => None,
        };
        let status = StatusCode::from_u16(operation.status).unwrap_or(StatusCode::OK);
        let text = match self {
            Self::Json { .. } | Self::RestJson => value.unwrap_or_else(|| json!({})).to_string(),
            Self::Query { namespace, .. } => {
                let name = operation.name.as_str();
                let mut text = String::new();
                if let Some(value) = value {
                    xml::element(&mut text, &format!("{name}Result"), &value, Lists::Member);
                }
                let metadata = json!({"RequestId": id.to_string()});
                xml::element(&mut text, "ResponseMetadata", &metadata, Lists::Member);
                xml::document(&format!("{name}Response"), namespace, &text)
            }
        };
        self.response(status, text, id)
    }

    pub fn error(self, error: &AwsError, id: &RequestId) -> Response {
        let user = error.status.is_client_error();
        let mut response = match self {
            Self::Json { .. } => {
                // These protocols have one status for whatever is the caller's mistake.
                let status = if user { StatusCode::BAD_REQUEST } else { error.status };
                let body = json!({"__type": error.kind, "message": error.message});
                self.response(status, body.to_string(), id)
            }
            Self::RestJson => self.response(error.status, json!({"Message": error.message}).to_string(), id),
            Self::Query { namespace, .. } => {
                let kind = query_kind(error.kind);
                let inner =
                    json!({"Type": if user { "Sender" } else { "Receiver" }, "Code": kind, "Message": error.message});
                let mut text = String::new();
                xml::element(&mut text, "Error", &inner, Lists::Member);
                xml::element(&mut text, "RequestId", &Value::from(id.to_string()), Lists::Member);
                self.response(error.status, xml::document("ErrorResponse", namespace, &text), id)
            }
        };
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(error.kind));
        if let Some(code) = error.fault {
            headers.insert(FAULT_HEADER, HeaderValue::from_static(code.as_str()));
        }
        if let Some(seconds) = error.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn response(self, status: StatusCode, text: String, id: &RequestId) -> Response {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let kind = match self {
            Self::Json { content_type, .. } => content_type,
            Self::Query { .. } => "text/xml",
            Self::RestJson => "application/json",
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response.headers_mut().extend(id_header(id));
        response
    }
}

fn id_header(id: &RequestId) -> Option<(HeaderName, HeaderValue)> {
    Some((REQUEST_ID, HeaderValue::try_from(id.to_string()).ok()?))
}

fn is_post(parts: &Parts) -> bool {
    parts.method == Method::POST
}

fn is_form(parts: &Parts) -> bool {
    let given = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.starts_with("application/x-www-form-urlencoded")
}

fn unknown(kind: &'static str, why: &str, model: &Model) -> AwsError {
    let names: Vec<_> = model.operations().map(|operation| operation.name.as_str()).collect();
    AwsError::new(StatusCode::BAD_REQUEST, kind, format!("{why}: Hearth has {}", names.join(", ")))
}

/// The older protocol's names of what every service may answer.
fn query_kind(kind: &'static str) -> &'static str {
    match kind {
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        "AccessDeniedException" => "AccessDenied",
        "ValidationException" => "ValidationError",
        "SerializationException" => "MalformedInput",
        "UnknownOperationException" => "InvalidAction",
        "ServiceException" => "ServiceFailure",
        kind => kind,
    }
}
