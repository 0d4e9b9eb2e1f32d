//! A function's result as an HTTP response.
//!
//! With a `statusCode` the result describes the response. Without one it is the body: 200 and
//! `application/json`, a string with its quotes, as AWS documents for function URLs. `multiValueHeaders` is of
//! format 1.0 and ignored. A `body` that is no text is answered as the JSON that it is.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{is_hop_by_hop, is_our_cookie};

/// What to answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why a function's result is no HTTP response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    #[error("the function's result is not JSON")]
    NotJson,
    #[error("statusCode {0} is not valid: expected a number from 200 to 599")]
    Status(String),
    #[error("headers is not valid: expected an object of names and texts")]
    Headers,
    #[error("header name {0:?} is not valid")]
    HeaderName(String),
    #[error("header {0} has a value that HTTP cannot carry")]
    HeaderValue(String),
    #[error("cookies is not valid: expected a list of texts that HTTP can carry")]
    Cookies,
    #[error("isBase64Encoded is not valid: expected true or false")]
    Base64Flag,
    #[error("body is not valid base64, although isBase64Encoded is true")]
    Base64,
    #[error("body is not valid: its text has an unpaired surrogate")]
    Body,
}

/// The members that matter, not looked into yet; of a name given twice the last counts, as in most parsers.
#[derive(Default)]
struct Shape<'a> {
    status: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    cookies: Option<&'a RawValue>,
    body: Option<&'a RawValue>,
    base64: Option<&'a RawValue>,
}

/// A text, or a number or truth value where a text is expected.
struct Scalar<'a>(Option<Cow<'a, str>>);

/// Reads the JSON that a handler returned.
pub fn reply(payload: &Bytes) -> Result<HttpReply, BadReply> {
    let text = std::str::from_utf8(payload).map_err(|_| BadReply::NotJson)?;
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| BadReply::NotJson)?;
        return Ok(inferred(payload));
    }
    let shape: Shape<'_> = serde_json::from_str(text).map_err(|_| BadReply::NotJson)?;
    match given(shape.status) {
        None => Ok(inferred(payload)),
        Some(code) => described(payload, code, &shape),
    }
}

/// Reads what a function that streams says before its body: the members of an HTTP answer but for the body.
pub fn head(json: &Bytes) -> Result<HttpReply, BadReply> {
    let text = std::str::from_utf8(json).map_err(|_| BadReply::NotJson)?;
    let shape: Shape<'_> = serde_json::from_str(text).map_err(|_| BadReply::NotJson)?;
    let (status, mut headers) = status_and_headers(given(shape.status).unwrap_or("200"), &shape)?;
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    Ok(HttpReply { status, headers, body: Bytes::new() })
}

fn inferred(payload: &Bytes) -> HttpReply {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    HttpReply { status: StatusCode::OK, headers, body: payload.clone() }
}

fn described(payload: &Bytes, code: &str, shape: &Shape<'_>) -> Result<HttpReply, BadReply> {
    let (status, mut headers) = status_and_headers(code, shape)?;
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let base64 = match given(shape.base64) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(BadReply::Base64Flag),
    };
    let body = body(payload, given(shape.body), base64)?;
    Ok(HttpReply { status, headers, body: if is_empty(status) { Bytes::new() } else { body } })
}

