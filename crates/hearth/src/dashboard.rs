//! The dashboard's files, which `dashboard/` builds and this program holds.
//!
//! Pages are one document, whatever the address: the script in it reads the address. Assets carry a hash in their
//! names and never change; they are kept packed as well, so that nothing is packed while answering. Nobody needs a
//! token for them: they are the same for all, and everything they show comes through the API.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use control::Hosts;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../dashboard/dist"]
struct Files;

const PAGE: &str = "index.html";

/// Only what this listener itself serves, nothing written into the page, and no text that becomes a program.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'";

const NEVER_CHANGES: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Answers what is the dashboard's; everything else goes on.
pub async fn serve(hosts: Arc<Hosts>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // What is signed is for AWS's services, whose paths may be any: buckets and keys.
    let signed = aws::sigv4::is_signed(request.headers(), request.uri().query().unwrap_or_default());
    let name = if reads && !signed { file_for(request.uri().path(), request.headers()) } else { None };
    match name {
        // A host that is not ours is refused by what comes next.
        Some(name) if known_host(&hosts, &request) => answer(&name, request.method(), request.headers()),
        _ => next.run(request).await,
    }
}

/// Exactly one `Host`, and ours.
fn known_host(hosts: &Hosts, request: &Request) -> bool {
    if let Some(authority) = request.uri().authority() {
        return hosts.allows(authority.as_str());
    }
    let mut given = request.headers().get_all(header::HOST).iter();
    let (one, more) = (given.next(), given.next());
    more.is_none() && one.and_then(|host| host.to_str().ok()).is_some_and(|host| hosts.allows(host))
}

/// The file that a path stands for, if it is the dashboard's to answer.
fn file_for(path: &str, headers: &HeaderMap) -> Option<String> {
    let name = path.strip_prefix('/')?;
    if !name.is_empty() && !is_packed(name) && name != PAGE && Files::get(name).is_some() {
        return Some(name.to_owned());
    }
    // A browser that was given an address of ours; programs get the API's answers.
    let first = name.split('/').next().unwrap_or_default();
    let elsewhere = matches!(first, "api" | "assets" | "metrics" | "healthz" | "readyz") || first.starts_with("20");
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    (name.is_empty() || (!elsewhere && accept.contains("text/html"))).then(|| PAGE.to_owned())
}

fn is_packed(name: &str) -> bool {
    name.ends_with(".br") || name.ends_with(".gz")
}

fn answer(name: &str, method: &Method, asked: &HeaderMap) -> Response {
    let accepted = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let packed = [("br", ".br"), ("gzip", ".gz")].into_iter().filter(|(coding, _)| accepts(accepted, coding));
    let packed = packed.filter_map(|(coding, end)| Some((Some(coding), Files::get(&format!("{name}{end}"))?))).next();
    let Some((coding, file)) = packed.or_else(|| Some((None, Files::get(name)?))) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let hash: String = file.metadata.sha256_hash().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{hash}\"");
    let same = asked.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = match (same, method) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, &Method::HEAD) => StatusCode::OK.into_response(),
        (false, _) => file.data.into_owned().into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind_of(name)));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, if name.starts_with("assets/") { NEVER_CHANGES } else { ASK_AGAIN });
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    control::security_headers(headers);
    response
}

/// Whether an `Accept-Encoding` names a coding, and does not refuse it.
fn accepts(header: &str, coding: &str) -> bool {
    header.split(',').any(|one| {
        let (name, rest) = one.split_once(';').unwrap_or((one, ""));
        let weight = rest.trim().strip_prefix("q=").map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
        name.trim().eq_ignore_ascii_case(coding) && weight > 0.0
    })
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn pages_are_one_document_and_programs_get_the_api() {
        let browser = asked(&[("accept", "text/html,*/*")]);
        for path in ["/", "/functions", "/functions/hello/code", "/settings"] {
            assert_eq!(file_for(path, &browser).as_deref(), Some(PAGE), "{path}");
        }
        for path in ["/api/v1/functions", "/metrics", "/healthz", "/2015-03-31/functions/f/invocations", "/assets/x.js"]
        {
            assert_eq!(file_for(path, &browser), None, "{path}");
        }
        assert_eq!(file_for("/functions", &asked(&[("accept", "application/json")])), None);
    }

    #[test]
    fn the_page_may_run_nothing_but_its_own_files() {
        let answer = answer(PAGE, &Method::GET, &asked(&[]));
        assert_eq!(answer.status(), StatusCode::OK);
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["cache-control"], "no-cache");
    }

    #[test]
    fn assets_are_packed_and_kept_for_ever() {
        let script = Files::iter().find(|name| name.starts_with("assets/") && name.ends_with(".js")).unwrap();
        let of = |accept| answer(&script, &Method::GET, &asked(&[("accept-encoding", accept)]));
        assert_eq!(of("gzip, deflate, br").headers()["content-encoding"], "br");
        assert_eq!(of("gzip").headers()["content-encoding"], "gzip");
        assert_eq!(of("br;q=0, gzip").headers()["content-encoding"], "gzip");
        assert!(!of("identity").headers().contains_key("content-encoding"));
        assert_eq!(of("br").headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(of("br").headers()["content-type"], "text/javascript; charset=utf-8");
        let tag = of("br").headers()["etag"].to_str().unwrap().to_owned();
        let mut again = asked(&[("accept-encoding", "br")]);
        again.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
        assert_eq!(answer(&script, &Method::GET, &again).status(), StatusCode::NOT_MODIFIED);
    }
}
