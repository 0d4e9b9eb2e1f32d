//! An event as an HTTP request for a function that is an HTTP server, and its answer as a result: the way back of what
//! function URLs do. An event that is none of payload format 2.0 is posted whole to `/events`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::is_hop_by_hop;
use super::request::is_text;

/// Where events that are no HTTP requests go.
const EVENTS: &str = "/events";

/// An event as its server gets it.
#[derive(Debug)]
pub struct Posted {
    pub request: Request<Bytes>,
    /// It was an HTTP request; else it is posted whole.
    pub http: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    cookies: Vec<String>,
    request_context: Context,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
struct Context {
    http: Http,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

/// The request that an event stands for. The error is for the caller.
pub fn posted(payload: &Bytes) -> Result<Posted, String> {
    let Ok(event) = serde_json::from_slice::<Event>(payload) else {
        let mut request = Request::new(payload.clone());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(EVENTS);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
        return Ok(Posted { request, http: false });
    };
    let body = match event.body {
        Some(text) if event.is_base64_encoded => {
            STANDARD.decode(text).map_err(|_| "the event's body is not base64, although it says so")?
        }
        text => text.unwrap_or_default().into_bytes(),
    };
    let mut target = event.raw_path;
    if !event.raw_query_string.is_empty() {
        target = format!("{target}?{}", event.raw_query_string);
    }
    let mut request = Request::new(Bytes::from(body));
    let method = event.request_context.http.method;
    *request.method_mut() = method.parse().map_err(|_| format!("the event's method {method:?} is not valid"))?;
    *request.uri_mut() = target.parse().map_err(|_| format!("the event's path {target:?} is not valid"))?;
    let headers = request.headers_mut();
    for (name, value) in &event.headers {
        let (Ok(key), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(format!("the event's header {name:?} is not valid"));
        };
        if !is_hop_by_hop(&key) && key != http::header::CONTENT_LENGTH {
            headers.append(key, value);
        }
    }
    if !event.cookies.is_empty() {
        let all = HeaderValue::try_from(event.cookies.join("; ")).map_err(|_| "the event's cookies are not valid")?;
        headers.insert(COOKIE, all);
    }
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    Ok(Posted { request, http: true })
}

/// The answer to an HTTP request, as a result of format 2.0.
pub fn result(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Bytes {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let cookies: Vec<String> = headers.get_all(SET_COOKIE).iter().map(text).collect();
    let mut all = BTreeMap::<&str, String>::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != SET_COOKIE && !is_hop_by_hop(name)) {
        let one = text(value);
        all.entry(name.as_str()).and_modify(|values| *values = format!("{values},{one}")).or_insert(one);
    }
    let mut result = json!({ "statusCode": status.as_u16(), "headers": all });
    if !cookies.is_empty() {
        result["cookies"] = cookies.into();
    }
    let (body, base64) = match std::str::from_utf8(body) {
        Ok(text) if body.is_empty() || is_text(headers) => (text.to_owned(), false),
        _ => (STANDARD.encode(body), true),
    };
    result["body"] = body.into();
    result["isBase64Encoded"] = base64.into();
    result.to_string().into()
}

/// The answer to an event that was posted whole: JSON as it is, and anything else as a JSON text.
pub fn plain(body: Bytes) -> Bytes {
    if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() {
        return body;
    }
    Value::String(String::from_utf8_lossy(&body).into_owned()).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_function_url_is_its_request_again() {
        let event = json!({
            "version": "2.0", "rawPath": "/a%20b", "rawQueryString": "x=1", "headers": {"x-a": "1", "connection": "close"},
            "cookies": ["a=1", "b=2"], "requestContext": {"http": {"method": "PUT"}}, "body": "AP8=", "isBase64Encoded": true,
        });
        let posted = posted(&event.to_string().into()).unwrap();
        assert!(posted.http);
        let request = posted.request;
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("PUT", "/a%20b?x=1"));
        assert_eq!(request.headers()["cookie"], "a=1; b=2");
        assert_eq!(request.headers()["x-a"], "1");
        assert!(!request.headers().contains_key("connection"));
        assert_eq!(&request.body()[..], b"\0\xff");
    }

    #[test]
    fn any_other_event_is_posted_whole() {
        let posted = posted(&Bytes::from_static(b"[1, 2]")).unwrap();
        assert_eq!((posted.http, posted.request.uri().path()), (false, "/events"));
        assert_eq!(&posted.request.body()[..], b"[1, 2]");
        assert_eq!(plain("ok".into()), "\"ok\"");
        assert_eq!(plain("{\"a\":1}".into()), "{\"a\":1}");
    }

    #[test]
    fn an_answer_is_a_result() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.append(SET_COOKIE, HeaderValue::from_static("a=1"));
        let read = |bytes: Bytes| serde_json::from_slice::<Value>(&bytes).unwrap();
        let seen = read(result(StatusCode::CREATED, &headers, b"hello"));
        let wanted = json!({"statusCode": 201, "headers": {"content-type": "text/plain"}, "cookies": ["a=1"],
            "body": "hello", "isBase64Encoded": false});
        assert_eq!(seen, wanted);
        let seen = read(result(StatusCode::OK, &HeaderMap::new(), b"\0\xff"));
        assert_eq!((&seen["body"], &seen["isBase64Encoded"]), (&json!("AP8="), &json!(true)));
    }
}
