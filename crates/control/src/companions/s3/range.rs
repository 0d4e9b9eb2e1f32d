//! `Range`: a part of an object.

use aws::AwsError;
use http::StatusCode;

/// Where a range begins, and how long it is. None for what is no range of bytes, which is passed over.
pub(super) fn range_of(text: &str, size: u64) -> Result<Option<(u64, u64)>, AwsError> {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (from, to) = match (first, number(first), last, number(last)) {
        ("", _, _, Some(count)) => (size.saturating_sub(count), size),
        (_, Some(from), "", _) => (from, size),
        (_, Some(from), _, Some(last)) if last >= from => (from, last.saturating_add(1).min(size)),
        _ => return Ok(None),
    };
    if from >= to {
        let message = format!("The requested range is not satisfiable: the object has {size} bytes");
        return Err(AwsError::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message));
    }
    Ok(Some((from, to - from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_bytes() {
        for (text, expected) in [
            ("bytes=0-4", Some((0, 5))),
            ("bytes=5-", Some((5, 5))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=8-100", Some((8, 2))),
            ("bytes=4-2", None),
            ("lines=1-2", None),
            ("bytes=0-1,3-4", None),
        ] {
            assert_eq!(range_of(text, 10).unwrap(), expected, "{text}");
        }
        assert_eq!(range_of("bytes=10-", 10).unwrap_err().kind, "InvalidRange");
    }
}
