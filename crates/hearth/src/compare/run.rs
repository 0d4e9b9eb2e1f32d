//! What a comparison measures, and in which order.
//!
//! ```text
//! check   every event once on each isolation: what fails everywhere fails the comparison, with the function's words
//! cold    in rounds: a fresh instance on each isolation, from nothing
//! stems   in rounds: a fresh instance from a stem, if one comes within a moment
//! warm    in rounds: a block of calls on the one instance that each isolation keeps
//! busy    in rounds: a second of as many calls as so many clients get answered
//! ```
//!
//! In each round the isolations take their turns in another order, so that a noisy moment of the machine hits all of
//! them. Latency is measured around the engine: what a client's connection adds is the same for all.

use std::time::Duration;

use bytes::Bytes;
use control::{ComparisonError, Figures, IsolationFigures, Sample};
use model::{
    Door, Fault, FaultCode, FunctionError, Invocation, Isolation, Probe, ProbeStart, Record, Reply, RequestId,
    Timestamp,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Calls, Failure, Shown};

/// What measuring one kind of call may take; what is not measured by then is not.
const PHASE: Duration = Duration::from_secs(4 * 60);

/// Warm calls in a row on one isolation. Short enough for the others' kept instances to outlive it.
const BLOCK: u32 = 10;

/// Clients keep one isolation busy for so long, then the next one.
const SLICE: Duration = Duration::from_secs(1);

/// How long a stem is waited for: tried again after each of these.
const STEM_WAITS: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// Calls of one isolation that may fail after the first one went well: more, and it is no comparison of speed.
const ERRORS: u32 = 5;

// Steps of progress, by what each takes, roughly.
const COLD_STEP: u32 = 10;
const BUSY_STEP: u32 = 50;

/// A comparison that runs.
pub struct Run<C> {
    calls: C,
    shown: Shown,
    events: Vec<Bytes>,
    /// Calls so far: says whose turn it is among the events.
    count: usize,
    random: Random,
    lanes: Vec<Lane>,
    notes: Vec<String>,
}

/// An isolation that takes part.
struct Lane {
    isolation: Isolation,
    samples: Vec<(u64, Record)>,
    errors: u32,
    load: Load,
    /// Why it takes part no more.
    out: Option<String>,
    stems: bool,
    notes: Vec<String>,
}

/// How a call failed.
enum Failed {
    /// The function's own failure.
    Function(Box<FunctionError>),
    /// It did not come so far.
    Platform(Fault),
    /// Another revision answered.
    Moved,
}

/// Where the next number comes from when only the order of things hangs on it.
struct Random(u64);

type Measured = (Vec<IsolationFigures>, Vec<String>);

// === impl Run ===

impl<C: Calls> Run<C> {
    pub fn new(calls: C, shown: Shown, events: Vec<Bytes>) -> Self {
        let random = Random::new();
        let lanes = {
            let comparison = shown.get();
            let wanted = comparison.isolations.iter().filter(|one| one.reason.is_none());
            wanted.map(|one| Lane::new(one.isolation)).collect()
        };
        Self { calls, shown, events, count: 0, random, lanes, notes: Vec::new() }
    }

    /// Figures of every isolation. Cancel-safe: calls that were begun come to their end by themselves.
    pub async fn measure(mut self) -> Result<Measured, Failure> {
        let plan = self.shown.get().plan;
        let (lanes, events) = (self.lanes.len() as u32, self.events.len() as u32);
        let each = events + 2 * plan.cold * COLD_STEP + plan.warm + plan.seconds * BUSY_STEP;
        self.shown.get().progress.total = lanes * each;

        self.check().await?;
        self.cold(plan.cold).await?;
        self.stems(plan.cold).await?;
        self.warm(plan.warm).await?;
        if plan.seconds > 0 {
            self.busy(plan.clients, plan.seconds).await?;
        }
        if self.lanes.iter().all(|lane| lane.out.is_some()) {
            let reason = self.lanes.into_iter().find_map(|lane| lane.out).unwrap_or_default();
            let message = format!("no isolation came to the end of it: {reason}");
            let error = ComparisonError { code: FaultCode::SandboxFailed, message, isolation: None, answer: None };
            return Err(Failure { error });
        }
        Ok(self.figures())
    }

