//! Figures of calls over time, and the picture of now.
//!
//! Everything is computed from what the store counts ([`model::metric::Aggregate`]), here and in `/metrics`, so the two
//! cannot disagree.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use model::metric::{Aggregate, Histogram, STATES};
use model::{Blame, Cloud, Currency, FunctionName, InstanceState, Timestamp};
use serde::{Deserialize, Serialize};
use store::observe::{FINEST, KEPT, MetricsBy, MetricsQuery, MetricsSeries};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::logs::moment;
use crate::platform::{MemoryView, ProcessView};
use crate::{Api, Shared};

/// Points that an answer has where no step was asked for, and where one was.
const POINTS: i64 = 360;
const MOST_POINTS: i64 = 10_000;
/// Steps that are chosen among, seconds.
const STEPS: [i64; 10] = [10, 20, 30, 60, 120, 300, 600, 3600, 6 * 3600, 86_400];

/// Figures in steps, one series for each kind of calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsView {
    /// Seconds since 1970: the begin of the first step and the end of the last.
    pub from: i64,
    pub to: i64,
    /// Seconds.
    pub step: i64,
    /// What `cost` is reckoned with: the cloud's prices that `hearth prices` set. None where nobody has set any, or where
    /// they are of processors too, which these figures know nothing of.
    #[serde(default)]
    pub price: Option<PriceView>,
    pub series: Vec<SeriesView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesView {
    /// The function, version, alias and version (`prod:3`), revision, isolation or trigger; empty where nothing is told apart. `(other)` is what was too much to
    /// be told apart.
    pub key: String,
    pub total: PointView,
    /// Oldest first; steps in which there was nothing are left out.
    pub points: Vec<PointView>,
}

/// Figures of one span of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointView {
    /// Seconds since 1970.
    pub at: i64,
    /// How much of the span has passed.
    pub seconds: f64,
    pub calls: u64,
    pub errors: u64,
    /// Errors for want of room: at the function's maximum, or without memory. Among `errors`.
    pub throttles: u64,
    /// Calls that waited for an instance to be made.
    pub cold: u64,
    /// Errors by code.
    pub faults: BTreeMap<String, u64>,
    pub blame: BlameView,
    /// In the handler.
    pub duration: Option<DurationView>,
    /// Making the sandbox, starting the runtime and loading the code.
    pub init: Option<DurationView>,
    /// Waiting for an instance.
    pub queue: Option<DurationView>,
    /// Processor time, and of how many calls it is known.
    pub cpu_us: u64,
    pub cpu_calls: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// What instances sent through their network (egress), with the headers of packets; not answers. Told apart by neither
    /// trigger nor alias, and looked at every 5 s and when an instance goes.
    #[serde(default)]
    pub sent_bytes: u64,
    /// What came to them through it; not requests.
    #[serde(default)]
    pub received_bytes: u64,
    /// Memory that functions may use times the time that their calls took, each millisecond begun, in GB (2³⁰ bytes) times
    /// seconds: what AWS Lambda bills. Calls of before this was counted are not in it.
    #[serde(default)]
    pub gb_seconds: f64,
    /// What that and the requests that reached an instance would cost, in the price's currency.
    #[serde(default)]
    pub cost: Option<f64>,
    /// Highest that an instance was seen to hold, bytes; none where nothing was measured.
    pub memory_peak: Option<u64>,
    /// How many calls were in their handlers at once, on average. A call counts where it ends.
    pub concurrency: f64,
    /// How many instances there were, on average.
    pub instances: InstancesView,
}

/// A cloud's prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PriceView {
    #[schema(example = "aws-lambda-x86")]
    pub name: String,
    #[schema(value_type = String, example = "USD")]
    pub currency: Currency,
    pub gb_second: f64,
    /// Of one request.
    pub request: f64,
}

/// Errors by who has to act.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlameView {
    pub caller: u64,
    pub function: u64,
    pub platform: u64,
}

/// Microseconds. Percentiles are at most a 32nd, 3.2%, off; the rest is exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DurationView {
    pub count: u64,
    pub sum_us: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// Instances by state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstancesView {
    pub starting: f64,
    pub idle: f64,
    pub frozen: f64,
    pub busy: f64,
}

