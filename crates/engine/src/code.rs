//! That an instance is given the code that was uploaded, and no other: asked before each start, and looked at once for each
//! package of a server's life.

use async_trait::async_trait;
use model::{CodeHash, Fault, FaultCode, Function};
use store::{CodeIntegrity, StoreError};

use crate::shared::Shared;

/// A store whose code nobody can damage.
pub struct SoundCode;

/// Looks at the function's code and its layers. What cannot be mended is never run.
pub async fn whole(shared: &Shared, function: &Function) -> Result<(), Fault> {
    let layers = function.spec.layers.as_ref().map(|layers| &layers.tree);
    for hash in std::iter::once(&function.code).chain(layers) {
        shared.code.whole(hash).await.map_err(|error| {
            let name = &function.spec.name;
            match error {
                StoreError::DamagedPackage(_) | StoreError::NoSuchPackage(_) | StoreError::BadPackage(_) => {
                    let text = format!("the code of function {name} is damaged on Hearth's disk: deploy it again");
                    Fault::new(FaultCode::PackageDamaged, text)
                }
                _ => Fault::new(FaultCode::Store, format!("the code of function {name} could not be looked at")),
            }
            .with_detail(error)
        })?;
    }
    Ok(())
}

// === impl SoundCode ===

#[async_trait]
impl CodeIntegrity for SoundCode {
    async fn whole(&self, _: &CodeHash) -> Result<(), StoreError> {
        Ok(())
    }
}
