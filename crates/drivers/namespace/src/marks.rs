//! What a sandbox's set-up takes, step by step: told to the host as TRACE, before anything of the function's runs.

use std::os::fd::BorrowedFd;

use driver::monotonic_us;
use rustix::net::{SendFlags, send};
use wire::{Frame, SetUp, Trace};

/// The moments that a set-up passed. A reading of the clock each, some 30 ns.
pub struct Marks {
    trace: Trace,
    at: u64,
}

// === impl Marks ===

impl Marks {
    /// The first step begins.
    pub fn begin() -> Self {
        let begun_us = monotonic_us();
        Self { trace: Trace { begun_us, steps: Vec::with_capacity(SetUp::ALL.len()) }, at: begun_us }
    }

    /// This step ends, and the next begins.
    pub fn end(&mut self, step: SetUp) {
        let now = monotonic_us();
        self.trace.steps.push((step, u32::try_from(now - self.at).unwrap_or(u32::MAX)));
        self.at = now;
    }

    /// Writes the frame. Nobody's start fails for want of it: a stream whose reader is gone is noticed by who comes next.
    pub fn tell(self, control: BorrowedFd<'_>) {
        let mut bytes = Default::default();
        if Frame::Trace(self.trace).encode(&mut bytes).is_ok() {
            let _ = send(control, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}
