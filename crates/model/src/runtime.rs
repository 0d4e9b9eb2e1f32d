//! Runtimes by their AWS identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

/// What a runtime's bootstrap is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    Python,
    Node,
    Java,
    /// Whatever the function's image is made of: its own command speaks to the host.
    Image,
    /// A program of the package, which asks for events over AWS Lambda's Runtime API, serves HTTP, or is run for each.
    Native,
}

/// A runtime, by its AWS identifier: `python3.11`, `nodejs20.x`, `java17`, `provided.al2023`; or `image`, the program of the function's image. That it is well-formed says nothing of
/// whether it is on this machine: `hearth doctor` does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Runtime {
    language: Language,
    /// `3.11`, `20`
    version: String,
}

impl Runtime {
    pub fn python(version: &str) -> Self {
        Self { language: Language::Python, version: version.to_owned() }
    }

    pub fn node(major: &str) -> Self {
        Self { language: Language::Node, version: major.to_owned() }
    }

    pub fn java(major: &str) -> Self {
        Self { language: Language::Java, version: major.to_owned() }
    }

    pub fn image() -> Self {
        Self { language: Language::Image, version: String::new() }
    }

    /// AWS Lambda's "OS-only runtime": the package brings its own program.
    pub fn provided() -> Self {
        Self { language: Language::Native, version: "al2023".to_owned() }
    }

    pub fn language(&self) -> Language {
        self.language
    }

    /// The interpreter's version as its file name has it: `3.11` for Python, the major for Node and Java,
    /// the system `al2023` that AWS names for native programs, nothing for an image.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.language {
            Language::Python => write!(f, "python{}", self.version),
            Language::Node => write!(f, "nodejs{}.x", self.version),
            Language::Java => write!(f, "java{}", self.version),
            Language::Image => f.write_str("image"),
            Language::Native => write!(f, "provided.{}", self.version),
        }
    }
}

impl FromStr for Runtime {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = |s: &str| !s.is_empty() && s.len() <= 3 && s.bytes().all(|b| b.is_ascii_digit());
        if let Some(minor) = text.strip_prefix("python3.").filter(|s| number(s)) {
            return Ok(Self::python(&format!("3.{minor}")));
        }
        if let Some(major) = text.strip_prefix("nodejs").and_then(|s| s.strip_suffix(".x")).filter(|s| number(s)) {
            return Ok(Self::node(major));
        }
        if let Some(major) = text.strip_prefix("java").filter(|s| number(s)) {
            return Ok(Self::java(major));
        }
        // AWS's older name means the same here: there is one root file system, this machine's own.
        if text == "provided.al2023" || text == "provided.al2" {
            return Ok(Self::provided());
        }
        if text == "image" {
            return Ok(Self::image());
        }
        Err(InvalidId {
            what: "runtime",
            given: text.chars().take(40).collect(),
            expected: "an AWS runtime identifier like python3.11, nodejs20.x, java17 or provided.al2023, or image",
        })
    }
}

impl TryFrom<String> for Runtime {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> String {
        runtime.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["python3.9", "python3.11", "nodejs20.x", "java17", "provided.al2023", "image"] {
            assert_eq!(text.parse::<Runtime>().unwrap().to_string(), text);
        }
        for bad in [
            "python",
            "python3",
            "python3.x",
            "python3.1111",
            "nodejs20",
            "node20.x",
            "go1.x",
            "java",
            "java8.al2",
            "provided",
        ] {
            assert!(bad.parse::<Runtime>().is_err(), "{bad}");
        }
    }
}
