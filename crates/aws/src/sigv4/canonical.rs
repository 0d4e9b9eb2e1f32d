//! The canonical request: one text for everything that the signature covers.

use http::HeaderMap;
use http::header::HeaderName;
use percent_encoding::percent_decode_str;

use super::parse::Claim;
use super::{SigError, SignedRequest};
use crate::text::encode_into;

/// `Host` and every `X-Amz-*` header that is there must be signed, and what is said to be signed be there.
pub(super) fn check_signed_headers(headers: &HeaderMap, signed: &[String]) -> Result<(), SigError> {
    let is_signed = |name: &str| signed.iter().any(|s| s == name);
    if headers.get_all("host").iter().count() > 1 {
        return Err(SigError::Duplicate("Host"));
    }
    if !is_signed("host") || !headers.contains_key("host") {
        return Err(SigError::Unsigned("host".into()));
    }
    for name in headers.keys().map(HeaderName::as_str) {
        if name.starts_with("x-amz-") && !is_signed(name) {
            return Err(SigError::Unsigned(name.into()));
        }
    }
    if signed.iter().all(|name| headers.contains_key(name.as_str())) {
        Ok(())
    } else {
        Err(SigError::Incomplete("SignedHeaders names a header that is not there"))
    }
}

pub(super) fn request(request: &SignedRequest<'_>, claim: &Claim, body_hash: &str) -> String {
    let mut out = String::with_capacity(512);
    out.push_str(request.method.as_str());
    out.push('\n');
    if claim.service == "s3" {
        // Once, and nothing normalised: a key may have any form.
        encode_into(&mut out, &percent_decode_str(request.path).collect::<Vec<u8>>(), true);
    } else {
        path(&mut out, request.path);
    }
    out.push('\n');
    query(&mut out, request.query, claim.expires.is_some());
    out.push('\n');
    for name in &claim.signed_headers {
        out.push_str(name);
        out.push(':');
        header(&mut out, request.headers, name);
        out.push('\n');
    }
    out.push('\n');
    for (i, name) in claim.signed_headers.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { ";" });
        out.push_str(name);
    }
    out.push('\n');
    out.push_str(body_hash);
    out
}

/// The path normalised, then encoded on top of the encoding that it was sent with: every service but S3
/// wants it twice.
fn path(out: &mut String, path: &str) {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    for part in &parts {
        out.push('/');
        encode_into(out, part.as_bytes(), false);
    }
    if parts.is_empty() || path.ends_with('/') {
        out.push('/');
    }
}

fn query(out: &mut String, query: &str, presigned: bool) {
    let encode = |text: &str| {
        let mut out = String::with_capacity(text.len());
        encode_into(&mut out, &percent_decode_str(text).collect::<Vec<u8>>(), false);
        out
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(key, value)| (encode(key), encode(value))).collect();
    if presigned {
        pairs.retain(|(key, _)| key != "X-Amz-Signature");
    }
    pairs.sort_unstable();
    for (i, (key, value)) in pairs.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "&" });
        out.push_str(key);
        out.push('=');
        out.push_str(value);
    }
}

/// All values of a header, trimmed, runs of spaces made one, joined by commas.
fn header(out: &mut String, headers: &HeaderMap, name: &str) {
    for (i, value) in headers.get_all(name).iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        let text = String::from_utf8_lossy(value.as_bytes());
        let words = text.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
        for (i, word) in words.enumerate() {
            out.push_str(if i == 0 { "" } else { " " });
            out.push_str(word);
        }
    }
}
