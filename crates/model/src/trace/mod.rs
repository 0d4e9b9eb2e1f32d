//! Traces: which one a call belongs to, what its function is told of that and, where traces are exported, the call's span.
//!
//! ```text
//! headers ─► Context ─► Trace ──► what the function and the record are told
//!                         └ Call, where it is recorded: filled by the door and by the engine, and given to `Spans`
//!                           when the last of them lets go
//! ```
//!
//! Where nobody exports, Hearth makes no span and decides nothing: what a caller says is passed on as it came. A decision that
//! nobody made would be taken for one: programs that record themselves ask `traceparent` whether they shall.

mod call;
mod context;
mod sampler;

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use call::{Call, Cause, Finished, Http, Spans, Trigger};
pub use context::{Context, Xray};
pub use sampler::{InvalidSampler, Sampler};

use crate::Timestamp;

/// W3C's id of a trace: not all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceId([u8; 16]);

/// W3C's id of a span: not all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// What of traces is recorded, and by whom.
pub struct Tracer {
    pub sampler: Sampler,
    pub spans: Arc<dyn Spans>,
}

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Has this process record traces, from now on. What was chosen first stays.
pub fn choose_tracer(tracer: Tracer) {
    let _ = TRACER.set(tracer);
}

/// Whether this process records traces.
pub fn is_traced() -> bool {
    TRACER.get().is_some()
}

/// One call's place in a trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What the function is told: below Hearth's own span where there is one.
    told: Context,
    /// The caller's span.
    parent: Option<SpanId>,
    /// Whether anybody but the function knows of this trace.
    known: bool,
    call: Option<Arc<Call>>,
}

// === impl Trace ===

impl Trace {
    /// The place of a call whose caller said this of it, if anything.
    pub fn begin(said: Option<Context>, cause: Cause, now: Timestamp) -> Self {
        Self::begin_by(TRACER.get(), said, cause, now)
    }

    /// A new one that nobody records: of calls that measure.
    pub fn unrecorded(now: Timestamp) -> Self {
        Self::begin_by(None, None, Cause::Call, now)
    }

    fn begin_by(tracer: Option<&Tracer>, said: Option<Context>, cause: Cause, now: Timestamp) -> Self {
        let known = said.is_some() || tracer.is_some();
        let mut told = said.unwrap_or_else(|| Context::fresh(now));
        let parent = told.parent;
        let Some(tracer) = tracer else { return Self { told, parent, known, call: None } };
        let sampled = match (cause, told.sampled) {
            // Decided when the event was made.
            (Cause::Event { .. }, Some(decided)) => decided,
            _ => tracer.sampler.decide(&told),
        };
        told.sampled = Some(sampled);
        let span = SpanId::random();
        let call = sampled.then(|| Arc::new(Call::new(&told, span, cause, tracer.spans.clone())));
        told.parent = Some(span);
        Self { told, parent, known, call }
    }

    /// The context of an event that nobody called for, as the queue keeps it.
    pub fn event(trigger: Trigger, now: Timestamp) -> String {
        Self::begin(None, Cause::Call, now).later(trigger)
    }

    /// The context of what is not run now but kept, as the queue keeps it. Whether it is recorded is decided by now.
    pub fn later(&self, trigger: Trigger) -> String {
        Context { parent: self.parent, ..self.told.clone() }.to_text(trigger)
    }

    /// The place of one run of an event, of which `kept` was kept.
    pub fn attempt(kept: &str, id: crate::RequestId, attempt: u32, received: Timestamp, now: Timestamp) -> Self {
        Self::attempt_by(TRACER.get(), kept, id, attempt, received, now)
    }

    fn attempt_by(
        tracer: Option<&Tracer>,
        kept: &str,
        id: crate::RequestId,
        attempt: u32,
        received: Timestamp,
        now: Timestamp,
    ) -> Self {
        let (said, trigger) = Context::from_text(kept).unzip();
        let (enqueued, trigger) = (SpanId::of(id), trigger.unwrap_or(Trigger::Other));
        Self::begin_by(tracer, said, Cause::Event { attempt, received, enqueued, trigger }, now)
    }

