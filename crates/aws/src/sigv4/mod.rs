//! Verifies AWS Signature Version 4, in the `Authorization` header or presigned in the query.
//!
//! Refused: any body whose hash is not in the signature (`UNSIGNED-PAYLOAD`, `STREAMING-…`), a missing or
//! unsigned `Host`, `X-Amz-*` headers that were not signed, parameters given twice, session tokens (Hearth's
//! keys have none), a clock more than five minutes off, presigned requests beyond a week. A request that is
//! sent again within the five minutes is accepted again, as on AWS.

mod canonical;
mod parse;
mod s3;

pub use s3::{Chain, Payload, S3Signed, decode_chunks, verify_s3};

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method, StatusCode};
use model::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::text::{hex, unhex32};
use parse::Claim;

/// How far a signer's clock may be off.
pub const SKEW_SECONDS: i64 = 300;
/// Longest validity of a presigned request: a week.
pub const MAX_EXPIRES_SECONDS: i64 = 604_800;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What was signed: the request as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    pub method: &'a Method,
    /// The path as sent, percent-encoding untouched.
    pub path: &'a str,
    /// The query as sent, without `?`; empty if there is none.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub access_key_id: String,
    /// The region that the signer believes to talk to.
    pub region: String,
    pub presigned: bool,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigError {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("The request signature is incomplete: {0}")]
    Incomplete(&'static str),
    #[error("The request signature is ambiguous: {0} is given more than once")]
    Duplicate(&'static str),
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error(
        "The security token included in the request is invalid: Hearth's keys have no session token, \
         unset AWS_SESSION_TOKEN"
    )]
    SessionToken,
    #[error("Credential should be scoped to {0}")]
    Scope(&'static str),
    #[error("Signature expired: {signed} is now earlier than {now} (- 5 min.)")]
    Expired { signed: String, now: String },
    #[error("Signature not yet current: {signed} is still later than {now} (+ 5 min.)")]
    NotYet { signed: String, now: String },
    #[error("There were headers present in the request which were not signed: {0}")]
    Unsigned(String),
    #[error("X-Amz-Content-Sha256 is not the SHA-256 of the request's body")]
    BodyHash,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

// === impl SigError ===

impl SigError {
    /// The exception's name on AWS.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) | Self::Duplicate(_) => "IncompleteSignatureException",
            Self::UnknownKey | Self::SessionToken => "UnrecognizedClientException",
            Self::Scope(_)
            | Self::Expired { .. }
            | Self::NotYet { .. }
            | Self::Unsigned(_)
            | Self::BodyHash
            | Self::Mismatch => "InvalidSignatureException",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Incomplete(_) | Self::Duplicate(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether a request carries anything that claims to be a signature.
pub fn is_signed(headers: &HeaderMap, query: &str) -> bool {
    let authorization = headers.get(http::header::AUTHORIZATION);
    authorization.is_some_and(|value| value.as_bytes().starts_with(ALGORITHM.as_bytes())) || parse::is_presigned(query)
}

/// What a signature says that it was made with and for. Nothing of it is true before [`verify`] has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub access_key_id: String,
    pub service: String,
}

/// None where a request has no signature that can be read.
pub fn claimed(headers: &HeaderMap, query: &str) -> Option<Claimed> {
    let credential = parse::credential(headers, query)?;
    let mut parts = credential.split('/').map(str::to_owned);
    Some(Claimed { access_key_id: parts.next()?, service: parts.nth(2)? })
}

/// Checks a signature made for `service` and says who made it. `secret_of` gives the secret access key that
/// belongs to an access key id, if that is known.
pub fn verify(
    request: &SignedRequest<'_>,
    service: &'static str,
    secret_of: impl FnOnce(&str) -> Option<String>,
    now: Timestamp,
) -> Result<Identity, SigError> {
    let claim = parse::claim(request)?;
    if claim.service != service {
        return Err(SigError::Scope("correct service"));
    }
    check_time(&claim, now)?;
    canonical::check_signed_headers(request.headers, &claim.signed_headers)?;
    let body_hash = check_body(request)?;
    let Some(secret) = secret_of(&claim.access_key_id) else { return Err(SigError::UnknownKey) };

    check(request, &claim, &secret, &hex(&body_hash))?;
    Ok(Identity { access_key_id: claim.access_key_id, region: claim.region, presigned: claim.expires.is_some() })
}

fn check(request: &SignedRequest<'_>, claim: &Claim, secret: &str, body: &str) -> Result<(), SigError> {
    let canonical = canonical::request(request, claim, body);
    let expected = signature(secret, claim, &canonical);
    let given = unhex32(&claim.signature).ok_or(SigError::Mismatch)?;
    if bool::from(expected.ct_eq(&given)) { Ok(()) } else { Err(SigError::Mismatch) }
}

fn check_time(claim: &Claim, now: Timestamp) -> Result<(), SigError> {
    let now = now.micros().div_euclid(1_000_000);
    let texts = || (claim.date.clone(), parse::show_date(now));
    if claim.time - now > SKEW_SECONDS {
        let (signed, now) = texts();
        return Err(SigError::NotYet { signed, now });
    }
    if now - claim.time > claim.expires.unwrap_or(SKEW_SECONDS) {
        let (signed, now) = texts();
        return Err(SigError::Expired { signed, now });
    }
    Ok(())
}

/// The hash of the body; if the client named one too, it must be the same.
fn check_body(request: &SignedRequest<'_>) -> Result<[u8; 32], SigError> {
    let hash: [u8; 32] = Sha256::digest(request.body).into();
    match parse::single(request.headers, "x-amz-content-sha256", "X-Amz-Content-Sha256")? {
        Some(given) if unhex32(given) != Some(hash) => Err(SigError::BodyHash),
        _ => Ok(hash),
    }
}

fn signature(secret: &str, claim: &Claim, canonical: &str) -> [u8; 32] {
    let text = format!("{ALGORITHM}\n{}\n{}\n{}", claim.date, scope(claim), hex(&Sha256::digest(canonical)));
    mac(&signing_key(secret, claim), &text)
}

fn scope(claim: &Claim) -> String {
    format!("{}/{}/{}/aws4_request", &claim.date[..8], claim.region, claim.service)
}

fn signing_key(secret: &str, claim: &Claim) -> [u8; 32] {
    let mut key = mac(format!("AWS4{secret}").as_bytes(), &claim.date[..8]);
    for part in [claim.region.as_str(), &claim.service, "aws4_request"] {
        key = mac(&key, part);
    }
    key
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}
