//! Until when a certificate is valid: the one thing of it that a person should know in time, and that the TLS library does
//! not say. Reads only as far as that, in DER; what it does not understand is none.

/// What kind it is, and what it holds.
type Element<'a> = (u8, &'a [u8]);

/// RFC 3339, whole seconds, UTC.
pub(crate) fn until(certificate: &[u8]) -> Option<String> {
    let (whole, _) = element(certificate, 0x30)?;
    let (mut signed, _) = element(whole, 0x30)?;
    if let Some((_, rest)) = element(signed, 0xa0) {
        // The version, where it is not the first.
        signed = rest;
    }
    // Serial number, algorithm, issuer.
    for tag in [0x02, 0x30, 0x30] {
        signed = element(signed, tag)?.1;
    }
    let (validity, _) = element(signed, 0x30)?;
    let (_, last) = next(validity)?;
    let ((tag, text), _) = next(last)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// `YYMMDDHHMMSSZ` or, from 2050 on, `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<String> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        (0x17, 12) => {
            let (year, rest) = digits.split_at(2);
            (format!("{}{year}", if year < "50" { "20" } else { "19" }), rest)
        }
        (0x18, 14) => (digits[..4].to_owned(), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| &rest[at..at + 2];
    Some(format!("{year}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8)))
}

/// What an element of that kind holds, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let ((found, content), rest) = next(bytes)?;
    (found == tag).then_some((content, rest))
}

fn next(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk::<2>()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        // Its own length, in up to three bytes.
        0x81..=0x83 => {
            let (length, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(((tag, content), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x82, (content.len() >> 8) as u8, content.len() as u8], content].concat()
    }

    fn certificate(last: (u8, &str)) -> Vec<u8> {
        let validity = [made(0x17, b"200101000000Z"), made(last.0, last.1.as_bytes())].concat();
        let parts = [
            made(0xa0, &made(0x02, &[2])),
            made(0x02, &[7; 16]),
            made(0x30, &[]),
            made(0x30, &[0; 300]),
            made(0x30, &validity),
        ];
        made(0x30, &made(0x30, &parts.concat()))
    }

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        assert_eq!(until(&certificate((0x17, "301231235959Z"))).as_deref(), Some("2030-12-31T23:59:59Z"));
        assert_eq!(until(&certificate((0x17, "991231235959Z"))).as_deref(), Some("1999-12-31T23:59:59Z"));
        assert_eq!(until(&certificate((0x18, "20551231235959Z"))).as_deref(), Some("2055-12-31T23:59:59Z"));
        for bad in ["3012312359Z", "301231235959", "30123123595\u{e9}Z", ""] {
            assert_eq!(until(&certificate((0x17, bad))), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
            until(&bytes);
            let whole = certificate((0x17, "301231235959Z"));
            until(&whole[..cut.min(whole.len())]);
        }
    }
}
