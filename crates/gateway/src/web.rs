//! Requests for web functions: any method, path, header and body, as they came, but for what belongs to one connection,
//! what says who asked, and our own cookies. Answers come back the same way, streamed; `101` joins both ends.
//!
//! ```text
//! request ─► headers in order ─► engine ─► head of the answer ─► body as it comes
//!                                  │ fault: 502 and the like, with its reason
//!                                  └ 101: bytes both ways until either end closes
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws::http_event::{is_hop_by_hop, is_our_cookie};
use bytes::Bytes;
use engine::{ReplyBody, WebBody, WebCall};
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::{Blame, Door, Fault, FunctionName, Qualifier, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;
use tracing::debug;

use crate::client::Caller;
use crate::respond::Reference;
use crate::{Gateway, Invoker, Response, trace};

/// How long one end of a connection that changed its protocol may go on when the other has closed it.
const LAST: Duration = Duration::from_secs(10);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Set on a connection whose requests are over, because it changed its protocol: what stands in front of the parser then
/// lets everything pass.
#[derive(Debug, Clone, Default)]
pub struct Passage(Arc<AtomicBool>);

/// Where a request came in.
pub(crate) struct Origin<'a> {
    pub caller: Caller,
    pub host: &'a str,
    /// The path as the function shall see it.
    pub path: &'a str,
    pub received: Timestamp,
}

// === impl Passage ===

impl Passage {
    /// To be called before the 101 is given back.
    pub fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

// === impl Gateway ===

impl<I: Invoker> Gateway<I> {
    pub(crate) async fn handle_web(
        &self,
        mut parts: Parts,
        body: WebBody,
        (function, qualifier): (FunctionName, Option<Qualifier>),
        origin: &Origin<'_>,
        reference: &Reference,
    ) -> Response {
        let client = parts.extensions.remove::<OnUpgrade>();
        let passage = parts.extensions.remove::<Passage>();
        let request = match self.request(parts, body, origin, reference) {
            Ok(request) => request,
            Err(message) => {
                return reference.refuse(StatusCode::BAD_REQUEST, model::FaultCode::InvalidRequest, &message);
            }
        };
        let (id, received, trace) = (reference.id, origin.received, reference.trace.clone());
        let call = WebCall { id, function, qualifier, door: Door::Http, received, trace, request };
        let mut response = match self.invoker.web(call).await {
            Ok(response) => response,
            Err(fault) => return failed(reference, &fault),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(client), Some(passage)) = (client, passage) else {
                // It changes a protocol that nobody asked it to.
                return reference.bad_gateway(model::FaultCode::Protocol);
            };
            let server = hyper::upgrade::on(&mut response);
            let (mut parts, held) = response.into_parts();
            passage.open();
            let changed = self.options().limits.parting.change();
            tokio::spawn(async move {
                join(client, server, held).await;
                drop(changed);
            });
            clean(&mut parts.headers, true);
            reference.stamp(&mut parts.headers);
            return Response::from_parts(parts, Bytes::new().into());
        }
        let (mut parts, body) = response.into_parts();
        clean(&mut parts.headers, false);
        reference.stamp(&mut parts.headers);
        let mut answer = Response::new(body.into());
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = parts.headers;
        answer
    }

