//! The way of one invocation through the engine: lookup, an instance, the call, the record.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use driver::Usage;
use model::{
    Door, Fault, FaultCode, FunctionError, InstanceId, Invocation, Kept, MAX_REQUEST_BYTES, Outcome, Payloads, Record,
    RecordOutcome, Reply, Stage, Timestamp, billed_ms,
};
use tokio::time::Instant;

use crate::call::{Called, Ending, Terms, call};
use crate::decide::roster::Take;
use crate::flow::Source;
use crate::instance::{Cold, Info};
use crate::log::{Sink, Tail};
use crate::pool::{Grant, Lease, Pool};
use crate::report::{self, Report};
use crate::shared::Shared;
use crate::start::{NotStarted, Why};
use crate::{draining, failure};

/// How often an instance that had ended unnoticed is replaced by another for one invocation.
const STALE_LIMIT: u32 = 3;

type Running = Pin<Box<dyn Future<Output = Result<Outcome, Fault>> + Send>>;

/// Runs in the task of the caller, and when the caller goes, in one of its own: so a warm call costs no task
/// and no wake-up of another thread, and is not lost with a connection.
pub struct Unstoppable {
    shared: Arc<Shared>,
    running: Option<Running>,
    begun: bool,
}

/// An invocation, and what its record will say.
struct Work<'a> {
    shared: &'a Arc<Shared>,
    invocation: &'a Invocation,
    entered: Instant,
    queued: Duration,
    cold: Option<Box<Cold>>,
    /// When the request came in: only of calls that had to wait.
    received: Option<Instant>,
    flow: Option<&'a Source>,
}

/// What is measured on an instance.
#[derive(Default)]
struct Measured {
    took: Duration,
    peak: Option<u64>,
    cpu: Option<Duration>,
    /// When the answer was there: only of cold calls.
    over: Option<Instant>,
    /// Of an answer that was passed on as it came, bytes.
    streamed: Option<u64>,
}

// === impl Unstoppable ===

impl Unstoppable {
    pub fn new(shared: &Arc<Shared>, invocation: Invocation) -> Self {
        let running: Running = Box::pin(run(shared.clone(), invocation, None));
        Self { shared: shared.clone(), running: Some(running), begun: false }
    }
}

impl Future for Unstoppable {
    type Output = Result<Outcome, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.begun = true;
        let Some(running) = &mut self.running else { return Poll::Pending };
        let outcome = ready!(running.as_mut().poll(cx));
        self.running = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Unstoppable {
    fn drop(&mut self) {
        // A panic in it must not be polled again.
        if let Some(running) = self.running.take().filter(|_| self.begun && !std::thread::panicking()) {
            self.shared.spawn(async move { drop(running.await) });
        }
    }
}

/// Runs to its end, and tells `flow`.
pub async fn stream(shared: Arc<Shared>, invocation: Invocation, flow: Source) {
    let outcome = run(shared, invocation, Some(&flow)).await;
    flow.end(outcome);
}

async fn run(shared: Arc<Shared>, invocation: Invocation, flow: Option<&Source>) -> Result<Outcome, Fault> {
    let Some(_inside) = shared.enter() else { return Err(draining()) };
    let (shared, invocation) = (&shared, &invocation);
    let mut work =
        Work { shared, invocation, entered: Instant::now(), queued: Duration::ZERO, cold: None, received: None, flow };
    let mut stale = 0;
    loop {
        let name = &invocation.function;
        // No record: there is no function that it would be a record of.
        let qualifier = invocation.qualifier.as_ref();
        let Some(entry) = shared.catalogue.route(name, qualifier) else {
            let stopped = shared.is_stopped();
            return Err(if stopped { draining() } else { shared.catalogue.absent(name, qualifier) });
        };
        // None: it was replaced at this moment.
        let Some(pool) = entry.pool(shared, invocation.probe) else { continue };
        if pool.function.spec.web.is_some() {
            let text = format!("function {name} is a web function: it takes HTTP requests, not events");
            return Err(work.refuse(&pool, Fault::new(FaultCode::InvalidRequest, text)));
        }
        if invocation.payload.len() > MAX_REQUEST_BYTES {
            let text = format!("the payload is over the limit of {MAX_REQUEST_BYTES} bytes");
            return Err(work.refuse(&pool, Fault::new(FaultCode::RequestTooLarge, text)));
        }
        let lease = match pool.take() {
            Take::Idle(lease) => lease,
            Take::Closed => continue,
            Take::None => match work.wait(&pool).await {
                Ok(Grant::Ready(lease, cold)) => {
                    work.cold = cold;
                    lease
                }
                Ok(Grant::Moved) if shared.is_stopped() => return Err(work.refuse(&pool, draining())),
                Ok(Grant::Moved) => continue,
                Ok(Grant::Failed(failed)) => {
                    work.queued = work.entered.elapsed();
                    return work.not_started(&pool, *failed);
                }
                Err(fault) => return Err(work.refuse(&pool, fault)),
            },
        };
        work.queued = work.entered.elapsed();
        match work.call(&pool, lease, stale < STALE_LIMIT).await {
            Some(outcome) => return outcome,
            None => stale += 1,
        }
    }
}

// === impl Work ===

impl Work<'_> {
    /// Waits for an instance.
    async fn wait(&mut self, pool: &Arc<Pool>) -> Result<Grant, Fault> {
        if self.received.is_none() {
            // The door knows the day's time only. So little later, that it jumped meanwhile is most unlikely.
            let ago = Timestamp::now().since(self.invocation.received);
            self.received = Some(Instant::now().checked_sub(ago).unwrap_or(self.entered).min(self.entered));
        }
        pool.wait(self.shared, (self.entered + self.shared.limits.queue_wait).into_std()).await
    }

