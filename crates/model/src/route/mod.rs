//! Routes that a function declares, and what stands before it on each: CORS, who may call, how often, how much.

mod pattern;
mod words;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::SecretName;
use crate::invocation::MAX_REQUEST_BYTES;
use crate::quantity::{InvalidQuantity, show_duration};

pub use pattern::{InvalidRoute, ROUTE_METHODS, RouteHost, RoutePattern, Segment};

/// Routes of one function at most.
pub const MAX_ROUTES: usize = 64;

/// A burst at most, and the number in a rate.
const MAX_RATE: u32 = 1_000_000;

/// A route, and what stands before the function on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRoute {
    /// `METHOD host/path/{param}`.
    pub route: RoutePattern,
    /// What other web sites' pages may do. None: the function answers for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Who may call.
    #[serde(default, skip_serializing_if = "RouteAuth::is_none")]
    pub auth: RouteAuth,
    /// Requests of each client address in the long run, like `10/s`. None: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Requests of a client address at once; as many as the rate's number unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Longest body of a request. None: 6 MB for events and where a body is verified; no limit for web functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<BodyLimit>,
    /// Longest wait for the answer. None: the function's own timeout alone.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_duration")]
    pub timeout: Option<Duration>,
}

/// Who may call a route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RouteAuth {
    /// Everybody.
    #[default]
    None,
    /// Who sends a key of `hearth key` in `x-api-key`.
    ApiKey,
    /// Who signs the body with a secret.
    Signature { signature: Signature, secret: SecretName },
}

/// A way of signing requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signature {
    /// `X-Hub-Signature-256`.
    Github,
    /// `Stripe-Signature`, at most five minutes old.
    Stripe,
}

/// Cross-origin resource sharing, as AWS's function URLs and HTTP APIs have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// `https://app.example.org`; `https://*`, `http://*`; or `*`.
    pub allow_origins: Vec<String>,
    /// Methods, or `*`; those of the route unless said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Names of headers, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Names of headers, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// How long a browser may keep the answer to its question, at most a day.
    #[serde(skip_serializing_if = "Option::is_none", with = "maybe_duration")]
    pub max_age: Option<Duration>,
    /// Whether cookies and the like may be sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_credentials: bool,
}

/// So many in a second, minute or hour: `10/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Per,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Per {
    Second,
    Minute,
    Hour,
}

/// Bytes of a body: `64KB`, `1MB`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BodyLimit(u64);

// === impl HttpRoute ===

impl HttpRoute {
    /// A route with nothing before the function.
    pub fn new(route: RoutePattern) -> Self {
        Self { route, cors: None, auth: RouteAuth::None, rate: None, burst: None, max_body: None, timeout: None }
    }

    /// Requests of one client address at once.
    pub fn burst(&self) -> u32 {
        self.burst.or(self.rate.map(|rate| rate.count)).unwrap_or(0)
    }

    /// What is wrong with it, in words that follow the route's name.
    fn check(&self) -> Result<(), String> {
        if self.burst.is_some() && self.rate.is_none() {
            return Err("burst says how many come at once, and there is no rate: say one, like rate = \"10/s\"".into());
        }
        if self.burst.is_some_and(|burst| !(1..=MAX_RATE).contains(&burst)) {
            return Err(format!("burst is out of range: expected 1 to {MAX_RATE}"));
        }
        if let Some(timeout) = self.timeout
            && !(Duration::from_millis(1)..=Duration::from_secs(900)).contains(&timeout)
        {
            return Err(format!("timeout = {} is out of range: expected 1ms to 15m", show_duration(timeout)));
        }
        if matches!(self.auth, RouteAuth::Signature { .. })
            && self.max_body.is_some_and(|limit| limit.bytes() > MAX_REQUEST_BYTES as u64)
        {
            return Err("max_body is over 6MB, the most that is read to verify a signature".into());
        }
        self.cors.as_ref().map_or(Ok(()), Cors::check).map_err(|why| format!("cors: {why}"))
    }
}

/// Checks all routes of a function; what passes collides with none of them. The error is in words that stand alone.
pub(crate) fn validate(routes: &[HttpRoute]) -> Result<(), String> {
    if routes.len() > MAX_ROUTES {
        return Err(format!("the function has {} routes: at most {MAX_ROUTES} are allowed", routes.len()));
    }
    for (place, one) in routes.iter().enumerate() {
        one.check().map_err(|why| format!("route {:?}: {why}", one.route.to_string()))?;
        if let Some(other) = routes[..place].iter().find(|other| other.route.collides(&one.route)) {
            return Err(format!(
                "route {:?} is there twice, also as {:?}",
                one.route.to_string(),
                other.route.to_string()
            ));
        }
    }
    Ok(())
}

// === impl RouteAuth ===

impl RouteAuth {
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The secret that it is checked with.
    pub fn secret(&self) -> Option<&SecretName> {
        match self {
            Self::Signature { secret, .. } => Some(secret),
            _ => None,
        }
    }
}

impl fmt::Display for RouteAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::ApiKey => f.write_str("api-key"),
            Self::Signature { signature: Signature::Github, secret } => write!(f, "github:{secret}"),
            Self::Signature { signature: Signature::Stripe, secret } => write!(f, "stripe:{secret}"),
        }
    }
}

