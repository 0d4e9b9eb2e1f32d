//! The messages between server and spawner: JSON in one packet each, descriptors beside it.

use std::os::fd::OwnedFd;

use driver::{
    Capability, Exit, Freezer, FreezerKind, SandboxFiles, SandboxSpec, StartError, Step, Streams, UsageFiles,
};
use model::{CodeHash, InstanceId, Isolation};
use serde::{Deserialize, Serialize};

/// A packet is at most this long. What a [`SandboxSpec`] may hold fits several times.
pub const MAX_PACKET: usize = 160 * 1024;

/// Most descriptors in one packet: control, log, three usage files, a freezer, 64 invoke streams.
pub const MAX_FDS: usize = 70;

/// How servers and spawners of one kind understand each other. Raised with every change that an older one would not
/// understand; a server that speaks another one does not begin.
pub const PROTOCOL: Protocol = Protocol { spawner: 2, wire: wire::VERSION as u32 };

/// The oldest spawner that a server of this version understands all the same: one that sends less.
const OLDEST_SPAWNER: u32 = 1;

/// The messages in here, and what bootstraps speak, which the spawner brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    pub spawner: u32,
    pub wire: u32,
}

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
    /// A socket of a sandbox's network. Answered with `Socket`, in the order of asking.
    Socket {
        id: InstanceId,
    },
    /// The server takes calls now.
    Ready {},
    /// The two sockets that it listens on, for its successor; with them.
    Listeners {},
    /// It begins, and is of this version; a successor has done what can be done without the data.
    Prepared {
        version: String,
    },
    /// It will end, and why.
    CannotStart {
        why: String,
    },
    /// After `Yield`: it takes no connection any more, and the data is its successor's.
    Yielded {
        /// For how long, by then, milliseconds.
        paused_ms: u64,
    },
    /// After `Open`: it has the data, and can take instances over.
    Opened {},
    /// A sandbox for the successor, with the descriptors of a `Started`.
    Give {
        id: InstanceId,
        files: Files,
        /// For the successor to understand.
        about: String,
    },
    /// After `Give`: all that were idle have been given.
    GaveAll {},
    /// To a helper: another server, which the descriptor leads to.
    Next {},
}

/// Spawner to server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "did")]
pub enum Event {
    /// First packet: what the hosted drivers can do here.
    ///
    /// With the two sockets to listen on, if a server before had some.
    Hello {
        #[serde(default)]
        protocol: Protocol,
        capabilities: Vec<Capability>,
        /// A server is there, whose successor this one is to be: the data is to be left alone until `Open`.
        #[serde(default)]
        heir: bool,
        /// Sandboxes can be given to another server.
        #[serde(default)]
        keeps: bool,
    },
    /// Another server is to meet the helper: the descriptor is for it, by `Next`.
    Introduce,
    /// A successor is prepared: no more connections, no more changes; calls that run go on.
    Yield,
    /// The data is yours.
    Open,
    /// The successor can take instances: all that are idle, and each other one when its call has ended.
    Give,
    /// A sandbox of the server before, with the descriptors of a `Started`.
    Given {
        id: InstanceId,
        files: Files,
        about: String,
    },
    /// Those that were idle are given.
    GivenAll,
    /// Descriptors in this order: control, log, memory peak if any, cpu if any, network if any, freezer if any, invoke
    /// streams.
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
    /// With the descriptor, if there is no error.
    Socket {
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
    /// Not written without one, nor expected by spawners of protocol 1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub network: bool,
    pub freezer: Option<FreezerKind>,
}

fn is_false(it: &bool) -> bool {
    !it
}

// === impl Protocol ===

impl Protocol {
    /// Whether a server of this version can do with a spawner that says this.
    pub fn serves(self) -> bool {
        self.wire == PROTOCOL.wire && (OLDEST_SPAWNER..=PROTOCOL.spawner).contains(&self.spawner)
    }
}

// === impl Files ===

impl Files {
    pub fn of(files: &SandboxFiles) -> Self {
        let SandboxFiles { usage, freezer } = files;
        Self {
            memory_peak: usage.memory_peak.is_some(),
            cpu: usage.cpu.is_some(),
            network: usage.network.is_some(),
            freezer: freezer.as_ref().map(|freezer| freezer.kind),
        }
    }

    /// The descriptors of a `Started`, in its order.
    pub fn pack(streams: Streams, files: SandboxFiles) -> Vec<OwnedFd> {
        let mut fds = vec![streams.control, streams.log];
        fds.extend(files.usage.memory_peak);
        fds.extend(files.usage.cpu);
        fds.extend(files.usage.network);
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
        let network = if self.network { Some(fds.next()?) } else { None };
        let freezer = match self.freezer {
            Some(kind) => Some(Freezer { kind, file: fds.next()? }),
            None => None,
        };
        let invoke: Vec<OwnedFd> = fds.collect();
        if invoke.is_empty() {
            return None;
        }
        let files = SandboxFiles { usage: UsageFiles { memory_peak, cpu, network }, freezer };
        Some((Streams { control, invoke, log }, files))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn file() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn what_is_packed_is_unpacked_with_a_network_and_without() {
        for network in [false, true] {
            let usage = UsageFiles { cpu: Some(file()), network: network.then(file), ..UsageFiles::default() };
            let files = SandboxFiles { usage, freezer: Some(Freezer { kind: FreezerKind::V2, file: file() }) };
            let which = Files::of(&files);
            let told = serde_json::to_string(&which).unwrap();
            assert_eq!(told.contains("network"), network, "{told}");
            let streams = Streams { control: file(), invoke: vec![file(), file()], log: file() };
            let fds = Files::pack(streams, files);
            let told: Files = serde_json::from_str(&told).unwrap();
            let (streams, files) = told.unpack(fds).unwrap();
            assert_eq!((streams.invoke.len(), Files::of(&files)), (2, which));
        }
    }

    #[test]
    fn a_spawner_that_sends_less_is_understood_and_no_other() {
        let says = |spawner, wire| Protocol { spawner, wire }.serves();
        let Protocol { spawner, wire } = PROTOCOL;
        assert!(PROTOCOL.serves() && says(1, wire));
        assert!(!says(0, wire) && !says(spawner + 1, wire) && !says(spawner, wire + 1));
    }
}
