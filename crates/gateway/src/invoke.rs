//! AWS's Invoke: `POST /2015-03-31/functions/NAME/invocations`, and `InvokeWithResponseStream`: `POST
//! /2021-11-15/functions/NAME/response-streaming-invocations`; signed or with a bearer token.
//!
//! Known: `RequestResponse`, `Event` and `DryRun`, `Tail`, a client context, qualifiers: versions and aliases. An event is
//! answered once it is kept; `Idempotency-Key` names it among its function's for a day. `InvokeAsync`, of 2014, is an event too.

use std::sync::Arc;

use aws::errors::{AwsError, failure_payload};
use aws::sigv4::{self, SignedRequest};
use aws::{FunctionRef, errors, event_stream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::Streamed;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Body;
use model::trace::Trigger;
use model::{
    Blame, Door, FaultCode, Function, FunctionName, Invocation, MAX_EVENT_BYTES, MAX_REQUEST_BYTES, Outcome, Qualifier,
    Reply, Timestamp, Version,
};
use percent_encoding::percent_decode_str;

use crate::answer::Answer;
use crate::body::{self, BodyError};
use crate::pieces::{self, Form, Pieces};
use crate::respond::{Reference, and_close};
use crate::{Caller, Gateway, Invoker, NewEvent, Response, Right, json, trace};

/// Longest `X-Amz-Client-Context`, as AWS has it.
const MAX_CLIENT_CONTEXT: usize = 3583;
/// Where `Invoke` and `InvokeWithResponseStream` are, before and after the function's name.
const PLACES: [(&str, &str); 2] =
    [("/2015-03-31/functions/", "/invocations"), ("/2021-11-15/functions/", "/response-streaming-invocations")];
/// How much of an invocation's log is answered.
const TAIL_BYTES: usize = 4096;
/// Longest `Idempotency-Key`.
const MAX_KEY: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    RequestResponse,
    Event,
    DryRun,
}

/// What the path, the query and the headers ask for.
struct Wanted {
    kind: Kind,
    tail: bool,
    client_context: String,
    /// `Idempotency-Key` of an event.
    key: Option<String>,
}

// === impl Gateway ===

impl<I: Invoker> Gateway<I> {
    /// Answers one Invoke request. The router of the control listener gives it every request to
    /// `/2015-03-31/functions/{name}/invocations` and `/2021-11-15/functions/{name}/response-streaming-invocations`; it
    /// authenticates by itself.
    pub async fn handle_invoke<B>(&self, request: Request<B>) -> Response
    where
        B: Body<Data = Bytes>,
    {
        let received = Timestamp::now();
        let (parts, body) = request.into_parts();
        let reference = Reference::new(&parts.headers, received);
        let response = match self.invoke(&parts, body, &reference, received).await {
            Ok(response) => response,
            Err(refused) => {
                let close = refused.close;
                let mut response = refused.error.response(&reference.id);
                reference.stamp(response.headers_mut());
                if close { and_close(response) } else { response }
            }
        };
        reference.answered(&response);
        response
    }

