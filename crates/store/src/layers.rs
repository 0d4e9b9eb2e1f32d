//! Layers: packages that functions share, in numbered versions that never change.

use async_trait::async_trait;
use model::{CodeHash, LayerName, Timestamp};

use crate::StoreError;

/// What a version of a layer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLayer {
    pub name: LayerName,
    pub code: CodeHash,
    pub description: String,
    pub license: String,
    /// For people and their tools: nothing is held to them, as on AWS Lambda.
    pub runtimes: Vec<String>,
    pub architectures: Vec<String>,
}

/// A version of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerVersion {
    pub layer: NewLayer,
    pub version: u64,
    /// Bytes of its package as uploaded.
    pub size: u64,
    pub created: Timestamp,
}

/// Layers. Every write is durable when its future resolves.
#[async_trait]
pub trait Layers: Send + Sync {
    /// Makes the next version; the package must be there. A number that was given is not given again.
    async fn publish_layer(&self, layer: NewLayer) -> Result<LayerVersion, StoreError>;

    /// All versions of one layer, or of all by name; the newest first.
    async fn layer_versions(&self, name: Option<&LayerName>) -> Result<Vec<LayerVersion>, StoreError>;

    async fn layer_version(&self, name: &LayerName, version: u64) -> Result<Option<LayerVersion>, StoreError>;

    /// Whether it was there. Functions that have it go on.
    async fn remove_layer_version(&self, name: &LayerName, version: u64) -> Result<bool, StoreError>;
}
