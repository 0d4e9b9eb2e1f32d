//! What there is none of: layers, policies, instances that are kept ready, access keys.

use async_trait::async_trait;
use model::{FunctionName, LayerName, Qualifier};
use store::policies::{Policy, Subject};
use store::{LayerVersion, Layers, NewLayer, Policies, Provisioned, Provisions, StoreError};

pub struct NoLayers;

#[async_trait]
impl Layers for NoLayers {
    async fn publish_layer(&self, _: NewLayer) -> Result<LayerVersion, StoreError> {
        Err(StoreError::Closed)
    }

    async fn layer_versions(&self, _: Option<&LayerName>) -> Result<Vec<LayerVersion>, StoreError> {
        Ok(Vec::new())
    }

    async fn layer_version(&self, _: &LayerName, _: u64) -> Result<Option<LayerVersion>, StoreError> {
        Ok(None)
    }

    async fn remove_layer_version(&self, _: &LayerName, _: u64) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[async_trait]
impl Policies for NoLayers {
    async fn policy(&self, _: &Subject) -> Result<Option<Policy>, StoreError> {
        Ok(None)
    }

    async fn replace_policy(&self, _: &Subject, _: Option<String>, _: Option<Policy>) -> Result<bool, StoreError> {
        Err(StoreError::Closed)
    }
}

#[async_trait]
impl Provisions for NoLayers {
    async fn provisioned(&self, _: &FunctionName) -> Result<Vec<Provisioned>, StoreError> {
        Ok(Vec::new())
    }

    async fn provision(&self, _: &FunctionName, _: &Qualifier, _: Option<u32>) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
}

pub struct NoKeys;

impl crate::AccessKeys for NoKeys {
    fn secret(&self, _access_key_id: &str) -> Option<String> {
        None
    }

    fn secret_of(&self, access_key_id: &str) -> Option<String> {
        Some(format!("secret of {access_key_id}"))
    }
}
