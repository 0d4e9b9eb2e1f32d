//! One invocation on one instance: the event goes in, the answer comes out, and what is printed meanwhile is
//! taken along. The caller's task does all of it.
//!
//! ```text
//! quiet? ──► INVOKE written ──► RESPONSE [DATA …] END │ STREAM DATA … END │ ERROR ──► drained ──► in order: next call
//!   │ no       │ closed           │ deadline            │ closed              │ not in order: killed
//!   ▼          ▼                  ▼                     ▼
//! stale: nothing was run,      killed, Timeout       what the exit says, or stale if INVOKE was never read
//! another instance is taken
//! ```

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use driver::ExitCause;
use model::{Invocation, MAX_RESPONSE_BYTES, MAX_STREAM_BYTES, Timestamp};
use tokio::time::Instant;
use wire::{Frame, InvokeHead};

use crate::flow::Source;
use crate::instance::Instance;
use crate::io::{Broken, Io, unexpected};
use crate::log::Sink;
use crate::start::ended;

/// How long the streams of a sandbox that is gone may take to close.
const CLOSING: Duration = Duration::from_millis(500);

/// What is needed beside the instance.
pub struct Terms<'a> {
    pub invocation: &'a Invocation,
    pub arn: &'a str,
    pub timeout: Duration,
    /// How long the end of a sandbox is waited for whose streams ended.
    pub exit: Duration,
    /// Where a streamed answer goes; none: it is waited for, and given whole.
    pub flow: Option<&'a Source>,
}

/// How a call went.
pub struct Called {
    pub ending: Ending,
    /// From handing over the event to the answer.
    pub took: Duration,
    /// Whether the instance may serve the next call.
    pub in_order: bool,
}

pub enum Ending {
    Response(Bytes),
    Error(Bytes),
    TooLarge,
    /// It was passed on, so many bytes.
    Streamed(u64),
    /// More of it came than is passed on.
    StreamTooLarge,
    TimedOut,
    Exited(Option<ExitCause>),
    Protocol(String),
    /// The instance had ended before it read the event: nothing was run.
    Stale,
}

/// An answer as far as it has come.
enum Answer {
    None,
    /// With what is to come after it.
    Part(BytesMut),
    /// Over the limit: read on to its end, and kept no more.
    TooLarge,
    /// Passed on as it comes, so many bytes until now.
    Passing(u64),
}

pub async fn call(instance: &mut Instance, sink: &mut Sink<'_>, terms: &Terms<'_>) -> Called {
    let Instance { io, exit, deadline, .. } = instance;
    let over = |ending, took| Called { ending, took, in_order: false };
    let begun = Instant::now();
    let invocation = terms.invocation;
    let mut id = [0; 36];
    let xray = invocation.trace.told().to_xray();
    let head = InvokeHead {
        deadline_ms: (Timestamp::now() + terms.timeout).millis().max(0) as u64,
        request_id: write_id(&mut id, invocation),
        trace_id: xray.as_str(),
        function_arn: terms.arn,
        client_context: &invocation.client_context,
        cognito_identity: "",
        last: true,
    };
    let mut bytes = BytesMut::with_capacity(512);
    if let Err(error) = wire::put_invoke_head(&mut bytes, &head, invocation.payload.len()) {
        // Nothing was sent, so the instance is as good as before.
        return Called { ending: Ending::Protocol(error.to_string()), took: Duration::ZERO, in_order: true };
    }
    let mut parts: [&[u8]; 2] = [&bytes, &invocation.payload];
    let mut answer = Answer::None;
    let broken = {
        let mut gone = pin!(exit.wait_for(Option::is_some));
        let mut deadline = deadline.at(begun + terms.timeout);
        let exchange = poll_fn(|cx| {
            match exchange(io, cx, sink, &mut parts, &mut answer, terms.flow) {
                Poll::Ready(result) => return Poll::Ready(Some(result)),
                Poll::Pending if deadline.as_mut().poll(cx).is_ready() => return Poll::Ready(None),
                Poll::Pending => {}
            }
            // Its streams may outlive a sandbox, if somebody else holds their other ends.
            gone.as_mut().poll(cx).map(|_| Some(Err(Broken::Closed { unread: false })))
        });
        match exchange.await {
            Some(Ok(ending)) => {
                let took = begun.elapsed();
                // All of the event was taken, nothing but the answer came, and all that was printed before it.
                let sent = parts.iter().all(|part| part.is_empty());
                let whole = !matches!(ending, Ending::StreamTooLarge);
                let in_order = io.drain(sink).is_ok() && whole && sent && io.is_in_step() && io.is_open();
                return Called { ending, took, in_order };
            }
            Some(Err(broken)) => broken,
            None => {
                let _ = io.drain(sink);
                return over(Ending::TimedOut, begun.elapsed());
            }
        }
    };
    let mut unread = match broken {
        Broken::Protocol(error) => {
            let took = begun.elapsed();
            let _ = io.drain(sink);
            return over(Ending::Protocol(error.to_string()), took);
        }
        Broken::Closed { unread } => unread,
    };
    if !unread && matches!(answer, Answer::None) {
        // A sandbox's end may be told before its streams are closed, by what supervises it: only their end says whether
        // the event was read.
        let closed = poll_fn(|cx| {
            while let Poll::Ready(frame) = io.poll_answer(cx) {
                match frame.and_then(|frame| answer.add(frame, terms.flow)) {
                    Ok(None) => {}
                    Ok(Some(ending)) => return Poll::Ready(Ok(ending)),
                    Err(broken) => return Poll::Ready(Err(broken)),
                }
            }
            Poll::Pending
        });
        match tokio::time::timeout(CLOSING, closed).await {
            Ok(Ok(ending)) => return over(ending, begun.elapsed()),
            Ok(Err(Broken::Closed { unread: late })) => unread = late,
            Ok(Err(Broken::Protocol(_))) | Err(_) => {}
        }
    }
    // The answer may have been sent right before the end.
    if let Some(ending) = last_words(io, &mut answer, terms.flow, &mut unread) {
        return over(ending, begun.elapsed());
    }
    let took = begun.elapsed();
    if unread && matches!(answer, Answer::None) {
        return over(Ending::Stale, took);
    }
    let exited = ended(io, sink, exit, terms.exit).await;
    // gVisor shuts a socket down before it closes it: only the close, which is behind the sandbox's end, says what was
    // not read.
    if let Some(ending) = last_words(io, &mut answer, terms.flow, &mut unread) {
        return over(ending, took);
    }
    if unread && matches!(answer, Answer::None) {
        return over(Ending::Stale, took);
    }
    over(Ending::Exited(exited.map(|exit| exit.cause)), took)
}

