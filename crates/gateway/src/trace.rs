//! X-Ray trace headers: passed on where the caller has one, made where not.

use http::HeaderMap;
use model::{RequestId, Timestamp};

/// Name of the header.
pub(crate) const TRACE_ID: &str = "x-amzn-trace-id";

/// The caller's trace header if it is one, a new one otherwise.
pub(crate) fn of(headers: &HeaderMap, id: &RequestId, now: Timestamp) -> String {
    let given = headers.get(TRACE_ID).and_then(|value| value.to_str().ok());
    match given.filter(|text| is_trace(text)) {
        Some(text) => text.to_owned(),
        None => fresh(id, now),
    }
}

/// `Root=1-`, 8 hexadecimal digits of the time, and 24 of the request's id, which is random enough for both.
fn fresh(id: &RequestId, now: Timestamp) -> String {
    let mut text = format!("Root=1-{:08x}-", now.millis().div_euclid(1000) as u32);
    text.extend(id.to_string().chars().filter(|c| *c != '-').take(24));
    text
}

fn is_trace(text: &str) -> bool {
    let parts_ok = text.split(';').all(|part| {
        let known = part.split_once('=').is_some_and(|(name, _)| !name.is_empty());
        known && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-=:_.|".contains(&b))
    });
    text.len() <= 256 && text.starts_with("Root=1-") && parts_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_passed_on_or_made() {
        let given = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let headers = HeaderMap::from_iter([(TRACE_ID.parse().unwrap(), given.parse().unwrap())]);
        assert_eq!(of(&headers, &RequestId::random(), Timestamp(0)), given);
        let made = of(&HeaderMap::new(), &RequestId::random(), Timestamp(0x5759_e988_i64 * 1_000_000));
        assert!(made.starts_with("Root=1-5759e988-") && made.len() == 40 && is_trace(&made), "{made}");
    }

    #[test]
    fn what_is_no_trace_is_replaced() {
        for bad in ["", "x", "Root=1-a; Sampled=1", "Root=1-\"", "Root=1-a;b", &format!("Root=1-{}", "a".repeat(300))] {
            assert!(!is_trace(bad), "{bad}");
        }
    }
}
