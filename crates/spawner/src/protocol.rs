//! The messages between server and spawner: JSON in one packet each, descriptors beside it.

use driver::{Capability, Exit, SandboxSpec, StartError};
use model::{InstanceId, Isolation};
use serde::{Deserialize, Serialize};

/// A packet is at most this long. What a [`SandboxSpec`] may hold fits several times.
pub const MAX_PACKET: usize = 160 * 1024;

/// Most descriptors in one packet: control, log, two usage files, 64 invoke streams.
pub const MAX_FDS: usize = 68;

/// Server to spawner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "do")]
pub enum Request {
    Start {
        isolation: Isolation,
        spec: SandboxSpec,
    },
    Kill {
        id: InstanceId,
    },
    /// The server takes calls now.
    Ready,
}

/// Spawner to server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "did")]
pub enum Event {
    /// First packet: what the hosted drivers can do here.
    Hello {
        capabilities: Vec<Capability>,
    },
    /// Descriptors in this order: control, log, memory peak if any, cpu if any, invoke streams.
    Started {
        id: InstanceId,
        memory_peak: bool,
        cpu: bool,
    },
    Refused {
        id: InstanceId,
        error: StartError,
    },
    Exited {
        id: InstanceId,
        exit: Exit,
    },
}
