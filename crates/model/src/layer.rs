//! Layers: packages that several functions share. A function sees its own together at `/opt`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{CodeHash, LayerName};

/// Layers of one function at most, as on AWS Lambda.
pub const MAX_LAYERS: usize = 5;

/// What a function's code and its layers may take together, unpacked: AWS Lambda's 250 MB.
pub const MAX_UNPACKED: u64 = 262_144_000;

/// A function's layers, and what they come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// In their order: where two hold a file of one name, the later one's is seen.
    pub versions: Vec<LayerUse>,
    /// The package that is all of them in one. It stays though versions of the layers are deleted.
    pub tree: CodeHash,
}

/// One version of a layer, as a function uses it: `NAME:VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerUse {
    pub name: LayerName,
    pub version: u64,
    /// Bytes of its package as uploaded.
    pub size: u64,
}

impl fmt::Display for LayerUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}
