//! Figures: what a function's calls take on each isolation, and what that costs. From a comparison's measurements or
//! from live calls, by the same rules.

use axum::Json;
use axum::extract::State;
use model::price::{Cost, Traffic, Use, gb};
use model::{Door, Function, FunctionName, Idle, Isolation, Memory, Prices, Record, RecordOutcome, Timestamp};
use serde::{Deserialize, Serialize};
use store::RecordQuery;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ErrorBody};
use crate::extract::{Params, Segment};
use crate::logs::moment;
use crate::{Api, Shared};

/// Live calls that are looked at, the newest ones.
const LIVE: usize = 10_000;

/// How far back live calls are looked for where nobody says: a day has all its hours.
const DEFAULT_SINCE: &str = "24h";

/// What calls take on one isolation. Calls that failed count as errors and nowhere else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    pub calls: u64,
    pub errors: u64,
    /// Calls for which an instance was made from nothing.
    pub cold: Option<StartFigures>,
    /// Calls for which a stem, a sandbox with its runtime up, became the instance.
    pub stem: Option<StartFigures>,
    /// Calls that found an instance.
    pub warm: Option<Spread>,
    /// Calls answered in a second, by as many clients as the comparison had.
    pub throughput: Option<f64>,
    /// Bytes that an instance held at its highest: the median of the instances.
    pub memory: Option<u64>,
    /// Processor time of a warm call, the mean, microseconds.
    pub cpu_us: Option<f64>,
    /// From handing over the event to the answer, the mean, microseconds.
    pub handler_us: Option<f64>,
    /// The same, each call rounded up to a millisecond.
    pub billed_us: Option<f64>,
    /// The start of an instance from nothing, of a stem where there was no other: the mean, microseconds.
    pub start_us: Option<f64>,
    /// The same without making the sandbox, which no cloud bills.
    pub start_billed_us: Option<f64>,
}

/// How long calls took, microseconds, by nearest rank: p99 of less than 100 calls is the slowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
}

/// How long cold calls took, all of it, and the medians of what the start consists of. Microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StartFigures {
    pub count: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    /// Making the sandbox, until its first process runs.
    pub sandbox_us: Option<u64>,
    /// From there until the runtime said hello.
    pub runtime_us: Option<u64>,
    /// Loading the function's code.
    pub init_us: Option<u64>,
}

/// One call that was measured.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub took_us: u64,
    pub record: &'a Record,
}

/// An isolation with its figures, or with the reason why it has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IsolationFigures {
    #[schema(value_type = String, example = "namespace")]
    pub isolation: Isolation,
    /// Why there are no figures.
    pub reason: Option<String>,
    pub figures: Option<Figures>,
    /// What is weaker on this machine than it should be, and what could not be measured.
    pub notes: Vec<String>,
    /// With the present prices, at the present rate of calls.
    #[serde(default)]
    pub costs: Vec<CostView>,
}

/// What calls cost with one set of prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostView {
    pub prices: PriceKind,
    /// `hardware`, or what the cloud is called.
    pub name: String,
    #[schema(example = "EUR")]
    pub currency: String,
    /// Of a million calls.
    pub per_million: f64,
    /// At the present rate of calls; none where there were none.
    pub per_month: Option<f64>,
    /// What the million consists of.
    pub parts: CostParts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PriceKind {
    /// The own machine.
    Hardware,
    Cloud,
}

/// Parts of the cost of a million calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostParts {
    pub cpu: f64,
    pub memory: f64,
    /// Memory that instances hold between calls.
    pub idle: f64,
    /// Starts, at their share of the calls.
    pub cold: f64,
    pub requests: f64,
}

/// What of a function's configuration its cost depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    #[schema(value_type = String, example = "128MB")]
    pub memory: Memory,
    /// Cores that a cloud would give it: `cpu`, or in proportion to memory.
    pub vcpus: f64,
    /// How long an instance without work is kept, seconds.
    pub keep_seconds: f64,
    /// Instances that are kept in any case.
    pub min: u32,
    /// Instances at once at most.
    pub max: u32,
}