    /// What fails on every isolation is the function's fault, or the event's.
    async fn check(&mut self) -> Result<(), Failure> {
        self.phase("one call on each");
        let mut first = None;
        for at in self.order() {
            for event in 0..self.events.len() {
                self.count = event;
                let isolation = self.lanes[at].isolation;
                let failed = self.call(at, ProbeStart::Warm).await.err();
                self.step(1);
                let Some(failed) = failed else { continue };
                if matches!(failed, Failed::Moved) {
                    return Err(failed.told(isolation));
                }
                self.lanes[at].out = Some(failed.words());
                first.get_or_insert(failed.told(isolation));
                break;
            }
        }
        match first {
            Some(mut failure) if self.lanes.iter().all(|lane| lane.out.is_some()) => {
                // No isolation's fault, where there are several.
                failure.error.isolation = failure.error.isolation.filter(|_| self.lanes.len() == 1);
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    async fn cold(&mut self, rounds: u32) -> Result<(), Failure> {
        self.phase("cold starts");
        let until = Instant::now() + PHASE;
        for round in 0..rounds {
            if self.is_late(until, "cold starts", round, rounds) {
                break;
            }
            for at in self.order() {
                let called = self.call(at, ProbeStart::Scratch).await;
                self.step(COLD_STEP);
                self.take(at, called, |record| record.cold && !record.stem)?;
            }
        }
        Ok(())
    }

    async fn stems(&mut self, rounds: u32) -> Result<(), Failure> {
        self.phase("cold starts from stems");
        let until = Instant::now() + PHASE;
        self.lanes.iter_mut().for_each(|lane| lane.stems = true);
        for round in 0..rounds {
            if self.is_late(until, "cold starts from stems", round, rounds) {
                break;
            }
            for at in self.order() {
                self.step(COLD_STEP);
                if self.lanes[at].stems {
                    self.stem(at).await?;
                }
            }
        }
        Ok(())
    }

    /// One start from a stem. Others may have taken the last one, or none is ever made here.
    async fn stem(&mut self, at: usize) -> Result<(), Failure> {
        for wait in [Duration::ZERO].into_iter().chain(STEM_WAITS) {
            tokio::time::sleep(wait).await;
            let called = self.call(at, ProbeStart::Stem).await;
            if self.take(at, called, |record| record.cold && record.stem)? || self.lanes[at].out.is_some() {
                return Ok(());
            }
        }
        let waited: Duration = STEM_WAITS.iter().sum();
        let lane = &mut self.lanes[at];
        lane.stems = false;
        let some = lane.samples.iter().any(|(_, record)| record.stem);
        let what = if some { "no further stem was ready" } else { "no stem was ready for it" };
        lane.notes.push(format!("{what} within {:.0} s", waited.as_secs_f64()));
        Ok(())
    }

    async fn warm(&mut self, calls: u32) -> Result<(), Failure> {
        self.phase("warm calls");
        let until = Instant::now() + PHASE;
        let mut done = 0;
        while done < calls {
            if self.is_late(until, "warm calls", done, calls) {
                break;
            }
            let block = BLOCK.min(calls - done);
            for at in self.order() {
                // Not counted: it may have to make the instance, and wakes it in any case.
                let settled = self.call(at, ProbeStart::Warm).await;
                self.take(at, settled, |_| false)?;
                for _ in 0..block {
                    if self.lanes[at].out.is_some() {
                        break;
                    }
                    let called = self.call(at, ProbeStart::Warm).await;
                    self.step(1);
                    self.take(at, called, |record| !record.cold)?;
                }
            }
            done += block;
        }
        Ok(())
    }

    async fn busy(&mut self, clients: u32, seconds: u32) -> Result<(), Failure> {
        self.phase(&format!("{clients} clients"));
        let until = Instant::now() + PHASE;
        for done in 0..seconds {
            if self.is_late(until, "seconds under load", done, seconds) {
                break;
            }
            for at in self.order() {
                // Each has an instance before the clock runs.
                self.clients(at, clients, None).await;
                let begun = Instant::now();
                let answered = self.clients(at, clients, Some(begun + SLICE)).await;
                self.step(BUSY_STEP);
                let load = &mut self.lanes[at].load;
                load.good += answered.good;
                load.failed += answered.failed;
                load.took += begun.elapsed();
            }
        }
        Ok(())
    }

    /// So many clients, each calling again as soon as it is answered; without `until` once.
    async fn clients(&mut self, at: usize, clients: u32, until: Option<Instant>) -> Load {
        let mut tasks = JoinSet::new();
        for client in 0..clients as usize {
            let (calls, events) = (self.calls.clone(), self.events.clone());
            let (isolation, comparison) = (self.lanes[at].isolation, self.shown.get().function.clone());
            tasks.spawn(async move {
                let mut answered = Load::default();
                for turn in client.. {
                    let event = events[turn % events.len()].clone();
                    let probe = Probe { isolation, start: ProbeStart::Warm };
                    let outcome = calls.call(invocation(&comparison, event, probe)).await;
                    let good = matches!(outcome, Ok(outcome) if matches!(outcome.reply, Reply::Success(_)));
                    answered.good += u32::from(good);
                    answered.failed += u32::from(!good);
                    if until.is_none_or(|until| Instant::now() >= until) {
                        break;
                    }
                    // One that is refused at once would otherwise keep this processor for itself.
                    tokio::task::yield_now().await;
                }
                answered
            });
        }
        let mut sum = Load::default();
        while let Some(answered) = tasks.join_next().await {
            let Load { good, failed, .. } = answered.unwrap_or_default();
            sum.good += good;
            sum.failed += failed;
        }
        sum
    }

    /// Calls with the next event: how long it took, and what is recorded of it.
    async fn call(&mut self, at: usize, start: ProbeStart) -> Result<(u64, Record), Failed> {
        let (function, revision) = {
            let comparison = self.shown.get();
            (comparison.function.clone(), comparison.revision)
        };
        let event = self.events[self.count % self.events.len()].clone();
        self.count += 1;
        let probe = Probe { isolation: self.lanes[at].isolation, start };
        let invocation = invocation(&function, event, probe);
        let begun = Instant::now();
        let outcome = self.calls.call(invocation).await.map_err(Failed::Platform)?;
        let took = begun.elapsed().as_micros() as u64;
        if outcome.record.revision.0 != revision {
            return Err(Failed::Moved);
        }
        match outcome.reply {
            Reply::Success(_) => Ok((took, outcome.record)),
            Reply::Failure(error) => Err(Failed::Function(Box::new(error))),
        }
    }

    /// Keeps a sample that fits; says whether it did. A few failures are counted, more end it.
    fn take(
        &mut self,
        at: usize,
        called: Result<(u64, Record), Failed>,
        fits: impl Fn(&Record) -> bool,
    ) -> Result<bool, Failure> {
        let lane = &mut self.lanes[at];
        match called {
            Ok((took, record)) => {
                let fits = fits(&record);
                if fits {
                    lane.samples.push((took, record));
                }
                Ok(fits)
            }
            Err(failed @ Failed::Moved) => Err(failed.told(lane.isolation)),
            Err(failed) => {
                lane.errors += 1;
                if lane.errors <= ERRORS {
                    return Ok(false);
                }
                match failed {
                    Failed::Function(_) => Err(failed.told(lane.isolation)),
                    _ => {
                        lane.out = Some(failed.words());
                        Ok(false)
                    }
                }
            }
        }
    }

    /// The lanes that take part, in a new order.
    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.lanes.len()).filter(|at| self.lanes[*at].out.is_none()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.random.below(at + 1));
        }
        order
    }

