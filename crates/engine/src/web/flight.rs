//! One call of a web function, from its seat to the last byte of its answer: what it holds, and what its record will say.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use model::{
    Door, Fault, FaultCode, Kept, Qualifier, Record, RecordOutcome, RequestId, Stage, Timestamp, Trace, billed_ms,
};
use tokio::time::Instant;

use crate::instance::Cold;
use crate::pool::Pool;
use crate::shared::Within;
use crate::web::connection::Sender;
use crate::web::h2c;
use crate::web::seats::{Open, Seat};
use crate::web::upload::Progress;

/// A call. Recorded when it is dropped, as it stood then.
pub struct Flight {
    id: RequestId,
    qualifier: Option<Qualifier>,
    door: Door,
    received: Timestamp,
    trace: Trace,
    entered: Instant,
    queued: Duration,
    cold: Option<Box<Cold>>,
    pool: Option<Arc<Pool>>,
    /// What its answer comes over.
    sender: Option<Sender>,
    /// What its answer comes over, with others.
    shared: Option<h2c::Sender>,
    seat: Option<Seat>,
    begun: Option<Instant>,
    progress: Option<Progress>,
    outcome: RecordOutcome,
    error: Option<String>,
    bytes: u64,
    /// Last: the engine does not end before it is recorded.
    inside: Option<Within>,
}

/// The body of an answer; or, of an answer that changes the protocol, what holds the call until that is over.
pub struct ReplyBody {
    body: Incoming,
    flight: Flight,
    upgraded: bool,
}

// === impl Flight ===

impl Flight {
    pub fn new(
        inside: Within,
        id: RequestId,
        qualifier: Option<Qualifier>,
        door: Door,
        received: Timestamp,
        trace: Trace,
    ) -> Self {
        Self {
            id,
            qualifier,
            door,
            received,
            trace,
            entered: Instant::now(),
            queued: Duration::ZERO,
            cold: None,
            pool: None,
            sender: None,
            shared: None,
            seat: None,
            begun: None,
            progress: None,
            outcome: RecordOutcome::Ok,
            error: None,
            bytes: 0,
            inside: Some(inside),
        }
    }

    pub fn id(&self) -> RequestId {
        self.id
    }

    pub fn entered(&self) -> Instant {
        self.entered
    }

    pub fn is_for(&mut self, pool: &Arc<Pool>) {
        self.pool = Some(pool.clone());
    }

    /// It waited for a start.
    pub fn was_cold(&mut self, cold: Option<Box<Cold>>) {
        self.cold = cold;
    }

    pub fn sits(&mut self, seat: Seat) {
        seat.open().info.count_invocation();
        self.queued = self.entered.elapsed();
        self.begun = Some(Instant::now());
        self.seat = Some(seat);
    }

    pub fn open(&self) -> Option<Arc<Open>> {
        self.seat.as_ref().map(|seat| seat.open().clone())
    }

    /// Begins to watch the request's body.
    pub fn progress(&mut self) -> Progress {
        self.progress.insert(Progress::new()).clone()
    }

    pub fn keep(&mut self, sender: Sender) {
        self.sender = Some(sender);
    }

    /// Kept so that its connection lasts as long as the call.
    pub fn keep_shared(&mut self, sender: h2c::Sender) {
        self.shared = Some(sender);
    }

    /// The instance takes no further calls.
    pub fn retire(&mut self) {
        if let Some(seat) = &self.seat {
            seat.open().retire();
        }
    }

    /// The call failed so.
    pub fn failed(mut self, fault: Fault) -> Fault {
        self.outcome = RecordOutcome::Fault(fault.code);
        self.error = Some(crate::failure::cut(fault.message.clone()));
        fault
    }

    pub fn answered(self, response: Response<Incoming>) -> Response<ReplyBody> {
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let version = self.pool.as_ref().map(|pool| pool.function.version);
        let mut response = response.map(|body| ReplyBody { body, flight: self, upgraded });
        // Which version answered, for who tells it.
        if let Some(version) = version {
            response.extensions_mut().insert(version);
        }
        response
    }

    fn stages(&mut self, cold: &Cold) -> Vec<Stage> {
        let ago = Timestamp::now().since(self.received);
        let received = Instant::now().checked_sub(ago).unwrap_or(self.entered).min(self.entered);
        let us = |at: Instant| at.saturating_duration_since(received).as_micros() as u64;
        let mut waterfall = cold.laps.waterfall(received, self.entered);
        if let Some(begun) = self.begun {
            waterfall.stage("handover", us(begun));
        }
        waterfall.stage("handler", us(Instant::now()));
        waterfall.into_stages()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        let cold = self.cold.take();
        let stages = cold.as_ref().map(|cold| self.stages(cold)).unwrap_or_default();
        let cold = cold.as_deref();
        let open = self.open();
        let took = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        let record = Record {
            request_id: self.id,
            function: pool.function.spec.name.clone(),
            revision: pool.function.revision,
            version: pool.function.version,
            qualifier: self.qualifier.take(),
            instance: open.as_ref().map(|open| open.info.id.clone()),
            door: self.door,
            received: self.received,
            cold: cold.is_some(),
            stem: cold.is_some_and(|cold| cold.stem),
            isolation: Some(pool.isolation),
            outcome: self.outcome,
            error: self.error.take(),
            queued_us: if open.is_some() { self.queued } else { self.entered.elapsed() }.as_micros() as u64,
            sandbox_us: cold.and_then(|cold| cold.sandbox_us),
            runtime_us: cold.and_then(|cold| cold.runtime_us),
            init_us: cold.and_then(|cold| cold.init_us),
            handler_us: took.as_micros() as u64,
            memory_peak: open.as_ref().and_then(|open| open.info.peak()),
            // Several calls at once share a sandbox: it is nobody's.
            cpu_us: None,
            request_bytes: self.progress.as_ref().map_or(0, Progress::bytes),
            response_bytes: self.bytes,
            memory: Some(pool.function.spec.memory),
            billed_ms: billed_ms(took),
            replay_of: None,
            // They passed by.
            payloads: Kept::No,
            stages,
            trace: self.trace.id(),
        };
        self.trace.ended(&record);
        pool.telemetry.record(record);
        // The seat goes back last, with whatever of the connection may be used again.
        (self.sender, self.shared) = (None, None);
        self.seat = None;
    }
}

// === impl ReplyBody ===

impl ReplyBody {
    /// From here on an engine that ends does not wait for it, but kills its instance with the others.
    pub fn leave(&mut self) {
        self.flight.inside = None;
    }

    /// The answer is whole: its connection may carry another.
    fn whole(&mut self) {
        if let (Some(sender), Some(seat), false) = (self.flight.sender.take(), &self.flight.seat, self.upgraded) {
            seat.open().give_back(sender);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.flight.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Poll::Ready(Some(Err(error))) => {
                self.flight.outcome = RecordOutcome::Fault(FaultCode::Exited);
                self.flight.error = Some(format!("the answer broke off: {error}"));
            }
            Poll::Ready(None) => self.whole(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.whole();
        }
    }
}