/// How often a function is really called: what `hearth compare` calls does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallRate {
    /// RFC 3339. Later than asked for where there were more calls than are looked at.
    #[schema(format = DateTime)]
    pub since: String,
    #[schema(format = DateTime)]
    pub until: String,
    pub calls: u64,
    /// Calls in a second, over all of this time.
    pub rate: f64,
}

/// A function's live figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FiguresView {
    pub function: String,
    pub setting: Setting,
    pub calls: CallRate,
    /// Those that calls ran on.
    pub isolations: Vec<IsolationFigures>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// Calls from then on, the newest 10,000 of them: RFC 3339, or a time back from now like `7d`. Default `24h`.
    since: Option<String>,
}

/// What a function's live calls take and cost, on each isolation
///
/// Calls of comparisons do not count.
#[utoipa::path(get, path = "/api/v1/functions/{name}/figures", operation_id = "figures", tag = "comparisons",
    params(("name" = String, Path), Since),
    responses((status = 200, body = FiguresView), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_function(
    State(api): State<Api>,
    Segment(name): Segment<FunctionName>,
    Params(since): Params<Since>,
) -> Result<Json<FiguresView>, ApiError> {
    let function = api.functions.get(&name).await?;
    let prices = crate::prices::current(&api).await?.0;
    let setting = Setting::of(&api, &function);
    let Live { records, calls } = live(&api, &name, &since).await?;
    let mut isolations = Vec::new();
    for isolation in Isolation::ALL {
        let here: Vec<_> = records.iter().filter(|record| record.isolation == Some(*isolation)).collect();
        if here.is_empty() {
            continue;
        }
        let took = |record: &Record| record.queued_us + record.handler_us;
        let figures = Figures::of(here.iter().map(|record| Sample { took_us: took(record), record }));
        // What runs here pays here: the others' calls are in their own columns.
        let rate = calls.rate * here.len() as f64 / records.len() as f64;
        isolations.push(IsolationFigures {
            isolation: *isolation,
            reason: None,
            costs: costs(&figures, &setting, rate, &prices),
            figures: Some(figures),
            notes: Vec::new(),
        });
    }
    Ok(Json(FiguresView { function: name.into(), setting, calls, isolations }))
}

/// A function's real calls.
pub(crate) struct Live {
    pub records: Vec<Record>,
    pub calls: CallRate,
}

pub(crate) async fn live(api: &Shared, name: &FunctionName, since: &Since) -> Result<Live, ApiError> {
    let asked = moment("since", since.since.as_deref().unwrap_or(DEFAULT_SINCE))?;
    let query = RecordQuery {
        function: Some(name.clone()),
        request_id: None,
        since: Some(asked),
        except: Some(Door::Compare),
        limit: LIVE,
    };
    let records = api.telemetry.records(query).await?;
    let (now, oldest) = (Timestamp::now(), records.iter().map(|record| record.received).min());
    let from = match oldest {
        Some(oldest) if records.len() == LIVE => oldest,
        _ => asked,
    };
    let span = now.since(from).as_secs_f64();
    let rate = if span > 0.0 { records.len() as f64 / span } else { 0.0 };
    let calls = CallRate { since: from.rfc3339(), until: now.rfc3339(), calls: records.len() as u64, rate };
    Ok(Live { records, calls })
}

/// What these figures cost with each of the prices.
pub(crate) fn costs(figures: &Figures, setting: &Setting, rate: f64, prices: &Prices) -> Vec<CostView> {
    let (Some(handler), seconds) = (figures.handler_us, 1e-6) else { return Vec::new() };
    let configured = gb(setting.memory.bytes());
    let of = Use {
        // Where it cannot be measured: the most that one thread can take.
        cpu: figures.cpu_us.unwrap_or(handler) * seconds,
        busy: handler * seconds,
        billed: figures.billed_us.unwrap_or(handler) * seconds,
        start: figures.start_us.unwrap_or(0.0) * seconds,
        start_billed: figures.start_billed_us.unwrap_or(0.0) * seconds,
        held: figures.memory.map_or(configured, gb),
        configured,
        vcpus: setting.vcpus,
    };
    let keep = std::time::Duration::try_from_secs_f64(setting.keep_seconds).unwrap_or_default();
    let traffic = Traffic { rate, keep, min: setting.min, max: setting.max };
    let standing = traffic.standing(of.busy);
    let view = |prices, name: &str, currency: model::Currency, cost: Cost| CostView {
        prices,
        name: name.to_owned(),
        currency: currency.to_string(),
        per_million: cost.per_million(),
        per_month: cost.per_month(&traffic),
        parts: CostParts {
            cpu: cost.cpu * 1e6,
            memory: cost.memory * 1e6,
            idle: cost.idle * 1e6,
            cold: cost.cold * 1e6,
            requests: cost.request * 1e6,
        },
    };
    let hardware =
        prices.hardware.iter().map(|one| view(PriceKind::Hardware, "hardware", one.currency, one.cost(&of, standing)));
    let cloud = prices.cloud.iter().map(|one| view(PriceKind::Cloud, &one.name, one.currency, one.cost(&of, standing)));
    hardware.chain(cloud).collect()
}

// === impl Setting ===

impl Setting {
    pub(crate) fn of(api: &Shared, function: &Function) -> Self {
        let spec = &function.spec;
        let keep = match spec.scale.idle {
            // What comes after the first span serves calls that would be cold, and is left out: it is short.
            Idle::Auto => {
                let keeping = api.platform.keeping(&spec.name);
                keeping.iter().filter_map(|one| Some(one.spans.first()?.to)).fold(0.0, f64::max)
            }
            Idle::For(time) => time.as_secs_f64(),
        };
        Self {
            memory: spec.memory,
            vcpus: f64::from(spec.cpu_share().as_millis()) / 1000.0,
            keep_seconds: keep,
            min: spec.scale.min,
            max: spec.scale.max,
        }
    }
}

// === impl Figures ===

impl Figures {
    pub fn of<'a>(samples: impl IntoIterator<Item = Sample<'a>>) -> Self {
        let samples: Vec<_> = samples.into_iter().collect();
        let good: Vec<_> = samples.iter().filter(|one| one.record.outcome == RecordOutcome::Ok).copied().collect();
        let which = |cold: bool, stem: bool| -> Vec<Sample<'a>> {
            let fits = |one: &&Sample<'a>| one.record.cold == cold && (!cold || one.record.stem == stem);
            good.iter().filter(fits).copied().collect()
        };
        let (cold, stem, warm) = (which(true, false), which(true, true), which(false, false));
        // What a call takes is what a warm one takes; where there is none, what is known.
        let calls = if warm.is_empty() { &good } else { &warm };
        let started = if cold.is_empty() { &stem } else { &cold };
        let billed = |record: &Record| record.runtime_us.unwrap_or(0) + record.init_us.unwrap_or(0);
        let start = |record: &Record| record.sandbox_us.unwrap_or(0) + billed(record);
        Self {
            calls: samples.len() as u64,
            errors: (samples.len() - good.len()) as u64,
            cold: StartFigures::of(&cold),
            stem: StartFigures::of(&stem),
            warm: Spread::of(warm.iter().map(|one| one.took_us)),
            throughput: None,
            memory: memory(&good),
            cpu_us: mean(calls.iter().filter_map(|one| one.record.cpu_us)),
            handler_us: mean(calls.iter().map(|one| one.record.handler_us)),
            billed_us: mean(calls.iter().map(|one| one.record.handler_us.div_ceil(1000) * 1000)),
            start_us: mean(started.iter().map(|one| start(one.record))),
            start_billed_us: mean(started.iter().map(|one| billed(one.record))),
        }
    }
}

