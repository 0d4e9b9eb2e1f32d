//! Percent-encoding as AWS wants it, and its reverse, on bytes.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Whether a byte stands for itself in a URI: RFC 3986's unreserved characters.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// Appends `bytes` percent-encoded with upper-case digits; `/` stands for itself when `slash` says so.
pub(crate) fn encode_into(out: &mut String, bytes: &[u8], slash: bool) {
    for &byte in bytes {
        if unreserved(byte) || (slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(HEX[usize::from(n)].to_ascii_lowercase());
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads lower-case hexadecimal of exactly 32 bytes.
pub(crate) fn unhex32(text: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_reads_what_it_writes() {
        let bytes: [u8; 32] = std::array::from_fn(|i| (i * 9) as u8);
        assert_eq!(unhex32(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex32(&hex(&bytes).to_uppercase()), None);
        assert_eq!(unhex32("ab"), None);
    }

    #[test]
    fn only_unreserved_characters_stand_for_themselves() {
        let mut out = String::new();
        encode_into(&mut out, "a~/ +%ü".as_bytes(), false);
        assert_eq!(out, "a~%2F%20%2B%25%C3%BC");
    }
}
