//! What a request claims of its own signature: which codes, over what. Pure; whether one of them is right, is asked of
//! whoever has the secret.

use http::HeaderMap;
use model::{Signature, Timestamp};

/// How old a signature that has a time may be, and how far ahead: Stripe's five minutes.
const TOLERANCE_SECONDS: i64 = 300;

/// Codes in one header at most: while a key is changed there are two.
const MAX_CODES: usize = 8;

/// HMAC-SHA256 codes, one of which is right for the text and the body after it, if the request is genuine.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    pub codes: Vec<[u8; 32]>,
    pub before_body: String,
}

/// Why there is nothing to verify, for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error("the request is not signed: expected one X-Hub-Signature-256: sha256=…")]
    Github,
    #[error("the request is not signed: expected one Stripe-Signature: t=…,v1=…")]
    Stripe,
    #[error("the signature is of another time: expected one made within the last 5 minutes")]
    Time,
}

/// Reads the claim of a request.
pub fn claim(kind: Signature, headers: &HeaderMap, now: Timestamp) -> Result<Claim, Unsigned> {
    match kind {
        Signature::Github => github(headers).ok_or(Unsigned::Github),
        Signature::Stripe => stripe(headers, now),
    }
}

/// The header's text, if there is exactly one.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(value)
}

fn github(headers: &HeaderMap) -> Option<Claim> {
    let code = one(headers, "x-hub-signature-256")?.trim().strip_prefix("sha256=")?;
    Some(Claim { codes: vec![hex(code)?], before_body: String::new() })
}

fn stripe(headers: &HeaderMap, now: Timestamp) -> Result<Claim, Unsigned> {
    let text = one(headers, "stripe-signature").ok_or(Unsigned::Stripe)?;
    let (mut time, mut codes) = (None, Vec::new());
    for (key, value) in text.split(',').filter_map(|item| item.trim().split_once('=')) {
        match key {
            // Two times would be one for us and another for whoever signed.
            "t" if time.is_some() => return Err(Unsigned::Stripe),
            "t" => time = Some(value),
            "v1" if codes.len() < MAX_CODES => codes.extend(hex(value)),
            _ => {}
        }
    }
    let time = time.filter(|time| (1..=12).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit()));
    let time = time.filter(|_| !codes.is_empty()).ok_or(Unsigned::Stripe)?;
    let seconds: i64 = time.parse().map_err(|_| Unsigned::Stripe)?;
    if (now.millis() / 1000).abs_diff(seconds) > TOLERANCE_SECONDS as u64 {
        return Err(Unsigned::Time);
    }
    Ok(Claim { codes, before_body: format!("{time}.") })
}

/// 64 hexadecimal digits.
fn hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut code = [0; 32];
    for (byte, pair) in code.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |place: usize| char::from(pair[place]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    const CODE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";

    fn read(kind: Signature, values: &[&str], now: i64) -> Result<Claim, Unsigned> {
        let name = match kind {
            Signature::Github => "x-hub-signature-256",
            Signature::Stripe => "stripe-signature",
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        claim(kind, &headers, Timestamp(now * 1_000_000))
    }

    #[test]
    fn githubs_header_is_one_code_over_the_body() {
        let read = |values: &[&str]| read(Signature::Github, values, 0);
        let claim = read(&[&format!("sha256={CODE}")]).unwrap();
        assert_eq!((claim.codes[0][31], claim.before_body.as_str()), (31, ""));
        let good = format!("sha256={CODE}");
        for wrong in [&[][..], &[&*good, &*good], &[CODE], &["sha256="], &["sha256=zz"], &[&*format!("sha1={CODE}")]] {
            assert_eq!(read(wrong), Err(Unsigned::Github), "{wrong:?}");
        }
    }

    #[test]
    fn stripes_header_has_a_time_and_codes() {
        let read = |text: &str, now| read(Signature::Stripe, &[text], now);
        let good = format!("t=1000,v1={CODE},v0=ab, v1={CODE}");
        let claim = read(&good, 1000).unwrap();
        assert_eq!((claim.codes.len(), claim.before_body.as_str()), (2, "1000."));
        assert!(read(&good, 1300).is_ok() && read(&good, 700).is_ok());
        assert_eq!(read(&good, 1301), Err(Unsigned::Time));
        assert_eq!(read(&good, 699), Err(Unsigned::Time));
        for wrong in [
            "",
            "t=1000",
            &format!("v1={CODE}"),
            &format!("t=,v1={CODE}"),
            &format!("t=1000,t=1001,v1={CODE}"),
            &format!("t=+100,v1={CODE}"),
            &format!("t=1000,v0={CODE}"),
            "t=1000,v1=00",
        ] {
            assert_eq!(read(wrong, 1000), Err(Unsigned::Stripe), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[ -~]{0,90}", now in proptest::num::i64::ANY) {
            for kind in [Signature::Github, Signature::Stripe] {
                let _ = read(kind, &[&text], now / 1_000_000);
            }
        }
    }
}
