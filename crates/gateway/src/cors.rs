//! Cross-origin resource sharing: the answer to a browser's question before its request, and the headers of answers. Pure.
//!
//! Where a route says who may, what the function itself says of it is replaced, as on AWS.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::Cors;

/// The method that a browser asks about, if this request is such a question.
pub fn asks_for(method: &Method, headers: &HeaderMap) -> Option<Method> {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS)?;
    headers.contains_key(ORIGIN).then(|| Method::from_bytes(asked.as_bytes()).ok())?
}

/// The headers of the answer to a browser's question; without any that allow, the browser goes no further.
pub fn answer(cors: &Cors, asked: &Method, headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    if !origin(cors, headers, &mut out) {
        return out;
    }
    // Methods are told apart by case.
    let any = cors.allow_methods.is_empty() || cors.allow_methods.iter().any(|one| one == "*");
    let methods = if any { asked.to_string() } else { cors.allow_methods.join(",").to_ascii_uppercase() };
    set(&mut out, ACCESS_CONTROL_ALLOW_METHODS, &methods);
    if cors.allow_headers.iter().any(|one| one == "*") {
        // What is asked for, by name: `*` would not hold for Authorization.
        if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            out.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
    } else if !cors.allow_headers.is_empty() {
        set(&mut out, ACCESS_CONTROL_ALLOW_HEADERS, &cors.allow_headers.join(","));
    }
    if let Some(age) = cors.max_age.filter(|age| *age >= Duration::from_secs(1)) {
        set(&mut out, ACCESS_CONTROL_MAX_AGE, &age.as_secs().to_string());
    }
    out.append(VARY, HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"));
    out
}

/// Puts what the route says in the place of what the function said.
pub fn stamp(cors: &Cors, request: &HeaderMap, response: &mut HeaderMap) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ] {
        response.remove(name);
    }
    if origin(cors, request, response) && !cors.expose_headers.is_empty() {
        set(response, ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers.join(","));
    }
}

/// Says whether the origin may, and says so in the headers.
fn origin(cors: &Cors, request: &HeaderMap, response: &mut HeaderMap) -> bool {
    let everybody = cors.allow_origins.iter().any(|one| one == "*");
    if !everybody {
        // A cache must not give one site's answer to another.
        response.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(given) = request.get(ORIGIN).filter(|given| allows(cors, given.to_str().unwrap_or_default())) else {
        return false;
    };
    let allowed = if everybody { HeaderValue::from_static("*") } else { given.clone() };
    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if cors.allow_credentials {
        response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    true
}

fn allows(cors: &Cors, origin: &str) -> bool {
    cors.allow_origins.iter().any(|one| match one.strip_suffix('*') {
        // `*`, `https://*`: those of which the beginning is all that counts.
        Some(scheme) => origin.len() >= scheme.len() && origin.starts_with(scheme),
        None => one.eq_ignore_ascii_case(origin),
    })
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // The lists are of names that were checked.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(text: &str) -> Cors {
        serde_json::from_str(text).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut all: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort();
        all
    }

    #[test]
    fn a_question_is_one_only_with_origin_and_method() {
        let full = headers(&[("origin", "https://a"), ("access-control-request-method", "PUT")]);
        assert_eq!(asks_for(&Method::OPTIONS, &full), Some(Method::PUT));
        assert_eq!(asks_for(&Method::GET, &full), None);
        assert_eq!(asks_for(&Method::OPTIONS, &headers(&[("origin", "https://a")])), None);
        assert_eq!(asks_for(&Method::OPTIONS, &headers(&[("access-control-request-method", "PUT")])), None);
    }

    #[test]
    fn a_named_origin_is_told_what_it_may() {
        let cors = cors(
            r#"{"allow_origins":["https://a.example"],"allow_methods":["get","put"],"allow_headers":["x-b"],
                "max_age":"10m","allow_credentials":true,"expose_headers":["x-c"]}"#,
        );
        let request = headers(&[("origin", "https://a.example"), ("access-control-request-headers", "x-b,x-z")]);
        let told = shown(&answer(&cors, &Method::PUT, &request));
        assert_eq!(
            told,
            [
                "access-control-allow-credentials: true",
                "access-control-allow-headers: x-b",
                "access-control-allow-methods: GET,PUT",
                "access-control-allow-origin: https://a.example",
                "access-control-max-age: 600",
                "vary: Access-Control-Request-Method, Access-Control-Request-Headers",
                "vary: Origin",
            ]
        );
        let mut response = headers(&[("access-control-allow-origin", "*"), ("vary", "Accept")]);
        stamp(&cors, &request, &mut response);
        assert_eq!(
            shown(&response),
            [
                "access-control-allow-credentials: true",
                "access-control-allow-origin: https://a.example",
                "access-control-expose-headers: x-c",
                "vary: Accept",
                "vary: Origin",
            ]
        );
    }

    #[test]
    fn another_origin_is_told_nothing() {
        let cors = cors(r#"{"allow_origins":["https://a.example","http://*"]}"#);
        for origin in ["https://b.example", "https://a.example.evil", "null", ""] {
            let request = headers(&[("origin", origin)]);
            assert_eq!(shown(&answer(&cors, &Method::GET, &request)), ["vary: Origin"], "{origin}");
        }
        let request = headers(&[("origin", "http://anything")]);
        assert_eq!(answer(&cors, &Method::GET, &request)[ACCESS_CONTROL_ALLOW_ORIGIN], "http://anything");
    }

    #[test]
    fn everybody_may_where_everybody_is_named() {
        let cors = cors(r#"{"allow_origins":["*"],"allow_headers":["*"]}"#);
        let request = headers(&[("origin", "https://x"), ("access-control-request-headers", "authorization")]);
        let told = answer(&cors, &Method::DELETE, &request);
        assert_eq!(
            (&told[ACCESS_CONTROL_ALLOW_ORIGIN], &told[ACCESS_CONTROL_ALLOW_METHODS]),
            (&"*".parse().unwrap(), &"DELETE".parse().unwrap())
        );
        assert_eq!(told[ACCESS_CONTROL_ALLOW_HEADERS], "authorization");
    }
}