/// Takes what is left of the answer in a stream that ended. `unread`: the event was not read.
fn last_words(io: &mut Io, answer: &mut Answer, flow: Option<&Source>, unread: &mut bool) -> Option<Ending> {
    loop {
        match io.last_words().and_then(|frame| frame.map(|frame| answer.add(frame, flow)).transpose()) {
            Ok(Some(Some(ending))) => return Some(ending),
            Ok(Some(None)) => {}
            Ok(None) => return None,
            Err(broken) => {
                *unread |= matches!(broken, Broken::Closed { unread: true });
                return None;
            }
        }
    }
}

/// Everything that can go on at this moment. The answer first: on a warm call it is all there is.
fn exchange(
    io: &mut Io,
    cx: &mut Context<'_>,
    sink: &mut Sink<'_>,
    parts: &mut [&[u8]; 2],
    answer: &mut Answer,
    flow: Option<&Source>,
) -> Poll<Result<Ending, Broken>> {
    if let Poll::Ready(Err(broken)) = io.poll_invoke(cx, parts) {
        return Poll::Ready(Err(broken));
    }
    // What nobody has taken holds the function back.
    while flow.is_none_or(|flow| flow.poll_room(cx).is_ready())
        && let Poll::Ready(frame) = io.poll_answer(cx)
    {
        if let Some(ending) = answer.add(frame?, flow)? {
            return Poll::Ready(Ok(ending));
        }
    }
    io.poll_log(cx, sink);
    io.poll_log_frames(cx, sink)?;
    Poll::Pending
}

// === impl Answer ===

impl Answer {
    /// Says how the call went once the answer is whole.
    fn add(&mut self, frame: Frame, flow: Option<&Source>) -> Result<Option<Ending>, Broken> {
        match (&mut *self, frame) {
            (_, Frame::Error(payload)) if payload.len() > MAX_RESPONSE_BYTES => return Ok(Some(Ending::TooLarge)),
            (Answer::None, Frame::Error(payload)) => return Ok(Some(Ending::Error(payload))),
            (Answer::None, Frame::Response { last: true, payload }) => {
                let fits = payload.len() <= MAX_RESPONSE_BYTES;
                return Ok(Some(if fits { Ending::Response(payload) } else { Ending::TooLarge }));
            }
            (Answer::None, Frame::Response { last: false, payload }) => {
                *self = Answer::Part(BytesMut::new());
                self.extend(&payload);
            }
            (Answer::None, Frame::Stream { content_type, payload }) => match flow {
                None => {
                    *self = Answer::Part(BytesMut::new());
                    self.extend(&payload);
                }
                Some(flow) => {
                    *self = Answer::Passing(payload.len() as u64);
                    flow.begin(content_type);
                    flow.push(payload);
                }
            },
            (Answer::Passing(passed), Frame::Data(payload)) => {
                *passed += payload.len() as u64;
                if *passed > MAX_STREAM_BYTES {
                    return Ok(Some(Ending::StreamTooLarge));
                }
                if let Some(flow) = flow {
                    flow.push(payload);
                }
            }
            (Answer::Passing(passed), Frame::End) => return Ok(Some(Ending::Streamed(*passed))),
            (Answer::Part(_) | Answer::TooLarge, Frame::Data(payload)) => self.extend(&payload),
            (Answer::Part(parts), Frame::End) => {
                return Ok(Some(Ending::Response(std::mem::take(parts).freeze())));
            }
            (Answer::TooLarge, Frame::End) => return Ok(Some(Ending::TooLarge)),
            // It began to answer and failed over it.
            (Answer::Part(_) | Answer::TooLarge | Answer::Passing(_), Frame::Error(payload)) => {
                return Ok(Some(Ending::Error(payload)));
            }
            (_, frame) => return Err(unexpected(&frame)),
        }
        Ok(None)
    }

    fn extend(&mut self, payload: &[u8]) {
        if let Answer::Part(parts) = self {
            if parts.len() + payload.len() <= MAX_RESPONSE_BYTES {
                parts.extend_from_slice(payload);
            } else {
                *self = Answer::TooLarge;
            }
        }
    }
}

/// The request id as text, without a memory allocation.
fn write_id<'a>(buffer: &'a mut [u8; 36], invocation: &Invocation) -> &'a str {
    use std::io::Write;
    let _ = write!(&mut buffer[..], "{}", invocation.id);
    std::str::from_utf8(buffer).unwrap_or_default()
}
