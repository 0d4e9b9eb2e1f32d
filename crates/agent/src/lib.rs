//! The two messages between the host and the agent, over a `SOCK_SEQPACKET` socket, one packet each.
//!
//! ```text
//! host ─► agent   Launch: system-call filter, command, environment; descriptors beside it: log, control, invoke…
//! agent ─► host   Report: how the command ended, or which step of starting it failed
//! ```
//!
//! Written by hand because the agent is linked into nothing but the C library. Both sides are this code, at the same
//! version: the host brings the agent that it was built with.

#![forbid(unsafe_code)]

/// Program and arguments, environment, filter: what a container is told once the agent in it has called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// `struct sock_filter`s as the kernel reads them, eight bytes each.
    pub filter: Vec<u8>,
    /// Where the command starts.
    pub work_dir: String,
    pub args: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
}

/// A packet is at most this long: 64 KiB of texts and the longest filter that the kernel takes.
pub const MAX_PACKET: usize = 128 * 1024;

/// Most descriptors beside a [`Launch`]: log, control, 64 invoke streams.
pub const MAX_FDS: usize = 66;

macro_rules! steps {
    ($($name:ident = $number:literal $text:literal,)*) => {
        /// A step of starting the command.
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
    Launch = 1 "understand what to run",
    Descriptors = 2 "arrange descriptors",
    WorkDir = 3 "enter the working directory",
    NoNewPrivs = 4 "set no_new_privs",
    Seccomp = 5 "load the system call filter",
    Fork = 6 "fork the runtime",
    Exec = 7 "run the runtime's program",
}

/// The agent's last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The command never ran.
    Setup { step: Step, errno: i32 },
    /// It ended with this wait status.
    Exit { wait_status: i32 },
}

// === impl Launch ===

impl Launch {
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::new();
        for count in [self.filter.len(), self.args.len(), self.env.len()] {
            packet.extend_from_slice(&(count as u32).to_le_bytes());
        }
        packet.extend_from_slice(&self.filter);
        for text in [&self.work_dir].into_iter().chain(&self.args).chain(&self.env) {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        packet
    }

    /// None for what [`Launch::encode`] did not write.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let mut rest = packet;
        let mut counts = [0usize; 3];
        for count in &mut counts {
            let (head, tail) = rest.split_first_chunk()?;
            *count = u32::from_le_bytes(*head) as usize;
            rest = tail;
        }
        let [filter, args, env] = counts;
        let (filter, rest) = rest.split_at_checked(filter)?;
        let texts = rest.strip_suffix(&[0])?.split(|byte| *byte == 0);
        let texts: Option<Vec<String>> = texts.map(|text| String::from_utf8(text.to_vec()).ok()).collect();
        let mut texts = texts?;
        if args == 0 || texts.len() != args.checked_add(env)?.checked_add(1)? {
            return None;
        }
        let work_dir = texts.remove(0);
        let env = texts.split_off(args);
        Some(Self { filter: filter.to_vec(), work_dir, args: texts, env })
    }
}

// === impl Report ===

impl Report {
    pub const SIZE: usize = 6;

    pub fn encode(self) -> [u8; Self::SIZE] {
        let (kind, step, value) = match self {
            Report::Setup { step, errno } => (1, step as u8, errno),
            Report::Exit { wait_status } => (2, 0, wait_status),
        };
        let [a, b, c, d] = value.to_le_bytes();
        [kind, step, a, b, c, d]
    }

    pub fn decode(packet: &[u8]) -> Option<Self> {
        let [kind, step, a, b, c, d] = *packet.as_array::<{ Self::SIZE }>()?;
        let value = i32::from_le_bytes([a, b, c, d]);
        match kind {
            1 => {
                let step = Step::ALL.iter().copied().find(|known| *known as u8 == step)?;
                Some(Report::Setup { step, errno: value })
            }
            2 => Some(Report::Exit { wait_status: value }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_reads_as_it_was_written() {
        let launch = Launch {
            filter: vec![1; 16],
            work_dir: "/var/task".into(),
            args: vec!["/usr/bin/python3".into(), String::new(), "ü".into()],
            env: vec!["A=".into(), "B=1".into()],
        };
        assert_eq!(Launch::decode(&launch.encode()), Some(launch.clone()));
        let bare = Launch { env: vec![], filter: vec![], ..launch };
        assert_eq!(Launch::decode(&bare.encode()), Some(bare));
    }

    #[test]
    fn what_is_no_launch_is_none() {
        let whole =
            Launch { filter: vec![0; 8], work_dir: "/".into(), args: vec!["/x".into()], env: vec!["A=1".into()] };
        let whole = whole.encode();
        for len in 0..whole.len() {
            assert_eq!(Launch::decode(&whole[..len]), None, "cut at {len}");
        }
        assert_eq!(Launch::decode(&[0xff; 40]), None);
        assert_eq!(Launch::decode(&Launch::default().encode()), None, "nothing to run");
    }

    #[test]
    fn a_report_reads_as_it_was_written() {
        let setups = Step::ALL.iter().map(|&step| Report::Setup { step, errno: 13 });
        for report in setups.chain([Report::Exit { wait_status: 0x8b }]) {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[0; 6]), None);
        assert_eq!(Report::decode(&[1, 99, 0, 0, 0, 0]), None);
        assert_eq!(Report::decode(&[2, 0, 0]), None);
    }
}