    /// Calls the function. `None`: the instance had ended before, and another shall be taken.
    async fn call(&self, pool: &Pool, mut lease: Lease, again: bool) -> Option<Result<Outcome, Fault>> {
        let (shared, invocation, id) = (self.shared, self.invocation, self.invocation.id);
        let spec = &pool.function.spec;
        let instance = lease.instance()?;
        let info = instance.info.clone();
        let mut idle = Sink::new(&*pool.telemetry, &spec.name, &info.id);
        let usable = instance.io.catch_up(&mut idle).is_ok() && instance.is_usable();
        if !usable && again {
            return self.stale(&info);
        }
        let before = instance.usage_before(self.entered.into_std());
        let tail = invocation.tail.then(Tail::default);
        let mut sink = idle.of(id, instance.previous).keeping(tail);
        report::start(&mut sink, id, pool.function.version);
        let arn = pool.invoked_arn(shared, invocation.qualifier.as_ref());
        let terms = Terms { invocation, arn: &arn, timeout: spec.timeout, exit: shared.limits.exit, flow: self.flow };
        let called = if usable {
            call(instance, &mut sink, &terms).await
        } else {
            Called { ending: Ending::Stale, took: Duration::ZERO, in_order: false }
        };
        if matches!(called.ending, Ending::Stale) && again {
            return self.stale(&info);
        }
        info.count_invocation();
        instance.previous = Some(id);
        let over = self.cold.as_ref().map(|_| Instant::now());
        let after = instance.usage_after(Instant::now().into_std(), called.took);
        let streamed = match called.ending {
            Ending::Streamed(bytes) => Some(bytes),
            _ => None,
        };
        let measured = Measured { took: called.took, peak: info.peak(), cpu: used(before, after), over, streamed };
        let reply = self.reply(spec.timeout, called.ending, &mut sink);
        self.report(pool, &measured, &mut sink);
        let tail = sink.into_tail();
        if called.in_order {
            lease.release();
        } else {
            drop(lease);
        }
        // Whatever it looked like from here: it was the server that ended it.
        if shared.is_stopped() && matches!(&reply, Reply::Failure(error) if error.fault.code == FaultCode::Exited) {
            return Some(Err(self.refuse(pool, draining())));
        }
        Some(Ok(self.outcome(pool, reply, info.id.clone(), tail, measured)))
    }

