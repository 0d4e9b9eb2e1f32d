//! What is counted of many calls together, so that it can be added up over time and over functions. Pure: no clock.

mod histogram;
mod traffic;
mod varint;

use std::collections::BTreeMap;

use crate::fault::{Blame, FaultCode};
use crate::record::{InstanceState, Record, RecordOutcome};

pub use histogram::{Histogram, MOST as LONGEST};
pub use traffic::Traffic;

/// Of calls of one kind in one span of time. The default is of none; sums of any two are of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregate {
    pub calls: u64,
    pub cold: u64,
    /// What went wrong, by code.
    pub faults: BTreeMap<FaultCode, u64>,
    /// In the handler, of the calls that got there.
    pub duration: Histogram,
    /// Cold calls: making the sandbox, starting the runtime and loading the code.
    pub init: Histogram,
    /// Waiting for an instance.
    pub queue: Histogram,
    /// Processor time, µs, and of how many calls it is known.
    pub cpu_us: u64,
    pub cpu_calls: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// What AWS Lambda would bill, of the calls whose memory is known: MB (2²⁰ bytes) times milliseconds.
    pub mib_ms: u64,
    /// What instances sent and received over their networks.
    pub traffic: Traffic,
    /// Highest that an instance was seen to hold, bytes; 0 where nothing was measured.
    pub memory_peak: u64,
    /// Instances in each state times the milliseconds that they were in it, in the order of [`STATES`].
    pub instance_ms: [u64; STATES.len()],
}

/// The states that instances are counted in.
pub const STATES: [InstanceState; 4] =
    [InstanceState::Starting, InstanceState::Idle, InstanceState::Frozen, InstanceState::Busy];

/// The form that [`Aggregate::to_bytes`] writes.
const FORM: u8 = 3;
/// The one before, without `traffic`. What has none is still written so: where two versions write into the same steps, as in
/// an upgrade, the older one does not lose what it can understand.
const UNCONNECTED: u8 = 2;
/// The one before that, without `mib_ms`.
const UNBILLED: u8 = 1;

/// MB (2²⁰ bytes) times milliseconds as GB-seconds, a GB being 2³⁰ bytes as in clouds' prices.
pub fn gb_seconds(mib_ms: u64) -> f64 {
    mib_ms as f64 / (1024.0 * 1000.0)
}

/// Faults that say that there was no room for the call.
pub fn is_throttle(code: FaultCode) -> bool {
    matches!(code, FaultCode::TooManyRequests | FaultCode::NoCapacity)
}

// === impl Aggregate ===

