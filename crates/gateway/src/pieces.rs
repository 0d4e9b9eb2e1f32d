//! Bodies of answers that a function writes piece by piece: as they are, for HTTP; or as messages, for
//! `InvokeWithResponseStream`. Dropped, the call goes on without a reader.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws::event_stream::{Complete, chunks, complete};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::Streaming;
use hyper::body::{Body, Frame, SizeHint};
use model::{Fault, Outcome, Reply};

/// How much of an invocation's log is answered.
const TAIL_BYTES: usize = 4096;

/// Why the body of an answer ends before its end.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

pub struct Pieces {
    /// Read already.
    first: Option<Bytes>,
    from: Streaming,
    form: Form,
    over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Messages,
}

/// The function failed after its answer had begun: its client sees that by the connection's end.
#[derive(Debug, thiserror::Error)]
#[error("the function failed within its answer: {0}")]
struct Failed(String);

// === impl Pieces ===

impl Pieces {
    /// `first` was read of it before.
    pub(crate) fn new(first: Bytes, from: Streaming, form: Form) -> Self {
        Self { first: Some(first).filter(|first| !first.is_empty()), from, form, over: false }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let next = match this.first.take() {
            Some(first) => Ok(first),
            None => ready!(this.from.poll_piece(cx)),
        };
        Poll::Ready(match (next, this.form) {
            (Ok(piece), Form::Plain) => Some(Ok(Frame::data(piece))),
            (Ok(piece), Form::Messages) => Some(Ok(Frame::data(chunks(piece)))),
            (Err(over), form) => {
                this.over = true;
                match (form, *over) {
                    (Form::Messages, over) => Some(Ok(Frame::data(end(over)))),
                    (Form::Plain, Ok(Outcome { reply: Reply::Success(_), .. })) => None,
                    (Form::Plain, Ok(Outcome { reply: Reply::Failure(error), .. })) => {
                        Some(Err(Failed(error.fault.to_string()).into()))
                    }
                    (Form::Plain, Err(fault)) => Some(Err(Failed(fault.to_string()).into())),
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// All messages of an answer that came whole.
pub(crate) fn whole(outcome: Outcome) -> Bytes {
    let payload = match &outcome.reply {
        Reply::Success(payload) => payload.clone(),
        Reply::Failure(_) => Bytes::new(),
    };
    [chunks(payload), end(Ok(outcome))].concat().into()
}

/// All messages of what a web function answered.
pub(crate) fn of_web(result: crate::web_event::Outcome) -> Bytes {
    let (payload, how) = match result {
        Ok(payload) => (payload, Complete::default()),
        Err((error, _)) => (Bytes::new(), failed(&error)),
    };
    [chunks(payload), complete(&how)].concat().into()
}

fn failed(error: &[u8]) -> Complete {
    let details = Some(String::from_utf8_lossy(error).into_owned());
    Complete { error_code: Some("Unhandled"), error_details: details, log_result: None }
}

/// The last message.
pub(crate) fn end(over: Result<Outcome, Fault>) -> Bytes {
    let outcome = match over {
        Ok(outcome) => outcome,
        Err(fault) => return complete(&failed(&aws::errors::failure_payload(&fault))),
    };
    let mut how = match outcome.reply {
        Reply::Success(_) => Complete::default(),
        Reply::Failure(error) => failed(&error.payload),
    };
    how.log_result = outcome.tail.map(|tail| STANDARD.encode(&tail[tail.len().saturating_sub(TAIL_BYTES)..]));
    complete(&how)
}
