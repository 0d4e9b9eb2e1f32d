//! The functions' own URLs: `/fn/NAME/…` on any host, and every path on `NAME.fn.localhost`. What they declare beside
//! is looked up here too, and answered in `routed`.
//!
//! A function that is not there and one without a URL look the same: 404. A function that failed, timed out
//! or answered nonsense is a 502 with AWS's bytes; why, is in `x-hearth-fault`.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use aws::http_event::{self, Forwarded, HttpRequest, Routed};
use bytes::Bytes;
use http::header::{ALLOW, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use model::{
    Door, FaultCode, FunctionName, Invocation, InvokeMode, MAX_REQUEST_BYTES, Outcome, Qualifier, Reply, Timestamp,
};
use percent_encoding::percent_decode_str;
use tracing::warn;

use crate::body::{self, BodyError, Reserved};
use crate::client::Caller;
use crate::cors;
use crate::respond::{Reference, and_close};
use crate::table::{Found, Match, Path};
use crate::url::Called;
use crate::web::Origin;
use crate::{Gateway, Invoker, Options, Response, trace};

/// The ingress for one peer, as hyper wants it.
#[derive(Clone)]
pub struct IngressService<I> {
    gateway: Gateway<I>,
    peer: SocketAddr,
}

/// A request's way in.
#[derive(Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub caller: Caller,
    pub received: Timestamp,
    pub reference: &'a Reference,
}

/// An event function, and what it is to see of where it was called.
pub(crate) struct Target<'a> {
    pub name: &'a FunctionName,
    pub qualifier: &'a Option<Qualifier>,
    pub path: &'a str,
    pub host: &'a str,
    pub routed: Option<Routed<'a>>,
    pub mode: InvokeMode,
    /// Whether the caller signed with an access key.
    pub signed: bool,
}

/// What answers a request.
enum Place<'a> {
    /// A function at its own URL.
    Url(Route<'a>),
    /// A function at a route that it declares.
    Route(Match),
    /// Nobody, for this reason.
    None(Box<Response>),
}

/// Which function a request is for, and the path that the function sees.
#[derive(Debug, PartialEq, Eq)]
struct Route<'a> {
    name: &'a str,
    qualifier: Option<Qualifier>,
    path: &'a str,
}

// === impl IngressService ===

impl<I: Invoker> IngressService<I> {
    pub fn new(gateway: Gateway<I>, peer: SocketAddr) -> Self {
        Self { gateway, peer }
    }
}

impl<I: Invoker> hyper::service::Service<Request<Incoming>> for IngressService<I> {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.gateway.handle_ingress(request, this.peer).await) })
    }
}

// === impl Gateway ===

impl<I: Invoker> Gateway<I> {
    /// Answers one request for a function.
    pub async fn handle_ingress<B>(&self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let received = Timestamp::now();
        let (parts, body) = request.into_parts();
        let reference = Reference::new(&parts.headers, received);
        let response = self.ingress(parts, body, peer, received, &reference).await;
        reference.answered(&response);
        response
    }

