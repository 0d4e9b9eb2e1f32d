//! The frames. Payloads and texts share the bytes that they were decoded from.

use std::fmt;

use bytes::Bytes;
use model::{LogLevel, Timestamp};

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Host,
    Guest,
}

/// Which of a sandbox's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Control,
    Invoke,
}

/// What a frame is, as its fifth byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Hello = 0x01,
    Init = 0x02,
    Ready = 0x03,
    InitError = 0x04,
    Log = 0x05,
    Trace = 0x06,
    Image = 0x08,
    Snapshot = 0x09,
    Invoke = 0x10,
    Data = 0x11,
    End = 0x12,
    Response = 0x13,
    Error = 0x14,
    Connect = 0x15,
    Stream = 0x16,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Hello {
        version: u16,
        runtime: String,
    },
    /// JSON of [`crate::Init`].
    Init(Bytes),
    Ready,
    /// Error JSON, checked to be a JSON object.
    InitError(Bytes),
    Log(Log),
    Trace(Trace),
    /// A file in memory comes along as a descriptor.
    Image,
    /// None: the image is written. Else why it could not be.
    Snapshot(Option<String>),
    Invoke(Invoke),
    Data(Bytes),
    End,
    Response {
        last: bool,
        payload: Bytes,
    },
    /// Error JSON, checked to be a JSON object.
    Error(Bytes),
    /// A socket comes beside it, to be joined with the web function's own.
    Connect,
    /// An answer that is to be passed on as it comes.
    Stream {
        /// May be empty.
        content_type: String,
        payload: Bytes,
    },
}

/// A line that a handler logged, with what only the runtime knows about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub time: Timestamp,
    pub level: Option<LogLevel>,
    /// May be empty.
    pub request_id: String,
    pub message: String,
}

/// How long the steps took with which a sandbox set itself up, before its runtime was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// When the first began: microseconds on the host's CLOCK_MONOTONIC.
    pub begun_us: u64,
    /// In order, each with its microseconds; the next begins where one ends.
    pub steps: Vec<(SetUp, u32)>,
}

/// A step of a sandbox's set-up, as `docs/trace.md` describes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SetUp {
    User = 1,
    Root = 2,
    Mounts = 3,
    Pivot = 4,
    Network = 5,
    Limits = 6,
    Privileges = 7,
    Descriptors = 8,
    Seccomp = 9,
}

/// An event for the handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoke {
    /// Milliseconds since the epoch.
    pub deadline_ms: u64,
    pub request_id: String,
    pub trace_id: String,
    pub function_arn: String,
    /// JSON, or empty.
    pub client_context: String,
    /// JSON, or empty.
    pub cognito_identity: String,
    pub last: bool,
    pub payload: Bytes,
}

// === impl Kind ===

impl Kind {
    pub const ALL: &[Kind] = &[
        Kind::Hello,
        Kind::Init,
        Kind::Ready,
        Kind::InitError,
        Kind::Log,
        Kind::Trace,
        Kind::Image,
        Kind::Snapshot,
        Kind::Invoke,
        Kind::Data,
        Kind::End,
        Kind::Response,
        Kind::Error,
        Kind::Connect,
        Kind::Stream,
    ];

    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == number)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Hello => "HELLO",
            Kind::Init => "INIT",
            Kind::Ready => "READY",
            Kind::InitError => "INIT_ERROR",
            Kind::Log => "LOG",
            Kind::Trace => "TRACE",
            Kind::Image => "IMAGE",
            Kind::Snapshot => "SNAPSHOT",
            Kind::Invoke => "INVOKE",
            Kind::Data => "DATA",
            Kind::End => "END",
            Kind::Response => "RESPONSE",
            Kind::Error => "ERROR",
            Kind::Connect => "CONNECT",
            Kind::Stream => "STREAM",
        }
    }

    /// Its longest body. What a guest has begun to send waits in the host's memory, which no sandbox pays for.
    pub fn longest(self) -> usize {
        match self {
            Kind::Hello | Kind::Snapshot => 4 << 10,
            Kind::Ready | Kind::Image | Kind::End | Kind::Connect => 0,
            Kind::Log => crate::MAX_LOG,
            Kind::Trace => Trace::LONGEST,
            Kind::Init | Kind::InitError | Kind::Invoke | Kind::Data => crate::MAX_BODY,
            Kind::Response | Kind::Error | Kind::Stream => crate::MAX_BODY,
        }
    }

    /// Whether `from` may send it on `stream`.
    pub fn belongs(self, stream: Stream, from: Side) -> bool {
        let (its_stream, its_side) = match self {
            Kind::Hello | Kind::Ready | Kind::InitError | Kind::Log | Kind::Trace | Kind::Snapshot => {
                (Stream::Control, Some(Side::Guest))
            }
            Kind::Init | Kind::Image => (Stream::Control, Some(Side::Host)),
            Kind::Invoke | Kind::Connect => (Stream::Invoke, Some(Side::Host)),
            Kind::Data | Kind::End => (Stream::Invoke, None),
            Kind::Response | Kind::Error | Kind::Stream => (Stream::Invoke, Some(Side::Guest)),
        };
        its_stream == stream && its_side.is_none_or(|side| side == from)
    }
}

// === impl Trace ===

impl Trace {
    /// Most steps.
    pub const MOST: usize = 32;
    pub(crate) const FIXED: usize = 8 + 1;
    pub(crate) const STEP: usize = 1 + 4;
    /// Its longest body.
    pub(crate) const LONGEST: usize = Self::FIXED + Self::MOST * Self::STEP;
}

// === impl SetUp ===

impl SetUp {
    pub const ALL: &[SetUp] = &[
        SetUp::User,
        SetUp::Root,
        SetUp::Mounts,
        SetUp::Pivot,
        SetUp::Network,
        SetUp::Limits,
        SetUp::Privileges,
        SetUp::Descriptors,
        SetUp::Seccomp,
    ];

    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|step| *step as u8 == number)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            SetUp::User => "user",
            SetUp::Root => "root",
            SetUp::Mounts => "mounts",
            SetUp::Pivot => "pivot",
            SetUp::Network => "network",
            SetUp::Limits => "limits",
            SetUp::Privileges => "privileges",
            SetUp::Descriptors => "descriptors",
            SetUp::Seccomp => "seccomp",
        }
    }
}

// === impl Frame ===

impl Frame {
    pub fn kind(&self) -> Kind {
        match self {
            Frame::Hello { .. } => Kind::Hello,
            Frame::Init(_) => Kind::Init,
            Frame::Ready => Kind::Ready,
            Frame::InitError(_) => Kind::InitError,
            Frame::Log(_) => Kind::Log,
            Frame::Trace(_) => Kind::Trace,
            Frame::Image => Kind::Image,
            Frame::Snapshot(_) => Kind::Snapshot,
            Frame::Invoke(_) => Kind::Invoke,
            Frame::Data(_) => Kind::Data,
            Frame::End => Kind::End,
            Frame::Response { .. } => Kind::Response,
            Frame::Error(_) => Kind::Error,
            Frame::Connect => Kind::Connect,
            Frame::Stream { .. } => Kind::Stream,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Host => "host",
            Side::Guest => "guest",
        })
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Control => "control",
            Stream::Invoke => "invoke",
        })
    }
}