/// These have no body, whatever the function says.
pub fn is_empty(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

fn status_and_headers(code: &str, shape: &Shape<'_>) -> Result<(StatusCode, HeaderMap), BadReply> {
    let status = status(code)?;
    let mut headers = HeaderMap::new();
    if let Some(given) = given(shape.headers) {
        Headers::read(given, &mut headers)?;
    }
    if let Some(given) = given(shape.cookies) {
        let cookies: Vec<Cow<'_, str>> = serde_json::from_str(given).map_err(|_| BadReply::Cookies)?;
        for cookie in cookies.iter().filter(|cookie| !is_our_cookie(cookie)) {
            let value = HeaderValue::from_str(cookie).map_err(|_| BadReply::Cookies)?;
            headers.append(SET_COOKIE, value);
        }
    }
    Ok((status, headers))
}

/// `null` is as good as nothing.
fn given(value: Option<&RawValue>) -> Option<&str> {
    value.map(RawValue::get).filter(|text| *text != "null")
}

fn status(text: &str) -> Result<StatusCode, BadReply> {
    let refuse = || BadReply::Status(text.chars().take(40).collect());
    let digits = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    // 200.0 is what 200 may become in languages with one kind of number.
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    if digits.len() != 3 {
        return Err(refuse());
    }
    let code: u16 = digits.parse().map_err(|_| refuse())?;
    // 1xx announces another answer, and 101 another protocol: neither is a function's to say.
    if (200..600).contains(&code) { StatusCode::from_u16(code).map_err(|_| refuse()) } else { Err(refuse()) }
}

fn body(payload: &Bytes, given: Option<&str>, base64: bool) -> Result<Bytes, BadReply> {
    let Some(json) = given else { return Ok(Bytes::new()) };
    if !json.starts_with('"') {
        return Ok(payload.slice_ref(json.as_bytes()));
    }
    let Scalar(text) = serde_json::from_str(json).map_err(|_| BadReply::Body)?;
    match text.unwrap_or_default() {
        text if base64 => STANDARD.decode(&*text).map(Bytes::from).map_err(|_| BadReply::Base64),
        Cow::Borrowed(text) => Ok(payload.slice_ref(text.as_bytes())),
        Cow::Owned(text) => Ok(text.into()),
    }
}

// === reading ===

/// Reads `headers` straight into a map.
struct Headers<'a> {
    into: &'a mut HeaderMap,
    bad: Option<BadReply>,
    /// Names that the function's own `Connection` header makes the connection's.
    hops: Vec<HeaderName>,
}

impl Headers<'_> {
    fn read(json: &str, into: &mut HeaderMap) -> Result<(), BadReply> {
        let mut visitor = Headers { into, bad: None, hops: Vec::new() };
        let mut from = serde_json::Deserializer::from_str(json);
        if from.deserialize_map(&mut visitor).is_err() {
            return Err(visitor.bad.unwrap_or(BadReply::Headers));
        }
        let Headers { into, hops, .. } = visitor;
        for name in hops {
            into.remove(name);
        }
        Ok(())
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), BadReply> {
        let shown = || name.chars().take(80).collect();
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadReply::HeaderName(shown()))?;
        let value_of = HeaderValue::from_str(value).map_err(|_| BadReply::HeaderValue(shown()))?;
        if key == CONNECTION {
            let tokens = value.split(',').map(str::trim);
            self.hops.extend(tokens.filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok()));
        }
        if is_hop_by_hop(&key) || key == CONTENT_LENGTH || is_ours(&key) || (key == SET_COOKIE && is_our_cookie(value))
        {
            return Ok(());
        }
        self.into.insert(key, value_of);
        Ok(())
    }
}

/// Headers that say how the platform fared; a function must not speak for it.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-hearth-") || matches!(name, "x-amzn-requestid" | "x-amzn-trace-id" | "x-amzn-errortype")
}

impl<'de> Visitor<'de> for &mut Headers<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and texts")
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((name, Scalar(value))) = map.next_entry::<Cow<'_, str>, Scalar<'_>>()? {
            let Some(value) = value else { continue };
            if let Err(bad) = self.take(&name, &value) {
                self.bad = Some(bad);
                return Err(serde::de::Error::custom("bad header"));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Owned(text.into()))))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Scalar(Some(Cow::Borrowed(if value { "true" } else { "false" }))))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Scalar(Some(value.to_string().into())))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Scalar(Some(value.to_string().into())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Scalar(Some(value.to_string().into())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar(None))
            }
        }
        from.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Shape<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Shape<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Shape<'de>, M::Error> {
                let mut shape = Shape::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    let place = match &*key {
                        "statusCode" => &mut shape.status,
                        "headers" => &mut shape.headers,
                        "cookies" => &mut shape.cookies,
                        "body" => &mut shape.body,
                        "isBase64Encoded" => &mut shape.base64,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *place = Some(map.next_value()?);
                }
                Ok(shape)
            }
        }
        from.deserialize_map(Read)
    }
}