    async fn ingress<B>(
        &self,
        parts: Parts,
        body: B,
        peer: SocketAddr,
        received: Timestamp,
        reference: &Reference,
    ) -> Response
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let options = self.options();
        let caller = Caller::of(peer, &parts.headers, &options.trusted_proxies);
        let Some(host) = host(&parts) else {
            let message = "the Host header and the host of the request line must be one and the same";
            return and_close(reference.refuse(StatusCode::BAD_REQUEST, FaultCode::InvalidRequest, message));
        };
        let visit = Visit { caller, received, reference };
        let tell = |path: &str, route: &dyn Fn() -> String| {
            trace::is_http(&reference.trace, &parts, path, route, options.scheme().0);
        };
        let route = match self.place(host, &parts, reference) {
            Place::Url(route) => route,
            Place::Route(found) => {
                tell(parts.uri.path(), &|| found.entry.route.route.path());
                let host = host.to_owned();
                let body = body.map_err(Into::into).boxed_unsync();
                return self.handle_routed(parts, body, &host, &found, &visit).await;
            }
            Place::None(response) => return and_close(*response),
        };
        tell(parts.uri.path(), &|| match parts.uri.path().starts_with("/fn/") {
            true => format!("/fn/{}/{{path...}}", route.name),
            false => "/{path...}".to_owned(),
        });
        let name = route.name.parse::<FunctionName>().ok();
        let qualifier = route.qualifier.clone();
        let resolve = |name| self.invoker.resolve(name, qualifier.as_ref());
        // Of what is deployed now, too: an older version's URL must not lead around what now asks who calls.
        let open = |found: &std::sync::Arc<model::Function>| {
            found.spec.url && self.invoker.function(&found.spec.name).is_some_and(|newest| newest.spec.url)
        };
        let function = name.as_ref().and_then(resolve).filter(open);
        let (Some(name), Some(function)) = (name, function) else {
            let shown: String = route.name.chars().take(80).collect();
            let shown = qualifier.iter().fold(shown, |shown, qualifier| format!("{shown}:{qualifier}"));
            let message = format!("no function {shown:?} with a URL: deploy it, or set url = true in its hearth.toml");
            return and_close(reference.refuse(StatusCode::NOT_FOUND, FaultCode::NotFound, &message));
        };
        // A URL has one set of rules, whichever version it leads to.
        let rules = self.invoker.function(&name).map(|newest| newest.spec.url_rules.clone()).unwrap_or_default();
        if !rules.is_default() {
            let (web, path, host) = (function.spec.web.is_some(), route.path.to_owned(), host.to_owned());
            let mode = function.spec.invoke_mode;
            let called = Called { name, qualifier, web, mode, path, host };
            let body = body.map_err(Into::into).boxed_unsync();
            return self.handle_ruled(parts, body, called, &rules, &visit).await;
        }
        if function.spec.web.is_some() {
            let body = body.map_err(Into::into).boxed_unsync();
            let (said, path) = (said_host(&parts, host).to_owned(), route.path.to_owned());
            let origin = Origin { caller, host: &said, path: &path, received };
            return self.handle_web(parts, body, (name, qualifier), &origin, reference).await;
        }
        let mode = function.spec.invoke_mode;
        let (body, reserved) = match body::read(body, MAX_REQUEST_BYTES, &options.limits, &self.shared.budget).await {
            Ok(body) => body,
            Err(error) => return and_close(refuse_body(reference, error, MAX_REQUEST_BYTES)),
        };
        let target =
            Target { name: &name, qualifier: &qualifier, path: route.path, host, routed: None, mode, signed: false };
        self.handle_event(&parts, &target, body, reserved, &visit).await
    }

    /// What answers at this host and path.
    fn place<'a>(&self, host: &'a str, parts: &'a Parts, reference: &Reference) -> Place<'a> {
        let (path, suffix) = (parts.uri.path(), &self.options().host_suffix);
        let url = |message: Option<String>| match route(host, path, suffix) {
            Ok(route) => Place::Url(route),
            Err(why) => {
                let message = message.unwrap_or(why);
                Place::None(Box::new(reference.refuse(StatusCode::NOT_FOUND, FaultCode::NotFound, &message)))
            }
        };
        let table = self.routes();
        // A host that routes name is theirs, but for what they leave.
        let is_url = path == "/fn" || path.starts_with("/fn/");
        if table.is_empty() || function_host(host, suffix).is_some() || (is_url && !table.names(host)) {
            return url(None);
        }
        let path = match Path::read(path) {
            Ok(path) => path,
            Err(error) => {
                let refused = reference.refuse(StatusCode::BAD_REQUEST, FaultCode::InvalidRequest, &error.to_string());
                return Place::None(Box::new(refused));
            }
        };
        let find = |method: &Method| match is_url {
            true => table.find_named(host, &path, method),
            false => table.find(host, &path, method),
        };
        // A browser asks for another request than this one.
        if let Some(asked) = cors::asks_for(&parts.method, &parts.headers)
            && let Found::Route(found) = find(&asked)
            && found.entry.route.cors.is_some()
        {
            return Place::Route(found);
        }
        match find(&parts.method) {
            Found::Route(found) => Place::Route(found),
            _ if is_url => url(None),
            Found::Method(methods) => {
                let allowed = methods.join(", ");
                let message = format!("no route of this path takes {}: expected {allowed}", parts.method);
                let mut refused = reference.refuse(StatusCode::METHOD_NOT_ALLOWED, FaultCode::InvalidRequest, &message);
                if let Ok(allowed) = HeaderValue::try_from(allowed) {
                    refused.headers_mut().insert(ALLOW, allowed);
                }
                Place::None(Box::new(refused))
            }
            Found::Nothing => url(Some(
                "no function has a route for this path, nor is it /fn/NAME/: `hearth routes` lists those there are"
                    .into(),
            )),
        }
    }

    /// Has an event function answer.
    pub(crate) async fn handle_event(
        &self,
        parts: &Parts,
        target: &Target<'_>,
        body: Bytes,
        reserved: Reserved,
        visit: &Visit<'_>,
    ) -> Response {
        let Visit { received, reference, .. } = *visit;
        let payload = event(parts, target, &body, visit, self.options());
        drop(body);
        if payload.len() > MAX_REQUEST_BYTES {
            return too_large(reference, MAX_REQUEST_BYTES);
        }
        let payload = match reserved.hold(payload) {
            Ok(payload) => payload,
            Err(error) => return refuse_body(reference, error, MAX_REQUEST_BYTES),
        };
        let invocation = Invocation {
            id: reference.id,
            function: target.name.clone(),
            qualifier: target.qualifier.clone(),
            payload,
            door: Door::Http,
            received,
            trace: reference.trace.clone(),
            client_context: String::new(),
            tail: false,
            probe: None,
            replay_of: None,
        };
        if target.mode == InvokeMode::Stream {
            return self.stream_event(invocation, reference).await;
        }
        match self.invoker.invoke(invocation).await {
            Ok(outcome) => answer(reference, outcome),
            Err(fault) => reference.fault(&fault),
        }
    }
}

