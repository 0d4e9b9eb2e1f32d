//! Access keys for AWS tools, derived from one master key: nothing but the master has to be stored, and a
//! key id that was never handed out has a secret that nobody knows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What our access key ids begin with, as AWS's begin with `AKIA`.
pub const PREFIX: &str = "HKIA";

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The access key id that 80 random bits make: `HKIA` and 16 base32 characters.
pub fn access_key_id(entropy: [u8; 10]) -> String {
    let mut bits = 0u128;
    for byte in entropy {
        bits = bits << 8 | u128::from(byte);
    }
    let digits = (0..16).rev().map(|i| char::from(BASE32[(bits >> (5 * i) & 31) as usize]));
    PREFIX.chars().chain(digits).collect()
}

/// Whether a text has the form of our access key ids.
pub fn is_access_key_id(text: &str) -> bool {
    let digits = text.strip_prefix(PREFIX);
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|b| BASE32.contains(&b)))
}

/// The secret access key that belongs to an access key id: 40 characters of base64, as AWS's are.
pub fn secret_access_key(master: &[u8], access_key_id: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(master).expect("HMAC takes a key of any length");
    mac.update(b"aws-secret:");
    mac.update(access_key_id.as_bytes());
    // 30 of the 32 bytes: 240 bits, and no padding.
    STANDARD.encode(&mac.finalize().into_bytes()[..30])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_its_form() {
        assert_eq!(access_key_id([0; 10]), "HKIAAAAAAAAAAAAAAAAA");
        assert_eq!(access_key_id([255; 10]), "HKIA7777777777777777");
        assert!(is_access_key_id(&access_key_id([7, 1, 2, 3, 4, 5, 6, 7, 8, 9])));
        for bad in ["", "HKIA", "AKIAAAAAAAAAAAAAAAAA", "HKIAAAAAAAAAAAAAAAA1", "HKIAaaaaaaaaaaaaaaaa"] {
            assert!(!is_access_key_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_secret_depends_on_the_master_and_the_id() {
        let id = access_key_id([1; 10]);
        let secret = secret_access_key(b"master", &id);
        assert_eq!(secret.len(), 40);
        assert_eq!(secret, secret_access_key(b"master", &id));
        assert_ne!(secret, secret_access_key(b"Master", &id));
        assert_ne!(secret, secret_access_key(b"master", &access_key_id([2; 10])));
    }
}
