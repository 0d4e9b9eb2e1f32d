//! Versions of a function, aliases that point at them, and how a call names either: AWS Lambda's qualifiers.
//!
//! ```text
//! $LATEST ──publish──► 1, 2, 3 …   never change, never named again
//!    ▲                   ▲
//!    │ no qualifier      └── alias: one of them, or two with a share of the calls for the second
//! ```

mod canary;
mod diff;
mod own_env;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::function::Function;
use crate::id::{FunctionName, InvalidId};
use crate::secret::EnvValue;
use crate::time::Timestamp;

pub use canary::{Canary, CanaryEnd, CanaryRules, CanaryStep, InvalidCanary, Tally};
pub use diff::{Change, changes};
pub use own_env::env_changes;

/// What `$LATEST` is written as.
pub const LATEST: &str = "$LATEST";

/// Which version of a function this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Version {
    /// The one that deploys change.
    #[default]
    Latest,
    /// A published one; from 1.
    Number(u64),
}

/// Name of an alias: 1 to 128 of `A-Z a-z 0-9 - _`, not all digits, as AWS Lambda allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasName(Arc<str>);

/// What a call may say behind a function's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Qualifier {
    Version(Version),
    Alias(AliasName),
}

/// A share of calls, in ten-thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Weight(u16);

/// The number is no share of anything.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("weight {0} is out of range: expected 0 to 1, the share of the calls")]
pub struct InvalidWeight(pub f64);

/// A name that points at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    pub function: FunctionName,
    pub name: AliasName,
    pub description: String,
    pub version: Version,
    /// AWS's `RoutingConfig`: another published version, which gets a share of the calls.
    pub second: Option<(u64, Weight)>,
    /// Variables that its calls see over those of the version. With any, it has instances of its own.
    pub env: BTreeMap<String, EnvValue>,
    /// Goes up with every change.
    pub revision: u64,
    pub modified: Timestamp,
}

/// A version that was published: immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedVersion {
    /// With its number; its revision is the one that it is a copy of.
    pub function: Function,
    pub description: String,
    pub published: Timestamp,
}

// === impl Version ===

impl Version {
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Latest => None,
            Self::Number(number) => Some(number),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl FromStr for Version {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text == LATEST {
            return Ok(Self::Latest);
        }
        let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse::<u64>().ok().filter(|number| digits && *number > 0 && *number <= i64::MAX as u64);
        number.map(Self::Number).ok_or_else(|| refuse("version", text, "$LATEST, or a number from 1"))
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

// === impl AliasName ===

impl AliasName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AliasName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(letter);
        // A number is a version.
        if fits && !text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(text.into()));
        }
        Err(refuse("alias", text, "1 to 128 of A-Z a-z 0-9 - _, not digits alone"))
    }
}

impl TryFrom<String> for AliasName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<AliasName> for String {
    fn from(name: AliasName) -> String {
        name.as_str().to_owned()
    }
}

// === impl Qualifier ===

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Alias(name) => name.fmt(f),
        }
    }
}

impl FromStr for Qualifier {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.starts_with('$') || !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Self::Version);
        }
        let expected = "a version ($LATEST or a number) or an alias (1 to 128 of A-Z a-z 0-9 - _)";
        text.parse().map(Self::Alias).map_err(|_| refuse("qualifier", text, expected))
    }
}

impl TryFrom<String> for Qualifier {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Qualifier> for String {
    fn from(qualifier: Qualifier) -> String {
        qualifier.to_string()
    }
}

fn refuse(what: &'static str, given: &str, expected: &'static str) -> InvalidId {
    InvalidId { what, given: given.chars().take(80).collect(), expected }
}

// === impl Weight ===

impl Weight {
    const WHOLE: u64 = 10_000;

    /// Whether call number `call` is one of its: of ten thousand in a row exactly so many are, spread evenly.
    pub fn takes(self, call: u64) -> bool {
        let (share, call) = (u64::from(self.0), call % Self::WHOLE);
        (call + 1) * share / Self::WHOLE > call * share / Self::WHOLE
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / Self::WHOLE as f64
    }

    /// Ten-thousandths.
    pub fn parts(self) -> u16 {
        self.0
    }

    pub fn from_parts(parts: u16) -> Option<Self> {
        (u64::from(parts) <= Self::WHOLE).then_some(Self(parts))
    }
}

impl TryFrom<f64> for Weight {
    type Error = InvalidWeight;
    fn try_from(share: f64) -> Result<Self, InvalidWeight> {
        if !(0.0..=1.0).contains(&share) {
            return Err(InvalidWeight(share));
        }
        Ok(Self((share * Self::WHOLE as f64).round() as u16))
    }
}

impl From<Weight> for f64 {
    fn from(weight: Weight) -> f64 {
        weight.as_f64()
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_qualifier_is_a_version_or_an_alias() {
        let version = |text: &str| text.parse::<Qualifier>().map(|q| matches!(q, Qualifier::Version(_)));
        assert_eq!(version("$LATEST"), Ok(true));
        assert_eq!(version("7"), Ok(true));
        assert_eq!(version("v7"), Ok(false));
        assert_eq!(version("blue-green_1"), Ok(false));
        for bad in ["", "$latest", "0", "007", "99999999999999999999", "a.b", "a b", &"x".repeat(129)] {
            let error = bad.parse::<Qualifier>().unwrap_err().to_string();
            assert!(error.len() < 300 && error.contains("expected"), "{error}");
        }
        assert!("12".parse::<AliasName>().is_err(), "a number is a version");
        assert_eq!("3".parse::<Version>().map(|version| version.to_string()), Ok("3".into()));
    }

    proptest! {
        #[test]
        fn of_ten_thousand_calls_a_weight_takes_its_share(parts in 0u16..=10_000, from in 0u64..u64::MAX - 10_000) {
            let weight = Weight::from_parts(parts).unwrap();
            let taken = (from..from + 10_000).filter(|call| weight.takes(*call)).count();
            prop_assert_eq!(taken, usize::from(parts));
        }

        #[test]
        fn a_small_share_is_spread_out(parts in 1u16..=5_000) {
            let weight = Weight::from_parts(parts).unwrap();
            let hits: Vec<u64> = (0..10_000).filter(|call| weight.takes(*call)).collect();
            let least = 10_000 / u64::from(parts);
            prop_assert!(hits.windows(2).all(|pair| pair[1] - pair[0] >= least));
        }
    }

    #[test]
    fn a_weight_is_a_share() {
        assert_eq!(Weight::try_from(0.1).map(Weight::parts), Ok(1000));
        assert_eq!(Weight::try_from(0.05).map(|weight| weight.to_string()), Ok("5%".into()));
        for bad in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
            assert!(Weight::try_from(bad).is_err(), "{bad}");
        }
    }
}
