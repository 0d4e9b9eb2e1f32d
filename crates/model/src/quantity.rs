//! Quantities as people write them: `256MB`, `1.5`, `10s`. Parsed once, exact afterwards.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {what}: expected {expected}")]
pub struct InvalidQuantity {
    pub what: &'static str,
    pub given: String,
    pub expected: &'static str,
}

/// An amount of memory or storage, in whole mebibytes (AWS calls them MB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(u32);

/// A share of processor time, in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u32);

fn refuse(what: &'static str, given: &str, expected: &'static str) -> InvalidQuantity {
    InvalidQuantity { what, given: given.chars().take(40).collect(), expected }
}

fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

// === impl Memory ===

impl Memory {
    pub const fn mib(mib: u32) -> Self {
        Self(mib)
    }

    pub const fn as_mib(self) -> u32 {
        self.0
    }

    pub const fn bytes(self) -> u64 {
        self.0 as u64 * 1024 * 1024
    }
}

impl FromStr for Memory {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        const EXPECTED: &str = "a whole number of MB or GB, like 256MB or 1GB";
        let fail = || refuse("an amount of memory", text, EXPECTED);
        let (number, unit) = split_number(text);
        let number: u32 = number.parse().map_err(|_| fail())?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "m" | "mb" | "mib" => 1,
            "g" | "gb" | "gib" => 1024,
            _ => return Err(fail()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(fail)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            mib if mib >= 1024 && mib.is_multiple_of(1024) => write!(f, "{}GB", mib / 1024),
            mib => write!(f, "{mib}MB"),
        }
    }
}

// === impl Cpu ===

impl Cpu {
    pub const fn millis(millis: u32) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> u32 {
        self.0
    }
}

impl FromStr for Cpu {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let fail = || refuse("a share of a core", text, "cores between 0.01 and 64, like 0.5 or 2");
        let cores: f64 = text.trim().parse().map_err(|_| fail())?;
        if !(0.01..=64.0).contains(&cores) {
            return Err(fail());
        }
        Ok(Self((cores * 1000.0).round() as u32))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

/// Parses `500ms`, `10s`, `1.5m`, `2h`, `1d`; a bare number is seconds, as in AWS's `Timeout`.
/// To the millisecond: nothing finer is kept.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidQuantity> {
    let fail = || refuse("a time", text, "a number with ms, s, m, h or d, like 500ms or 10s");
    let (number, unit) = split_number(text);
    let number: f64 = number.parse().map_err(|_| fail())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        "d" => number * 86_400.0,
        _ => return Err(fail()),
    };
    // A year is beyond every duration that Hearth takes, and far below what Duration can hold.
    if seconds > 366.0 * 86_400.0 {
        return Err(fail());
    }
    Ok(Duration::from_millis((seconds * 1e3).round() as u64))
}

/// The shortest exact text that [`parse_duration`] reads back.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".into(),
        m if m % 86_400_000 == 0 => format!("{}d", m / 86_400_000),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1000 == 0 => format!("{}s", m / 1000),
        m => format!("{m}ms"),
    }
}

// Written and read as people write them, so that `hearth.toml`, the API and the store look alike. Plain
// numbers are read too: megabytes, cores.
macro_rules! serde_as_text {
    ($name:ident, $number:ty) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Raw {
                    Number($number),
                    Text(String),
                }
                let text = match Raw::deserialize(from)? {
                    Raw::Number(number) => number.to_string(),
                    Raw::Text(text) => text,
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(Memory, u32);
serde_as_text!(Cpu, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_reads_what_it_writes() {
        for (text, mib) in [("128", 128), ("256MB", 256), ("1GB", 1024), ("1536 MiB", 1536), ("2g", 2048)] {
            let memory: Memory = text.parse().unwrap();
            assert_eq!(memory.as_mib(), mib);
            assert_eq!(memory.to_string().parse(), Ok(memory));
        }
        for bad in ["", "MB", "1.5GB", "-1", "12KB", "99999999999"] {
            assert!(bad.parse::<Memory>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_read_what_they_write() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("3", 3_000), ("1.5m", 90_000), ("1d", 86_400_000), ("11.111111", 11_111)]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_millis(), millis);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bad in ["", "s", "10 years", "-1s", "1000d", "1.2.3s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