    async fn invoke<B>(
        &self,
        parts: &Parts,
        body: B,
        reference: &Reference,
        received: Timestamp,
    ) -> Result<Response, Refused>
    where
        B: Body<Data = Bytes>,
    {
        // Before the body is read: a stranger shall not make us hold six megabytes.
        let bearer = self.bearer(parts).map_err(Refused::early)?;
        let options = self.options();
        let (body, reserved) =
            body::read(body, MAX_REQUEST_BYTES, &options.limits, &self.shared.budget).await.map_err(Refused::body)?;
        let caller = match bearer {
            Some(caller) => caller,
            None => self.signature(parts, &body, received)?,
        };
        let (name, qualifier, function) = self.function_named(parts, &caller)?;
        let mut wanted = Wanted::read(&parts.headers)?;
        if legacy(parts.uri.path()).is_some() {
            wanted.kind = Kind::Event;
        }
        let streams = parts.uri.path().starts_with(PLACES[1].0);
        if streams && wanted.kind == Kind::Event {
            let text = "X-Amz-Invocation-Type Event has no response to stream: expected RequestResponse or DryRun";
            return Err(AwsError::invalid_parameter(text).into());
        }
        if wanted.kind == Kind::DryRun {
            let mut response = Response::new(Default::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            reference.stamp(response.headers_mut());
            return Ok(response);
        }
        let payload = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        json::check(&payload)
            .map_err(|why| AwsError::invalid_content(format!("Could not parse request body into json: {why}")))?;
        let route = || PLACES[usize::from(streams)].0.to_owned() + "{name}" + PLACES[usize::from(streams)].1;
        trace::is_http(&reference.trace, parts, parts.uri.path(), route, options.scheme().0);
        let web = function.spec.web.is_some();
        if web && wanted.kind == Kind::Event {
            let text = format!("{name} is a web function, which takes no asynchronous events: call it, or its URL");
            return Err(AwsError::invalid_parameter(text).into());
        }
        if wanted.kind == Kind::Event {
            return self.enqueue(name, qualifier, payload, wanted, reference, received).await;
        }
        if web {
            let (result, version) = self.invoke_web(name, qualifier, &payload, received, reference).await?;
            let version = version.unwrap_or(function.version);
            return Ok(match result {
                result if streams => streamed(reference, pieces::of_web(result), version),
                Ok(payload) => ran(reference, payload, None, version),
                Err((payload, code)) => failed(reference, payload, code, None, version),
            });
        }
        let invocation = Invocation {
            id: reference.id,
            function: name,
            qualifier,
            payload: reserved.hold(payload).map_err(Refused::body)?,
            door: Door::Invoke,
            received,
            trace: reference.trace.clone(),
            client_context: wanted.client_context,
            tail: wanted.tail,
            probe: None,
            replay_of: None,
        };
        if streams {
            return match self.invoker.stream(invocation).await {
                Ok(Streamed::Stream(answer)) => {
                    let body = Pieces::new(Bytes::new(), answer, Form::Messages);
                    Ok(streamed(reference, body, function.version))
                }
                Ok(Streamed::Whole(outcome)) => {
                    let version = outcome.record.version;
                    Ok(streamed(reference, pieces::whole(*outcome), version))
                }
                Err(fault) if fault.code.blame() == Blame::Function => {
                    Ok(streamed(reference, pieces::end(Err(fault)), function.version))
                }
                Err(fault) => Err(AwsError::from(&fault).into()),
            };
        }
        match self.invoker.invoke(invocation).await {
            Ok(outcome) => Ok(answer(reference, outcome)),
            // It is the function's fault, so it is the function's failure, as on AWS.
            Err(fault) if fault.code.blame() == Blame::Function => {
                Ok(failed(reference, failure_payload(&fault), fault.code, None, function.version))
            }
            Err(fault) => Err(AwsError::from(&fault).into()),
        }
    }

    /// Answers 202 once the event is kept.
    async fn enqueue(
        &self,
        function: FunctionName,
        qualifier: Option<Qualifier>,
        payload: Bytes,
        wanted: Wanted,
        reference: &Reference,
        received: Timestamp,
    ) -> Result<Response, Refused> {
        if payload.len() > MAX_EVENT_BYTES {
            let length = payload.len();
            return Err(AwsError::too_large(format!(
                "{length} byte payload is too large for the Event invocation type (limit {MAX_EVENT_BYTES} bytes)"
            ))
            .into());
        }
        let Wanted { client_context, key, .. } = wanted;
        let event = NewEvent {
            id: reference.id,
            function,
            qualifier,
            payload,
            received,
            trace_id: reference.trace.later(Trigger::Other),
            client_context,
            hops: 0,
            key,
        };
        let kept = self.invoker.enqueue(event).await.map_err(|fault| {
            let mut error = AwsError::from(&fault);
            if fault.code == FaultCode::Store && fault.retry_after.is_some() {
                // The disk is as good as full: what is there is safe, and nothing is promised that could not be kept.
                error.status = StatusCode::INSUFFICIENT_STORAGE;
            }
            error
        })?;
        let mut response = Response::new(Answer::default());
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        reference.stamp(headers);
        if kept.repeated {
            // The earlier event's name, as it was answered then.
            if let Ok(id) = HeaderValue::try_from(kept.id.to_string()) {
                headers.insert("x-amzn-requestid", id);
            }
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    /// Who sent a good token; none if a signature has to be checked, an error for neither.
    fn bearer(&self, parts: &Parts) -> Result<Option<Caller>, AwsError> {
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let one = parts.headers.get_all(AUTHORIZATION).iter().count() <= 1;
        match token {
            Some(token) if one && self.shared.keys.token_ok(token) => Ok(Some(Caller::Token(token.to_owned()))),
            Some(_) => Err(AwsError::access_denied("the bearer token is not valid, or may not invoke functions")),
            None if sigv4::is_signed(&parts.headers, parts.uri.query().unwrap_or_default()) => Ok(None),
            None => Err(AwsError::from(&sigv4::SigError::Missing)),
        }
    }

    fn signature(&self, parts: &Parts, body: &[u8], now: Timestamp) -> Result<Caller, AwsError> {
        let signed = SignedRequest {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            body,
        };
        let verified = sigv4::verify(&signed, "lambda", |id| self.shared.keys.secret(id), now);
        verified.map(|by| Caller::AccessKey(by.access_key_id)).map_err(|error| AwsError::from(&error))
    }

    /// The function that the request names, the version or alias of it, and what that is, if it is there and the caller may
    /// call it.
    fn function_named(
        &self,
        parts: &Parts,
        caller: &Caller,
    ) -> Result<(FunctionName, Option<Qualifier>, Arc<Function>), AwsError> {
        let unknown = || AwsError::not_found("expected POST /2015-03-31/functions/NAME/invocations");
        let named = |(before, after): (&str, &str)| parts.uri.path().strip_prefix(before)?.strip_suffix(after);
        let name = PLACES.into_iter().find_map(named).or_else(|| legacy(parts.uri.path()));
        let name = name.filter(|name| !name.contains('/'));
        let name = name.filter(|_| parts.method == Method::POST).ok_or_else(unknown)?;
        let name = percent_decode_str(name).decode_utf8_lossy();
        let function: FunctionRef = name.parse().map_err(AwsError::from)?;
        let qualifier = match (function.qualifier, qualifier(parts.uri.query().unwrap_or_default())?) {
            (Some(in_name), Some(in_query)) if in_name != in_query => {
                return Err(AwsError::invalid_parameter(format!(
                    "The derived qualifier from the function name does not match the specified qualifier: \
                     {in_name:?} and {:?}",
                    in_query.chars().take(80).collect::<String>()
                )));
            }
            (in_name, in_query) => in_name.or(in_query),
        };
        let read = qualifier.as_deref().map(str::parse::<Qualifier>).transpose();
        let read = read.map_err(|error| AwsError::invalid_parameter(error.to_string()))?;
        let right = self.shared.keys.may_invoke(caller, &function.name);
        if right == Right::Know {
            let name = &function.name;
            return Err(AwsError::access_denied(format!(
                "this token may not perform lambda:InvokeFunction on {name}: it has no scope invoke:{name}"
            )));
        }
        // Out of reach is as good as absent.
        if right == Right::Invoke
            && let Some(found) = self.invoker.resolve(&function.name, read.as_ref())
        {
            return Ok((function.name, read, found));
        }
        let options = self.options();
        let qualifier: String = qualifier.into_iter().flat_map(|q| [":".into(), q]).collect();
        let (region, account, name) = (&options.region, &options.account_id, &function.name);
        let shown: String = qualifier.chars().take(129).collect();
        Err(AwsError::not_found(format!(
            "Function not found: arn:aws:lambda:{region}:{account}:function:{name}{shown}"
        )))
    }
}

/// The function of `InvokeAsync`, the API of 2014: every call of it is an event.
fn legacy(path: &str) -> Option<&str> {
    path.strip_prefix("/2014-11-13/functions/")?.trim_end_matches('/').strip_suffix("/invoke-async")
}

/// `Qualifier` of the query.
fn qualifier(query: &str) -> Result<Option<String>, AwsError> {
    let mut found = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if percent_decode_str(name).decode_utf8_lossy() != "Qualifier" {
            continue;
        }
        if found.replace(percent_decode_str(value).decode_utf8_lossy().into_owned()).is_some() {
            return Err(AwsError::invalid_parameter("Qualifier is given more than once"));
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

// === impl Wanted ===

impl Wanted {
    fn read(headers: &HeaderMap) -> Result<Self, AwsError> {
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
        let kind = match text("x-amz-invocation-type") {
            None | Some("RequestResponse") => Kind::RequestResponse,
            Some("DryRun") => Kind::DryRun,
            Some("Event") => Kind::Event,
            Some(other) => return Err(unknown("X-Amz-Invocation-Type", other, "RequestResponse, Event or DryRun")),
        };
        let tail = match text("x-amz-log-type") {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(other) => return Err(unknown("X-Amz-Log-Type", other, "None or Tail")),
        };
        let client_context = match text("x-amz-client-context") {
            None | Some("") => String::new(),
            Some(given) => client_context(given)?,
        };
        let key = match text("idempotency-key") {
            None => None,
            Some(key) if kind == Kind::Event && (1..=MAX_KEY).contains(&key.len()) && key != "?" => {
                Some(key.to_owned())
            }
            Some(_) if kind == Kind::Event => {
                return Err(AwsError::invalid_parameter(format!(
                    "Idempotency-Key is not valid: expected 1 to {MAX_KEY} printable ASCII characters"
                )));
            }
            // A promise that could not be kept must not be made.
            Some(_) => {
                return Err(AwsError::invalid_parameter(
                    "Idempotency-Key is for events: expected X-Amz-Invocation-Type Event beside it",
                ));
            }
        };
        Ok(Self { kind, tail, client_context, key })
    }
}

fn unknown(header: &str, given: &str, expected: &str) -> AwsError {
    let given: String = given.chars().take(80).collect();
    AwsError::invalid_parameter(format!("{header} {given:?} is not valid: expected {expected}"))
}

fn client_context(given: &str) -> Result<String, AwsError> {
    if given.len() > MAX_CLIENT_CONTEXT {
        let message = format!("Client context must be no more than {MAX_CLIENT_CONTEXT} bytes");
        return Err(AwsError::invalid_content(message));
    }
    let decoded = STANDARD.decode(given).ok().filter(|bytes| json::check(bytes).is_ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| AwsError::invalid_content("Client context must be a valid Base64-encoded JSON object."))
}

/// A refusal, and whether the connection must end with it.
struct Refused {
    error: AwsError,
    close: bool,
}

// === impl Refused ===

impl Refused {
    /// Before the body was read.
    fn early(error: AwsError) -> Self {
        Self { error, close: true }
    }

    fn body(error: BodyError) -> Self {
        let invalid = |status, message| {
            AwsError::new(status, "InvalidRequestContentException", message).with_fault(FaultCode::InvalidRequest)
        };
        Self::early(match error {
            BodyError::TooLarge => AwsError::too_large(format!(
                "Request must be smaller than {MAX_REQUEST_BYTES} bytes for the InvokeFunction operation"
            )),
            BodyError::Slow => invalid(StatusCode::REQUEST_TIMEOUT, "the request's body came too slowly"),
            BodyError::Broken => invalid(StatusCode::BAD_REQUEST, "the request's body is broken or incomplete"),
            BodyError::NoMemory => {
                AwsError::from(&model::Fault::new(FaultCode::NoCapacity, "too many request bodies at once"))
            }
        })
    }
}

impl From<AwsError> for Refused {
    fn from(error: AwsError) -> Self {
        Self { error, close: false }
    }
}

// === answers ===

fn answer(reference: &Reference, outcome: Outcome) -> Response {
    let version = outcome.record.version;
    match outcome.reply {
        Reply::Success(payload) => ran(reference, payload, outcome.tail, version),
        Reply::Failure(error) => failed(reference, error.payload, error.fault.code, outcome.tail, version),
    }
}

/// Messages, of which each is a piece of the answer, and the last how the call went.
fn streamed(reference: &Reference, messages: impl Into<Answer>, version: Version) -> Response {
    let mut response = Response::new(messages.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE));
    if let Ok(version) = HeaderValue::try_from(version.to_string()) {
        headers.insert("x-amz-executed-version", version);
    }
    reference.stamp(headers);
    response
}

fn failed(reference: &Reference, payload: Bytes, code: FaultCode, tail: Option<Vec<u8>>, version: Version) -> Response {
    let mut response = ran(reference, payload, tail, version);
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-amz-function-error"), HeaderValue::from_static("Unhandled"));
    headers.insert(errors::FAULT_HEADER, HeaderValue::from_static(code.as_str()));
    response
}

fn ran(reference: &Reference, payload: Bytes, tail: Option<Vec<u8>>, version: Version) -> Response {
    let mut response = Response::new(payload.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(version) = HeaderValue::try_from(version.to_string()) {
        headers.insert("x-amz-executed-version", version);
    }
    reference.stamp(headers);
    if let Some(tail) = tail {
        let log = STANDARD.encode(&tail[tail.len().saturating_sub(TAIL_BYTES)..]);
        if let Ok(log) = HeaderValue::try_from(log) {
            headers.insert("x-amz-log-result", log);
        }
    }
    response
}