/// The median, over the instances, of the highest that each was seen to hold.
fn memory(samples: &[Sample<'_>]) -> Option<u64> {
    let mut highest = std::collections::BTreeMap::new();
    for record in samples.iter().map(|one| one.record) {
        let (Some(instance), Some(peak)) = (&record.instance, record.memory_peak) else { continue };
        let seen = highest.entry(instance).or_insert(peak);
        *seen = peak.max(*seen);
    }
    median(highest.into_values())
}

fn mean(values: impl Iterator<Item = u64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0u64);
    for value in values {
        sum += value as f64;
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    Spread::of(values).map(|spread| spread.p50_us)
}

// === impl Spread ===

impl Spread {
    pub fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_unstable();
        // The smallest value that so many percent of all are not above.
        let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { count: values.len() as u64, p50_us: rank(50)?, p99_us: rank(99)? })
    }
}

// === impl StartFigures ===

impl StartFigures {
    fn of(samples: &[Sample<'_>]) -> Option<Self> {
        let Spread { count, p50_us, p99_us } = Spread::of(samples.iter().map(|one| one.took_us))?;
        let part = |of: fn(&Record) -> Option<u64>| median(samples.iter().filter_map(|one| of(one.record)));
        Some(Self {
            count,
            p50_us,
            p99_us,
            sandbox_us: part(|record| record.sandbox_us),
            runtime_us: part(|record| record.runtime_us),
            init_us: part(|record| record.init_us),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::fakes::record;

    fn ok(cold: bool, stem: bool, handler_us: u64) -> Record {
        Record { outcome: RecordOutcome::Ok, cold, stem, handler_us, ..record("f") }
    }

    fn figures(records: &[Record]) -> Figures {
        Figures::of(records.iter().map(|record| Sample { took_us: record.handler_us, record }))
    }

    #[test]
    fn each_kind_of_call_is_told_apart_and_errors_count_nowhere_else() {
        let failed = Record { handler_us: 1_000_000, ..record("f") };
        let records =
            [ok(true, false, 900), ok(true, true, 500), ok(false, false, 100), ok(false, false, 1300), failed];
        let figures = figures(&records);
        assert_eq!((figures.calls, figures.errors), (5, 1));
        assert_eq!(figures.cold.map(|one| (one.count, one.p50_us, one.sandbox_us)), Some((1, 900, Some(2))));
        assert_eq!(figures.stem.map(|one| (one.count, one.p50_us)), Some((1, 500)));
        assert_eq!(figures.warm, Some(Spread { count: 2, p50_us: 100, p99_us: 1300 }));
        assert_eq!((figures.handler_us, figures.billed_us), (Some(700.0), Some(1500.0)));
        assert_eq!((figures.start_us, figures.start_billed_us), (Some(2.0), Some(0.0)));
    }

    #[test]
    fn an_instance_holds_its_highest_and_instances_their_median() {
        let of = |instance: &str, peak| Record {
            instance: Some(instance.parse().unwrap()),
            memory_peak: Some(peak),
            ..ok(false, false, 1)
        };
        let (a, b, c) = ("00000000000000aa", "00000000000000bb", "00000000000000cc");
        let records = [of(a, 5), of(a, 10), of(b, 20), of(c, 90), of(c, 80)];
        assert_eq!(figures(&records).memory, Some(20));
    }

    #[test]
    fn nothing_measured_is_no_figure_and_costs_nothing() {
        let figures = figures(&[]);
        assert_eq!((figures.warm, figures.cpu_us, figures.memory), (None, None, None));
        let setting = Setting { memory: Memory::mib(128), vcpus: 0.07, keep_seconds: 600.0, min: 0, max: 1 };
        assert!(costs(&figures, &setting, 1.0, &Prices::reference()).is_empty());
    }

    proptest! {
        #[test]
        fn percentiles_are_values_in_order(values in prop::collection::vec(0u64..1_000_000, 1..300)) {
            let Spread { count, p50_us, p99_us } = Spread::of(values.clone()).unwrap();
            prop_assert_eq!(count as usize, values.len());
            prop_assert!(values.contains(&p50_us) && values.contains(&p99_us) && p50_us <= p99_us);
            let at_most = |limit| values.iter().filter(|value| **value <= limit).count();
            let below = |limit| values.iter().filter(|value| **value < limit).count();
            prop_assert!(at_most(p50_us) * 100 >= values.len() * 50 && below(p50_us) * 100 < values.len() * 50);
            prop_assert!(at_most(p99_us) * 100 >= values.len() * 99 && below(p99_us) * 100 < values.len() * 99);
        }
    }
}
