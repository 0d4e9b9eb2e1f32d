//! The way of an answer from the call that reads it to who passes it on, piece by piece.
//!
//! ```text
//! instance ─DATA─► call ─push─► [ a piece ] ─poll_piece─► door ─► client
//!                    ▲ room          │                      │ gone: the call goes on, and its pieces are thrown away
//!                    └───────────────┴──────────────────────┘
//! ```
//!
//! The call reads on only when its last piece was taken. So a client that reads slowly holds the function back, and the
//! server keeps one piece of each answer, whatever its length. The call runs in a task of its own: its time limit holds
//! also where nobody asks for the next piece.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use model::{Fault, FaultCode, Outcome};

use crate::shared::lock;

#[derive(Default)]
struct State {
    content_type: Option<String>,
    /// More than one only of what a sandbox left behind when it ended.
    pieces: VecDeque<Bytes>,
    over: Option<Result<Outcome, Fault>>,
    /// Nobody reads any more.
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Where the call puts it.
pub struct Source(Arc<Mutex<State>>);

/// An answer that has begun, for who passes it on. Dropped, the call goes on without it.
pub struct Streaming {
    state: Arc<Mutex<State>>,
    content_type: String,
}

/// How an answer comes.
pub enum Streamed {
    /// All at once: the function does not stream, or failed before it began to.
    Whole(Box<Outcome>),
    Stream(Streaming),
}

pub fn pair() -> (Source, Streaming) {
    let state = Arc::<Mutex<State>>::default();
    (Source(state.clone()), Streaming { state, content_type: String::new() })
}

// === impl Source ===

impl Source {
    /// The function answers in pieces.
    pub fn begin(&self, content_type: String) {
        self.change(|state| state.content_type = Some(content_type));
    }

    /// Whether there is room for a piece; whoever finds none is woken when there is.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.gone || state.pieces.is_empty() {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub fn push(&self, piece: Bytes) {
        self.change(|state| {
            if !state.gone && !piece.is_empty() {
                state.pieces.push_back(piece);
            }
        });
    }

    pub fn end(&self, outcome: Result<Outcome, Fault>) {
        self.change(|state| state.over = Some(outcome));
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        let mut state = lock(&self.0);
        how(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Source {
    /// A task that was ended by the engine's end never came to tell.
    fn drop(&mut self) {
        self.change(|state| {
            if state.over.is_none() {
                state.over = Some(Err(Fault::new(FaultCode::Draining, "the server ended before the function did")));
            }
        });
    }
}

// === impl Streaming ===

impl Streaming {
    /// Waits until it is known how the answer comes.
    pub async fn begun(mut self) -> Result<Streamed, Fault> {
        let begun = poll_fn(|cx| {
            let mut state = lock(&self.state);
            if let Some(content_type) = state.content_type.take() {
                return Poll::Ready(Ok(content_type));
            }
            if let Some(outcome) = state.over.take() {
                return Poll::Ready(Err(outcome));
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        });
        match begun.await {
            Ok(content_type) => {
                self.content_type = content_type;
                Ok(Streamed::Stream(self))
            }
            Err(outcome) => outcome.map(|outcome| Streamed::Whole(Box::new(outcome))),
        }
    }

    /// What the function says it is. May be empty.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The next piece, or how the call went once there is none. Not to be asked again after that.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Box<Result<Outcome, Fault>>>> {
        let mut state = lock(&self.state);
        if let Some(piece) = state.pieces.pop_front() {
            let writer = state.writer.take().filter(|_| state.pieces.is_empty());
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Ok(piece));
        }
        if let Some(outcome) = state.over.take() {
            return Poll::Ready(Err(Box::new(outcome)));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.gone = true;
        state.pieces.clear();
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}
