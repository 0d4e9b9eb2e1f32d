//! S3's ways to sign a body: by its hash, not at all, or piece by piece.
//!
//! ```text
//! 10000;chunk-signature=…\r\n  65536 bytes \r\n  …  0;chunk-signature=…\r\n  x-amz-checksum-crc32:…\r\n  x-amz-trailer-signature:…\r\n  \r\n
//! ```
//!
//! Each piece's signature covers the one before, and the first one's the request's. Without signatures, the pieces are there
//! for the trailer's sake, and only TLS keeps them.

use model::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::parse::{self, Claim};
use super::{Identity, SigError, SignedRequest, canonical, check, check_time, mac, scope, signing_key};
use crate::text::{hex, unhex32};

/// Bytes of a piece's first line at most, and of one line of the trailer.
const LINE: usize = 512;
/// Lines of the trailer at most.
const TRAILER: usize = 8;

/// How a body is covered by the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// It has this hash.
    Hash([u8; 32]),
    Unsigned,
    /// It comes in pieces.
    Chunks {
        signed: bool,
        trailer: bool,
    },
}

/// The signatures of a body's pieces.
#[derive(Debug, Clone)]
pub struct Chain {
    key: [u8; 32],
    date: String,
    scope: String,
    last: String,
}

/// A request whose head is right. Its body has to be looked at yet.
#[derive(Debug)]
pub struct S3Signed {
    pub identity: Identity,
    pub payload: Payload,
    pub chain: Chain,
}

/// Lower-case names and values.
pub type Trailer = Vec<(String, String)>;

/// Checks the head of a request that is signed for S3; `request.body` is not looked at.
pub fn verify_s3(
    request: &SignedRequest<'_>,
    secret_of: impl FnOnce(&str) -> Option<String>,
    now: Timestamp,
) -> Result<S3Signed, SigError> {
    let claim = parse::claim(request)?;
    if claim.service != "s3" {
        return Err(SigError::Scope("correct service"));
    }
    check_time(&claim, now)?;
    canonical::check_signed_headers(request.headers, &claim.signed_headers)?;
    let given = parse::single(request.headers, "x-amz-content-sha256", "X-Amz-Content-Sha256")?;
    let text = match given {
        Some(text) => text,
        None if claim.expires.is_some() => "UNSIGNED-PAYLOAD",
        None => return Err(SigError::Incomplete("X-Amz-Content-Sha256 is missing")),
    };
    let payload = match text {
        "UNSIGNED-PAYLOAD" => Payload::Unsigned,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Payload::Chunks { signed: false, trailer: true },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Payload::Chunks { signed: true, trailer: false },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Payload::Chunks { signed: true, trailer: true },
        hash => Payload::Hash(unhex32(hash).ok_or(SigError::Incomplete(
            "X-Amz-Content-Sha256 must be a hash, UNSIGNED-PAYLOAD or STREAMING-…-PAYLOAD",
        ))?),
    };
    let Some(secret) = secret_of(&claim.access_key_id) else { return Err(SigError::UnknownKey) };
    check(request, &claim, &secret, text)?;
    let chain = Chain::new(&secret, &claim);
    let presigned = claim.expires.is_some();
    let identity = Identity { access_key_id: claim.access_key_id, region: claim.region, presigned };
    Ok(S3Signed { identity, payload, chain })
}

// === impl Chain ===

impl Chain {
    fn new(secret: &str, claim: &Claim) -> Self {
        let (key, date) = (signing_key(secret, claim), claim.date.clone());
        Self { key, date, scope: scope(claim), last: claim.signature.clone() }
    }

    fn next(&mut self, kind: &str, hashes: &str, signature: &str) -> Result<(), SigError> {
        let text = format!("AWS4-HMAC-SHA256-{kind}\n{}\n{}\n{}\n{hashes}", self.date, self.scope, self.last);
        let expected = mac(&self.key, &text);
        let given = unhex32(signature).ok_or(SigError::Mismatch)?;
        if !bool::from(expected.ct_eq(&given)) {
            return Err(SigError::Mismatch);
        }
        self.last = hex(&expected);
        Ok(())
    }
}

