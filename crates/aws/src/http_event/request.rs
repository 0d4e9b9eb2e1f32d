//! An HTTP request as the event that a function behind a function URL, or a route, gets.
//!
//! Written straight into one buffer, in the order of AWS's own examples. As on AWS: `rawPath` stays
//! percent-encoded, cookies leave the headers for `cookies`, keys without a value are left out, and a body is
//! text only where its content type says so (a form's is not).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Version, header};
use model::{RequestId, Timestamp};
use percent_encoding::percent_decode_str;

use super::{is_hop_by_hop, is_our_cookie};

/// One HTTP request, and where it came in.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest<'a> {
    pub method: &'a Method,
    /// The path as the function shall see it, percent-encoded, beginning with `/`.
    pub raw_path: &'a str,
    /// Without `?`.
    pub raw_query: &'a str,
    pub version: Version,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub source_ip: &'a str,
    /// These replace what the client sent under the same names.
    pub forwarded: Forwarded<'a>,
    /// Value of `x-amzn-trace-id`.
    pub trace_id: &'a str,
    /// Values of W3C's headers, which also replace what the client sent.
    pub traceparent: Option<&'a str>,
    pub tracestate: Option<&'a str>,
    pub request_id: &'a RequestId,
    /// The host that was asked for, without its port.
    pub domain_name: &'a str,
    /// AWS says `anonymous` where no signature is wanted.
    pub account_id: &'a str,
    pub api_id: &'a str,
    pub received: Timestamp,
    /// The route that it came by; none: the function's URL.
    pub routed: Option<Routed<'a>>,
}

/// A route, and what the path has in the place of its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Routed<'a> {
    /// `POST /thumbs/{name}`
    pub key: &'a str,
    /// Decoded.
    pub parameters: &'a [(String, String)],
}

/// `x-forwarded-for`, `-proto` and `-port`.
#[derive(Debug, Clone, Copy)]
pub struct Forwarded<'a> {
    pub client: &'a str,
    pub proto: &'a str,
    pub port: &'a str,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The event, JSON.
pub fn event(request: &HttpRequest<'_>) -> Bytes {
    let mut out = Vec::with_capacity(1024 + request.raw_query.len() * 2 + request.body.len() * 4 / 3);
    out.extend_from_slice(br#"{"version":"2.0","routeKey":"#);
    string(&mut out, route_key(request));
    out.extend_from_slice(br#","rawPath":"#);
    string(&mut out, request.raw_path);
    out.extend_from_slice(br#","rawQueryString":"#);
    string(&mut out, request.raw_query);
    cookies(&mut out, request.headers);
    headers(&mut out, request);
    query(&mut out, request.raw_query);
    context(&mut out, request);
    path_parameters(&mut out, request);
    body(&mut out, request);
    out.push(b'}');
    out.into()
}

fn route_key<'a>(request: &HttpRequest<'a>) -> &'a str {
    request.routed.map_or("$default", |routed| routed.key)
}

fn path_parameters(out: &mut Vec<u8>, request: &HttpRequest<'_>) {
    let Some(Routed { parameters, .. }) = request.routed.filter(|routed| !routed.parameters.is_empty()) else { return };
    out.extend_from_slice(br#","pathParameters":{"#);
    for (place, (name, value)) in parameters.iter().enumerate() {
        member(out, place == 0, name, value);
    }
    out.push(b'}');
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing a text into memory has nothing that could fail.
    let _ = serde_json::to_writer(out, text);
}

fn member(out: &mut Vec<u8>, first: bool, name: &str, value: &str) {
    if !first {
        out.push(b',');
    }
    string(out, name);
    out.push(b':');
    string(out, value);
}

fn cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    let mut first = true;
    for line in headers.get_all(header::COOKIE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for cookie in line.split(';').map(str::trim).filter(|cookie| !cookie.is_empty() && !is_our_cookie(cookie)) {
            out.extend_from_slice(if first { br#","cookies":["# } else { b"," });
            first = false;
            string(out, cookie);
        }
    }
    if !first {
        out.push(b']');
    }
}

fn headers(out: &mut Vec<u8>, request: &HttpRequest<'_>) {
    out.extend_from_slice(br#","headers":{"#);
    let given = [
        ("x-amzn-trace-id", request.trace_id),
        ("x-forwarded-for", request.forwarded.client),
        ("x-forwarded-proto", request.forwarded.proto),
        ("x-forwarded-port", request.forwarded.port),
    ];
    for (i, (name, value)) in given.iter().enumerate() {
        member(out, i == 0, name, value);
    }
    let maybe = [
        ("traceparent", request.traceparent.unwrap_or_default()),
        ("tracestate", request.tracestate.unwrap_or_default()),
    ];
    for (name, value) in maybe.iter().filter(|(_, value)| !value.is_empty()) {
        member(out, false, name, value);
    }
    for name in request.headers.keys() {
        let ours = given.iter().chain(&maybe).any(|(given, _)| name.as_str() == *given);
        if ours || name == header::COOKIE || name == header::EXPECT || is_hop_by_hop(name) {
            continue;
        }
        let mut values = request.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
        let mut value = values.next().unwrap_or_default();
        for further in values {
            let joined = value.to_mut();
            joined.push(',');
            joined.push_str(&further);
        }
        member(out, false, name.as_str(), &value);
    }
    out.push(b'}');
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text);
    }
    let text = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&text).decode_utf8_lossy().into_owned())
}

