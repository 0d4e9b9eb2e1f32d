//! Secrets as functions refer to them: by name, from a variable or from a file. What a secret holds is a [`SecretValue`],
//! which shows itself to nobody and is wiped where it was.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::SecretName;

/// A secret's longest value: AWS Secrets Manager's 64 KiB.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

/// Secrets that one function may refer to, variables and files together: what INIT brings stays far below a frame.
pub const MAX_SECRETS: usize = 64;

/// Where a function finds the files that are secrets.
pub const SECRETS_FOLDER: &str = "/run/secrets";

/// What a variable of a function holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, or {\"secret\": \"NAME\"} with the name of a secret")]
pub enum EnvValue {
    /// The text itself.
    Plain(String),
    /// Whatever the secret holds when an instance is made.
    Secret(SecretRef),
}

/// Names a secret: `{ secret = "photo-api-key" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    pub secret: SecretName,
}

/// What a secret holds. Its memory is wiped when it is dropped; it has no form that prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

/// Why these bytes are no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("the value is empty: expected 1 byte to 64 KiB")]
    Empty,
    #[error("the value has {0} bytes: at most {MAX_SECRET_BYTES} are allowed")]
    TooLong(usize),
}

/// Why a text is no place for a file of secrets, in the words that follow the path.
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    const EXPECTED: &str =
        "expected a path below /run/secrets, like db/password: at most 128 bytes of A-Z a-z 0-9 . _ - and /";
    let part = |part: &str| {
        let letters = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        letters && !matches!(part, "" | "." | "..")
    };
    if path.len() <= 128 && path.split('/').all(part) { Ok(()) } else { Err(EXPECTED) }
}

/// A path of `files` that is a folder of another one's, if there is one.
pub(crate) fn file_and_folder(files: &BTreeMap<String, SecretName>) -> Option<&str> {
    files.keys().map(String::as_str).find(|file| {
        let below = format!("{file}/");
        files.keys().any(|other| other.starts_with(&below))
    })
}

// === impl EnvValue ===

impl EnvValue {
    /// The text, where it is no secret.
    pub fn plain(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Secret(_) => None,
        }
    }

    /// The secret that it refers to.
    pub fn secret(&self) -> Option<&SecretName> {
        match self {
            Self::Plain(_) => None,
            Self::Secret(of) => Some(&of.secret),
        }
    }
}

impl From<String> for EnvValue {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

impl From<&str> for EnvValue {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

impl From<SecretName> for EnvValue {
    fn from(secret: SecretName) -> Self {
        Self::Secret(SecretRef { secret })
    }
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => text.fmt(f),
            Self::Secret(of) => write!(f, "secret {}", of.secret),
        }
    }
}

// === impl SecretValue ===

impl SecretValue {
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidSecret> {
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0 => Err(InvalidSecret::Empty),
            length if length > MAX_SECRET_BYTES => Err(InvalidSecret::TooLong(length)),
            _ => Ok(Self(bytes)),
        }
    }

    /// The value itself. Whoever asks must not let it into a log, an error or an answer of any API.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reference_is_an_object_and_a_text_is_a_text() {
        let read = |text: &str| serde_json::from_str::<EnvValue>(text);
        assert_eq!(read("\"v\"").unwrap(), EnvValue::from("v"));
        let secret = read(r#"{"secret":"photo-api-key"}"#).unwrap();
        assert_eq!(secret.secret().map(SecretName::as_str), Some("photo-api-key"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#"{"secret":"photo-api-key"}"#);
        for wrong in [r#"{"secret":"a b"}"#, r#"{"secret":"a","more":1}"#, "1", "null"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_has_bounds() {
        assert_eq!(SecretValue::new(vec![]), Err(InvalidSecret::Empty));
        assert!(SecretValue::new(vec![0; MAX_SECRET_BYTES]).is_ok());
        assert_eq!(SecretValue::new(vec![0; MAX_SECRET_BYTES + 1]), Err(InvalidSecret::TooLong(MAX_SECRET_BYTES + 1)));
    }

    proptest! {
        #[test]
        fn no_value_is_in_what_is_printed(value in "[ -~]{4,40}") {
            let secret = SecretValue::new(value.clone().into_bytes()).unwrap();
            prop_assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "*** Some(\n    ***,\n)");
        }

        #[test]
        fn a_path_that_is_taken_stays_below_its_folder(path in "[a-zA-Z./_-]{0,20}") {
            if check_path(&path).is_ok() {
                let parts: Vec<_> = std::path::Path::new(&path).components().collect();
                prop_assert!(parts.iter().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(parts.len(), path.split('/').count());
            }
        }
    }
}
