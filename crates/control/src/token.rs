//! Tokens: `hth_`, 256 random bits in base 62, and a CRC-32, as GitHub's are.
//!
//! What they let their holders do: `scope.rs`; who has them: `holders.rs`.
//!
//! The prefix lets secret scanners find one that leaked; the checksum tells a typing error from a revoked token
//! without asking anybody. Only SHA-256 hashes are kept: 256 random bits need no slow hash.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

const PREFIX: &str = "hth_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just over 2^256.
const SECRET: usize = 43;
/// 62^6 is over 2^32.
const CHECK: usize = 6;

/// A token in clear: made once, shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text is no token. Says nothing of the text itself: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("a Hearth token starts with hth_ and has 53 characters")]
    Form,
    #[error("the token's checksum does not fit: a character is wrong or missing")]
    Checksum,
}

// === impl Token ===

impl Token {
    /// A fresh one. Fails only where the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        Self::with(PREFIX)
    }

    /// A fresh API key for callers of routes: of the same form, under a prefix of its own.
    pub(crate) fn api_key() -> Result<Self, getrandom::Error> {
        Self::with("hak_")
    }

    fn with(prefix: &str) -> Result<Self, getrandom::Error> {
        let mut secret = String::with_capacity(SECRET);
        while secret.len() < SECRET {
            let mut bytes = [0; 64];
            getrandom::fill(&mut bytes)?;
            // 248 is the largest multiple of 62 in a byte: above it, low digits would be likelier.
            let digits = bytes.iter().filter(|byte| **byte < 248).map(|byte| ALPHABET[usize::from(byte % 62)]);
            secret.extend(digits.take(SECRET - secret.len()).map(char::from));
        }
        Ok(Self(format!("{prefix}{secret}{}", check(&secret))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn sha256(&self) -> [u8; 32] {
        Self::hash_of(&self.0)
    }

    /// What would be kept of a text, were it one.
    pub(crate) fn hash_of(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }
}

impl FromStr for Token {
    type Err = InvalidToken;
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let body = text.strip_prefix(PREFIX).ok_or(InvalidToken::Form)?;
        if body.len() != SECRET + CHECK || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidToken::Form);
        }
        let (secret, sum) = body.split_at(SECRET);
        if check(secret) == sum { Ok(Self(text.to_owned())) } else { Err(InvalidToken::Checksum) }
    }
}

// Never into a log by accident.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hth_…)")
    }
}

/// The CRC-32 of the secret in base 62, most significant digit first.
fn check(secret: &str) -> String {
    let mut rest = crc32fast::hash(secret.as_bytes());
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_slip_is_noticed() {
        let token = Token::generate().unwrap();
        assert_eq!(token.as_str().len(), 53);
        assert_eq!(token.as_str().parse(), Ok(token.clone()));
        assert_ne!(token, Token::generate().unwrap());

        let mut slip = token.as_str().to_owned();
        let last = if slip.ends_with('a') { "b" } else { "a" };
        slip.replace_range(52.., last);
        assert_eq!(slip.parse::<Token>(), Err(InvalidToken::Checksum));
        assert_eq!("hth_short".parse::<Token>(), Err(InvalidToken::Form));
        assert_eq!("hth_ä".parse::<Token>(), Err(InvalidToken::Form));
    }

    #[test]
    fn the_checksum_is_what_it_always_was() {
        assert_eq!(
            check("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg"),
            check("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg")
        );
        assert_eq!(check(""), "000000");
        // CRC-32's own check value, 0xCBF43926, in base 62.
        let mut rest = 0xCBF4_3926_u32;
        let mut expected = Vec::new();
        for _ in 0..CHECK {
            expected.push(char::from(ALPHABET[(rest % 62) as usize]));
            rest /= 62;
        }
        assert_eq!(check("123456789"), expected.iter().rev().collect::<String>());
    }
}
