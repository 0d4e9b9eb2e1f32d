//! Identifiers. Each is a newtype whose constructor validates, so that a name that reached a path, a cgroup
//! or an SQL statement has already been checked.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why a text is not the identifier it was given as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: expected {expected}")]
pub struct InvalidId {
    pub what: &'static str,
    pub given: String,
    pub expected: &'static str,
}

/// Random bytes that are asked of the kernel at once, for each thread.
const POOL: usize = 1024;

thread_local! {
    /// With how many of them were given out.
    static RANDOM: RefCell<([u8; POOL], usize)> = const { RefCell::new(([0; POOL], POOL)) };
}

/// Name of a function: 1 to 64 of `A-Z a-z 0-9 - _`, as AWS Lambda allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(Arc<str>);

/// Name of a secret: 1 to 128 of `A-Z a-z 0-9 . - _`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(Arc<str>);

/// Name of a message queue: 1 to 80 of `A-Z a-z 0-9 - _`, as SQS allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Arc<str>);

/// Name of a layer: 1 to 64 of `A-Z a-z 0-9 - _`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerName(Arc<str>);
/// Identifies an API token, and is no secret: `tok_` and 12 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(Arc<str>);

/// Counts the deployments of one function, from 1. Every change of code or configuration makes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// Identifies one invocation: a UUID version 4 in its hyphenated lower-case form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(uuid::Uuid);

/// Identifies one run of `hearth compare`: a UUID version 4, as those of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComparisonId(uuid::Uuid);

/// Identifies one instance and its sandbox: 16 lower-case hexadecimal digits, unique over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(Arc<str>);

/// SHA-256 of a package, 64 lower-case hexadecimal digits: the name of its blob and of its unpacked folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeHash(Arc<str>);

/// SHA-256 of an image's manifest, 64 lower-case hexadecimal digits: the name of its unpacked root file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageDigest(Arc<str>);

/// An image as a person named it, and what it was when it was named: `python:3.11@sha256:…`. A tag may move; this does
/// not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PinnedImage {
    /// As it was written, without the digest.
    pub name: String,
    pub digest: ImageDigest,
}

/// Random bytes that nobody had before.
///
/// # Panics
/// Where the kernel gives none, as a UUID of its own would.
pub(crate) fn random() -> [u8; 16] {
    RANDOM.with_borrow_mut(|(pool, used)| {
        if *used == POOL {
            if let Err(error) = getrandom::fill(pool) {
                panic!("no random bytes for an id: {error}");
            }
            *used = 0;
        }
        let mut bytes = [0; 16];
        let given = &mut pool[*used..*used + 16];
        bytes.copy_from_slice(given);
        given.fill(0);
        *used += 16;
        bytes
    })
}

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn refuse(what: &'static str, given: &str, expected: &'static str) -> InvalidId {
    // A name of megabytes must not come back in an error of megabytes.
    let given = given.chars().take(80).collect();
    InvalidId { what, given, expected }
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::check(&text)?;
                Ok(Self(text.into()))
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(FunctionName);
text_id!(SecretName);
text_id!(QueueName);
text_id!(LayerName);
text_id!(TokenId);
text_id!(InstanceId);
text_id!(CodeHash);
text_id!(ImageDigest);

// === impl FunctionName ===

impl FunctionName {
    fn check(text: &str) -> Result<(), InvalidId> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits { Ok(()) } else { Err(refuse("function name", text, "1 to 64 of A-Z a-z 0-9 - _")) }
    }
}

// === impl SecretName ===

impl SecretName {
    fn check(text: &str) -> Result<(), InvalidId> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(letter) && !matches!(text, "." | "..");
        if fits { Ok(()) } else { Err(refuse("secret name", text, "1 to 128 of A-Z a-z 0-9 . - _")) }
    }
}

// === impl TokenId ===

impl TokenId {
    /// The one of a token whose SHA-256 this is: 48 bits of it tell nothing of the token.
    pub fn of(sha256: &[u8; 32]) -> Self {
        let digits: String = sha256[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("tok_{digits}").into())
    }

    fn check(text: &str) -> Result<(), InvalidId> {
        let digits = text.strip_prefix("tok_").is_some_and(|digits| is_lower_hex(digits, 12));
        // Whoever shows a token where its id belongs shall not find it in an error, nor in a log.
        let shown = if text.starts_with("hth_") { "hth_…" } else { text };
        if digits { Ok(()) } else { Err(refuse("token id", shown, "tok_ and 12 hexadecimal digits")) }
    }
}

// === impl QueueName ===

impl QueueName {
    fn check(text: &str) -> Result<(), InvalidId> {
        let fits =
            (1..=80).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits { Ok(()) } else { Err(refuse("queue name", text, "1 to 80 of A-Z a-z 0-9 - _")) }
    }
}

// === impl LayerName ===

impl LayerName {
    fn check(text: &str) -> Result<(), InvalidId> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits { Ok(()) } else { Err(refuse("layer name", text, "1 to 64 of A-Z a-z 0-9 - _")) }
    }
}

// === impl InstanceId ===

impl InstanceId {
    fn check(text: &str) -> Result<(), InvalidId> {
        if is_lower_hex(text, 16) {
            Ok(())
        } else {
            Err(refuse("instance id", text, "16 lower-case hexadecimal digits"))
        }
    }

    /// Nobody's.
    pub fn zero() -> Self {
        Self("0".repeat(16).into())
    }

    /// The name of its log stream: made of the id alone but for day and version, so that the one leads to the other; as long
    /// as AWS's are.
    pub fn log_stream(&self, begun: crate::Timestamp, version: &str) -> String {
        let mirrored: String = self.0.chars().rev().collect();
        format!("{}/[{version}]{}{mirrored}", begun.rfc3339()[..10].replace('-', "/"), self.0)
    }

