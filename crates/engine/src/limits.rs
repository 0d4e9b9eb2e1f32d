//! The engine's own bounds. Everything that waits, grows or repeats has one.

use std::time::Duration;

/// Bounds with defaults that suit a machine of any size; tests make them small.
#[derive(Debug, Clone)]
pub struct EngineLimits {
    /// Invocations that may wait for an instance of one function.
    pub queue: usize,
    /// How long one waits before it is told that there are too many.
    pub queue_wait: Duration,
    /// From the start of the sandbox's first process to HELLO.
    pub hello: Duration,
    /// From INIT to READY; a function with a longer timeout has as long as that.
    pub init: Duration,
    /// From the end of a stream until the sandbox is known to be gone; then it is killed.
    pub exit: Duration,
    /// How long an instance is idle before its processes are stopped: what a handler left running does not run on, and
    /// calls that follow close on one another pay nothing.
    pub freeze: Duration,
    /// What an instance is charged before any of its function was measured, bytes.
    pub estimate: u64,
    /// What one is charged at least, once measured: what the kernel has for it is not all in what is measured.
    pub least: u64,
    /// Instances at once, of all functions: each takes descriptors.
    pub instances: usize,
    /// Processes and threads in one sandbox.
    pub pids: u32,
    /// Sandboxes kept ready with a runtime and no function in them.
    pub stems: crate::StemRules,
    /// One part of this many of the memory budget stays free of them.
    pub stem_share: u64,
    /// Sandboxes between their start and HELLO at once: more would only make each of them later. On two processors, 2 to 32
    /// came up at one rate, but beside other programs' work 8 of them get less of the machine than 32 do.
    pub starts: usize,
    /// How many of them may be of instances that nobody waits for: those who wait come after no more than these.
    pub ahead: usize,
    /// How long a start waits for its turn among them.
    pub turn: Duration,
    /// How long [`crate::Engine::settled`] waits at most.
    pub settle: Duration,
}

// === impl EngineLimits ===

impl Default for EngineLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Self {
            queue: 1000,
            queue_wait: Duration::from_secs(10),
            hello: Duration::from_secs(10),
            init: Duration::from_secs(10),
            exit: Duration::from_secs(2),
            freeze: Duration::from_millis(100),
            estimate: 24 * 1024 * 1024,
            least: 4 * 1024 * 1024,
            instances: usize::MAX,
            pids: 256,
            stems: crate::StemRules { most: 8, each: 4 },
            stem_share: 4,
            starts: (4 * cores).clamp(32, 128),
            ahead: cores,
            turn: Duration::from_secs(30),
            settle: Duration::from_secs(10),
        }
    }
}
