//! `hearth metrics`: a table of figures, and small charts of how they went.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use control::{DurationView, MetricsView, PointView, SeriesView};
use model::FunctionName;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{Client, ClientError, ConnectArgs};
use super::out::{self, Column};
use super::{Usage, text};

/// Columns of a chart.
const WIDTH: usize = 60;

#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// Only this function's; without it, all functions in a table
    name: Option<FunctionName>,
    /// How far back: a time back from now like 10m, or 2026-11-22T10:00:00Z
    #[arg(long, default_value = "1h", value_name = "TIME")]
    since: String,
    /// Only until then, in the same forms [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What is told apart [default: function, where no NAME is given]
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// Length of a point of the series in --json, like 1m: a multiple of 10s [default: for at most 360 points]
    #[arg(long, value_name = "TIME")]
    step: Option<String>,
    /// Print a JSON object, with all points
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Function,
    /// The published version, or $LATEST
    Version,
    /// The alias, and the version that it gave the call to
    Alias,
    /// Of a deploy
    Revision,
    Isolation,
    Trigger,
}

pub fn run(args: MetricsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let by = args.by.or_else(|| args.name.is_none().then_some(By::Function));
    let view: MetricsView = client.get(&args.path(by)).map_err(|error| match (&args.name, error) {
        (_, ClientError::Refused { status: 400, message, .. }) => anyhow::Error::new(Usage(message)),
        (Some(name), error) => client.explain_absent(name, error).into(),
        (None, error) => error.into(),
    })?;
    if args.json {
        out::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    if view.series.is_empty() {
        out::note("no calls in that time");
        return Ok(ExitCode::SUCCESS);
    }
    use Column::{Left, Right};
    let title = match by {
        None => "",
        Some(By::Function) => "function",
        Some(By::Version) => "version",
        Some(By::Alias) => "alias",
        Some(By::Revision) => "revision",
        Some(By::Isolation) => "isolation",
        Some(By::Trigger) => "trigger",
    };
    let columns = ["calls", "errors", "throttled", "cold", "p50", "p90", "p99", "max", "init p50", "cpu", "peak"];
    let cost = view.price.as_ref().map(|price| format!("cost {}", price.currency));
    // Most functions have no network.
    let networked = view.series.iter().any(|one| one.total.sent_bytes.max(one.total.received_bytes) > 0);
    let network = networked.then_some(["sent", "received"]).into_iter().flatten();
    let columns = columns.into_iter().chain(["GB-s"]).chain(cost.as_deref()).chain(network).map(|name| (name, Right));
    let columns: Vec<_> = (!title.is_empty()).then_some((title, Left)).into_iter().chain(columns).collect();
    let row = |one: &SeriesView| {
        let cells = row(&one.total, networked);
        (!title.is_empty()).then(|| one.key.clone()).into_iter().chain(cells).collect()
    };
    out::table(&columns, view.series.iter().map(row).collect())?;
    if let [one] = &view.series[..] {
        charts(&view, one)?;
    }
    if let Some(price) = &view.price {
        let name = text::one_line(&price.name);
        out::note(&format!(
            "cost: what {name} would ask, {} for a GB-s and {} for a call",
            price.gb_second, price.request
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(total: &PointView, networked: bool) -> Vec<String> {
    let took = |of: &Option<DurationView>, which: fn(&DurationView) -> u64| {
        of.as_ref().map_or_else(|| "-".to_owned(), |one| text::latency(which(one) as f64))
    };
    let cpu = total.cpu_us.checked_div(total.cpu_calls);
    let mut cells = vec![
        total.calls.to_string(),
        total.errors.to_string(),
        total.throttles.to_string(),
        total.cold.to_string(),
        took(&total.duration, |one| one.p50_us),
        took(&total.duration, |one| one.p90_us),
        took(&total.duration, |one| one.p99_us),
        took(&total.duration, |one| one.max_us),
        took(&total.init, |one| one.p50_us),
        cpu.map_or_else(|| "-".to_owned(), |micros| text::latency(micros as f64)),
        total.memory_peak.map_or_else(|| "-".to_owned(), text::memory),
        text::digits(total.gb_seconds),
    ];
    cells.extend(total.cost.map(text::digits));
    if networked {
        cells.extend([total.sent_bytes, total.received_bytes].map(text::bytes));
    }
    cells
}

fn charts(view: &MetricsView, one: &SeriesView) -> anyhow::Result<()> {
    let paint = out::Paint::stdout();
    let chart = |title: &str, values: Vec<f64>, most: String| {
        out::line(&format!("{title:<8} {}  {}", sparkline(&values), paint.dim(&format!("most {most}"))))
    };
    let highest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let sums = |of: fn(&PointView) -> f64| columns(view, &one.points, of, |a, b| a + b);
    out::line("")?;
    let calls = sums(|point| point.calls as f64);
    let most = highest(&calls).to_string();
    chart("calls", calls, most)?;
    let errors = sums(|point| point.errors as f64);
    if highest(&errors) > 0.0 {
        let most = highest(&errors).to_string();
        chart("errors", errors, most)?;
    }
    let slow = |point: &PointView| point.duration.as_ref().map_or(0.0, |one| one.p99_us as f64);
    let slow = columns(view, &one.points, slow, f64::max);
    let most = text::latency(highest(&slow));
    chart("p99", slow, most)?;
    Ok(())
}

/// Points put together into as many columns as a chart has.
fn columns(
    view: &MetricsView,
    points: &[PointView],
    of: impl Fn(&PointView) -> f64,
    join: fn(f64, f64) -> f64,
) -> Vec<f64> {
    let steps = ((view.to - view.from).max(1) as f64 / view.step.max(1) as f64).ceil();
    let width = (steps as usize).clamp(1, WIDTH);
    let mut values = vec![0.0; width];
    for point in points {
        let place = (point.at - view.from) as f64 / (view.to - view.from).max(1) as f64 * width as f64;
        let place = (place.max(0.0) as usize).min(width - 1);
        values[place] = join(values[place], of(point));
    }
    values
}

/// A column for each value: empty for nothing, and at least the lowest mark for something.
fn sparkline(values: &[f64]) -> String {
    const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let mark = |value: &f64| {
        if *value <= 0.0 || most <= 0.0 {
            return ' ';
        }
        MARKS[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1]
    };
    values.iter().map(mark).collect()
}

// === impl MetricsArgs ===

impl MetricsArgs {
    fn path(&self, by: Option<By>) -> String {
        let mut path = format!("/api/v1/metrics?from={}", utf8_percent_encode(&self.since, NON_ALPHANUMERIC));
        let mut add = |key: &str, value: &str| {
            path.push_str(&format!("&{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        };
        if let Some(until) = &self.until {
            add("to", until);
        }
        if let Some(name) = &self.name {
            add("function", name.as_str());
        }
        if let Some(step) = &self.step {
            add("step", step);
        }
        if let Some(by) = by.and_then(|by| by.to_possible_value()) {
            add("by", by.get_name());
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_mark_for_everything_that_was() {
        assert_eq!(sparkline(&[0.0, 0.001, 4.0, 8.0]), " ▁▄█");
        assert_eq!(sparkline(&[0.0, 0.0]), "  ");
        let view = MetricsView { from: 0, to: 600, step: 60, price: None, series: vec![] };
        let points = [0, 60, 540].map(|at| PointView { at, calls: 2, ..PointView::default() });
        let values = columns(&view, &points, |point| point.calls as f64, |a, b| a + b);
        assert_eq!(values, [2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
        let view = MetricsView { to: 60_000, ..view };
        let values = columns(&view, &points, |point| point.calls as f64, |a, b| a + b);
        assert_eq!((values.len(), values[0]), (WIDTH, 6.0));
    }
}
