//! What instances send and receive over their networks, each byte counted once and for its function.
//!
//! ```text
//! Handle::traffic, a sum of the kernel's ──growth since the last look──► Sums ──Engine::traffic, every few seconds──► figures
//!     looked at: then, when the sandbox is gone, and before it is given to a successor, who goes on from there
//! ```
//!
//! Not around calls: what an instance sends between two of them, after an answer or on a WebSocket counts too, and belongs to
//! no call where several run at once. So calls pay nothing for it, and it has no door and no alias.

use std::collections::HashMap;
use std::sync::Mutex;

use driver::Handle;
use model::metric::Traffic;
use model::{FunctionName, Isolation, Revision, Version};
use store::observe::InstanceTraffic;

use crate::instance::Info;
use crate::shared::lock;

/// How far an instance's traffic is counted; none: another server goes on with that.
pub struct Counted(Mutex<Option<Traffic>>);

/// What was counted and not yet told.
#[derive(Default)]
pub struct Sums(Mutex<HashMap<Kind, Traffic>>);

type Kind = (FunctionName, Revision, Version, Isolation);

// === impl Counted ===

impl Counted {
    pub fn from(begin: Traffic) -> Self {
        Self(Mutex::new(Some(begin)))
    }

    /// What is more than at the last look.
    pub fn grown(&self, handle: &dyn Handle) -> Traffic {
        let mut counted = lock(&self.0);
        let Some(before) = &mut *counted else { return Traffic::default() };
        let Some(now) = handle.traffic() else { return Traffic::default() };
        now.since(std::mem::replace(before, now))
    }

    /// Counts no more; how far it came.
    pub fn end(&self) -> Traffic {
        lock(&self.0).take().unwrap_or_default()
    }
}

// === impl Sums ===

impl Sums {
    /// Looks at an instance.
    pub fn add(&self, info: &Info) {
        let grown = info.traffic();
        if grown.is_none() {
            return;
        }
        let function = &info.function;
        let kind = (function.spec.name.clone(), function.revision, function.version, info.isolation());
        *lock(&self.0).entry(kind).or_default() += grown;
    }

    /// All that was added since this was asked last.
    pub fn take(&self) -> Vec<InstanceTraffic> {
        let sums = std::mem::take(&mut *lock(&self.0));
        let one = |((function, revision, version, isolation), traffic)| InstanceTraffic {
            function,
            revision,
            version,
            isolation,
            traffic,
        };
        sums.into_iter().map(one).collect()
    }
}
