//! `[[http]]`: routes, as a manifest says them. Keys are written with hyphens, as everywhere in it.

use model::{Cors, HttpRoute, RouteAuth};
use serde::Deserialize;
use toml::Spanned;

/// `[[http]]`, as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawHttp {
    /// `METHOD host/path/{param}`; no method or `ANY`: all of them.
    route: String,
    /// `none`, the default; `api-key`; or `{ signature = "github", secret = "NAME" }`, or `"stripe"`.
    auth: Option<RouteAuth>,
    /// Of each client address in the long run: `10/s`, `100/m`, `1000/h`.
    rate: Option<String>,
    /// Of each client address at once.
    burst: Option<u32>,
    /// Longest body: `64KB`, `1MB`.
    max_body: Option<String>,
    /// Longest wait for the answer.
    timeout: Option<String>,
    /// What pages of other sites may do.
    cors: Option<RawCors>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawCors {
    allow_origins: Vec<String>,
    #[serde(default)]
    allow_methods: Vec<String>,
    #[serde(default)]
    allow_headers: Vec<String>,
    #[serde(default)]
    expose_headers: Vec<String>,
    max_age: Option<String>,
    #[serde(default)]
    allow_credentials: bool,
}

/// Reads all `[[http]]`. The error comes with its place.
pub fn routes(raw: Vec<Spanned<RawHttp>>) -> Result<Vec<HttpRoute>, (usize, String)> {
    raw.into_iter().map(|one| route(one.get_ref()).map_err(|why| (one.span().start, format!("http: {why}")))).collect()
}

fn route(raw: &RawHttp) -> Result<HttpRoute, String> {
    fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
        key: &str,
        text: &Option<String>,
    ) -> Result<Option<T>, String> {
        text.as_deref().map(|text| text.parse().map_err(|error| format!("{key}: {error}"))).transpose()
    }
    let time = |key: &str, text: &Option<String>| {
        text.as_deref().map(|text| model::parse_duration(text).map_err(|error| format!("{key}: {error}"))).transpose()
    };
    let mut route = HttpRoute::new(raw.route.parse().map_err(|error: model::InvalidRoute| error.to_string())?);
    route.auth = raw.auth.clone().unwrap_or_default();
    (route.rate, route.burst) = (read("rate", &raw.rate)?, raw.burst);
    (route.max_body, route.timeout) = (read("max-body", &raw.max_body)?, time("timeout", &raw.timeout)?);
    if let Some(cors) = &raw.cors {
        route.cors = Some(Cors {
            allow_origins: cors.allow_origins.clone(),
            allow_methods: cors.allow_methods.clone(),
            allow_headers: cors.allow_headers.clone(),
            expose_headers: cors.expose_headers.clone(),
            max_age: time("cors.max-age", &cors.max_age)?,
            allow_credentials: cors.allow_credentials,
        });
    }
    Ok(route)
}
