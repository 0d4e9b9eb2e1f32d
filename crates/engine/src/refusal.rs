//! What callers are told who get no instance.

use std::time::Duration;

use model::{Fault, FaultCode};

use crate::pool::Pool;

/// When it is worth asking again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Pool {
    pub fn too_many(&self) -> Fault {
        let (name, max) = (&self.function.spec.name, self.function.spec.scale.max);
        let text = match max {
            0 => format!("function {name} takes no calls (scale.max = 0)"),
            _ => format!("function {name} is at its limits (scale.max = {max}) and no instance came free in time"),
        };
        Fault::new(FaultCode::TooManyRequests, text).with_retry_after(RETRY_AFTER)
    }

    /// It need not begin to wait.
    pub fn crowded(&self) -> Fault {
        let (name, max) = (&self.function.spec.name, self.function.spec.scale.max);
        let text = format!("function {name} is at its limits (scale.max = {max}) and too many calls wait already");
        Fault::new(FaultCode::TooManyRequests, text).with_retry_after(RETRY_AFTER)
    }

    pub fn no_capacity(&self) -> Fault {
        let name = &self.function.spec.name;
        let crowded = self.shared().filter(|shared| shared.ledger.is_crowded());
        let text = match crowded {
            Some(shared) => format!(
                "there is no place for an instance of function {name}: the server has the descriptors for {} at once",
                shared.limits.instances
            ),
            None => format!("there is no memory left to start an instance of function {name}"),
        };
        Fault::new(FaultCode::NoCapacity, text).with_retry_after(RETRY_AFTER)
    }
}