    /// The request as the function's server gets it.
    fn request(
        &self,
        parts: Parts,
        body: WebBody,
        origin: &Origin<'_>,
        reference: &Reference,
    ) -> Result<Request<WebBody>, String> {
        let Parts { method, uri, mut headers, .. } = parts;
        let target = match uri.query() {
            Some(query) => format!("{}?{query}", origin.path),
            None => origin.path.to_owned(),
        };
        let uri: Uri = target.parse().map_err(|error| format!("the request's target is not valid: {error}"))?;
        let upgrades = clean(&mut headers, true);
        // Answered already: the body is on its way.
        headers.remove(header::EXPECT);
        cookies(&mut headers);
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        let (scheme, usual) = self.options().scheme();
        let (given_for, port) = (origin.caller.peer.ip().to_canonical().to_string(), port_of(origin, usual));
        set(REQUEST_ID, &reference.id.to_string());
        if !origin.caller.trusted {
            set(FORWARDED_FOR, &given_for);
            set(FORWARDED_PROTO, scheme);
            set(FORWARDED_PORT, &port);
            set(FORWARDED_HOST, origin.host);
        }
        trace::tell(&mut headers, &reference.trace);
        if !headers.contains_key(header::HOST) {
            // HTTP/2 says it elsewhere, HTTP/1.0 need not.
            let host = if origin.host.is_empty() { "localhost" } else { origin.host };
            headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|error| error.to_string())?);
        }
        if !upgrades {
            headers.remove(header::UPGRADE);
            headers.remove(header::CONNECTION);
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn port_of(origin: &Origin<'_>, usual: u16) -> String {
    let port = origin.host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.unwrap_or(usual).to_string()
}

/// Takes out what belongs to one connection. With `upgrade`, a change of the protocol stays; says whether there is one.
fn clean(headers: &mut HeaderMap, upgrade: bool) -> bool {
    let tokens: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_ascii_lowercase())
        .collect();
    let upgrades = upgrade && tokens.iter().any(|token| token == "upgrade") && headers.contains_key(header::UPGRADE);
    let to = headers.get(header::UPGRADE).cloned().filter(|_| upgrades);
    // Who takes trailers gets them.
    let trailers = headers.get(header::TE).is_some_and(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
    });
    let announced = headers.get(header::TRAILER).cloned();
    for name in tokens.iter().filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok()) {
        // Named there or not, these are no connection's.
        if ![header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::AUTHORIZATION].contains(&name) {
            headers.remove(name);
        }
    }
    let hops: Vec<HeaderName> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in hops {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(announced) = announced {
        headers.insert(header::TRAILER, announced);
    }
    if let Some(to) = to {
        headers.insert(header::UPGRADE, to);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // What says how the platform fared, no function says; and our cookies are not its to set.
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_platforms(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    let set: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    let mine = |value: &HeaderValue| is_our_cookie(&String::from_utf8_lossy(value.as_bytes()));
    if set.iter().any(mine) {
        headers.remove(header::SET_COOKIE);
        for value in set.into_iter().filter(|value| !mine(value)) {
            headers.append(header::SET_COOKIE, value);
        }
    }
    upgrades
}

fn is_platforms(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-hearth-") || matches!(name, "x-amzn-requestid" | "x-amzn-errortype")
}

/// Takes our own cookies out of a request's.
fn cookies(headers: &mut HeaderMap) {
    let given: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    if !given.iter().any(|value| text(value).split(';').any(is_our_cookie)) {
        return;
    }
    headers.remove(header::COOKIE);
    for value in given {
        let kept: Vec<_> =
            text(&value).split(';').map(str::trim).filter(|one| !is_our_cookie(one)).map(str::to_owned).collect();
        if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept.join("; "))) {
            headers.append(header::COOKIE, value);
        }
    }
}

/// There is no answer: why, as far as whoever develops the function needs to know.
fn failed(reference: &Reference, fault: &Fault) -> Response {
    let mut response = reference.fault(fault);
    if fault.code.blame() == Blame::Function {
        let reason = fault.message.escape_default().to_string();
        if let Ok(reason) = HeaderValue::try_from(reason) {
            response.headers_mut().insert("x-hearth-reason", reason);
        }
    }
    response
}

/// Bytes both ways, until either end closes. `held` is the call, which lasts as long.
async fn join(client: OnUpgrade, server: OnUpgrade, mut held: ReplyBody) {
    // Who ends the server does not wait for it.
    held.leave();
    match tokio::try_join!(client, server) {
        Ok((client, server)) => {
            let (mut from_client, mut to_client) = split(TokioIo::new(client));
            let (mut from_server, mut to_server) = split(TokioIo::new(server));
            let up = carry(&mut from_client, &mut to_server);
            let down = carry(&mut from_server, &mut to_client);
            let (mut up, mut down) = (pin!(up), pin!(down));
            // When one end is done, the other may say its last.
            let last = tokio::select! {
                () = &mut up => timeout(LAST, down).await,
                () = &mut down => timeout(LAST, up).await,
            };
            if last.is_err() {
                debug!("a connection that changed its protocol was cut, since only one end closed it");
            }
        }
        Err(error) => debug!(%error, "a connection did not change its protocol after all"),
    }
    drop(held);
}

/// One way, up to its end.
async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    // An error is an end too.
    let _ = tokio::io::copy(from, to).await;
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(upgrade: bool, given: &[(&str, &str)]) -> (Vec<(String, String)>, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        let upgrades = clean(&mut headers, upgrade);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        left.sort();
        (left, upgrades)
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_stays_there() {
        let given = [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers, deflate"),
            ("trailer", "x-sum"),
            ("x-kept", "yes"),
        ];
        let left = pairs(&[("te", "trailers"), ("trailer", "x-sum"), ("x-kept", "yes")]);
        assert_eq!(cleaned(true, &given), (left, false));
    }

    #[test]
    fn a_change_of_the_protocol_passes_where_it_may() {
        let given = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(cleaned(true, &given), (pairs(&[("connection", "upgrade"), ("upgrade", "websocket")]), true));
        assert_eq!(cleaned(false, &given), (vec![], false));
    }

    #[test]
    fn a_function_does_not_speak_for_the_platform() {
        let given = [("x-hearth-fault", "HEARTH-P001"), ("set-cookie", "hearth_session=x"), ("set-cookie", "a=1")];
        assert_eq!(cleaned(false, &given).0, pairs(&[("set-cookie", "a=1")]));
    }

    #[test]
    fn our_cookies_are_not_the_functions() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=1; hearth_session=x; b=2"));
        cookies(&mut headers);
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
        headers.insert(header::COOKIE, HeaderValue::from_static("hearth_session=x"));
        cookies(&mut headers);
        assert!(!headers.contains_key(header::COOKIE));
    }
}