/// The host as it was said, with its port.
pub(crate) fn said_host<'a>(parts: &'a Parts, host: &'a str) -> &'a str {
    let header = parts.headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| parts.uri.authority().map(|authority| authority.as_str())).unwrap_or(host)
}

/// The host that was asked for, without its port; none if the request names two.
fn host(parts: &Parts) -> Option<&str> {
    let mut given = parts.headers.get_all(HOST).iter();
    let header = match given.next() {
        Some(value) => Some(value.to_str().ok()?),
        None => None,
    };
    if given.next().is_some() {
        return None;
    }
    let host = match (parts.uri.authority().map(|a| a.as_str()), header) {
        (Some(line), Some(header)) if !line.eq_ignore_ascii_case(header) => return None,
        (Some(line), _) => line,
        (None, header) => header.unwrap_or_default(),
    };
    // An IPv6 address has colons of its own, within brackets.
    let port = host.rfind(':').filter(|at| host[*at..].find(']').is_none());
    Some(port.map_or(host, |at| &host[..at]))
}

fn route<'a>(host: &'a str, path: &'a str, suffix: &str) -> Result<Route<'a>, String> {
    let (name, path) = match function_host(host, suffix) {
        Some(name) => (name, path),
        None => {
            let rest =
                path.strip_prefix("/fn/").ok_or("functions answer at /fn/NAME/ and, by host, at NAME.fn.localhost")?;
            let end = rest.find('/').unwrap_or(rest.len());
            (&rest[..end], if end == rest.len() { "/" } else { &rest[end..] })
        }
    };
    let Some((name, qualifier)) = name.split_once(':') else { return Ok(Route { name, qualifier: None, path }) };
    let qualifier = percent_decode_str(qualifier).decode_utf8_lossy().parse().map_err(|error| format!("{error}"))?;
    Ok(Route { name, qualifier: Some(qualifier), path })
}

/// `NAME` of `NAME.fn.localhost`.
fn function_host<'a>(host: &'a str, suffix: &str) -> Option<&'a str> {
    let at = host.len().checked_sub(suffix.len())?;
    let name = host.get(..at)?.strip_suffix('.')?;
    host[at..].eq_ignore_ascii_case(suffix).then_some(name).filter(|name| !name.is_empty() && !name.contains('.'))
}

fn event(parts: &Parts, target: &Target<'_>, body: &Bytes, visit: &Visit<'_>, options: &Options) -> Bytes {
    let Visit { caller, received, reference } = *visit;
    let header = |name: &str| {
        let value = parts.headers.get(name).filter(|_| caller.trusted);
        value.and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    };
    let peer_ip = caller.peer.ip().to_canonical().to_string();
    let port = said_host(parts, "");
    let port = port.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let (scheme, usual) = options.scheme();
    let port = port.unwrap_or(usual).to_string();
    let told = reference.trace.told();
    let xray = told.to_xray();
    http_event::event(&HttpRequest {
        method: &parts.method,
        raw_path: target.path,
        raw_query: parts.uri.query().unwrap_or_default(),
        version: parts.version,
        headers: &parts.headers,
        body,
        source_ip: &caller.address.to_string(),
        forwarded: Forwarded {
            client: header("x-forwarded-for").unwrap_or(&peer_ip),
            proto: header("x-forwarded-proto").unwrap_or(scheme),
            port: header("x-forwarded-port").unwrap_or(&port),
        },
        trace_id: xray.as_str(),
        traceparent: told.traceparent().as_deref(),
        tracestate: told.state.as_deref(),
        request_id: &reference.id,
        domain_name: target.host,
        // What AWS says where a URL asks for no signature.
        account_id: if target.routed.is_some() || target.signed { &options.account_id } else { "anonymous" },
        api_id: target.name.as_str(),
        received,
        routed: target.routed,
    })
}