/// What goes on now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverviewView {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// Seconds that the figures are of.
    pub window: f64,
    /// Those that were called or have instances, most calls first.
    pub functions: Vec<OverviewFunction>,
    /// Of all functions together.
    pub all: PointView,
    pub memory: MemoryView,
    pub instances: InstancesView,
    pub stems: StemCounts,
    /// Records and log lines that came faster than they could be written, since the server's start.
    pub dropped: u64,
    pub process: ProcessView,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverviewFunction {
    pub function: String,
    pub calls_per_second: f64,
    pub figures: PointView,
    /// Now.
    pub instances: InstancesView,
}

/// Sandboxes that are ready to become instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StemCounts {
    pub ready: usize,
    pub starting: usize,
}

/// What figures are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Function,
    Version,
    Alias,
    Revision,
    Isolation,
    Trigger,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Only this function's.
    #[param(value_type = Option<String>)]
    function: Option<FunctionName>,
    /// RFC 3339, or a time back from now; default `1h`.
    from: Option<String>,
    /// The same; default: now.
    to: Option<String>,
    /// A multiple of 10 s, like `1m`; default: so that there are at most 360 points.
    step: Option<String>,
    /// `function`; `version`, the published one or `$LATEST`; `alias`, with the version that it gave the call to; `revision`, of a
    /// deploy; `isolation` or `trigger`; default: all together.
    #[param(value_type = Option<String>)]
    by: Option<By>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// How far back figures go, `10s` to `1h`; default `1m`.
    window: Option<String>,
}

/// Calls, errors, durations and instances over time
///
/// Kept in steps of 10 s for a day, of a minute for two weeks, of an hour for a year.
#[utoipa::path(get, path = "/api/v1/metrics", operation_id = "metrics", tag = "metrics", params(Asked),
    responses((status = 200, body = MetricsView), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(State(api): State<Api>, Params(asked): Params<Asked>) -> Result<Json<MetricsView>, ApiError> {
    let now = Timestamp::now();
    let at = |key: &str, text: &Option<String>, default: Timestamp| match text {
        None => Ok(default),
        Some(text) => moment(key, text),
    };
    let from = at("from", &asked.from, now - Duration::from_secs(3600))?;
    let to = at("to", &asked.to, now)?;
    let (from, to) = (seconds(from), seconds(to) + 1);
    if from >= to {
        return Err(ApiError::invalid("from: expected a time before `to`"));
    }
    let step = step(asked.step.as_deref(), from, to, seconds(now))?;
    let by = match asked.by {
        None => MetricsBy::Nothing,
        Some(By::Function) => MetricsBy::Function,
        Some(By::Version) => MetricsBy::Version,
        Some(By::Alias) => MetricsBy::Alias,
        Some(By::Revision) => MetricsBy::Revision,
        Some(By::Isolation) => MetricsBy::Isolation,
        Some(By::Trigger) => MetricsBy::Door,
    };
    let query = MetricsQuery { function: asked.function.clone(), from, to, step, by };
    let series = api.observe.metrics(query).await?;
    if let (Some(name), true) = (&asked.function, series.is_empty()) {
        // Figures outlive their function; only a name that never was is an error.
        api.functions.get(name).await?;
    }
    let from = from.div_euclid(step) * step;
    let price = PriceView::current(&api).await?;
    let series = series.into_iter().map(|one| SeriesView::of(one, from, to, step, price.as_ref())).collect();
    Ok(Json(MetricsView { from, to, step, price, series }))
}

/// What goes on now: each function's calls and instances, memory, Hearth itself
#[utoipa::path(get, path = "/api/v1/overview", operation_id = "overview", tag = "metrics", params(Window),
    responses((status = 200, body = OverviewView), (status = 400, body = ErrorBody)))]
