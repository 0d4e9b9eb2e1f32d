//! Whether a payload is JSON, cheaply and without recursion: depth must not cost stack.

use serde::de::IgnoredAny;

/// Deepest nesting taken: what AWS's own parser takes, and more than most runtimes' parsers do.
const MAX_DEPTH: usize = 1000;

/// Says what is wrong if it is not JSON.
pub(crate) fn check(payload: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(payload).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    // IgnoredAny walks without recursing, whatever the depth.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
    if depth(payload) > MAX_DEPTH {
        return Err(format!("nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(())
}

/// The nesting of valid JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        for good in ["{}", " null ", "\"[[[\\\"[\"", "1e999", "123456789012345678901234567890", "\"\\ud800\""] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [&b"{"[..], b"", b"{a:1}", b"nul", b"[1,]", b"\"\xff\"", b"{} x", b"\xef\xbb\xbf{}", b"'a'", b"NaN"]
        {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn depth_is_an_error_and_no_crash() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(check(nested(1000).as_bytes()), Ok(()));
        assert!(check(nested(1001).as_bytes()).unwrap_err().contains("1000"));
        assert!(check(nested(100_000).as_bytes()).is_err());
        assert!(check("[".repeat(1_000_000).as_bytes()).is_err());
    }
}