    /// The context of an event that is made because of this call, as the queue keeps it.
    pub fn follows(&self) -> String {
        self.told.to_text(Trigger::Other)
    }

    /// What the function is told.
    pub fn told(&self) -> &Context {
        &self.told
    }

    /// The id, where somebody else knows of it too: others' are not worth keeping.
    pub fn id(&self) -> Option<TraceId> {
        self.known.then_some(self.told.id)
    }

    /// Its span, where it is recorded.
    pub fn call(&self) -> Option<&Call> {
        self.call.as_deref()
    }

    /// The call came to its end, now.
    pub fn ended(&self, record: &crate::Record) {
        if let Some(call) = &self.call {
            call.ended(record.clone(), Timestamp::now());
        }
    }
}

// === impl TraceId ===

impl TraceId {
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        Some(Self(bytes)).filter(|id| id.0 != [0; 16])
    }

    /// Begins with the time, as X-Ray wants it; the rest is random.
    fn fresh(now: Timestamp) -> Self {
        let mut bytes = crate::id::random();
        bytes[..4].copy_from_slice(&(now.millis().div_euclid(1000) as u32).to_be_bytes());
        Self(bytes)
    }

    fn read(digits: &[u8]) -> Option<Self> {
        Self::new(context::bytes(digits)?)
    }

    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The last eight bytes.
    fn low(self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }

    fn digits(self) -> [u8; 32] {
        let mut text = [0; 32];
        hex(&self.0, &mut text);
        text
    }
}

// === impl SpanId ===

impl SpanId {
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        Some(Self(bytes)).filter(|id| id.0 != [0; 8])
    }

    pub fn random() -> Self {
        let bytes = crate::id::random();
        let half = |at: usize| Self::new(std::array::from_fn(|place| bytes[at + place]));
        // Both of zeros is what never happens.
        half(0).or_else(|| half(8)).unwrap_or(Self([1; 8]))
    }

    /// That of an event's way through the queue: the same for all its runs, over restarts too.
    fn of(id: crate::RequestId) -> Self {
        let bytes = id.bytes();
        Self::new(std::array::from_fn(|place| bytes[place])).unwrap_or(Self([1; 8]))
    }

    fn read(digits: &[u8]) -> Option<Self> {
        Self::new(context::bytes(digits)?)
    }

    pub fn bytes(&self) -> [u8; 8] {
        self.0
    }

    fn digits(self) -> [u8; 16] {
        let mut text = [0; 16];
        hex(&self.0, &mut text);
        text
    }
}

fn hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

