//! What a sandbox's first process tells the spawner before it exits: nine bytes in a pipe, read when it is gone.

use std::os::fd::{BorrowedFd, RawFd};

macro_rules! steps {
    ($($name:ident = $number:literal $text:literal,)*) => {
        /// A step of setting a sandbox up.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step { $($name = $number),* }

        impl Step {
            const ALL: &[Step] = &[$(Step::$name),*];

            pub fn text(self) -> &'static str {
                match self { $(Step::$name => $text),* }
            }
        }
    };
}

steps! {
    Leash = 1 "tie it to the spawner",
    User = 2 "become the sandbox user",
    Root = 3 "attach the root file system",
    Mounts = 4 "mount /proc, /tmp and the code",
    Pivot = 5 "change into the root file system",
    HostName = 6 "set the host name",
    Loopback = 7 "bring up the loopback interface",
    Limits = 8 "set resource limits",
    Capabilities = 9 "drop capabilities",
    NoNewPrivs = 10 "set no_new_privs",
    Descriptors = 11 "arrange descriptors",
    Seccomp = 12 "load the system call filter",
    Fork = 13 "fork the runtime",
    Exec = 14 "run the runtime's program",
    WorkDir = 15 "enter the working directory",
    Init = 16 "run its first process's program",
}

/// The last words of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It never ran.
    Setup { step: Step, errno: i32 },
    /// The runtime ended with this wait status.
    Exit { wait_status: i32 },
}

impl Report {
    const SIZE: usize = 9;

    /// As it is written; `fork-server`'s init has its own.
    pub fn encode(self) -> [u8; Self::SIZE] {
        let (kind, step, value) = match self {
            Report::Setup { step, errno } => (1, step as u8, errno),
            Report::Exit { wait_status } => (2, 0, wait_status),
        };
        let mut bytes = [0; Self::SIZE];
        bytes[0] = kind;
        bytes[1] = step;
        bytes[2..6].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let value = i32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
        match bytes[0] {
            1 => {
                let step = Step::ALL.iter().copied().find(|step| *step as u8 == bytes[1])?;
                Some(Report::Setup { step, errno: value })
            }
            2 => Some(Report::Exit { wait_status: value }),
            _ => None,
        }
    }

    /// Writes it; nothing can be done if that fails.
    pub fn send(self, pipe: RawFd) {
        // SAFETY: the sandbox's first process holds this descriptor until it exits.
        let pipe = unsafe { BorrowedFd::borrow_raw(pipe) };
        let _ = rustix::io::write(pipe, &self.encode());
    }

    /// Reads the first report; none if the process died without a word. The pipe must not block.
    pub fn receive(pipe: BorrowedFd<'_>) -> Option<Self> {
        let mut bytes = [0; Self::SIZE];
        match rustix::io::read(pipe, &mut bytes) {
            Ok(Self::SIZE) => Self::decode(bytes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let setups = Step::ALL.iter().map(|&step| Report::Setup { step, errno: 13 });
        for report in setups.chain([Report::Exit { wait_status: 0x8b }]) {
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
        assert_eq!(Report::decode([0; 9]), None);
        assert_eq!(Report::decode([1, 99, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