    /// A fresh random id.
    pub fn random() -> Self {
        let bits = uuid::Uuid::new_v4().as_u128();
        Self(format!("{:016x}", (bits as u64) ^ ((bits >> 64) as u64)).into())
    }
}

// === impl CodeHash ===

impl CodeHash {
    fn check(text: &str) -> Result<(), InvalidId> {
        if is_lower_hex(text, 64) {
            Ok(())
        } else {
            Err(refuse("code hash", text, "64 lower-case hexadecimal digits of a SHA-256"))
        }
    }

    /// The hash whose 32 bytes are given.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(64);
        for byte in digest {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }
}

// === impl ImageDigest ===

impl ImageDigest {
    fn check(text: &str) -> Result<(), InvalidId> {
        if is_lower_hex(text, 64) {
            Ok(())
        } else {
            Err(refuse("image digest", text, "64 lower-case hexadecimal digits of a SHA-256"))
        }
    }
}

// === impl PinnedImage ===

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha256:{}", self.name, self.digest)
    }
}

impl FromStr for PinnedImage {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = |name: &str| (1..=300).contains(&name.len()) && !name.contains(|c: char| c.is_control());
        let parts = text.split_once("@sha256:").filter(|(name, _)| fits(name));
        let (name, digest) = parts.ok_or_else(|| refuse("pinned image", text, "NAME@sha256:DIGEST"))?;
        Ok(Self { name: name.to_owned(), digest: digest.parse()? })
    }
}

impl TryFrom<String> for PinnedImage {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<PinnedImage> for String {
    fn from(image: PinnedImage) -> String {
        image.to_string()
    }
}

// === impl RequestId ===

impl RequestId {
    /// A fresh random id. Every call has one, so the kernel is asked for many at a time.
    pub fn random() -> Self {
        Self(uuid::Builder::from_random_bytes(random()).into_uuid())
    }

    /// A fresh id for what begins at this time: the milliseconds, then 74 random bits (UUID version 7). Those of one time
    /// are beside each other in an index, which so has few pages to write for many of them.
    pub fn at(time: Timestamp) -> Self {
        let random = random();
        let [.., a, b, c, d, e, f, g, h, i, j] = random;
        let millis = time.millis().max(0).unsigned_abs();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]).into_uuid())
    }

    /// Its 16 bytes, in the order of their digits.
    pub fn bytes(&self) -> [u8; 16] {
        self.0.into_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| refuse("request id", text, "a UUID"))
    }
}

// === impl ComparisonId ===

impl ComparisonId {
    /// A fresh random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl fmt::Display for ComparisonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for ComparisonId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| refuse("comparison id", text, "a UUID"))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_name_is_what_aws_allows() {
        for good in ["a", "hello-World_9", &"x".repeat(64)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "../x", "a.b", "ä", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_name_is_cut_in_its_error() {
        let error = "/".repeat(10_000).parse::<FunctionName>().unwrap_err();
        assert!(error.to_string().len() < 300);
    }

    #[test]
    fn a_code_hash_is_its_digest_in_hex() {
        let hash = CodeHash::from_digest(&[0xab; 32]);
        assert_eq!(hash.as_str(), "ab".repeat(32));
        assert_eq!(hash.as_str().parse(), Ok(hash));
        assert!("AB".repeat(32).parse::<CodeHash>().is_err());
    }

    #[test]
    fn a_pinned_image_has_a_name_and_a_digest() {
        let text = format!("localhost:5000/a/b:v1@sha256:{}", "ab".repeat(32));
        let image: PinnedImage = text.parse().unwrap();
        assert_eq!((image.name.as_str(), image.digest.as_str()), ("localhost:5000/a/b:v1", &*"ab".repeat(32)));
        assert_eq!(image.to_string(), text);
        for bad in ["a:v1", "@sha256:00", "a@sha256:../../etc", &format!("a\n@sha256:{}", "ab".repeat(32))] {
            assert!(bad.parse::<PinnedImage>().is_err(), "{bad}");
        }
    }

    #[test]
    fn request_ids_do_not_repeat_and_are_random_uuids() {
        let make = || (0..1000).map(|_| RequestId::random());
        let other = std::thread::spawn(move || make().collect::<Vec<_>>());
        let ids: std::collections::HashSet<_> = make().chain(other.join().unwrap()).collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| id.0.get_version_num() == 4 && id.0.get_variant() == uuid::Variant::RFC4122));
    }

    #[test]
    fn ids_of_a_time_follow_one_another_and_do_not_repeat() {
        let at = |millis: i64| (0..1000).map(move |_| RequestId::at(Timestamp(millis * 1000 + 999)));
        let (early, late): (Vec<_>, Vec<_>) = (at(1_795_436_408_486).collect(), at(1_795_436_408_487).collect());
        assert_eq!(early.iter().chain(&late).collect::<std::collections::HashSet<_>>().len(), 2000);
        assert!(early.iter().map(RequestId::bytes).max() < late.iter().map(RequestId::bytes).min());
        for id in early {
            assert_eq!(id.0.get_version_num(), 7);
            assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
            assert_eq!((id.to_string().parse(), RequestId::from_bytes(id.bytes())), (Ok(id), id));
        }
        assert_eq!(RequestId::at(Timestamp(-5)).bytes()[..6], [0; 6], "a clock before 1970");
    }

    #[test]
    fn instance_ids_do_not_repeat() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| InstanceId::random()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.as_str().parse::<InstanceId>().is_ok()));
    }
}
