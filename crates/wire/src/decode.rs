//! Bytes to frames.
//!
//! ```text
//! push / buffer ──► partial frame ──next_frame──► Frame      a kind that does not belong here and a length over
//!                        ▲  │                                the limit are refused at the fifth byte, before
//!                        └──┴── not whole yet: None          any of the body is waited for
//! ```

use bytes::{Buf, Bytes, BytesMut};
use model::{LogLevel, Timestamp};

use crate::{FLAG_LAST, Frame, HEADER, Invoke, Kind, Log, SetUp, Side, Stream, Trace, WireError};

/// One direction of one stream. Holds no memory between frames.
#[derive(Debug)]
pub struct Decoder {
    stream: Stream,
    from: Side,
    buffer: BytesMut,
}

/// What is left of a body, with the kind that errors name.
struct Body {
    kind: Kind,
    bytes: Bytes,
}

// === impl Decoder ===

impl Decoder {
    /// For what `from` sends on `stream`.
    pub fn new(stream: Stream, from: Side) -> Self {
        Self { stream, from, buffer: BytesMut::new() }
    }

    /// Where to read into: append to it, take nothing out.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing of a frame is waiting for its rest.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole frame. After an error the stream is out of step: the answer would be the same again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((header, _)) = self.buffer.split_at_checked(HEADER) else { return Ok(None) };
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = Kind::from_u8(header[4]).ok_or(WireError::UnknownKind(header[4]))?;
        if !kind.belongs(self.stream, self.from) {
            return Err(WireError::Misplaced { kind, stream: self.stream, from: self.from });
        }
        if len > kind.longest() {
            return Err(WireError::TooLong(len));
        }
        let missing = (HEADER + len).saturating_sub(self.buffer.len());
        if missing > 0 {
            // Untouched pages cost nothing, so a length that is never sent takes address space alone.
            self.buffer.reserve(missing);
            return Ok(None);
        }
        let body = Body { kind, bytes: self.buffer.split_to(HEADER + len).freeze().slice(HEADER..) };
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        body.parse().map(Some)
    }
}

// === impl Body ===

impl Body {
    fn parse(mut self) -> Result<Frame, WireError> {
        Ok(match self.kind {
            Kind::Hello => {
                let version = self.u16()?;
                let runtime = self.str16()?;
                self.end()?;
                Frame::Hello { version, runtime }
            }
            Kind::Init => Frame::Init(self.json()?),
            Kind::Ready => {
                self.end()?;
                Frame::Ready
            }
            Kind::InitError => Frame::InitError(self.json()?),
            Kind::Log => {
                let time = i64::try_from(self.u64()?).map_err(|_| self.bad("a time that is out of range"))?;
                let level = match self.u8()? {
                    0 => None,
                    number => Some(LogLevel::from_u8(number).ok_or(self.bad("an unknown log level"))?),
                };
                let request_id = self.str16()?;
                let rest = std::mem::take(&mut self.bytes);
                Frame::Log(Log { time: Timestamp(time), level, request_id, message: self.text(rest)? })
            }
            Kind::Trace => {
                let begun_us = self.u64()?;
                let count = usize::from(self.u8()?);
                if count > Trace::MOST {
                    return Err(self.bad("too many steps"));
                }
                let mut steps = Vec::with_capacity(count);
                for _ in 0..count {
                    let step = SetUp::from_u8(self.u8()?).ok_or(self.bad("an unknown step"))?;
                    steps.push((step, self.u32()?));
                }
                self.end()?;
                Frame::Trace(Trace { begun_us, steps })
            }
            Kind::Image => {
                self.end()?;
                Frame::Image
            }
            Kind::Snapshot => {
                let why = std::mem::take(&mut self.bytes);
                Frame::Snapshot(if why.is_empty() { None } else { Some(self.text(why)?) })
            }
            Kind::Invoke => {
                let deadline_ms = self.u64()?;
                let request_id = self.str16()?;
                let trace_id = self.str16()?;
                let function_arn = self.str16()?;
                let client_context = self.str32()?;
                let cognito_identity = self.str32()?;
                let last = self.flags()?;
                Frame::Invoke(Invoke {
                    deadline_ms,
                    request_id,
                    trace_id,
                    function_arn,
                    client_context,
                    cognito_identity,
                    last,
                    payload: self.bytes,
                })
            }
            Kind::Data => Frame::Data(self.bytes),
            Kind::End => {
                self.end()?;
                Frame::End
            }
            Kind::Response => Frame::Response { last: self.flags()?, payload: self.bytes },
            Kind::Stream => Frame::Stream { content_type: self.str16()?, payload: self.bytes },
            Kind::Error => Frame::Error(self.json()?),
            Kind::Connect => {
                self.end()?;
                Frame::Connect
            }
        })
    }

    fn bad(&self, what: &'static str) -> WireError {
        WireError::Body { kind: self.kind, what }
    }

    fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        if self.bytes.len() < len { Err(self.bad("it is too short")) } else { Ok(self.bytes.split_to(len)) }
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        Ok(self.take(2)?.get_u16_le())
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(self.take(4)?.get_u32_le())
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(self.take(8)?.get_u64_le())
    }

    fn str16(&mut self) -> Result<String, WireError> {
        let len = self.u16()?;
        let bytes = self.take(usize::from(len))?;
        self.text(bytes)
    }

    fn str32(&mut self) -> Result<String, WireError> {
        let len = self.u32()?;
        let bytes = self.take(len as usize)?;
        self.text(bytes)
    }

    fn text(&self, bytes: Bytes) -> Result<String, WireError> {
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.bad("a text that is not UTF-8")),
        }
    }

    /// LAST, the only flag there is.
    fn flags(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            FLAG_LAST => Ok(true),
            _ => Err(self.bad("an unknown flag")),
        }
    }

    fn json(&mut self) -> Result<Bytes, WireError> {
        type Object = std::collections::HashMap<String, serde::de::IgnoredAny>;
        // As text first: what is skipped by the parser is not checked by it.
        let text = std::str::from_utf8(&self.bytes).map_err(|_| self.bad("a text that is not UTF-8"))?;
        match serde_json::from_str::<Object>(text) {
            Ok(_) => Ok(std::mem::take(&mut self.bytes)),
            Err(_) => Err(self.bad("it is not a JSON object")),
        }
    }

    fn end(&self) -> Result<(), WireError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.bad("it is too long")) }
    }
}