    fn is_late(&mut self, until: Instant, what: &str, done: u32, of: u32) -> bool {
        let late = Instant::now() >= until;
        if late {
            let limit = model::show_duration(PHASE);
            self.notes.push(format!("{what}: {done} of {of} on each isolation, as they took longer than {limit}"));
        }
        late
    }

    fn phase(&self, what: &str) {
        self.shown.get().progress.phase = what.to_owned();
    }

    fn step(&self, by: u32) {
        let mut comparison = self.shown.get();
        let progress = &mut comparison.progress;
        progress.done = (progress.done + by).min(progress.total);
    }

    fn figures(self) -> Measured {
        let mut isolations = self.shown.get().isolations.clone();
        for lane in self.lanes {
            let Some(one) = isolations.iter_mut().find(|one| one.isolation == lane.isolation) else { continue };
            if let Some(reason) = lane.out {
                one.reason = Some(reason);
                continue;
            }
            let samples = lane.samples.iter().map(|(took_us, record)| Sample { took_us: *took_us, record });
            let mut figures = Figures::of(samples);
            let Load { good, failed, took } = lane.load;
            figures.throughput = (good > 0).then(|| f64::from(good) / took.as_secs_f64());
            if failed > 0 {
                one.notes.push(format!("{failed} of {} calls failed under load", good + failed));
            }
            figures.errors += u64::from(lane.errors);
            figures.calls += u64::from(lane.errors);
            one.notes.extend(lane.notes);
            if figures.cpu_us.is_none() {
                one.notes.push("processor time cannot be measured: cost takes a call's time for it".to_owned());
            }
            if figures.memory.is_none() {
                one.notes.push("memory cannot be measured: cost takes the function's limit for it".to_owned());
            }
            one.figures = Some(figures);
        }
        (isolations, self.notes)
    }
}

