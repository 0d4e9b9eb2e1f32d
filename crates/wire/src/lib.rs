//! The protocol between the host and what runs inside a sandbox, as `docs/wire.md` has it. Sans-I/O: bytes in,
//! frames out, and the other way round. The golden vectors in `vectors/` are the law for every language.
//!
//! It refuses what the protocol refuses: a body over 16 MiB, an unknown kind, a kind on the wrong stream or in
//! the wrong direction, a body that does not parse. After an error the stream is out of step and must be closed.

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod frame;
mod init;

pub use decode::Decoder;
pub use encode::{InvokeHead, put_data_head, put_invoke_head};
pub use frame::{Frame, Invoke, Kind, Log, SetUp, Side, Stream, Trace};
pub use init::{Init, InitFile, InitFunction, Mode, Run};

/// The version that HELLO carries.
pub const VERSION: u16 = 1;

/// Longest body of a frame, bytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// Longest body of a LOG frame. Bootstraps cut longer messages.
pub const MAX_LOG: usize = 1024 * 1024;

/// Bytes before a body: its length and the kind.
pub const HEADER: usize = 5;

/// The payload is complete in this frame.
pub const FLAG_LAST: u8 = 1;

/// Why bytes are not the protocol, or a value cannot be said in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a frame with a body of {0} bytes: at most {MAX_BODY} are allowed")]
    TooLong(usize),
    #[error("a frame of unknown kind 0x{0:02x}")]
    UnknownKind(u8),
    #[error("a {kind} frame from the {from} on the {stream} stream, where it does not belong")]
    Misplaced { kind: Kind, stream: Stream, from: Side },
    #[error("a {kind} frame whose body does not parse: {what}")]
    Body { kind: Kind, what: &'static str },
    #[error("a TRACE of {0} steps: at most {most} are allowed", most = Trace::MOST)]
    TooManySteps(usize),
    #[error("a text of {0} bytes, where the protocol has a length of 16 bits")]
    TextTooLong(usize),
}
