//! Requests for routes that functions declare, and what stands before the function on each.
//!
//! ```text
//! browser's question ─► answered here, and nothing is started
//! rate ─► API key ─► length of the body ─► signature over the body ─► function, as long as the route's timeout
//!   429     401/403         413                  401                    504
//! ```
//!
//! The rate comes first, so that guessing keys and signatures is bounded by it. A key is not shown to the function.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use aws::http_event::Routed;
use bytes::Bytes;
use engine::WebBody;
use http::header::{CONTENT_LENGTH, ORIGIN, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use model::{FaultCode, InvokeMode, MAX_REQUEST_BYTES, RouteAuth, SecretName, Signature};
use tracing::error;

use crate::body::{self, BodyError, Reserved};
use crate::cors;
use crate::ingress::{Target, Visit, refuse_body, said_host};
use crate::respond::{and_close, retry_after};
use crate::signature::claim;
use crate::table::{Match, Path};
use crate::web::Origin;
use crate::{Gateway, Invoker, KeyWorth, Response};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A body that ends in an error where it is longer than it may be.
struct Bounded {
    body: WebBody,
    left: u64,
    /// Told that it was.
    over: Arc<AtomicBool>,
}

/// The error of such an end.
#[derive(Debug, thiserror::Error)]
#[error("the body is longer than the route takes")]
struct TooLong;

// === impl Gateway ===

impl<I: Invoker> Gateway<I> {
    /// Answers a request for a route.
    pub(crate) async fn handle_routed(
        &self,
        parts: Parts,
        body: WebBody,
        host: &str,
        found: &Match,
        visit: &Visit<'_>,
    ) -> Response {
        let Some(cors) = &found.entry.route.cors else {
            return self.guarded(parts, body, host, found, visit).await;
        };
        if let Some(asked) = cors::asks_for(&parts.method, &parts.headers) {
            let mut response = Response::new(Bytes::new().into());
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = cors::answer(cors, &asked, &parts.headers);
            visit.reference.stamp(response.headers_mut());
            return response;
        }
        let origin: HeaderMap = parts.headers.get(ORIGIN).map(|value| (ORIGIN, value.clone())).into_iter().collect();
        let mut response = self.guarded(parts, body, host, found, visit).await;
        // Refusals too: the page that asked may then read why.
        cors::stamp(cors, &origin, response.headers_mut());
        response
    }

    async fn guarded(&self, mut parts: Parts, body: WebBody, host: &str, found: &Match, visit: &Visit<'_>) -> Response {
        let (entry, reference) = (&*found.entry, visit.reference);
        if let Some(limiter) = &entry.limiter
            && let Err(after) = limiter.take(visit.caller.address)
        {
            let refused = reference.refuse(StatusCode::TOO_MANY_REQUESTS, FaultCode::TooManyRequests, "Rate Exceeded.");
            return and_close(retry_after(refused, Some(after)));
        }
        if entry.route.auth == RouteAuth::ApiKey {
            if let Err(refused) = self.require_key(&parts.headers, found, visit) {
                return and_close(*refused);
            }
            parts.headers.remove(API_KEY);
        }
        let Some(function) = self.invoker.function(&entry.function) else {
            let message = format!("the function {} of this route is being removed", entry.function);
            return and_close(reference.refuse(StatusCode::NOT_FOUND, FaultCode::NotFound, &message));
        };
        if let Some(other) = Path::read(parts.uri.path()).ok().and_then(|path| entry.evaded(&path)) {
            let message = format!(
                "the path could be taken for one of the route {other}, which asks who calls: encoded slashes, semicolons and \
                 other cases of its letters are refused beside it"
            );
            return and_close(reference.refuse(StatusCode::BAD_REQUEST, FaultCode::InvalidRequest, &message));
        }
        let answer = async {
            match function.spec.web {
                Some(_) => self.routed_web(parts, body, host, found, visit).await,
                None => self.routed_event(parts, body, host, found, visit, function.spec.invoke_mode).await,
            }
        };
        let Some(limit) = entry.route.timeout else { return answer.await };
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            let message = format!("the function did not answer within {}", model::show_duration(limit));
            and_close(reference.refuse(StatusCode::GATEWAY_TIMEOUT, FaultCode::Timeout, &message))
        })
    }

    fn require_key(&self, headers: &HeaderMap, found: &Match, visit: &Visit<'_>) -> Result<(), Box<Response>> {
        let mut given = headers.get_all(API_KEY).iter();
        let key = given.next().filter(|_| given.next().is_none()).and_then(|value| value.to_str().ok());
        let entry = &found.entry;
        let worth = key.map(|key| self.shared.keys.api_key(key, &entry.function, &entry.route.route));
        let (status, message) = match worth {
            Some(KeyWorth::Valid) => return Ok(()),
            Some(KeyWorth::Elsewhere) => (StatusCode::FORBIDDEN, "this API key is not valid for this route"),
            Some(KeyWorth::Unknown) => (StatusCode::UNAUTHORIZED, "this API key is not valid"),
            None => (StatusCode::UNAUTHORIZED, "no API key: send one in one x-api-key header"),
        };
        let mut refused = visit.reference.refuse(status, FaultCode::Unauthorized, message);
        if status == StatusCode::UNAUTHORIZED {
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        Err(Box::new(refused))
    }

    async fn routed_event(
        &self,
        parts: Parts,
        body: WebBody,
        host: &str,
        found: &Match,
        visit: &Visit<'_>,
        mode: InvokeMode,
    ) -> Response {
        let (body, reserved) = match self.read(&parts, body, found, visit).await {
            Ok(read) => read,
            Err(refused) => return and_close(*refused),
        };
        let routed = Some(Routed { key: &found.entry.key, parameters: &found.parameters });
        let target = Target {
            name: &found.entry.function,
            qualifier: &None,
            path: parts.uri.path(),
            host,
            routed,
            mode,
            signed: false,
        };
        self.handle_event(&parts, &target, body, reserved, visit).await
    }

    async fn routed_web(&self, parts: Parts, body: WebBody, host: &str, found: &Match, visit: &Visit<'_>) -> Response {
        let (route, reference) = (&found.entry.route, visit.reference);
        let (said, path) = (said_host(&parts, host).to_owned(), parts.uri.path().to_owned());
        let over = Arc::new(AtomicBool::new(false));
        let body = if route.auth.secret().is_some() {
            match self.read(&parts, body, found, visit).await.map(|(body, reserved)| reserved.hold(body)) {
                Ok(Ok(body)) => Full::new(body).map_err(|never| match never {}).boxed_unsync(),
                Ok(Err(error)) => return and_close(refuse_body(reference, error, MAX_REQUEST_BYTES)),
                Err(refused) => return and_close(*refused),
            }
        } else if let Some(limit) = route.max_body {
            let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            if announced.is_some_and(|length: u64| length > limit.bytes()) {
                return and_close(refuse_body(reference, BodyError::TooLarge, limit.bytes() as usize));
            }
            Bounded { body, left: limit.bytes(), over: over.clone() }.boxed_unsync()
        } else {
            body
        };
        let origin = Origin { caller: visit.caller, host: &said, path: &path, received: visit.received };
        let response = self.handle_web(parts, body, (found.entry.function.clone(), None), &origin, reference).await;
        match route.max_body {
            // The call failed for the caller's fault, not for the function's.
            Some(limit) if over.load(Ordering::Acquire) && response.status().is_server_error() => {
                and_close(refuse_body(reference, BodyError::TooLarge, limit.bytes() as usize))
            }
            _ => response,
        }
    }

    /// Reads a body whole, as far as the route takes it, and verifies it where the route asks for that.
    async fn read(
        &self,
        parts: &Parts,
        body: WebBody,
        found: &Match,
        visit: &Visit<'_>,
    ) -> Result<(Bytes, Reserved), Box<Response>> {
        let route = &found.entry.route;
        let limit =
            route.max_body.map_or(MAX_REQUEST_BYTES as u64, |limit| limit.bytes()).min(MAX_REQUEST_BYTES as u64);
        let reference = visit.reference;
        let unsigned =
            |message: &str| Box::new(reference.refuse(StatusCode::UNAUTHORIZED, FaultCode::Unauthorized, message));
        // What cannot be genuine is not read.
        let claim = match &route.auth {
            RouteAuth::Signature { signature, secret } => {
                let claim = claim(*signature, &parts.headers, visit.received);
                Some((claim.map_err(|error| unsigned(&error.to_string()))?, *signature, secret))
            }
            _ => None,
        };
        let read = body::read(body, limit as usize, &self.options().limits, &self.shared.budget).await;
        let (body, reserved) = read.map_err(|error| Box::new(refuse_body(reference, error, limit as usize)))?;
        if let Some((claim, signature, secret)) = claim {
            let message: [&[u8]; 2] = [claim.before_body.as_bytes(), &body];
            match self.shared.keys.signed(secret, &message, &claim.codes).await {
                Ok(true) => {}
                Ok(false) => return Err(unsigned(wrong(signature))),
                Err(fault) => {
                    self.tell(secret, found, &fault);
                    return Err(Box::new(reference.refuse(
                        StatusCode::SERVICE_UNAVAILABLE,
                        fault.code,
                        "signatures cannot be verified at the moment",
                    )));
                }
            }
        }
        Ok((body, reserved))
    }

    fn tell(&self, secret: &SecretName, found: &Match, fault: &model::Fault) {
        let (route, function) = (&found.entry.route.route, &found.entry.function);
        error!(%function, %route, %secret, detail = fault.detail, "a signature cannot be verified: {}", fault.message);
    }
}

fn wrong(signature: Signature) -> &'static str {
    match signature {
        Signature::Github => "X-Hub-Signature-256 is not this body's under the key that is known here",
        Signature::Stripe => "Stripe-Signature is not this body's under the key that is known here",
    }
}

// === impl Bounded ===

impl Body for Bounded {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.over.store(true, Ordering::Release);
                    self.left = 0;
                    return Poll::Ready(Some(Err(TooLong.into())));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
