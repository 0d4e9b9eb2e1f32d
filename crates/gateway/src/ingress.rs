//! The functions' own URLs: `/fn/NAME/…` on any host, and every path on `NAME.fn.localhost`.
//!
//! A function that is not there and one without a URL look the same: 404. A function that failed, timed out
//! or answered nonsense is a 502 with AWS's bytes; why, is in `x-hearth-fault`.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use aws::http_event::{self, Forwarded, HttpRequest};
use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use model::{Door, FaultCode, FunctionName, Invocation, MAX_REQUEST_BYTES, Outcome, Reply, Timestamp};
use tracing::warn;

use crate::body::{self, BodyError};
use crate::respond::{Reference, and_close};
use crate::web::Origin;
use crate::{Gateway, Invoker, Options, Response};

/// The ingress for one peer, as hyper wants it.
#[derive(Clone)]
pub struct IngressService<I> {
    gateway: Gateway<I>,
    peer: SocketAddr,
}

/// Which function a request is for, and the path that the function sees.
#[derive(Debug, PartialEq, Eq)]
struct Route<'a> {
    name: &'a str,
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
        let options = self.options();
        let Some(host) = host(&parts) else {
            let message = "the Host header and the host of the request line must be one and the same";
            return and_close(reference.refuse(StatusCode::BAD_REQUEST, FaultCode::InvalidRequest, message));
        };
        let route = match route(host, parts.uri.path(), &options.host_suffix) {
            Ok(route) => route,
            Err(message) => {
                return and_close(reference.refuse(StatusCode::NOT_FOUND, FaultCode::NotFound, &message));
            }
        };
        let name = route.name.parse::<FunctionName>().ok();
        let function = name.as_ref().and_then(|name| self.invoker.function(name)).filter(|found| found.spec.url);
        let (Some(name), Some(function)) = (name, function) else {
            let shown: String = route.name.chars().take(80).collect();
            let message = format!("no function {shown:?} with a URL: deploy it, or set url = true in its hearth.toml");
            return and_close(reference.refuse(StatusCode::NOT_FOUND, FaultCode::NotFound, &message));
        };
        if function.spec.web.is_some() {
            let body = body.map_err(Into::into).boxed_unsync();
            // As it was said, with its port.
            let said = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(host).to_owned();
            let path = route.path.to_owned();
            let origin = Origin { peer, host: &said, path: &path, received };
            return self.handle_web(parts, body, name, &origin, &reference).await;
        }
        let (body, reserved) = match body::read(body, MAX_REQUEST_BYTES, &options.limits, &self.shared.budget).await {
            Ok(body) => body,
            Err(error) => return and_close(refuse_body(&reference, error)),
        };
        let payload = event(&parts, &route, host, &body, peer, &reference, options, received);
        drop(body);
        if payload.len() > MAX_REQUEST_BYTES {
            return too_large(&reference);
        }
        let payload = match reserved.hold(payload) {
            Ok(payload) => payload,
            Err(error) => return refuse_body(&reference, error),
        };
        let invocation = Invocation {
            id: reference.id,
            function: name,
            payload,
            door: Door::Http,
            received,
            trace_id: reference.trace.clone(),
            client_context: String::new(),
            tail: false,
            probe: None,
        };
        match self.invoker.invoke(invocation).await {
            Ok(outcome) => answer(&reference, outcome),
            Err(fault) => reference.fault(&fault),
        }
    }
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
    // Aliases and versions do not exist yet; the newest revision does.
    match name.split_once(':') {
        None | Some((_, "$LATEST" | "%24LATEST")) => Ok(Route { name: name.split(':').next().unwrap_or(name), path }),
        Some((name, alias)) => {
            let (name, alias): (String, String) = (name.chars().take(80).collect(), alias.chars().take(80).collect());
            Err(format!("function {name:?} has no alias or version {alias:?}"))
        }
    }
}

/// `NAME` of `NAME.fn.localhost`.
fn function_host<'a>(host: &'a str, suffix: &str) -> Option<&'a str> {
    let at = host.len().checked_sub(suffix.len())?;
    let name = host.get(..at)?.strip_suffix('.')?;
    host[at..].eq_ignore_ascii_case(suffix).then_some(name).filter(|name| !name.is_empty() && !name.contains('.'))
}

#[allow(clippy::too_many_arguments, reason = "the sources of one event, used once")]
fn event(
    parts: &Parts,
    route: &Route<'_>,
    host: &str,
    body: &Bytes,
    peer: SocketAddr,
    reference: &Reference,
    options: &Options,
    received: Timestamp,
) -> Bytes {
    let header = |name: &str| {
        let value = parts.headers.get(name).filter(|_| options.trust_forwarded);
        value.and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    };
    let peer_ip = peer.ip().to_canonical().to_string();
    let port = parts.headers.get(HOST).and_then(|value| value.to_str().ok());
    let port = port.and_then(|host| host[host.len() - host.rsplit(':').next()?.len()..].parse::<u16>().ok());
    let port = port.unwrap_or(80).to_string();
    // The last entry is what the trusted proxy itself wrote; those before are what it was told.
    let client = header("x-forwarded-for").and_then(|list| list.rsplit(',').next()).map(str::trim);
    http_event::event(&HttpRequest {
        method: &parts.method,
        raw_path: route.path,
        raw_query: parts.uri.query().unwrap_or_default(),
        version: parts.version,
        headers: &parts.headers,
        body,
        source_ip: client.unwrap_or(&peer_ip),
        forwarded: Forwarded {
            client: header("x-forwarded-for").unwrap_or(&peer_ip),
            proto: header("x-forwarded-proto").unwrap_or("http"),
            port: header("x-forwarded-port").unwrap_or(&port),
        },
        trace_id: &reference.trace,
        request_id: &reference.id,
        domain_name: host,
        // What AWS says where a URL asks for no signature.
        account_id: "anonymous",
        api_id: route.name,
        received,
    })
}

fn answer(reference: &Reference, outcome: Outcome) -> Response {
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

fn too_large(reference: &Reference) -> Response {
    let message = format!("the request and its event must not be over {MAX_REQUEST_BYTES} bytes; base64 adds a third");
    reference.refuse(StatusCode::PAYLOAD_TOO_LARGE, FaultCode::RequestTooLarge, &message)
}

fn refuse_body(reference: &Reference, error: BodyError) -> Response {
    let refuse = |status, code, message| reference.refuse(status, code, message);
    match error {
        BodyError::TooLarge => too_large(reference),
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
        assert_eq!(routed("x", "/fn/hello:$LATEST/a"), Some(("hello", "/a")));
        assert_eq!(routed("hello.fn.localhost", "/fn/other"), Some(("hello", "/fn/other")));
        assert_eq!(routed("hello.FN.LocalHost", "/"), Some(("hello", "/")));
        for (host, path) in [
            ("x", "/"),
            ("x", "/fn"),
            ("x", "/fnord"),
            ("x", "/fn/hello:prod"),
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
