//! Faults: what can go wrong, each with a stable code, whose fault it is and whether a retry may help.
//!
//! A fault's outside text goes to the caller. Its inside text, if any, goes to the operator's log only: it may
//! name paths and system errors. Every code has a page in `docs/faults/`, printed by `hearth explain CODE`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    Caller,
    Function,
    Platform,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $blame:ident, $retry:literal;)*) => {
        /// What went wrong. The text form is stable: scripts may rely on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FaultCode { $($(#[$doc])* $name),* }

        impl FaultCode {
            pub const ALL: &[FaultCode] = &[$(FaultCode::$name),*];

            /// The stable text form, `HEARTH-…`.
            pub fn as_str(self) -> &'static str {
                match self { $(FaultCode::$name => $code),* }
            }

            pub fn blame(self) -> Blame {
                match self { $(FaultCode::$name => Blame::$blame),* }
            }

            /// Whether the same call may succeed later with nothing changed.
            pub fn retry(self) -> bool {
                match self { $(FaultCode::$name => $retry),* }
            }
        }
    };
}

codes! {
    /// A request that cannot be understood.
    InvalidRequest = "HEARTH-C001", Caller, false;
    /// No credentials, or wrong ones.
    Unauthorized = "HEARTH-C002", Caller, false;
    /// No function, version or record of that name.
    NotFound = "HEARTH-C003", Caller, false;
    /// The request's payload is over the limit.
    RequestTooLarge = "HEARTH-C004", Caller, false;
    /// The package was refused: unsafe paths, too big, not a zip.
    InvalidPackage = "HEARTH-C005", Caller, false;
    /// The function is at its maximum and no instance came free in time.
    TooManyRequests = "HEARTH-C006", Caller, true;
    /// The change was made against a state that is gone.
    Conflict = "HEARTH-C007", Caller, true;
    /// An image could not be pulled, or is none that can be used.
    ImageRefused = "HEARTH-C008", Caller, false;
    /// A secret that the function refers to is not there, or cannot be what it is to be.
    SecretUnusable = "HEARTH-C009", Caller, false;
    /// A folder of the host's cannot be mounted for the function.
    MountRefused = "HEARTH-C010", Caller, false;
    /// The invocation ran into the function's timeout; its sandbox was killed.
    Timeout = "HEARTH-F001", Function, false;
    /// The sandbox used more memory than the function's limit; it was killed.
    OutOfMemory = "HEARTH-F002", Function, false;
    /// The runtime process ended during the invocation.
    Exited = "HEARTH-F003", Function, false;
    /// The function's code failed to load, or its initialisation failed.
    InitFailed = "HEARTH-F004", Function, false;
    /// The initialisation did not end in time.
    InitTimeout = "HEARTH-F005", Function, false;
    /// The response is over the limit.
    ResponseTooLarge = "HEARTH-F006", Function, false;
    /// The sandbox sent something that is not the protocol.
    Protocol = "HEARTH-F007", Function, false;
    /// The function's handler returned an error.
    HandlerError = "HEARTH-F008", Function, false;
    /// The function asks to be copied from a fork point, and its process cannot be.
    NoForkPoint = "HEARTH-F009", Function, false;
    /// A sandbox could not be made.
    SandboxFailed = "HEARTH-P001", Platform, true;
    /// The isolation that the function asks for does not work on this machine.
    IsolationUnavailable = "HEARTH-P002", Platform, false;
    /// The runtime that the function asks for is not on this machine.
    RuntimeUnavailable = "HEARTH-P003", Platform, false;
    /// All memory that functions may use is in use.
    NoCapacity = "HEARTH-P004", Platform, true;
    /// The store did not answer.
    Store = "HEARTH-P005", Platform, true;
    /// The server is ending and takes no new work.
    Draining = "HEARTH-P006", Platform, true;
    /// A defect of Hearth itself.
    Internal = "HEARTH-P007", Platform, true;
    /// The function's package is not on the disk as it was uploaded.
    PackageDamaged = "HEARTH-P008", Platform, false;
}

/// One fault that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: FaultCode,
    /// For the caller: names the subject, and what to do where that is known.
    pub message: String,
    /// For the operator only.
    pub detail: Option<String>,
    /// When a retry is worth trying.
    pub retry_after: Option<Duration>,
}

// === impl Fault ===

impl Fault {
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, retry_after: None }
    }

    pub fn with_detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

impl std::error::Error for Fault {}

// === impl FaultCode ===

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for FaultCode {
    type Err = crate::id::InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = text.trim().to_ascii_uppercase();
        let found = Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == wanted || code.as_str().strip_prefix("HEARTH-") == Some(wanted.as_str()));
        found.ok_or_else(|| crate::id::InvalidId {
            what: "fault code",
            given: text.chars().take(40).collect(),
            expected: "a code like HEARTH-F001",
        })
    }
}

impl Serialize for FaultCode {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FaultCode {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_say_whose_fault_it_is() {
        let codes: std::collections::HashSet<_> = FaultCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(codes.len(), FaultCode::ALL.len());
        for code in FaultCode::ALL {
            let letter = code.as_str().as_bytes()["HEARTH-".len()];
            let blame = match code.blame() {
                Blame::Caller => b'C',
                Blame::Function => b'F',
                Blame::Platform => b'P',
            };
            assert_eq!(letter, blame, "{code}");
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }
}