    fn stale<T>(&self, info: &Info) -> Option<T> {
        let function = &info.function.spec.name;
        tracing::debug!(instance = %info.id, %function, "an instance had ended unnoticed: another is taken");
        None
    }

    fn reply(&self, timeout: Duration, ending: Ending, sink: &mut Sink<'_>) -> Reply {
        let id = self.invocation.id;
        let error = match ending {
            Ending::Response(payload) => return Reply::Success(payload),
            Ending::Error(payload) => failure::reported(payload, FaultCode::HandlerError),
            // Its bytes are with who asked for them.
            Ending::Streamed(_) => return Reply::Success(Bytes::new()),
            Ending::TooLarge => failure::too_large(),
            Ending::StreamTooLarge => failure::stream_too_large(),
            Ending::TimedOut => {
                report::timed_out(sink, id, timeout);
                return Reply::Failure(failure::timed_out(id, timeout, FaultCode::Timeout));
            }
            Ending::Exited(cause) => failure::exited(id, cause.as_ref()),
            Ending::Stale => failure::exited(id, None),
            Ending::Protocol(what) => failure::not_the_protocol(id, &what),
        };
        say(sink, id, &error);
        Reply::Failure(error)
    }

    fn report(&self, pool: &Pool, measured: &Measured, sink: &mut Sink<'_>) {
        let whole = |cold: &Cold| {
            let parts = [cold.sandbox_us, cold.runtime_us, cold.init_us];
            Duration::from_micros(parts.into_iter().flatten().sum())
        };
        let init = self.cold.as_deref().filter(|cold| !cold.restored).map(whole);
        let own = |cold: &Cold| Duration::from_micros(cold.init_us.unwrap_or(0));
        let restore = self.cold.as_deref().filter(|cold| cold.restored).map(|cold| (whole(cold), own(cold)));
        let Measured { took, peak, .. } = *measured;
        report::end(sink, self.invocation.id, &Report { took, memory: pool.function.spec.memory, peak, init, restore });
    }

    /// No instance came to be: the caller is told why.
    fn not_started(&mut self, pool: &Pool, failed: NotStarted) -> Result<Outcome, Fault> {
        self.cold = Some(Box::new(failed.cold));
        let stopped = self.shared.is_stopped() && matches!(failed.why, Why::Exited(_));
        let told = if stopped { Err(draining()) } else { failed.why.told(self.invocation.id) };
        let (Ok(error), Some(instance)) = (&told, failed.instance) else {
            let fault = told.err().unwrap_or_else(|| Fault::new(FaultCode::Internal, "an instance without an id"));
            return Err(self.refuse(pool, fault));
        };
        let error = error.clone();
        let tail = failed.tail.filter(|_| self.invocation.tail);
        let sink = Sink::new(&*pool.telemetry, &pool.function.spec.name, &instance);
        let mut sink = sink.of(self.invocation.id, None).keeping(tail);
        report::start(&mut sink, self.invocation.id, pool.function.version);
        say(&mut sink, self.invocation.id, &error);
        let measured = Measured::default();
        self.report(pool, &measured, &mut sink);
        let tail = sink.into_tail();
        Ok(self.outcome(pool, Reply::Failure(error), instance, tail, measured))
    }

    fn outcome(
        &self,
        pool: &Pool,
        reply: Reply,
        instance: InstanceId,
        tail: Option<Tail>,
        measured: Measured,
    ) -> Outcome {
        let (outcome, bytes) = match &reply {
            Reply::Success(payload) => (RecordOutcome::Ok, payload.len()),
            Reply::Failure(error) => (RecordOutcome::Fault(error.fault.code), error.payload.len()),
        };
        let mut record = self.record(pool, outcome);
        if let Reply::Failure(error) = &reply {
            record.error = Some(failure::summary(error));
        }
        record.instance = Some(instance.clone());
        record.handler_us = measured.took.as_micros() as u64;
        record.billed_ms = billed_ms(measured.took);
        record.memory_peak = measured.peak;
        record.cpu_us = measured.cpu.map(|cpu| cpu.as_micros() as u64);
        record.response_bytes = measured.streamed.unwrap_or(bytes as u64);
        record.stages = self.stages(&measured);
        let answer = match &reply {
            _ if measured.streamed.is_some() => None,
            Reply::Success(payload) => Some(payload),
            Reply::Failure(error) => Some(&error.payload),
        };
        self.invocation.trace.ended(&record);
        self.keep(pool, &mut record, answer);
        Outcome { reply, instance, tail: tail.map(Tail::into_bytes), record }
    }

