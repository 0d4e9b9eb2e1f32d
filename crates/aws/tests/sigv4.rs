//! Signatures made by others, verified here: AWS's own signing test suite (as shipped with the Rust SDK) and
//! requests signed by botocore, the signer under boto3 and the `aws` CLI.

use aws::sigv4::{SigError, SignedRequest, verify};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::Timestamp;
use serde::Deserialize;

#[derive(Deserialize, Clone)]
struct Vector {
    name: String,
    secret: String,
    service: String,
    time: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    session_token: bool,
}

fn vectors() -> Vec<Vector> {
    let mut all: Vec<Vector> = serde_json::from_str(include_str!("vectors/aws_signing_suite.json")).unwrap();
    all.extend(serde_json::from_str::<Vec<Vector>>(include_str!("vectors/botocore.json")).unwrap());
    all
}

fn vector(name: &str) -> Vector {
    vectors().into_iter().find(|v| v.name == name).unwrap()
}

impl Vector {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    /// Verified `later` seconds after it was signed.
    fn verify(&self, later: i64) -> Result<String, SigError> {
        let signed: jiff::Timestamp = self.time.parse().unwrap();
        let request = SignedRequest {
            method: &Method::from_bytes(self.method.as_bytes()).unwrap(),
            path: &self.path,
            query: &self.query,
            headers: &self.headers(),
            body: self.body.as_bytes(),
        };
        let now = Timestamp((signed.as_second() + later) * 1_000_000);
        let service: &'static str = if self.service == "lambda" { "lambda" } else { leak(&self.service) };
        verify(&request, service, |_| Some(self.secret.clone()), now).map(|identity| identity.access_key_id)
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    fn change(mut self, name: &str, from: &str, to: &str) -> Self {
        let header = self.headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap();
        assert!(header.1.contains(from), "{}", header.1);
        header.1 = header.1.replace(from, to);
        self
    }
}

fn leak(text: &str) -> &'static str {
    String::from(text).leak()
}

#[test]
fn every_vector_verifies() {
    let vectors = vectors();
    assert!(vectors.len() > 60, "{}", vectors.len());
    for vector in vectors {
        let verified = vector.verify(1);
        if vector.session_token {
            assert_eq!(verified, Err(SigError::SessionToken), "{}", vector.name);
        } else {
            assert!(verified.is_ok(), "{}: {verified:?}", vector.name);
        }
    }
}

#[test]
fn nothing_that_is_covered_can_be_changed() {
    for vector in vectors().into_iter().filter(|v| !v.session_token) {
        let mut changed = Vec::new();
        changed.push(Vector { method: "DELETE".into(), ..vector.clone() });
        changed.push(Vector { path: format!("{}x", vector.path), ..vector.clone() });
        changed.push(Vector { query: format!("{}&z=z", vector.query), ..vector.clone() });
        changed.push(Vector { body: format!("{}!", vector.body), ..vector.clone() });
        changed.push(Vector { secret: format!("{}x", vector.secret), ..vector.clone() });
        changed.push(vector.clone().header("Host", "elsewhere"));
        for other in changed {
            let verified = other.verify(0);
            let refused = matches!(verified, Err(SigError::Mismatch | SigError::BodyHash));
            assert!(refused, "{}: {verified:?}", vector.name);
        }
    }
}

#[test]
fn a_clock_may_be_five_minutes_off() {
    let vector = vector("invoke/header");
    assert!(vector.verify(300).is_ok() && vector.verify(-300).is_ok());
    let late = vector.verify(301).unwrap_err();
    assert!(matches!(late, SigError::Expired { .. }), "{late}");
    assert_eq!(late.kind(), "InvalidSignatureException");
    assert!(late.to_string().contains("20260102T030405Z is now earlier than 20260102T030906Z"), "{late}");
    assert!(matches!(vector.verify(-301), Err(SigError::NotYet { .. })));
}

#[test]
fn a_presigned_request_lasts_as_long_as_it_says() {
    let vector = vector("list/query");
    assert!(vector.verify(900).is_ok());
    assert!(matches!(vector.verify(901), Err(SigError::Expired { .. })));
    for expires in ["0", "604801", "-1", "1e3", "", "+900", "99999999999999999999"] {
        let query = vector.query.replace("X-Amz-Expires=900", &format!("X-Amz-Expires={expires}"));
        let refused = Vector { query, ..vector.clone() }.verify(0);
        assert!(matches!(refused, Err(SigError::Incomplete(_))), "{expires}: {refused:?}");
    }
}