/// `none`, `api-key`, `github:SECRET`, `stripe:SECRET`.
impl FromStr for RouteAuth {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let signature = match text.split_once(':') {
            None if text == "none" => return Ok(Self::None),
            None if text == "api-key" => return Ok(Self::ApiKey),
            Some(("github", secret)) => (Signature::Github, secret),
            Some(("stripe", secret)) => (Signature::Stripe, secret),
            _ => {
                let given: String = text.chars().take(80).collect();
                return Err(format!(
                    "auth {given:?} is not known: expected none, api-key, or {{ signature = \"github\", secret = \"NAME\" }} \
                     (or \"stripe\")"
                ));
            }
        };
        let secret = signature.1.parse().map_err(|error: crate::InvalidId| error.to_string())?;
        Ok(Self::Signature { signature: signature.0, secret })
    }
}

impl Serialize for RouteAuth {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        match self {
            Self::Signature { signature, secret } => {
                let mut object = to.serialize_struct("RouteAuth", 2)?;
                object.serialize_field("signature", signature)?;
                object.serialize_field("secret", secret)?;
                object.end()
            }
            word => to.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for RouteAuth {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Signed {
            signature: Signature,
            secret: SecretName,
        }
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "auth: expected \"none\", \"api-key\", or { signature = \"github\", secret = \"NAME\" } (or \"stripe\")"
        )]
        enum Raw {
            Word(String),
            Signed(Signed),
        }
        match Raw::deserialize(from)? {
            Raw::Word(word) => word.parse().map_err(serde::de::Error::custom),
            Raw::Signed(Signed { signature, secret }) => Ok(Self::Signature { signature, secret }),
        }
    }
}

// === impl Cors ===

impl Cors {
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.allow_origins.is_empty() {
            return Err("allow_origins is empty: expected origins like https://app.example.org, or \"*\"".into());
        }
        let cut = |text: &str| text.chars().take(80).collect::<String>();
        for origin in &self.allow_origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let fits = |host: &str| host == "*" || !host.is_empty() && !host.contains(['/', '*', ' ', ',']);
            if origin != "*" && !host.is_some_and(fits) || !origin.is_ascii() || origin.len() > 253 {
                let given = cut(origin);
                return Err(format!(
                    "origin {given:?} is none: expected https://app.example.org, https://*, http://* or *"
                ));
            }
        }
        if self.allow_credentials && self.allow_origins.iter().any(|origin| origin.ends_with('*')) {
            return Err("allow_credentials lets sites act as their visitors: name the origins instead of *".into());
        }
        let lists =
            [("method", &self.allow_methods), ("header", &self.allow_headers), ("header", &self.expose_headers)];
        for (what, list) in lists {
            let token = |text: &String| {
                let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                text == "*" || (1..=100).contains(&text.len()) && text.bytes().all(byte)
            };
            if let Some(wrong) = list.iter().find(|one| !token(one)) {
                return Err(format!("{what} {:?} is none: expected its name, or *", cut(wrong)));
            }
            if list.len() > 100 {
                return Err(format!("{} {what}s are listed: at most 100 are allowed", list.len()));
            }
        }
        if self.max_age.is_some_and(|age| age > Duration::from_secs(86_400)) {
            return Err("max_age is out of range: expected 0s to 1d".into());
        }
        Ok(())
    }
}

// === impl Rate ===

impl Rate {
    /// The time between two requests that come evenly.
    pub fn interval(self) -> Duration {
        let per = match self.per {
            Per::Second => Duration::from_secs(1),
            Per::Minute => Duration::from_secs(60),
            Per::Hour => Duration::from_secs(3600),
        };
        per / self.count
    }
}

impl FromStr for Rate {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let expected = "a number for a second, minute or hour, like 10/s, 100/m or 1000/h";
        let fail = || InvalidQuantity { what: "a rate", given: text.chars().take(40).collect(), expected };
        let (count, per) = text.split_once('/').ok_or_else(fail)?;
        let count = count.trim().parse().ok().filter(|count| (1..=MAX_RATE).contains(count)).ok_or_else(fail)?;
        let per = match per.trim() {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return Err(fail()),
        };
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => 's',
            Per::Minute => 'm',
            Per::Hour => 'h',
        };
        write!(f, "{}/{per}", self.count)
    }
}

// === impl BodyLimit ===

impl BodyLimit {
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for BodyLimit {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let expected = "bytes, like 1024, 64KB or 1MB, up to 1024GB";
        let fail = || InvalidQuantity { what: "a size", given: text.chars().take(40).collect(), expected };
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let shift = match text[end..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "kb" | "kib" => 10,
            "mb" | "mib" => 20,
            "gb" | "gib" => 30,
            _ => return Err(fail()),
        };
        let number: u64 = text[..end].parse().map_err(|_| fail())?;
        let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 40).ok_or_else(fail)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for BodyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GB"), (20, "MB"), (10, "KB")];
        match units.into_iter().find(|(shift, _)| self.0 > 0 && self.0.is_multiple_of(1 << shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::function::duration_text::text(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Rate BodyLimit);

/// A duration that may be missing, as its text.
mod maybe_duration {
    use super::*;
    use crate::function::duration_text;

    pub fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => duration_text::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        duration_text::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests;