    /// It never ran; that is recorded too.
    fn refuse(&self, pool: &Pool, fault: Fault) -> Fault {
        let mut record = self.record(pool, RecordOutcome::Fault(fault.code));
        record.queued_us = self.entered.elapsed().as_micros() as u64;
        record.error = Some(failure::cut(fault.message.clone()));
        self.invocation.trace.ended(&record);
        self.keep(pool, &mut record, None);
        fault
    }

    /// Hands the record to whoever writes it; with event and answer, where the function asks for that.
    fn keep(&self, pool: &Pool, record: &mut Record, answer: Option<&Bytes>) {
        // A comparison's thousands of calls have one event, and would drive out all others.
        let measures = record.door == Door::Compare;
        if measures || !pool.function.spec.records.payloads.wants(record.outcome) {
            return pool.telemetry.record(record.clone());
        }
        record.payloads = Kept::Yes;
        pool.telemetry.record_with(record.clone(), Payloads::new(&self.invocation.payload, answer));
    }

    fn record(&self, pool: &Pool, outcome: RecordOutcome) -> Record {
        let cold = self.cold.as_deref();
        Record {
            request_id: self.invocation.id,
            function: pool.function.spec.name.clone(),
            revision: pool.function.revision,
            version: pool.function.version,
            qualifier: self.invocation.qualifier.clone(),
            instance: None,
            door: self.invocation.door,
            received: self.invocation.received,
            cold: cold.is_some(),
            stem: cold.is_some_and(|cold| cold.stem),
            isolation: Some(pool.isolation),
            outcome,
            error: None,
            queued_us: self.queued.as_micros() as u64,
            sandbox_us: cold.and_then(|cold| cold.sandbox_us),
            runtime_us: cold.and_then(|cold| cold.runtime_us),
            init_us: cold.and_then(|cold| cold.init_us),
            handler_us: 0,
            memory_peak: None,
            cpu_us: None,
            request_bytes: self.invocation.payload.len() as u64,
            response_bytes: 0,
            memory: Some(pool.function.spec.memory),
            billed_ms: 0,
            replay_of: self.invocation.replay_of,
            payloads: Kept::No,
            stages: Vec::new(),
            trace: self.invocation.trace.id(),
        }
    }

    /// Where the time of a cold call went, until now.
    fn stages(&self, measured: &Measured) -> Vec<Stage> {
        let (Some(cold), Some(received)) = (&self.cold, self.received) else { return Vec::new() };
        let us = |at: Instant| at.saturating_duration_since(received).as_micros() as u64;
        let mut waterfall = cold.laps.waterfall(received, self.entered);
        if let Some(over) = measured.over {
            waterfall.stage("handover", us(over).saturating_sub(measured.took.as_micros() as u64));
            waterfall.stage("handler", us(over));
        }
        waterfall.stage("answer", us(Instant::now()));
        waterfall.into_stages()
    }
}

/// Processor time between two readings.
fn used(before: Usage, after: Usage) -> Option<Duration> {
    Some(after.cpu?.saturating_sub(before.cpu?))
}

/// The log's lines about a runtime that failed as a whole; a handler's error is the runtime's to print.
fn say(sink: &mut Sink<'_>, id: model::RequestId, error: &FunctionError) {
    let kind = match error.fault.code {
        FaultCode::OutOfMemory => "Runtime.OutOfMemory",
        FaultCode::Exited => "Runtime.ExitError",
        FaultCode::Protocol => "Runtime.ProtocolError",
        FaultCode::ResponseTooLarge => "Function.ResponseSizeTooLarge",
        FaultCode::InitTimeout => "Sandbox.Timedout",
        _ => return,
    };
    report::exited(sink, id, &error.fault.message, kind);
}