#[test]
fn what_is_given_twice_is_refused() {
    let query = vector("list/query");
    for extra in ["X-Amz-Date=20260102T030405Z", "X%2DAmz-Expires=900", "X-Amz-Signature=00"] {
        let twice = Vector { query: format!("{}&{extra}", query.query), ..query.clone() };
        assert!(matches!(twice.verify(0), Err(SigError::Duplicate(_))), "{extra}");
    }
    for name in ["X-Amz-Date", "Authorization", "Host"] {
        let mut twice = vector("invoke/header");
        let same = twice.headers.iter().find(|(n, _)| n == name).unwrap().clone();
        twice.headers.push(same);
        assert!(matches!(twice.verify(0), Err(SigError::Duplicate(_))), "{name}");
    }
    let header = vector("invoke/header").headers.into_iter().find(|(n, _)| n == "Authorization").unwrap().1;
    let both = query.header("Authorization", &header);
    assert!(matches!(both.verify(0), Err(SigError::Duplicate(_))));
    let parts = vector("invoke/header").change("Authorization", "Signature=", "Signature=00, Signature=");
    assert!(matches!(parts.verify(0), Err(SigError::Duplicate(_))));
}

#[test]
fn what_was_not_signed_does_not_count() {
    let added = vector("invoke-empty/header").header("X-Amz-Invocation-Type", "Event");
    assert_eq!(added.verify(0), Err(SigError::Unsigned("x-amz-invocation-type".into())));
    let no_host = vector("invoke/header").change("Authorization", "SignedHeaders=host;", "SignedHeaders=");
    assert_eq!(no_host.verify(0), Err(SigError::Unsigned("host".into())));
    for hash in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", "00"] {
        let unsigned = vector("content-hash/header").header("X-Amz-Content-SHA256", hash);
        assert_eq!(unsigned.verify(0), Err(SigError::BodyHash), "{hash}");
    }
}

#[test]
fn a_broken_claim_says_what_is_broken() {
    let vector = || vector("invoke/header");
    for (from, to, kind) in [
        ("Signature=", "Sig=", "IncompleteSignatureException"),
        ("Credential=", "Nothing=", "IncompleteSignatureException"),
        ("/lambda/", "/s3/", "InvalidSignatureException"),
        ("/20260102/", "/20260103/", "InvalidSignatureException"),
        ("aws4_request", "aws5_request", "InvalidSignatureException"),
        ("host;x-amz-date", "x-amz-date;host", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256", "Basic", "MissingAuthenticationTokenException"),
    ] {
        let error = vector().change("Authorization", from, to).verify(0).unwrap_err();
        assert_eq!(error.kind(), kind, "{from}: {error}");
    }
    let error = vector().header("X-Amz-Security-Token", "t").verify(0).unwrap_err();
    assert_eq!(error.kind(), "UnrecognizedClientException");
}

#[test]
fn an_unknown_key_is_not_recognised() {
    let request = vector("invoke/header");
    let (headers, method) = (request.headers(), Method::POST);
    let signed = SignedRequest {
        method: &method,
        path: &request.path,
        query: &request.query,
        headers: &headers,
        body: request.body.as_bytes(),
    };
    let now = Timestamp(request.time.parse::<jiff::Timestamp>().unwrap().as_microsecond());
    let error = verify(&signed, "lambda", |_| None, now).unwrap_err();
    assert_eq!((error.kind(), error.status().as_u16()), ("UnrecognizedClientException", 403));
}

proptest::proptest! {
    #[test]
    fn no_authorization_makes_it_panic(value in "[ -~]{0,200}", date in "[ -~]{0,20}", query in "[ -~]{0,80}") {
        let headers = HeaderMap::from_iter([
            (http::header::AUTHORIZATION, HeaderValue::from_str(&format!("AWS4-HMAC-SHA256 {value}")).unwrap()),
            (HeaderName::from_static("x-amz-date"), HeaderValue::from_str(&date).unwrap()),
        ]);
        let request = SignedRequest { method: &Method::GET, path: "/", query: &query, headers: &headers, body: b"" };
        proptest::prop_assert!(verify(&request, "lambda", |_| None, Timestamp(0)).is_err());
    }
}
