//! The messages between server and spawner: JSON in one packet each, descriptors beside it.

use std::os::fd::OwnedFd;

use driver::{
    Capability, Exit, Freezer, FreezerKind, SandboxFiles, SandboxSpec, StartError, Step, Streams, UsageFiles,
};
use model::{CodeHash, InstanceId, Isolation};
use serde::{Deserialize, Serialize};

/// A packet is at most this long. What a [`SandboxSpec`] may hold fits several times.
pub const MAX_PACKET: usize = 160 * 1024;

/// Most descriptors in one packet: control, log, two usage files, a freezer, 64 invoke streams.
pub const MAX_FDS: usize = 69;

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
    /// A stem becomes an instance of whoever has this code. Answered with `Adopted`.
    Adopt {
        id: InstanceId,
        code: CodeHash,
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
    /// Descriptors in this order: control, log, memory peak if any, cpu if any, freezer if any, invoke streams.
    Started {
        id: InstanceId,
        files: Files,
        /// What making it took.
        steps: Vec<Step>,
    },
    Adopted {
        id: InstanceId,
        error: Option<StartError>,
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

/// Which files come with a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    pub memory_peak: bool,
    pub cpu: bool,
    pub freezer: Option<FreezerKind>,
}

// === impl Files ===

impl Files {
    pub fn of(files: &SandboxFiles) -> Self {
        let SandboxFiles { usage, freezer } = files;
        Self {
            memory_peak: usage.memory_peak.is_some(),
            cpu: usage.cpu.is_some(),
            freezer: freezer.as_ref().map(|freezer| freezer.kind),
        }
    }

    /// The descriptors of a `Started`, in its order.
    pub fn pack(streams: Streams, files: SandboxFiles) -> Vec<OwnedFd> {
        let mut fds = vec![streams.control, streams.log];
        fds.extend(files.usage.memory_peak);
        fds.extend(files.usage.cpu);
        fds.extend(files.freezer.map(|freezer| freezer.file));
        fds.extend(streams.invoke);
        fds
    }

    /// What [`Files::pack`] packed; none if there are too few.
    pub fn unpack(self, fds: Vec<OwnedFd>) -> Option<(Streams, SandboxFiles)> {
        let mut fds = fds.into_iter();
        let (control, log) = (fds.next()?, fds.next()?);
        let memory_peak = if self.memory_peak { Some(fds.next()?) } else { None };
        let cpu = if self.cpu { Some(fds.next()?) } else { None };
        let freezer = match self.freezer {
            Some(kind) => Some(Freezer { kind, file: fds.next()? }),
            None => None,
        };
        let invoke: Vec<OwnedFd> = fds.collect();
        if invoke.is_empty() {
            return None;
        }
        let files = SandboxFiles { usage: UsageFiles { memory_peak, cpu }, freezer };
        Some((Streams { control, invoke, log }, files))
    }
}
