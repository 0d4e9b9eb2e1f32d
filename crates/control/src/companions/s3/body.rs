//! A request's body: whole in memory, and as its signature, its length and its checksums say that it is.

use aws::AwsError;
use aws::checksum::{self, Checksum};
use aws::sigv4::{Payload, S3Signed, SigError, decode_chunks};
use axum::body::Body;
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Asked, invalid, refused, too_large};
use crate::Api;
use crate::extract::read_within;
use crate::{lambda, packages};

/// Longest body: clients send more in parts.
pub(super) const MOST: usize = 64 * 1024 * 1024;
/// What stands around pieces, at most.
const AROUND: usize = 1024 * 1024;
/// Bodies from that size on wait for a place: memory.
const LARGE: u64 = 256 * 1024;

/// What was sent.
pub(super) struct Sent {
    pub bytes: Bytes,
    /// The checksum that the client named, which is right.
    pub checksum: Option<(Checksum, String)>,
}

pub(super) async fn read(api: &Api, asked: &Asked, body: Body, signed: S3Signed) -> Result<Sent, AwsError> {
    let length = asked.header("content-length").and_then(|length| length.parse::<u64>().ok());
    let _place = if length.is_none_or(|length| length >= LARGE) { Some(api.uploads.acquire().await) } else { None };
    let mut request = Request::new(body);
    if let Some(length) = asked.parts.headers.get("content-length") {
        request.headers_mut().insert("content-length", length.clone());
    }
    let raw = read_within(packages::UPLOAD, request, MOST + AROUND).await.map_err(|error| match error.code() {
        model::FaultCode::RequestTooLarge => too_large(MOST),
        _ => lambda::refused(error),
    })?;
    let (bytes, trailer) = match signed.payload {
        Payload::Unsigned => (raw, Vec::new()),
        Payload::Hash(hash) => {
            let found: [u8; 32] = Sha256::digest(&raw).into();
            if !bool::from(found.ct_eq(&hash)) {
                return Err(refused(&SigError::BodyHash));
            }
            (raw, Vec::new())
        }
        Payload::Chunks { signed: is_signed, trailer } => {
            let mut chain = signed.chain;
            let decoded = decode_chunks(&raw, is_signed.then_some(&mut chain), trailer);
            let (whole, trailer) = decoded.map_err(|error| refused(&error))?;
            let said = asked.header("x-amz-decoded-content-length").and_then(|length| length.parse::<usize>().ok());
            if said != Some(whole.len()) {
                let message = format!("X-Amz-Decoded-Content-Length must be {}, the bytes that came", whole.len());
                return Err(AwsError::new(StatusCode::BAD_REQUEST, "IncompleteBody", message));
            }
            (Bytes::from(whole), trailer)
        }
    };
    if bytes.len() > MOST {
        return Err(too_large(MOST));
    }
    check_md5(asked, &bytes)?;
    let headers = asked.parts.headers.iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let mut checksum = None;
    for (name, value) in headers.chain(trailer) {
        if !name.starts_with("x-amz-checksum-") || name == "x-amz-checksum-type" || name == "x-amz-checksum-algorithm" {
            continue;
        }
        let Some(kind) = Checksum::of_header(&name) else {
            let known = Checksum::ALL.map(Checksum::header).join(", ");
            return Err(invalid(format!("{name} is not known here: expected one of {known}")));
        };
        if kind.of(&bytes) != value {
            let message = format!("The {} you specified did not match the calculated checksum.", kind.header());
            return Err(AwsError::new(StatusCode::BAD_REQUEST, "BadDigest", message));
        }
        checksum = Some((kind, value));
    }
    Ok(Sent { bytes, checksum })
}

fn check_md5(asked: &Asked, bytes: &[u8]) -> Result<(), AwsError> {
    let Some(given) = asked.header("content-md5") else { return Ok(()) };
    if STANDARD.encode(checksum::md5(bytes)) == given {
        return Ok(());
    }
    let message = "The Content-MD5 you specified did not match what we received.";
    Err(AwsError::new(StatusCode::BAD_REQUEST, "BadDigest", message))
}
