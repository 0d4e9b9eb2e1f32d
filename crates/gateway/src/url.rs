//! Requests for functions' own URLs that have rules: CORS, and callers who sign.
//!
//! ```text
//! browser's question ─► answered here, and nothing is started
//! signature ─► body ─► signature over the body ─► function
//!    403                     403
//! ```

use aws::sigv4::{self, SignedRequest};
use bytes::Bytes;
use engine::WebBody;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use model::{Cors, FaultCode, FunctionName, InvokeMode, MAX_REQUEST_BYTES, Qualifier, UrlAuth, UrlRules};

use crate::body::{self, BodyError, Reserved};
use crate::cors;
use crate::ingress::{Target, Visit, refuse_body, said_host};
use crate::respond::and_close;
use crate::web::Origin;
use crate::{Caller, Gateway, Invoker, Response, Right};

/// What was called, and by which address.
pub(crate) struct Called {
    pub name: FunctionName,
    pub qualifier: Option<Qualifier>,
    pub web: bool,
    pub mode: InvokeMode,
    pub path: String,
    pub host: String,
}

/// A body, or what was read of it.
enum Content {
    Unread(WebBody),
    Read(Bytes, Reserved),
}

// === impl Gateway ===

impl<I: Invoker> Gateway<I> {
    pub(crate) async fn handle_ruled(
        &self,
        parts: Parts,
        body: WebBody,
        called: Called,
        rules: &UrlRules,
        visit: &Visit<'_>,
    ) -> Response {
        let Some(cors) = &rules.cors else { return self.checked(parts, body, called, rules, visit).await };
        if let Some(answer) = question(cors, &parts, visit) {
            return answer;
        }
        let origin: HeaderMap = parts.headers.get(ORIGIN).map(|value| (ORIGIN, value.clone())).into_iter().collect();
        let mut response = self.checked(parts, body, called, rules, visit).await;
        // Refusals too: the page that asked may then read why.
        cors::stamp(cors, &origin, response.headers_mut());
        response
    }

    async fn checked(
        &self,
        parts: Parts,
        body: WebBody,
        called: Called,
        rules: &UrlRules,
        visit: &Visit<'_>,
    ) -> Response {
        let signed = rules.auth == UrlAuth::AwsIam;
        let content = match signed {
            false => Content::Unread(body),
            true => match self.require_signature(&parts, body, &called.name, visit).await {
                Ok((body, reserved)) => Content::Read(body, reserved),
                Err(refused) => return and_close(*refused),
            },
        };
        let Called { name, qualifier, web, mode, path, host } = called;
        let reference = visit.reference;
        let refuse = |error| and_close(refuse_body(reference, error, MAX_REQUEST_BYTES));
        if web {
            let body = match content {
                Content::Unread(body) => body,
                Content::Read(body, reserved) => match reserved.hold(body) {
                    Ok(body) => Full::new(body).map_err(|never| match never {}).boxed_unsync(),
                    Err(error) => return refuse(error),
                },
            };
            let said = said_host(&parts, &host).to_owned();
            let origin = Origin { caller: visit.caller, host: &said, path: &path, received: visit.received };
            return self.handle_web(parts, body, (name, qualifier), &origin, reference).await;
        }
        let (body, reserved) = match content {
            Content::Read(body, reserved) => (body, reserved),
            Content::Unread(body) => match self.whole(body).await {
                Ok(read) => read,
                Err(error) => return refuse(error),
            },
        };
        let (name, qualifier) = (&name, &qualifier);
        let target = Target { name, qualifier, path: &path, host: &host, routed: None, mode, signed };
        self.handle_event(&parts, &target, body, reserved, visit).await
    }

    async fn whole(&self, body: WebBody) -> Result<(Bytes, Reserved), BodyError> {
        body::read(body, MAX_REQUEST_BYTES, &self.options().limits, &self.shared.budget).await
    }

    /// The body, if it and all else was signed by who has an access key.
    async fn require_signature(
        &self,
        parts: &Parts,
        body: WebBody,
        function: &FunctionName,
        visit: &Visit<'_>,
    ) -> Result<(Bytes, Reserved), Box<Response>> {
        let query = parts.uri.query().unwrap_or_default();
        // What nobody signed is not read.
        if !sigv4::is_signed(&parts.headers, query) {
            return Err(Box::new(forbidden(visit, "Forbidden")));
        }
        let read = self.whole(body).await;
        let (body, reserved) =
            read.map_err(|error| Box::new(refuse_body(visit.reference, error, MAX_REQUEST_BYTES)))?;
        let mut headers = parts.headers.clone();
        if !headers.contains_key(HOST)
            && let Some(host) = parts.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        {
            // HTTP/2 says it elsewhere; it is signed as this header.
            headers.insert(HOST, host);
        }
        let signed =
            SignedRequest { method: &parts.method, path: parts.uri.path(), query, headers: &headers, body: &body };
        match sigv4::verify(&signed, "lambda", |id| self.shared.keys.secret(id), visit.received) {
            Ok(by) => match self.shared.keys.may_invoke(&Caller::AccessKey(by.access_key_id), function) {
                Right::Invoke => Ok((body, reserved)),
                _ => Err(Box::new(forbidden(visit, "Forbidden"))),
            },
            Err(error) => Err(Box::new(forbidden(visit, &error.to_string()))),
        }
    }
}

/// The answer, if the request is a browser's question before another one.
fn question(cors: &Cors, parts: &Parts, visit: &Visit<'_>) -> Option<Response> {
    let asked = cors::asks_for(&parts.method, &parts.headers)?;
    let mut response = Response::new(Bytes::new().into());
    *response.headers_mut() = cors::answer(cors, &asked, &parts.headers);
    visit.reference.stamp(response.headers_mut());
    Some(response)
}

/// `{"Message": …}` alone, as AWS's function URLs have it.
fn forbidden(visit: &Visit<'_>, message: &str) -> Response {
    let mut response = visit.reference.refuse(StatusCode::FORBIDDEN, FaultCode::Unauthorized, message);
    *response.body_mut() = Bytes::from(serde_json::json!({ "Message": message }).to_string()).into();
    response
}