fn query(out: &mut Vec<u8>, raw: &str) {
    // Sorted by a map and not searched in a list: a query of thousands of names costs no more than its length.
    let mut all: BTreeMap<Cow<'_, str>, Cow<'_, str>> = BTreeMap::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        all.entry(decode(name))
            .and_modify(|values| {
                let values = values.to_mut();
                values.push(',');
                values.push_str(&value);
            })
            .or_insert(value);
    }
    if all.is_empty() {
        return;
    }
    out.extend_from_slice(br#","queryStringParameters":{"#);
    for (i, (name, value)) in all.iter().enumerate() {
        member(out, i == 0, name, value);
    }
    out.push(b'}');
}

fn context(out: &mut Vec<u8>, request: &HttpRequest<'_>) {
    out.extend_from_slice(br#","requestContext":{"accountId":"#);
    string(out, request.account_id);
    out.extend_from_slice(br#","apiId":"#);
    string(out, request.api_id);
    out.extend_from_slice(br#","domainName":"#);
    string(out, request.domain_name);
    out.extend_from_slice(br#","domainPrefix":"#);
    string(out, request.domain_name.split('.').next().unwrap_or_default());
    out.extend_from_slice(br#","http":{"method":"#);
    string(out, request.method.as_str());
    out.extend_from_slice(br#","path":"#);
    string(out, request.raw_path);
    out.extend_from_slice(br#","protocol":"#);
    out.extend_from_slice(match request.version {
        Version::HTTP_10 => br#""HTTP/1.0""#,
        Version::HTTP_2 => br#""HTTP/2.0""#,
        _ => br#""HTTP/1.1""#,
    });
    out.extend_from_slice(br#","sourceIp":"#);
    string(out, request.source_ip);
    out.extend_from_slice(br#","userAgent":"#);
    let agent = request.headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    string(out, &agent.unwrap_or_default());
    let _ = write!(out, r#"}},"requestId":"{}","routeKey":"#, request.request_id);
    string(out, route_key(request));
    out.extend_from_slice(br#","stage":"$default","time":""#);
    time(out, request.received);
    let _ = write!(out, r#"","timeEpoch":{}}}"#, request.received.millis());
}

/// `05/Aug/2022:08:14:39 +0000`
fn time(out: &mut Vec<u8>, at: Timestamp) {
    let time = jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default();
    let time = jiff::tz::Offset::UTC.to_datetime(time);
    let month = MONTHS[time.month() as usize - 1];
    let _ = write!(
        out,
        "{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000",
        time.day(),
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    );
}

/// Whether AWS takes a body of this content type for text.
pub(super) fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is = |other: &str| kind.eq_ignore_ascii_case(other);
    let ends = |end: &str| {
        kind.len() > end.len() && kind.as_bytes()[kind.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    kind.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"))
        || is("application/json")
        || is("application/xml")
        || is("application/javascript")
        || ends("+json")
        || ends("+xml")
}

fn body(out: &mut Vec<u8>, request: &HttpRequest<'_>) {
    if request.body.is_empty() {
        out.extend_from_slice(br#","isBase64Encoded":false"#);
        return;
    }
    out.extend_from_slice(br#","body":"#);
    match std::str::from_utf8(request.body) {
        Ok(text) if is_text(request.headers) => {
            string(out, text);
            out.extend_from_slice(br#","isBase64Encoded":false"#);
        }
        _ => {
            out.push(b'"');
            let start = out.len();
            out.resize(start + request.body.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(request.body, &mut out[start..]).unwrap_or(0);
            out.truncate(start + written);
            out.extend_from_slice(br#"","isBase64Encoded":true"#);
        }
    }
}
