//! The use of one instance by one call.

use std::sync::Arc;

use super::Pool;
use crate::instance::Instance;
use crate::shared::lock;

/// The right to use an instance. Dropped without [`Lease::release`], the instance is killed: nobody knows what
/// state it is in.
pub struct Lease {
    pub(super) pool: Arc<Pool>,
    pub(super) instance: Option<Box<Instance>>,
}

// === impl Lease ===

impl Lease {
    pub fn instance(&mut self) -> Option<&mut Instance> {
        self.instance.as_deref_mut()
    }

    /// The instance may serve the next call.
    pub fn release(mut self) {
        if let Some(instance) = self.instance.take() {
            self.pool.release(instance);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            let state = lock(&self.pool.state);
            self.pool.lose(state, Some(instance));
        }
    }
}
