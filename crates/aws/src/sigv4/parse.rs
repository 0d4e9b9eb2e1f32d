//! What a request claims about its signature, read strictly: every parameter once, nothing unknown.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;

use super::{ALGORITHM, MAX_EXPIRES_SECONDS, SigError, SignedRequest};

/// A signature and all that it was made with.
pub(super) struct Claim {
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    /// `20150830T123600Z`
    pub date: String,
    /// The same, in seconds since 1970.
    pub time: i64,
    /// Sorted, lower-case, each once.
    pub signed_headers: Vec<String>,
    pub signature: String,
    /// Presigned only: validity in seconds.
    pub expires: Option<i64>,
}

pub(super) fn is_presigned(query: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some("X-Amz-Signature"))
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`, without looking at anything else.
pub(super) fn credential(headers: &HeaderMap, query: &str) -> Option<String> {
    match headers.get(AUTHORIZATION) {
        Some(value) => {
            let rest = value.to_str().ok()?.strip_prefix(ALGORITHM)?;
            let mut parts = rest.split(',').map(str::trim_start);
            Some(parts.find_map(|part| part.strip_prefix("Credential="))?.to_owned())
        }
        None => {
            let value = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
            Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
        }
    }
}

/// The value of a header that may be there once.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
    shown: &'static str,
) -> Result<Option<&'a str>, SigError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SigError::Duplicate(shown));
    }
    value.to_str().map(Some).map_err(|_| SigError::Incomplete("a header is not ASCII"))
}

pub(super) fn claim(request: &SignedRequest<'_>) -> Result<Claim, SigError> {
    let authorization = single(request.headers, AUTHORIZATION.as_str(), "Authorization")?;
    match (authorization, is_presigned(request.query)) {
        (None, false) => Err(SigError::Missing),
        (Some(_), true) => Err(SigError::Duplicate("a signature, in the header and in the query,")),
        (Some(value), false) => from_header(value, request.headers),
        (None, true) => from_query(request.query),
    }
}

/// Fills `place`, which must be empty.
fn once(place: &mut Option<String>, value: &str, name: &'static str) -> Result<(), SigError> {
    match place.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(SigError::Duplicate(name)),
    }
}

fn from_header(value: &str, headers: &HeaderMap) -> Result<Claim, SigError> {
    let Some(rest) = value.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')) else {
        // Another scheme, like Bearer or Basic, is no token of AWS's.
        return Err(SigError::Missing);
    };
    let (mut credential, mut signed, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let Some((key, value)) = part.trim().split_once('=') else {
            return Err(SigError::Incomplete("Authorization header is not a list of KEY=VALUE"));
        };
        match key {
            "Credential" => once(&mut credential, value, "Credential")?,
            "SignedHeaders" => once(&mut signed, value, "SignedHeaders")?,
            "Signature" => once(&mut signature, value, "Signature")?,
            _ => return Err(SigError::Incomplete("Authorization header has an unknown parameter")),
        }
    }
    if single(headers, "x-amz-security-token", "X-Amz-Security-Token")?.is_some() {
        return Err(SigError::SessionToken);
    }
    let date = single(headers, "x-amz-date", "X-Amz-Date")?;
    build(credential, signed, signature, date.map(str::to_owned), None)
}

fn from_query(query: &str) -> Result<Claim, SigError> {
    let (mut algorithm, mut credential, mut signed, mut signature) = (None, None, None, None);
    let (mut date, mut expires) = (None, None);
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // The names are compared decoded: `X%2DAmz-Date` would otherwise be a second date.
        let key = percent_decode_str(key).decode_utf8_lossy();
        let value = percent_decode_str(value).decode_utf8_lossy();
        match &*key {
            "X-Amz-Algorithm" => once(&mut algorithm, &value, "X-Amz-Algorithm")?,
            "X-Amz-Credential" => once(&mut credential, &value, "X-Amz-Credential")?,
            "X-Amz-SignedHeaders" => once(&mut signed, &value, "X-Amz-SignedHeaders")?,
            "X-Amz-Signature" => once(&mut signature, &value, "X-Amz-Signature")?,
            "X-Amz-Date" => once(&mut date, &value, "X-Amz-Date")?,
            "X-Amz-Expires" => once(&mut expires, &value, "X-Amz-Expires")?,
            "X-Amz-Security-Token" => return Err(SigError::SessionToken),
            _ => {}
        }
    }
    if algorithm.as_deref() != Some(ALGORITHM) {
        return Err(SigError::Incomplete("X-Amz-Algorithm must be AWS4-HMAC-SHA256"));
    }
    let expires = expires.ok_or(SigError::Incomplete("X-Amz-Expires is missing"))?;
    let digits = expires.len() <= 6 && expires.bytes().all(|b| b.is_ascii_digit());
    let seconds = expires.parse().ok().filter(|n| digits && (1..=MAX_EXPIRES_SECONDS).contains(n));
    let seconds = seconds.ok_or(SigError::Incomplete("X-Amz-Expires must be 1 to 604800 seconds"))?;
    build(credential, signed, signature, date, Some(seconds))
}

fn build(
    credential: Option<String>,
    signed: Option<String>,
    signature: Option<String>,
    date: Option<String>,
    expires: Option<i64>,
) -> Result<Claim, SigError> {
    let credential = credential.ok_or(SigError::Incomplete("Credential is missing"))?;
    let signed = signed.ok_or(SigError::Incomplete("SignedHeaders is missing"))?;
    let signature = signature.ok_or(SigError::Incomplete("Signature is missing"))?;
    let date = date.ok_or(SigError::Incomplete("X-Amz-Date is missing"))?;
    let time = read_date(&date).ok_or(SigError::Incomplete("X-Amz-Date must be like 20150830T123600Z"))?;
    let [access_key_id, day, region, service, end] = credential.split('/').collect::<Vec<_>>()[..] else {
        return Err(SigError::Incomplete("Credential must be KEY/DATE/REGION/SERVICE/aws4_request"));
    };
    if end != "aws4_request" {
        return Err(SigError::Scope("a terminator of aws4_request"));
    }
    if day != &date[..8] {
        return Err(SigError::Scope("the same date as X-Amz-Date"));
    }
    let signed_headers: Vec<String> = signed.split(';').map(str::to_owned).collect();
    if !signed_headers.is_sorted_by(|a, b| a < b) {
        return Err(SigError::Incomplete("SignedHeaders must be sorted, each name once"));
    }
    Ok(Claim {
        access_key_id: access_key_id.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        date,
        time,
        signed_headers,
        signature,
        expires,
    })
}

/// Reads `20150830T123600Z` into seconds since 1970.
fn read_date(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let form = bytes.len() == 16 && bytes[8] == b'T' && bytes[15] == b'Z';
    let digits = bytes.iter().enumerate().all(|(i, b)| i == 8 || i == 15 || b.is_ascii_digit());
    if !form || !digits {
        return None;
    }
    let two = |at: usize| text[at..at + 2].parse::<i8>().ok();
    let year = text[..4].parse().ok()?;
    let time = jiff::civil::DateTime::new(year, two(4)?, two(6)?, two(9)?, two(11)?, two(13)?, 0).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

pub(super) fn show_date(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => String::from("an impossible time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_what_they_write() {
        assert_eq!(read_date("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(show_date(1_440_938_160), "20150830T123600Z");
        for bad in
            ["", "20150830T123600", "20151330T123600Z", "2015083OT123600Z", "+0150830T123600Z", "é2345678T12345Z"]
        {
            assert_eq!(read_date(bad), None, "{bad}");
        }
    }
}