fn invocation(function: &model::FunctionName, payload: Bytes, probe: Probe) -> Invocation {
    let (id, received) = (RequestId::random(), Timestamp::now());
    Invocation {
        id,
        function: function.clone(),
        qualifier: None,
        payload,
        door: Door::Compare,
        received,
        trace: model::Trace::unrecorded(received),
        client_context: String::new(),
        tail: false,
        probe: Some(probe),
        replay_of: None,
    }
}

/// Calls of clients that keep an isolation busy.
#[derive(Default)]
struct Load {
    good: u32,
    failed: u32,
    took: Duration,
}

// === impl Lane ===

impl Lane {
    fn new(isolation: Isolation) -> Self {
        Self {
            isolation,
            samples: Vec::new(),
            errors: 0,
            load: Load::default(),
            out: None,
            stems: true,
            notes: Vec::new(),
        }
    }
}

// === impl Failed ===

impl Failed {
    fn words(&self) -> String {
        match self {
            Failed::Function(error) => format!("the function fails on it: {}", error.fault),
            Failed::Platform(fault) => fault.to_string(),
            Failed::Moved => "the function was deployed anew while it was compared: begin again".to_owned(),
        }
    }

    fn told(&self, isolation: Isolation) -> Failure {
        let (code, answer) = match self {
            Failed::Function(error) => (error.fault.code, serde_json::from_slice(&error.payload).ok()),
            Failed::Platform(fault) => (fault.code, None),
            Failed::Moved => (FaultCode::Conflict, None),
        };
        let message = match self {
            Failed::Function(error) => error.fault.message.clone(),
            Failed::Platform(fault) => fault.message.clone(),
            Failed::Moved => self.words(),
        };
        Failure { error: ComparisonError { code, message, isolation: Some(isolation), answer } }
    }
}

// === impl Random ===

impl Random {
    fn new() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self(std::hash::RandomState::new().build_hasher().finish() | 1)
    }

    /// Marsaglia's xorshift.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