pub(crate) async fn overview(
    State(api): State<Api>,
    Params(Window { window }): Params<Window>,
) -> Result<Json<OverviewView>, ApiError> {
    let window = window.map_or(Ok(Duration::from_secs(60)), |text| length("window", &text))?;
    if !(10..=3600).contains(&window.as_secs()) {
        return Err(ApiError::invalid("window: expected 10s to 1h"));
    }
    let now = Timestamp::now();
    // Whole steps only.
    let from = (seconds(now) - window.as_secs() as i64).div_euclid(FINEST) * FINEST;
    let passed = now.micros() as f64 / 1e6 - from as f64;
    let query = MetricsQuery { function: None, from, to: i64::MAX, step: FINEST, by: MetricsBy::Function };
    let (mut all, mut figures) = (Aggregate::default(), BTreeMap::new());
    for MetricsSeries { key, points } in api.observe.metrics(query).await? {
        let mut sum = Aggregate::default();
        points.iter().for_each(|(_, point)| sum.merge(point));
        all.merge(&sum);
        figures.insert(key, sum);
    }
    let mut living: BTreeMap<String, InstancesView> = BTreeMap::new();
    let mut instances = InstancesView::default();
    for one in api.platform.instances() {
        let name = one.function.to_string();
        *living.entry(name).or_default().of(one.state) += 1.0;
        *instances.of(one.state) += 1.0;
    }
    let mut names: Vec<_> = figures.iter().filter(|(_, sum)| sum.calls > 0).map(|(name, _)| name.clone()).collect();
    names.extend(living.keys().cloned());
    names.sort();
    names.dedup();
    let functions = names.into_iter().map(|function| {
        let sum = figures.remove(&function).unwrap_or_default();
        OverviewFunction {
            calls_per_second: sum.calls as f64 / passed,
            figures: PointView::of(from, passed, &sum),
            instances: living.remove(&function).unwrap_or_default(),
            function,
        }
    });
    let mut functions: Vec<_> = functions.collect();
    functions.sort_by_key(|one| std::cmp::Reverse(one.figures.calls));
    let stems = api.platform.stems();
    Ok(Json(OverviewView {
        at_us: now.micros(),
        window: passed,
        functions,
        all: PointView::of(from, passed, &all),
        memory: api.platform.memory(),
        instances,
        stems: StemCounts {
            ready: stems.iter().map(|one| one.ready).sum(),
            starting: stems.iter().map(|one| one.starting).sum(),
        },
        dropped: api.telemetry.dropped(),
        process: api.platform.process(),
    }))
}

/// The step to answer in.
fn step(asked: Option<&str>, from: i64, to: i64, now: i64) -> Result<i64, ApiError> {
    // The finest that is kept from so far back.
    let kept =
        |step: i64| KEPT.iter().rev().find(|(kept, _)| step % kept == 0).is_some_and(|(_, age)| from >= now - age - 60);
    let Some(text) = asked else {
        let fits = |step: &i64| (to - from) / step <= POINTS && kept(*step);
        return Ok(STEPS.into_iter().find(fits).unwrap_or(86_400));
    };
    let step = length("step", text)?;
    let seconds = step.as_secs() as i64;
    if seconds < FINEST || seconds % FINEST != 0 || step.subsec_nanos() != 0 {
        return Err(ApiError::invalid(format!("step: expected a multiple of 10s, got {text}")));
    }
    if (to - from) / seconds > MOST_POINTS {
        let least = ((to - from) / MOST_POINTS + FINEST).div_euclid(FINEST) * FINEST;
        return Err(ApiError::invalid(format!(
            "step: {text} would be over {MOST_POINTS} points: expected {least}s or more"
        )));
    }
    if !kept(seconds) {
        return Err(ApiError::invalid(format!(
            "step: {text} is not kept from so far back: steps of 10s are kept for a day, of 1m for two weeks, of 1h for a year"
        )));
    }
    Ok(seconds)
}

fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

fn length(key: &str, text: &str) -> Result<Duration, ApiError> {
    model::parse_duration(text).map_err(|error| ApiError::invalid(format!("{key}: {error}")))
}

// === impl SeriesView ===

impl SeriesView {
    fn of(series: MetricsSeries, from: i64, to: i64, step: i64, price: Option<&PriceView>) -> Self {
        let mut total = Aggregate::default();
        series.points.iter().for_each(|(_, point)| total.merge(point));
        let cost = |figures: &Aggregate| price.map(|price| price.cost(figures));
        let point = |(at, figures): &(i64, Aggregate)| PointView {
            cost: cost(figures),
            ..PointView::of(*at, (to - at).clamp(1, step) as f64, figures)
        };
        Self {
            key: series.key,
            total: PointView { cost: cost(&total), ..PointView::of(from, (to - from) as f64, &total) },
            points: series.points.iter().map(point).collect(),
        }
    }
}