macro_rules! hex_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_id!(TraceId);
hex_id!(SpanId);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::RequestId;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Finished>>);

    impl Spans for Kept {
        fn put(&self, span: Finished) {
            self.0.lock().unwrap().push(span);
        }
    }

    fn tracer(sampler: &str) -> (Tracer, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        (Tracer { sampler: Sampler::new(sampler, None).unwrap(), spans: kept.clone() }, kept)
    }

    fn said(sampled: bool) -> Option<Context> {
        let flags = u8::from(sampled);
        Context::w3c(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags:02x}"))
    }

    #[test]
    fn where_nobody_records_what_came_is_passed_on() {
        let trace = Trace::begin_by(None, said(true), Cause::Call, Timestamp(0));
        assert_eq!((Some(trace.told()), trace.id().is_some()), (said(true).as_ref(), true));
        // And nothing is decided for others.
        let trace = Trace::begin_by(None, None, Cause::Call, Timestamp(0));
        assert_eq!((trace.told().traceparent(), trace.id(), trace.told().sampled), (None, None, None));
        let text = trace.later(Trigger::Timer);
        let (kept, trigger) = Context::from_text(&text).unwrap();
        assert_eq!((kept.sampled, trigger), (None, Trigger::Timer));
    }

    #[test]
    fn a_recorded_call_is_between_its_caller_and_its_function() {
        let (tracer, kept) = tracer("parentbased_always_on");
        let trace = Trace::begin_by(Some(&tracer), said(true), Cause::Call, Timestamp(0));
        let told = trace.told().clone();
        assert_eq!((Some(told.id), told.sampled), (said(true).map(|c| c.id), Some(true)));
        assert_ne!(told.parent, said(true).unwrap().parent);
        // The door lets go last, or the engine does: either way once.
        let held = trace.clone();
        trace.ended(&record());
        drop(trace);
        assert!(kept.0.lock().unwrap().is_empty());
        drop(held);
        let spans = kept.0.lock().unwrap();
        assert_eq!((spans.len(), Some(spans[0].span), spans[0].parent), (1, told.parent, said(true).unwrap().parent));
    }

    #[test]
    fn what_is_not_sampled_is_passed_on_and_not_recorded() {
        let (tracer, kept) = tracer("parentbased_always_on");
        let trace = Trace::begin_by(Some(&tracer), said(false), Cause::Call, Timestamp(0));
        assert!(trace.call().is_none() && trace.told().traceparent().unwrap().ends_with("-00"));
        trace.ended(&record());
        drop(trace);
        assert!(kept.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_call_that_reached_no_function_is_none() {
        let (tracer, kept) = tracer("always_on");
        drop(Trace::begin_by(Some(&tracer), None, Cause::Call, Timestamp(0)));
        assert!(kept.0.lock().unwrap().is_empty());
    }

    #[test]
    fn what_was_decided_of_an_event_holds_when_it_runs() {
        let (off, _) = tracer("always_off");
        let (on, kept) = tracer("always_on");
        let id = RequestId::random();
        let run = |by, text: &str, attempt| Trace::attempt_by(Some(by), text, id, attempt, Timestamp(0), Timestamp(9));
        let text = Trace::begin_by(Some(&off), said(true), Cause::Call, Timestamp(0)).later(Trigger::Other);
        assert!(run(&on, &text, 1).call().is_none());
        let text = Trace::begin_by(Some(&on), said(false), Cause::Call, Timestamp(0)).later(Trigger::Other);
        for attempt in 1..3 {
            // Whatever the sampler is by then.
            let trace = run(if attempt == 1 { &on } else { &off }, &text, attempt);
            assert!(trace.call().is_some());
            if attempt == 1 {
                trace.ended(&record());
            }
        }
        let spans = kept.0.lock().unwrap();
        let Cause::Event { enqueued, .. } = spans[0].cause else { panic!("{:?}", spans[0]) };
        assert_eq!((enqueued, spans[0].parent), (SpanId::of(id), said(true).unwrap().parent));
    }

    #[test]
    fn an_event_that_follows_a_call_is_below_it() {
        let (tracer, _) = tracer("always_on");
        let trace = Trace::begin_by(Some(&tracer), said(true), Cause::Call, Timestamp(0));
        let (kept, _) = Context::from_text(&trace.follows()).unwrap();
        assert_eq!(Some(&kept), Some(trace.told()));
        // What older Hearths kept.
        let (kept, _) = Context::from_text("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0").unwrap();
        assert_eq!((kept.parent, kept.sampled), (None, Some(false)));
        let trace = Trace::attempt_by(None, "", RequestId::random(), 1, Timestamp(0), Timestamp(0));
        assert!(trace.told().traceparent().is_none());
    }

    fn record() -> crate::Record {
        let json = serde_json::json!({
            "request_id": RequestId::random(), "function": "f", "revision": 1, "instance": null, "door": "invoke",
            "received": 0, "cold": false, "stem": false, "isolation": null, "outcome": {"status": "ok"}, "queued_us": 0,
            "sandbox_us": null, "runtime_us": null, "init_us": null, "handler_us": 0, "memory_peak": null, "cpu_us": null,
            "request_bytes": 0, "response_bytes": 0,
        });
        serde_json::from_value(json).unwrap()
    }
}