/// Puts a body that came in pieces together, and gives its trailer. With a chain, every signature is checked.
pub fn decode_chunks(
    body: &[u8],
    mut chain: Option<&mut Chain>,
    trailer: bool,
) -> Result<(Vec<u8>, Trailer), SigError> {
    const BROKEN: SigError = SigError::Incomplete("the body's pieces are not as aws-chunked has them");
    let nothing = hex(&Sha256::digest(b""));
    let mut rest = body;
    let mut whole = Vec::with_capacity(body.len());
    loop {
        let head = line(&mut rest).ok_or(BROKEN)?;
        let (size, extension) = head.split_once(';').unwrap_or((head, ""));
        let digits = (1..=8).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| digits).ok_or(BROKEN)?;
        let data = rest.get(..size).ok_or(BROKEN)?;
        rest = &rest[size..];
        if let Some(chain) = chain.as_deref_mut() {
            let signature = extension.strip_prefix("chunk-signature=").ok_or(BROKEN)?;
            chain.next("PAYLOAD", &format!("{nothing}\n{}", hex(&Sha256::digest(data))), signature)?;
        }
        if size == 0 {
            break;
        }
        whole.extend_from_slice(data);
        rest = rest.strip_prefix(b"\r\n").ok_or(BROKEN)?;
    }
    let (mut found, mut text, mut signature) = (Trailer::new(), String::new(), None);
    // Where there is no trailer, the last piece ends as all do.
    while !rest.is_empty() && found.len() < TRAILER {
        let one = line(&mut rest).ok_or(BROKEN)?;
        if one.is_empty() {
            break;
        }
        let (name, value) = one.split_once(':').ok_or(BROKEN)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            signature = Some(value.to_owned());
        } else {
            text.push_str(&format!("{name}:{value}\n"));
            found.push((name, value.to_owned()));
        }
    }
    if !rest.is_empty() || (!trailer && !found.is_empty()) {
        return Err(BROKEN);
    }
    if let (Some(chain), true) = (chain, trailer) {
        let signature = signature.ok_or(SigError::Incomplete("x-amz-trailer-signature is missing"))?;
        chain.next("TRAILER", &hex(&Sha256::digest(text)), &signature)?;
    }
    Ok((whole, found))
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().take(LINE).position(|byte| *byte == b'\r')?;
    let found = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = rest[end..].strip_prefix(b"\r\n")?;
    Some(found)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    /// AWS's own example of a body in pieces: 64 KiB and 1 KiB of `a`.
    fn example() -> (HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
                 x-amz-decoded-content-length;x-amz-storage-class,\
                 Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            ),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut body = Vec::new();
        for (size, signature) in [
            (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
            body.extend(std::iter::repeat_n(b'a', size));
            body.extend_from_slice(b"\r\n");
        }
        (headers, body)
    }

    fn verified() -> (S3Signed, Vec<u8>) {
        let (headers, body) = example();
        let request = SignedRequest {
            method: &Method::PUT,
            path: "/examplebucket/chunkObject.txt",
            query: "",
            headers: &headers,
            body: b"",
        };
        let secret = |_: &str| Some("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
        let now = Timestamp(1_369_353_600_000_000);
        (verify_s3(&request, secret, now).unwrap(), body)
    }

    #[test]
    fn awss_example_of_pieces_is_right() {
        let (mut signed, body) = verified();
        assert_eq!(signed.payload, Payload::Chunks { signed: true, trailer: false });
        let (whole, trailer) = decode_chunks(&body, Some(&mut signed.chain), false).unwrap();
        assert_eq!((whole.len(), trailer.len()), (66560, 0));
    }

    #[test]
    fn a_changed_piece_is_refused() {
        for at in [100, 65_700, 66_000] {
            let (mut signed, mut body) = verified();
            body[at] ^= 1;
            assert!(decode_chunks(&body, Some(&mut signed.chain), false).is_err(), "{at}");
        }
    }

    #[test]
    fn a_trailer_comes_behind_the_pieces() {
        let body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        let (whole, trailer) = decode_chunks(body, None, true).unwrap();
        assert_eq!(whole, b"hello");
        assert_eq!(trailer, [("x-amz-checksum-crc32".to_owned(), "NhCmhg==".to_owned())]);
        for bad in [&b"5\r\nhell"[..], b"", b"5\nhello", b"-1\r\n", b"5\r\nhello0\r\n\r\n", b"0\r\nx\r\n\r\n"] {
            assert!(decode_chunks(bad, None, true).is_err(), "{bad:?}");
        }
    }
}
