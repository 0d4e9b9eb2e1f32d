//! Versions of a store that has none: what functions are deployed with. What versions do is tested with the real store.

use async_trait::async_trait;
use model::{Alias, AliasName, Canary, CanaryEnd, Function, FunctionName, PublishedVersion, Revision};
use store::versions::{AliasChange, Deploy, HistoryEntry, Publish, Versions};
use store::{Functions, StoreError};

use super::fakes::Store;

fn none<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed("this store keeps no versions".into()))
}

#[async_trait]
impl Versions for Store {
    async fn deploy(&self, deploy: Deploy) -> Result<Function, StoreError> {
        self.put(deploy.spec, deploy.code, deploy.expect).await
    }

    async fn remove(&self, name: &FunctionName, _: &str) -> Result<(), StoreError> {
        self.delete(name).await
    }

    async fn publish(&self, _: &FunctionName, _: Publish, _: &str) -> Result<(PublishedVersion, bool), StoreError> {
        none()
    }

    async fn versions(&self, _: &FunctionName) -> Result<Vec<PublishedVersion>, StoreError> {
        none()
    }

    async fn remove_version(&self, _: &FunctionName, _: u64, _: &str) -> Result<(), StoreError> {
        none()
    }

    async fn aliases(&self, _: &FunctionName) -> Result<Vec<Alias>, StoreError> {
        none()
    }

    async fn set_alias(
        &self,
        _: &FunctionName,
        _: &AliasName,
        _: AliasChange,
        _: &str,
    ) -> Result<(Alias, bool), StoreError> {
        none()
    }

    async fn remove_alias(&self, _: &FunctionName, _: &AliasName, _: &str) -> Result<(), StoreError> {
        none()
    }

    async fn revision(&self, _: &FunctionName, _: Revision) -> Result<Function, StoreError> {
        none()
    }

    async fn history_of(&self, _: &FunctionName, _: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        none()
    }

    async fn canaries(&self) -> Result<Vec<Canary>, StoreError> {
        Ok(Vec::new())
    }

    async fn end_canary(
        &self,
        _: &FunctionName,
        _: Revision,
        _: CanaryEnd,
        _: &str,
        _: &str,
    ) -> Result<Function, StoreError> {
        none()
    }
}
