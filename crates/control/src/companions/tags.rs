//! Tags of what these services keep: as many as AWS allows, and none that has AWS's own prefix.

use std::collections::BTreeMap;

use aws::AwsError;
use http::StatusCode;

/// By their keys.
pub(super) type Tags = BTreeMap<String, String>;

/// Of one thing, at most.
pub(super) const MOST: usize = 50;

/// Puts tags beside those that are there, or in their place. `full`: the service's own name of the error.
pub(super) fn add(
    tags: &mut Tags,
    new: impl IntoIterator<Item = (String, String)>,
    most: usize,
    full: &'static str,
) -> Result<(), AwsError> {
    for (key, value) in new {
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            let message = format!("The tag key {key} is reserved: keys that begin with aws: are AWS's own");
            return Err(AwsError::validation(message));
        }
        tags.insert(key, value);
    }
    if tags.len() > most {
        let message = format!("At most {most} tags are taken, got {}", tags.len());
        return Err(AwsError::new(StatusCode::BAD_REQUEST, full, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_bounded_and_replaced_by_their_keys() {
        let mut tags = Tags::new();
        let one = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        add(&mut tags, one("a", "1"), 1, "TooMany").unwrap();
        add(&mut tags, one("a", "2"), 1, "TooMany").unwrap();
        assert_eq!(tags["a"], "2");
        assert_eq!(add(&mut tags, one("b", ""), 1, "TooMany").unwrap_err().kind, "TooMany");
        for reserved in ["aws:x", "AWS:x"] {
            assert!(add(&mut Tags::new(), one(reserved, ""), 1, "TooMany").is_err(), "{reserved}");
        }
    }
}
