//! Frames to bytes. The head of a frame can be had apart from its payload, so that both go out in one `writev`
//! and no payload is copied.

use bytes::{BufMut, BytesMut};
use model::LogLevel;

use crate::{FLAG_LAST, Frame, Kind, MAX_BODY, Trace, WireError};

/// What INVOKE says before its payload, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct InvokeHead<'a> {
    /// Milliseconds since the epoch.
    pub deadline_ms: u64,
    pub request_id: &'a str,
    pub trace_id: &'a str,
    pub function_arn: &'a str,
    pub client_context: &'a str,
    pub cognito_identity: &'a str,
    pub last: bool,
}

// === impl Frame ===

impl Frame {
    /// Appends the whole frame.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let payload = self.encode_head(out)?;
        out.extend_from_slice(payload);
        Ok(())
    }

    /// Appends all of the frame but its payload, and returns the payload, which must follow on the stream.
    pub fn encode_head<'a>(&'a self, out: &mut BytesMut) -> Result<&'a [u8], WireError> {
        let payload: &[u8] = match self {
            Frame::Init(body) | Frame::InitError(body) | Frame::Error(body) | Frame::Data(body) => body,
            Frame::Log(log) => log.message.as_bytes(),
            Frame::Invoke(invoke) => &invoke.payload,
            Frame::Response { payload, .. } | Frame::Stream { payload, .. } => payload,
            Frame::Snapshot(why) => why.as_deref().unwrap_or_default().as_bytes(),
            Frame::Hello { .. } | Frame::Trace(_) | Frame::Ready | Frame::Image | Frame::End | Frame::Connect => &[],
        };
        match self {
            Frame::Hello { version, runtime } => {
                put_header(out, Kind::Hello, 2 + str16_len(runtime)?, 0)?;
                out.put_u16_le(*version);
                put_str16(out, runtime);
            }
            Frame::Log(log) => {
                put_header(out, Kind::Log, 8 + 1 + str16_len(&log.request_id)?, payload.len())?;
                out.put_u64_le(log.time.micros().max(0) as u64);
                out.put_u8(log.level.map_or(0, LogLevel::as_u8));
                put_str16(out, &log.request_id);
            }
            Frame::Trace(Trace { begun_us, steps }) => {
                if steps.len() > Trace::MOST {
                    return Err(WireError::TooManySteps(steps.len()));
                }
                put_header(out, Kind::Trace, Trace::FIXED + steps.len() * Trace::STEP, 0)?;
                out.put_u64_le(*begun_us);
                out.put_u8(steps.len() as u8);
                for (step, took) in steps {
                    out.put_u8(*step as u8);
                    out.put_u32_le(*took);
                }
            }
            Frame::Invoke(invoke) => {
                let head = InvokeHead {
                    deadline_ms: invoke.deadline_ms,
                    request_id: &invoke.request_id,
                    trace_id: &invoke.trace_id,
                    function_arn: &invoke.function_arn,
                    client_context: &invoke.client_context,
                    cognito_identity: &invoke.cognito_identity,
                    last: invoke.last,
                };
                put_invoke_head(out, &head, payload.len())?;
            }
            Frame::Stream { content_type, .. } => {
                put_header(out, Kind::Stream, str16_len(content_type)?, payload.len())?;
                put_str16(out, content_type);
            }
            Frame::Response { last, .. } => {
                put_header(out, Kind::Response, 1, payload.len())?;
                out.put_u8(if *last { FLAG_LAST } else { 0 });
            }
            Frame::Init(_)
            | Frame::Ready
            | Frame::InitError(_)
            | Frame::Image
            | Frame::Snapshot(_)
            | Frame::Data(_)
            | Frame::End
            | Frame::Error(_)
            | Frame::Connect => {
                put_header(out, self.kind(), 0, payload.len())?;
            }
        }
        Ok(payload)
    }
}

/// Appends INVOKE up to its payload of `payload_len` bytes.
pub fn put_invoke_head(out: &mut BytesMut, head: &InvokeHead<'_>, payload_len: usize) -> Result<(), WireError> {
    let texts = str16_len(head.request_id)? + str16_len(head.trace_id)? + str16_len(head.function_arn)?;
    let fixed = 8 + texts + 4 + head.client_context.len() + 4 + head.cognito_identity.len() + 1;
    put_header(out, Kind::Invoke, fixed, payload_len)?;
    out.put_u64_le(head.deadline_ms);
    put_str16(out, head.request_id);
    put_str16(out, head.trace_id);
    put_str16(out, head.function_arn);
    for text in [head.client_context, head.cognito_identity] {
        out.put_u32_le(text.len() as u32);
        out.put_slice(text.as_bytes());
    }
    out.put_u8(if head.last { FLAG_LAST } else { 0 });
    Ok(())
}

/// Appends DATA up to its payload of `payload_len` bytes.
pub fn put_data_head(out: &mut BytesMut, payload_len: usize) -> Result<(), WireError> {
    put_header(out, Kind::Data, 0, payload_len)
}

/// Checks the whole length before anything is written, so that a refused frame leaves `out` as it was.
fn put_header(out: &mut BytesMut, kind: Kind, fixed: usize, payload: usize) -> Result<(), WireError> {
    let body = fixed.saturating_add(payload);
    if body > MAX_BODY {
        return Err(WireError::TooLong(body));
    }
    out.reserve(crate::HEADER + fixed);
    out.put_u32_le(body as u32);
    out.put_u8(kind as u8);
    Ok(())
}

fn str16_len(text: &str) -> Result<usize, WireError> {
    if text.len() > usize::from(u16::MAX) { Err(WireError::TextTooLong(text.len())) } else { Ok(2 + text.len()) }
}

fn put_str16(out: &mut BytesMut, text: &str) {
    out.put_u16_le(text.len() as u16);
    out.put_slice(text.as_bytes());
}