pub(crate) fn answer(reference: &Reference, outcome: Outcome) -> Response {
    let payload = match outcome.reply {
        Reply::Success(payload) => payload,
        Reply::Failure(error) => return reference.bad_gateway(error.fault.code),
    };
    match http_event::reply(&payload) {
        Ok(reply) => {
            let mut response = Response::new(reply.body.into());
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            reference.stamp(response.headers_mut());
            response
        }
        Err(error) => {
            let function = outcome.record.function;
            warn!(%function, request_id = %reference.id, %error, "the function's result is no HTTP response");
            let mut response = reference.bad_gateway(FaultCode::HandlerError);
            // For whoever develops it: escaped, so that a text of the function's cannot end the header.
            let reason = error.to_string().escape_default().to_string();
            if let Ok(reason) = HeaderValue::try_from(reason) {
                response.headers_mut().insert("x-hearth-reason", reason);
            }
            response
        }
    }
}

fn too_large(reference: &Reference, limit: usize) -> Response {
    let message = match limit {
        MAX_REQUEST_BYTES => {
            format!("the request and its event must not be over {MAX_REQUEST_BYTES} bytes; base64 adds a third")
        }
        limit => format!("the request's body must not be over {limit} bytes"),
    };
    reference.refuse(StatusCode::PAYLOAD_TOO_LARGE, FaultCode::RequestTooLarge, &message)
}

pub(crate) fn refuse_body(reference: &Reference, error: BodyError, limit: usize) -> Response {
    let refuse = |status, code, message| reference.refuse(status, code, message);
    match error {
        BodyError::TooLarge => too_large(reference, limit),
        BodyError::Slow => {
            refuse(StatusCode::REQUEST_TIMEOUT, FaultCode::InvalidRequest, "the request's body came too slowly")
        }
        BodyError::Broken => {
            refuse(StatusCode::BAD_REQUEST, FaultCode::InvalidRequest, "the request's body is broken or incomplete")
        }
        BodyError::NoMemory => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, FaultCode::NoCapacity, "too many request bodies at once")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed<'a>(host: &'a str, path: &'a str) -> Option<(&'a str, &'a str)> {
        route(host, path, "fn.localhost").ok().map(|route| (route.name, route.path))
    }

    #[test]
    fn a_path_or_a_host_names_the_function() {
        assert_eq!(routed("x", "/fn/hello"), Some(("hello", "/")));
        assert_eq!(routed("x", "/fn/hello/"), Some(("hello", "/")));
        assert_eq!(routed("x", "/fn/hello/a/b%2F"), Some(("hello", "/a/b%2F")));
        for qualifier in ["$LATEST", "%24LATEST", "7", "prod"] {
            let path = format!("/fn/hello:{qualifier}/a");
            assert_eq!(routed("x", &path), Some(("hello", "/a")), "{path}");
            let read = route("x", &path, "fn.localhost").unwrap().qualifier.unwrap();
            assert_eq!(read.to_string(), qualifier.replace("%24", "$"));
        }
        assert_eq!(routed("hello.fn.localhost", "/fn/other"), Some(("hello", "/fn/other")));
        assert_eq!(routed("hello.FN.LocalHost", "/"), Some(("hello", "/")));
        for (host, path) in [
            ("x", "/"),
            ("x", "/fn"),
            ("x", "/fnord"),
            ("x", "/fn/hello:pro.d"),
            ("x", "/fn/hello:"),
            ("fn.localhost", "/"),
            (".fn.localhost", "/"),
            ("a.b.fn.localhost", "/"),
            ("evilfn.localhost", "/"),
        ] {
            assert_eq!(routed(host, path), None, "{host}{path}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        let host_of = |uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            let parts = request.body(()).unwrap().into_parts().0;
            host(&parts).map(str::to_owned)
        };
        assert_eq!(host_of("/", &["a:80"]).as_deref(), Some("a"));
        assert_eq!(host_of("/", &["[::1]:80"]).as_deref(), Some("[::1]"));
        assert_eq!(host_of("/", &["[::1]"]).as_deref(), Some("[::1]"));
        assert_eq!(host_of("http://A:80/", &["a:80"]).as_deref(), Some("A"));
        assert_eq!(host_of("/", &[]).as_deref(), Some(""));
        assert_eq!(host_of("http://a/", &["b"]), None);
        assert_eq!(host_of("/", &["a", "a"]), None);
    }
}