// === impl PointView ===

impl PointView {
    /// `seconds` of the span have passed.
    pub(crate) fn of(at: i64, seconds: f64, sum: &Aggregate) -> Self {
        let mut instances = InstancesView::default();
        for (state, millis) in STATES.into_iter().zip(sum.instance_ms) {
            *instances.of(state) = millis as f64 / 1e3 / seconds;
        }
        Self {
            at,
            seconds,
            calls: sum.calls,
            errors: sum.errors(),
            throttles: sum.throttles(),
            cold: sum.cold,
            faults: sum.faults.iter().map(|(code, count)| (code.to_string(), *count)).collect(),
            blame: BlameView {
                caller: sum.blamed(Blame::Caller),
                function: sum.blamed(Blame::Function),
                platform: sum.blamed(Blame::Platform),
            },
            duration: DurationView::of(&sum.duration),
            init: DurationView::of(&sum.init),
            queue: DurationView::of(&sum.queue),
            cpu_us: sum.cpu_us,
            cpu_calls: sum.cpu_calls,
            request_bytes: sum.request_bytes,
            response_bytes: sum.response_bytes,
            sent_bytes: sum.traffic.sent,
            received_bytes: sum.traffic.received,
            gb_seconds: sum.gb_seconds(),
            cost: None,
            memory_peak: (sum.memory_peak > 0).then_some(sum.memory_peak),
            concurrency: sum.duration.sum() as f64 / 1e6 / seconds,
            instances,
        }
    }
}

// === impl PriceView ===

impl PriceView {
    /// Those that were set. List prices that nobody chose are none.
    async fn current(api: &Shared) -> Result<Option<Self>, ApiError> {
        let cloud = api.comparisons.prices().await?.and_then(|prices| prices.cloud);
        let Some(Cloud { name, currency, gb_second, request, vcpu_second }) = cloud else { return Ok(None) };
        Ok((vcpu_second == 0.0).then_some(Self { name, currency, gb_second, request }))
    }

    fn cost(&self, figures: &Aggregate) -> f64 {
        figures.gb_seconds() * self.gb_second + figures.duration.count() as f64 * self.request
    }
}

// === impl DurationView ===

impl DurationView {
    fn of(histogram: &Histogram) -> Option<Self> {
        Some(Self {
            count: histogram.count(),
            sum_us: histogram.sum(),
            p50_us: histogram.quantile(0.5)?,
            p90_us: histogram.quantile(0.9)?,
            p99_us: histogram.quantile(0.99)?,
            max_us: histogram.max()?,
        })
    }
}

// === impl InstancesView ===

impl InstancesView {
    fn of(&mut self, state: InstanceState) -> &mut f64 {
        match state {
            InstanceState::Starting => &mut self.starting,
            InstanceState::Idle => &mut self.idle,
            InstanceState::Frozen => &mut self.frozen,
            InstanceState::Busy => &mut self.busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_chosen_by_span_and_age() {
        let now = 1_800_000_000;
        let chosen = |back: i64, span: i64| step(None, now - back, now - back + span, now).unwrap();
        assert_eq!(chosen(3600, 3600), 10);
        assert_eq!(chosen(2 * 3600, 2 * 3600), 20);
        assert_eq!(chosen(2 * 86_400, 3600), 60, "too old for less");
        assert_eq!(chosen(30 * 86_400, 3600), 3600);
        assert_eq!(chosen(360 * 86_400, 360 * 86_400), 86_400);
        let refused = |text: &str, back: i64| step(Some(text), now - back, now, now).is_err();
        assert!(refused("15s", 3600) && refused("0s", 3600) && refused("x", 3600) && refused("10s", 2 * 86_400));
        assert!(!refused("1m", 2 * 86_400) && !refused("90s", 3600));
        assert!(refused("10s", 2_000_000));
    }
}
