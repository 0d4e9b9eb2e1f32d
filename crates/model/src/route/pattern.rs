//! What a route answers to: `METHOD host/path/{param}`. Parsed once; its text form is the one that every list shows.
//!
//! ```text
//! POST /thumbs/{name}            one method, any host, one parameter
//! /files/{proxy+}                all methods, everything below /files/
//! GET *.example.org/             every name directly or further below example.org
//! ```
//!
//! Refuses what could be read in two ways: empty segments, `.` and `..`, percent signs (a path is written as it is meant),
//! parameters of one name, braces that are not a whole segment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The methods that a route may name. Others reach a route without one.
pub const ROUTE_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Segments of a path at most: as deep as a table of routes can get.
const MAX_SEGMENTS: usize = 32;

/// Bytes of a pattern's host and path at most.
const MAX_BYTES: usize = 512;

/// What a route answers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoutePattern {
    /// None: every method.
    method: Option<&'static str>,
    host: RouteHost,
    segments: Vec<Segment>,
}

/// The hosts that a route answers on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteHost {
    Any,
    /// In lower case, without a port.
    Exact(String),
    /// `*.example.org`: kept as `example.org`.
    Below(String),
}

/// One piece of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// This text.
    Static(String),
    /// One segment, whatever it is.
    Param(String),
    /// All segments that are left, at least one.
    Greedy(String),
}

/// Why a text is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {given:?} is not valid: {why}; expected METHOD host/path/{{param}}, like POST /thumbs/{{name}}")]
pub struct InvalidRoute {
    pub given: String,
    pub why: String,
}

// === impl RoutePattern ===

impl RoutePattern {
    /// None: every method.
    pub fn method(&self) -> Option<&'static str> {
        self.method
    }

    pub fn host(&self) -> &RouteHost {
        &self.host
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What API Gateway calls the route: method and path, without the host.
    pub fn key(&self) -> String {
        format!("{} {}", self.method.unwrap_or("ANY"), self.path())
    }

    pub fn path(&self) -> String {
        if self.segments.is_empty() {
            return "/".to_owned();
        }
        self.segments.iter().map(|one| format!("/{one}")).collect()
    }

    /// Whether some request is answered by both, with neither of them coming first.
    pub fn collides(&self, other: &Self) -> bool {
        let alike = |pair: (&Segment, &Segment)| match pair {
            (Segment::Static(one), Segment::Static(other)) => one == other,
            (Segment::Param(_), Segment::Param(_)) | (Segment::Greedy(_), Segment::Greedy(_)) => true,
            _ => false,
        };
        self.method == other.method
            && self.host == other.host
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(alike)
    }
}

impl FromStr for RoutePattern {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        let fail = |why: String| InvalidRoute { given: text.chars().take(120).collect(), why };
        let mut words = text.split_ascii_whitespace();
        let (method, target) = match (words.next(), words.next(), words.next()) {
            (Some(method), Some(target), None) => (method_of(method).map_err(fail)?, target),
            (Some(target), None, None) => (None, target),
            (None, ..) => return Err(fail("it is empty".to_owned())),
            _ => return Err(fail("it has more than a method and a path".to_owned())),
        };
        // Without the method: it is written down whether or not it was given.
        if target.len() > MAX_BYTES {
            return Err(fail(format!("its host and path have {} bytes, and {MAX_BYTES} are allowed", target.len())));
        }
        let slash = target.find('/').ok_or_else(|| fail(format!("{target:?} has no path: begin it with /")))?;
        let (host, path) = target.split_at(slash);
        let host = host_of(host).map_err(fail)?;
        let segments = segments_of(path).map_err(fail)?;
        if host == RouteHost::Any && matches!(segments.first(), Some(Segment::Static(first)) if first == "fn") {
            return Err(fail(
                "/fn/ is where functions have their own URLs: choose another path, or name a host".into(),
            ));
        }
        Ok(Self { method, host, segments })
    }
}

fn method_of(text: &str) -> Result<Option<&'static str>, String> {
    if text.eq_ignore_ascii_case("any") || text == "*" {
        return Ok(None);
    }
    let known = ROUTE_METHODS.iter().find(|known| text.eq_ignore_ascii_case(known));
    let known = known.ok_or_else(|| format!("method {text:?} is none of {}, ANY", ROUTE_METHODS.join(", ")))?;
    Ok(Some(known))
}

fn host_of(text: &str) -> Result<RouteHost, String> {
    if text.is_empty() {
        return Ok(RouteHost::Any);
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let name = name.to_ascii_lowercase();
    let label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!(
            "host {text:?} is none: expected a name without a port, like api.example.org or *.example.org"
        ));
    }
    if name == "fn.localhost" || name.ends_with(".fn.localhost") {
        return Err(format!("host {text:?} is where functions have their own URLs: choose another"));
    }
    Ok(if below { RouteHost::Below(name) } else { RouteHost::Exact(name) })
}

