//! What went over a network.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Bytes, as the kernel counts them on a device: with the headers of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub sent: u64,
    pub received: u64,
}

// === impl Traffic ===

impl Traffic {
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// How much more it is than an earlier reading of the same counters.
    pub fn since(self, before: Self) -> Self {
        Self { sent: self.sent.saturating_sub(before.sent), received: self.received.saturating_sub(before.received) }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.sent = self.sent.saturating_add(more.sent);
        self.received = self.received.saturating_add(more.received);
    }
}