impl Aggregate {
    pub fn add(&mut self, record: &Record) {
        self.calls += 1;
        self.cold += u64::from(record.cold);
        if let RecordOutcome::Fault(code) = record.outcome {
            *self.faults.entry(code).or_default() += 1;
        }
        if record.instance.is_some() {
            self.duration.add(record.handler_us);
        }
        let parts = [record.sandbox_us, record.runtime_us, record.init_us];
        if record.cold && parts.iter().any(Option::is_some) {
            self.init.add(parts.into_iter().flatten().fold(0, u64::saturating_add));
        }
        self.queue.add(record.queued_us);
        if let Some(cpu) = record.cpu_us {
            self.cpu_us = self.cpu_us.saturating_add(cpu);
            self.cpu_calls += 1;
        }
        self.request_bytes = self.request_bytes.saturating_add(record.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(record.response_bytes);
        self.mib_ms = self.mib_ms.saturating_add(record.mib_ms().unwrap_or(0));
        self.memory_peak = self.memory_peak.max(record.memory_peak.unwrap_or(0));
    }

    /// Instances sent and received that.
    pub fn add_traffic(&mut self, more: Traffic) {
        self.traffic += more;
    }

    /// An instance was in that state for so long.
    pub fn add_instance(&mut self, state: InstanceState, millis: u64) {
        if let Some(at) = STATES.iter().position(|one| *one == state) {
            self.instance_ms[at] = self.instance_ms[at].saturating_add(millis);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        // Named one by one, so that a new field cannot be forgotten here.
        let Self {
            calls,
            cold,
            faults,
            duration,
            init,
            queue,
            cpu_us,
            cpu_calls,
            request_bytes,
            response_bytes,
            mib_ms,
            traffic,
            memory_peak,
            instance_ms,
        } = other;
        let sums = [
            (&mut self.calls, calls),
            (&mut self.cold, cold),
            (&mut self.cpu_us, cpu_us),
            (&mut self.cpu_calls, cpu_calls),
            (&mut self.request_bytes, request_bytes),
            (&mut self.response_bytes, response_bytes),
            (&mut self.mib_ms, mib_ms),
        ];
        for (mine, more) in sums.into_iter().chain(self.instance_ms.iter_mut().zip(instance_ms)) {
            *mine = mine.saturating_add(*more);
        }
        for (code, count) in faults {
            let mine = self.faults.entry(*code).or_default();
            *mine = mine.saturating_add(*count);
        }
        self.duration.merge(duration);
        self.init.merge(init);
        self.queue.merge(queue);
        self.traffic += *traffic;
        self.memory_peak = self.memory_peak.max(*memory_peak);
    }

    pub fn errors(&self) -> u64 {
        self.count(|_| true)
    }

    pub fn throttles(&self) -> u64 {
        self.count(is_throttle)
    }

    pub fn blamed(&self, blame: Blame) -> u64 {
        self.count(|code| code.blame() == blame)
    }

    pub fn gb_seconds(&self) -> f64 {
        gb_seconds(self.mib_ms)
    }

    fn count(&self, which: impl Fn(FaultCode) -> bool) -> u64 {
        self.faults.iter().filter(|(code, _)| which(**code)).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let form = if self.traffic.is_none() { UNCONNECTED } else { FORM };
        let mut bytes = vec![form];
        let numbers = [
            self.calls,
            self.cold,
            self.cpu_us,
            self.cpu_calls,
            self.request_bytes,
            self.response_bytes,
            self.mib_ms,
            self.memory_peak,
        ];
        numbers.iter().chain(&self.instance_ms).for_each(|number| varint::put(&mut bytes, *number));
        if form == FORM {
            [self.traffic.sent, self.traffic.received].iter().for_each(|number| varint::put(&mut bytes, *number));
        }
        for histogram in [&self.duration, &self.init, &self.queue] {
            histogram.write(&mut bytes);
        }
        // The codes' own text: their order in the enumeration is no promise.
        for (code, count) in &self.faults {
            let code = code.as_str().as_bytes();
            varint::put(&mut bytes, code.len() as u64);
            bytes.extend_from_slice(code);
            varint::put(&mut bytes, *count);
        }
        bytes
    }

    /// None for what [`Self::to_bytes`] does not write. A code that is not known here is left out.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let from = &mut bytes;
        let (form @ (FORM | UNCONNECTED | UNBILLED), rest) = from.split_first().map(|(form, rest)| (*form, rest))?
        else {
            return None;
        };
        *from = rest;
        let mut aggregate = Self {
            calls: varint::take(from)?,
            cold: varint::take(from)?,
            cpu_us: varint::take(from)?,
            cpu_calls: varint::take(from)?,
            request_bytes: varint::take(from)?,
            response_bytes: varint::take(from)?,
            mib_ms: if form == UNBILLED { 0 } else { varint::take(from)? },
            memory_peak: varint::take(from)?,
            ..Self::default()
        };
        for millis in &mut aggregate.instance_ms {
            *millis = varint::take(from)?;
        }
        if form == FORM {
            aggregate.traffic = Traffic { sent: varint::take(from)?, received: varint::take(from)? };
        }
        aggregate.duration = Histogram::read(from)?;
        aggregate.init = Histogram::read(from)?;
        aggregate.queue = Histogram::read(from)?;
        while !from.is_empty() {
            let len = usize::try_from(varint::take(from)?).ok()?;
            let (code, rest) = from.split_at_checked(len)?;
            *from = rest;
            let count = varint::take(from)?;
            if let Ok(code) = std::str::from_utf8(code).ok()?.parse() {
                aggregate.faults.insert(code, count);
            }
        }
        Some(aggregate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aggregates() -> impl Strategy<Value = Aggregate> {
        let histogram = || {
            prop::collection::vec(0u64..1 << 32, 0..20).prop_map(|all| {
                let mut histogram = Histogram::default();
                all.iter().for_each(|one| histogram.add(*one));
                histogram
            })
        };
        let faults = prop::collection::btree_map(prop::sample::select(FaultCode::ALL), 1u64..1000, 0..4);
        let numbers = prop::array::uniform8(0u64..1 << 40);
        let traffic = (0u64..1 << 40, 0u64..3).prop_map(|(sent, received)| Traffic { sent, received });
        let traffic = prop_oneof![Just(Traffic::default()), traffic];
        let instance_ms = prop::array::uniform4(0u64..1 << 40);
        (numbers, traffic, instance_ms, faults, [histogram(), histogram(), histogram()]).prop_map(
            |(
                [calls, cold, cpu_us, cpu_calls, request_bytes, response_bytes, mib_ms, memory_peak],
                traffic,
                instance_ms,
                faults,
                all,
            )| {
                let [duration, init, queue] = all;
                Aggregate {
                    calls,
                    cold,
                    faults,
                    duration,
                    init,
                    queue,
                    cpu_us,
                    cpu_calls,
                    request_bytes,
                    response_bytes,
                    mib_ms,
                    traffic,
                    memory_peak,
                    instance_ms,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order(a in aggregates(), b in aggregates(), c in aggregates()) {
            let sum = |parts: [&Aggregate; 2]| { let mut sum = parts[0].clone(); sum.merge(parts[1]); sum };
            prop_assert_eq!(sum([&sum([&a, &b]), &c]), sum([&a, &sum([&b, &c])]));
            prop_assert_eq!(sum([&a, &b]), sum([&b, &a]));
            prop_assert_eq!(sum([&Aggregate::default(), &a]), a);
        }

        #[test]
        fn what_is_written_is_read(a in aggregates()) {
            prop_assert_eq!(Aggregate::from_bytes(&a.to_bytes()), Some(a));
        }

        #[test]
        fn what_was_written_before_calls_were_billed_is_read(a in aggregates()) {
            let a = Aggregate { mib_ms: 0, traffic: Traffic::default(), ..a };
            // Its number is one byte, the seventh.
            let mut bytes = a.to_bytes();
            let mut from = &bytes[1..];
            (0..6).for_each(|_| { varint::take(&mut from); });
            let at = bytes.len() - from.len();
            prop_assert_eq!(bytes.remove(at), 0);
            bytes[0] = UNBILLED;
            prop_assert_eq!(Aggregate::from_bytes(&bytes), Some(a));
        }

        #[test]
        fn what_has_no_traffic_is_written_as_it_was_before_that_was_counted(a in aggregates()) {
            let quiet = Aggregate { traffic: Traffic::default(), ..a.clone() };
            prop_assert_eq!(quiet.to_bytes()[0], UNCONNECTED);
            prop_assert_eq!(a.to_bytes()[0], if a == quiet { UNCONNECTED } else { FORM });
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Aggregate::from_bytes(&bytes);
            bytes.insert(0, FORM);
            let _ = Aggregate::from_bytes(&bytes);
        }
    }
}