fn segments_of(path: &str) -> Result<Vec<Segment>, String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    // A slash at the end means nothing, as in requests.
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let segments = path.split('/').map(segment_of).collect::<Result<Vec<_>, _>>()?;
    if segments.len() > MAX_SEGMENTS {
        return Err(format!("its path has {} segments, and {MAX_SEGMENTS} are allowed", segments.len()));
    }
    let last = segments.len() - 1;
    if segments[..last].iter().any(|one| matches!(one, Segment::Greedy(_))) {
        return Err("a greedy parameter such as {proxy+} has to be its last segment".to_owned());
    }
    let names: Vec<_> = segments.iter().filter_map(Segment::parameter).collect();
    if let Some(twice) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        return Err(format!("it has two parameters named {:?}", twice.1));
    }
    Ok(segments)
}

fn segment_of(text: &str) -> Result<Segment, String> {
    if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let (name, greedy) = match inner.strip_suffix('+') {
            Some(name) => (name, true),
            None => (inner, false),
        };
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if !(1..=64).contains(&name.len()) || !letters {
            return Err(format!(
                "parameter {text:?} has no name of letters, digits, _, - and . such as {{name}}, {{proxy+}}"
            ));
        }
        let name = name.to_owned();
        return Ok(if greedy { Segment::Greedy(name) } else { Segment::Param(name) });
    }
    match text {
        "" => Err("its path has an empty segment".to_owned()),
        "." | ".." => Err("its path has a segment . or ..".to_owned()),
        _ if text.contains(['{', '}']) => Err(format!("in segment {text:?} braces are not around the whole of it")),
        _ if text.contains(['%', '\\', '?', '#', '*']) || text.chars().any(char::is_control) => Err(format!(
            "segment {text:?} has a character that a path cannot have: expected it as it is meant, not encoded"
        )),
        _ => Ok(Segment::Static(text.to_owned())),
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method.unwrap_or("ANY"), self.host, self.path())
    }
}

impl Serialize for RoutePattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RoutePattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

// === impl RouteHost ===

impl fmt::Display for RouteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

// === impl Segment ===

impl Segment {
    /// The name of what it takes.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Static(_) => None,
            Self::Param(name) | Self::Greedy(name) => Some(name),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(text) => f.write_str(text),
            Self::Param(name) => write!(f, "{{{name}}}"),
            Self::Greedy(name) => write!(f, "{{{name}+}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(text: &str) -> RoutePattern {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_longest_path_is_taken_again_with_the_method_that_is_shown() {
        let longest = format!("/{}/{}", "a".repeat(200), "b".repeat(MAX_BYTES - 202));
        assert_eq!(route(&longest).to_string().parse(), Ok(route(&longest)));
        assert!(format!("{longest}c").parse::<RoutePattern>().is_err());
    }

    #[test]
    fn a_route_has_one_form() {
        for (written, shown) in [
            ("POST /thumbs/{name}", "POST /thumbs/{name}"),
            ("post /thumbs/{name}/", "POST /thumbs/{name}"),
            ("/files/{proxy+}", "ANY /files/{proxy+}"),
            ("any  API.Example.org/", "ANY api.example.org/"),
            ("GET *.example.org/a b", ""),
            ("* *.example.org/a", "ANY *.example.org/a"),
            ("GET api.example.org/fn/x", "GET api.example.org/fn/x"),
        ] {
            let read = written.parse::<RoutePattern>().map(|route| route.to_string()).unwrap_or_default();
            assert_eq!(read, shown, "{written}");
        }
        assert_eq!(route("GET a.b/x/{y}").key(), "GET /x/{y}");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (text, said) in [
            ("", "it is empty"),
            ("FETCH /a", "method \"FETCH\" is none of GET, HEAD"),
            ("GET a", "no path"),
            ("GET /a//b", "empty segment"),
            ("GET /a/../b", ". or .."),
            ("GET /{a+}/b", "last segment"),
            ("GET /{a}/{a}", "two parameters named \"a\""),
            ("GET /{}", "has no name"),
            ("GET /a{b}", "around the whole"),
            ("GET /a%20b", "not encoded"),
            ("GET /fn/x", "their own URLs"),
            ("GET x.fn.localhost/", "their own URLs"),
            ("GET a.b:80/", "without a port"),
            ("GET a b c", "more than a method"),
        ] {
            let error = text.parse::<RoutePattern>().unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("expected METHOD host/path"), "{text}: {error}");
        }
    }

    #[test]
    fn routes_collide_where_neither_comes_first() {
        let collide = |one: &str, other: &str| route(one).collides(&route(other));
        assert!(collide("GET /a/{b}", "GET /a/{c}"));
        assert!(collide("/a/{b+}", "ANY /a/{proxy+}/"));
        for (one, other) in [
            ("GET /a", "POST /a"),
            ("GET /a", "/a"),
            ("GET /a/b", "GET /a/{b}"),
            ("GET /a/{b}", "GET /a/{b+}"),
            ("GET x.y/a", "GET /a"),
            ("GET x.y/a", "GET *.y/a"),
        ] {
            assert!(!collide(one, other), "{one}, {other}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_is_read_again_the_same(text in "(GET|post|ANY|) ?(\\*\\.)?[a-z.]{0,8}/[a-z{}+/.%-]{0,16}") {
            if let Ok(route) = text.parse::<RoutePattern>() {
                let again: RoutePattern = route.to_string().parse().unwrap();
                prop_assert!(again.collides(&route));
                prop_assert_eq!(again, route);
            }
        }
    }
}
