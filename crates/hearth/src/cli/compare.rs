//! `hearth compare`: a function on every isolation side by side, measured now, measured before, or from live calls.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use control::{
    CallRate, Comparison, ComparisonError, ComparisonList, ComparisonState, ComparisonWrite, CostView, Figures,
    FiguresView, IsolationFigures, Machine, PricesView, StartFigures,
};
use model::{Blame, FunctionName, Isolation};
use serde_json::value::RawValue;
use ureq::http::Method;

use super::client::{Client, ClientError, ConnectArgs};
use super::out::{self, Column};
use super::progress::Progress;
use super::{FUNCTION_ERROR, Usage, invoke, prices, text};

/// Between two looks at a comparison that runs.
const LOOK: Duration = Duration::from_millis(150);

#[derive(Debug, Args)]
#[command(after_help = "\
The function really runs, some hundred times on each isolation, with all that it does outside: mails are sent, rows are
written. Give it events that do no harm.

  hearth compare thumbnails --event @small.json --event @large.json
  hearth compare thumbnails --live --since 7d

What each row means, and how costs come about: docs/compare.md. Prices are set with `hearth prices`.
Exit status 3: the function answered with an error, which is on stderr.")]
pub struct CompareArgs {
    #[arg(value_name = "FUNCTION")]
    name: FunctionName,
    /// What to call it with: JSON or @FILE; may be given several times, in turn [default: {}]
    #[arg(long, value_name = "EVENT")]
    event: Vec<String>,
    /// Cold starts on each isolation, from nothing and from stems [default: 10]
    #[arg(long, value_name = "N")]
    cold: Option<u32>,
    /// Warm calls on each isolation [default: 200]
    #[arg(long, value_name = "N")]
    warm: Option<u32>,
    /// How long each isolation is kept busy for its throughput; 0: not at all [default: 5]
    #[arg(long, value_name = "S")]
    seconds: Option<u32>,
    /// Clients that keep it busy [default: 8]
    #[arg(long, value_name = "C")]
    clients: Option<u32>,
    /// Only this isolation; may be given several times [default: all that work here]
    #[arg(long, value_name = "ISOLATION")]
    isolation: Vec<Isolation>,
    /// Measure nothing: figures of the function's live calls
    #[arg(long, conflicts_with_all = ["event", "cold", "warm", "seconds", "clients", "isolation", "last"])]
    live: bool,
    /// Live calls since then, also those that costs are told for: a time back from now, or RFC 3339 [default: 24h]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Measure nothing: show the comparison before
    #[arg(long, conflicts_with_all = ["event", "cold", "warm", "seconds", "clients", "isolation"])]
    last: bool,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: CompareArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let absent = |error| client.explain_absent(&args.name, error);
    let since = args.since.as_deref().map(|since| format!("?since={}", escape(since))).unwrap_or_default();
    if args.live {
        let path = format!("/api/v1/functions/{}/figures{since}", args.name);
        let figures: FiguresView = client.get(&path).map_err(absent)?;
        return show_live(&client, &figures, args.json);
    }
    let path = format!("/api/v1/functions/{}/comparisons", args.name);
    if args.last {
        let list: ComparisonList = client.get(&format!("{path}{since}")).map_err(absent)?;
        let Some(last) = list.comparisons.into_iter().next() else {
            bail!("{} was not compared yet: `hearth compare {}` does it", args.name, args.name);
        };
        return show(&client, &last, args.json);
    }
    let write = ComparisonWrite {
        events: (!args.event.is_empty()).then(|| args.event.iter().map(|one| event(one)).collect()).transpose()?,
        cold: args.cold,
        warm: args.warm,
        seconds: args.seconds,
        clients: args.clients,
        isolations: (!args.isolation.is_empty()).then(|| args.isolation.clone()),
    };
    // Before it begins, so that none is left running.
    let interrupted = interrupts()?;
    let begun: Comparison = client.write(Method::POST, &path, &write).map_err(absent)?;
    let comparison = wait(&client, begun, &since, &interrupted, args.json)?;
    show(&client, &comparison, args.json)
}

/// Until it is over, or the user has had enough.
fn wait(
    client: &Client,
    mut comparison: Comparison,
    since: &str,
    interrupted: &AtomicBool,
    quiet: bool,
) -> anyhow::Result<Comparison> {
    let path = format!("/api/v1/comparisons/{}", comparison.id);
    let mut bar = Progress::new(quiet).parts();
    while comparison.state == ComparisonState::Running {
        let progress = &comparison.progress;
        if !progress.phase.is_empty() {
            bar.reached(&progress.phase, progress.done.into(), progress.total.into());
        }
        std::thread::sleep(LOOK);
        if interrupted.load(Ordering::Relaxed) {
            match client.delete(&path) {
                // It came to its end by itself.
                Err(ClientError::Refused { status: 404, .. }) => {}
                other => other?,
            }
        }
        comparison = client.get(&format!("{path}{since}"))?;
    }
    Ok(comparison)
}

/// Becomes true with Ctrl-C.
fn interrupts() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (flag, (ready, set)) = (interrupted.clone(), std::sync::mpsc::channel());
    std::thread::Builder::new().name("interrupts".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) else {
                return;
            };
            let _ = ready.send(());
            while signal.recv().await.is_some() {
                flag.store(true, Ordering::Relaxed);
            }
        });
    })?;
    set.recv().context("Ctrl-C cannot be caught")?;
    Ok(interrupted)
}

fn event(given: &str) -> anyhow::Result<Box<RawValue>> {
    let text = match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(Path::new(path)).with_context(|| format!("reading {path}"))?,
        None => given.to_owned(),
    };
    RawValue::from_string(text).map_err(|error| Usage(format!("--event {given}: not JSON: {error}")).into())
}

/// For a query string.
fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn show(client: &Client, comparison: &Comparison, json: bool) -> anyhow::Result<ExitCode> {
    let code = match (comparison.state, &comparison.error) {
        (ComparisonState::Done, _) => ExitCode::SUCCESS,
        (_, Some(error)) if error.code.blame() == Blame::Function => ExitCode::from(FUNCTION_ERROR),
        _ => ExitCode::FAILURE,
    };
    if json {
        out::json(comparison)?;
        return Ok(code);
    }
    match (comparison.state, &comparison.error) {
        (ComparisonState::Done, _) => {}
        (_, Some(error)) => {
            tell(error);
            return Ok(code);
        }
        (ComparisonState::Cancelled, None) => bail!("the comparison was cancelled: nothing of it is kept"),
        (state, None) => bail!("the comparison was not done: it is {state:?}"),
    }
    let plan = &comparison.plan;
    out::line(&format!(
        "{} at revision {}, {}: {} cold starts, {} warm calls, {} clients for {} s\n",
        comparison.function,
        comparison.revision,
        comparison.setting.memory,
        plan.cold,
        plan.warm,
        plan.clients,
        plan.seconds
    ))?;
    table(&comparison.isolations, Some(plan.clients))?;
    out::line("")?;
    for one in &comparison.isolations {
        let reason = one.reason.as_ref().map(|reason| text::one_line(reason));
        let notes = one.notes.iter().map(|note| text::one_line(note));
        reason.into_iter().chain(notes).try_for_each(|note| out::line(&format!("{}: {note}", one.isolation)))?;
    }
    comparison.notes.iter().try_for_each(|note| out::line(&text::one_line(note)))?;
    out::line(&show_machine(&comparison.machine))?;
    show_prices(client, comparison.calls.as_ref(), comparison.setting.keep_seconds)?;
    Ok(code)
}

fn show_live(client: &Client, figures: &FiguresView, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        out::json(figures)?;
        return Ok(ExitCode::SUCCESS);
    }
    if figures.isolations.is_empty() {
        out::note(&format!("no calls of {} since {}", text::one_line(&figures.function), figures.calls.since));
        return Ok(ExitCode::SUCCESS);
    }
    let calls = &figures.calls;
    out::line(&format!(
        "{}, {}: {} live calls\n",
        text::one_line(&figures.function),
        figures.setting.memory,
        calls.calls
    ))?;
    table(&figures.isolations, None)?;
    out::line("")?;
    show_prices(client, Some(calls), figures.setting.keep_seconds)?;
    Ok(ExitCode::SUCCESS)
}

/// The function's own words.
fn tell(error: &ComparisonError) {
    let on = error.isolation.map(|isolation| format!(" on {isolation}")).unwrap_or_default();
    match &error.answer {
        Some(answer) => {
            out::note(&format!("the function failed{on}, so there is nothing to compare:"));
            invoke::tell_error(answer.to_string().as_bytes(), None);
        }
        None => out::note(&format!("nothing to compare{on}: {} [{}]", text::block(&error.message), error.code)),
    }
}

fn show_machine(machine: &Machine) -> String {
    let Machine { cpu, cores, memory, kernel } = machine;
    format!("machine: {}, {cores} cores, {}, {}", text::one_line(cpu), text::memory(*memory), text::one_line(kernel))
}

fn show_prices(client: &Client, calls: Option<&CallRate>, keep: f64) -> anyhow::Result<()> {
    if let Some(CallRate { since, calls, rate, .. }) = calls {
        let since = text::ago(since);
        out::line(&match calls {
            0 => format!(
                "call rate: no calls in the last {since}, so no cost of a month, and none of idle instances and starts"
            ),
            _ => format!(
                "call rate: {} an hour in the last {since}; instances are kept for {} s after a call",
                text::digits(rate * 3600.0),
                keep.round()
            ),
        })?;
    }
    let shown: PricesView = client.get("/api/v1/prices")?;
    shown.hardware.iter().try_for_each(|one| out::line(&prices::show_hardware(one)))?;
    shown.cloud.iter().try_for_each(|one| out::line(&prices::show_cloud(one)))?;
    if !shown.set {
        out::line("nobody has set prices: `hearth prices hardware` tells Hearth what this machine costs")?;
    }
    Ok(())
}

/// Rows are figures, columns the isolations that have some.
fn table(isolations: &[IsolationFigures], clients: Option<u32>) -> std::io::Result<()> {
    let shown: Vec<_> = isolations.iter().filter_map(|one| Some((one, one.figures.as_ref()?))).collect();
    let mut columns = vec![("", Column::Left)];
    columns.extend(shown.iter().map(|(one, _)| (one.isolation.as_str(), Column::Right)));
    let rows = rows(&shown, clients);
    out::table(&columns, rows)
}

fn rows(shown: &[(&IsolationFigures, &Figures)], clients: Option<u32>) -> Vec<Vec<String>> {
    type Cell<'a> = &'a dyn Fn(&IsolationFigures, &Figures) -> Option<String>;
    let mut rows = Vec::new();
    let mut row = |title: &str, cell: Cell<'_>| {
        let cells: Vec<_> = shown.iter().map(|(one, figures)| cell(one, figures)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
            rows.push([title.to_owned()].into_iter().chain(cells).collect());
        }
    };
    let micros = |value: u64| text::latency(value as f64);
    if clients.is_none() {
        row("calls", &|_, f| Some(f.calls.to_string()));
    }
    row("failed calls", &|_, f| (f.errors > 0).then(|| f.errors.to_string()));
    row("cold start p50", &|_, f| Some(micros(f.cold?.p50_us)));
    row("cold start p99", &|_, f| Some(micros(f.cold?.p99_us)));
    row("  sandbox+runtime+code, ms", &|_, f| parts(&f.cold?));
    row("cold start from a stem p50", &|_, f| Some(micros(f.stem?.p50_us)));
    row("cold start from a stem p99", &|_, f| Some(micros(f.stem?.p99_us)));
    row("warm call p50", &|_, f| Some(micros(f.warm?.p50_us)));
    row("warm call p99", &|_, f| Some(micros(f.warm?.p99_us)));
    let throughput = format!("calls a second, {} clients", clients.unwrap_or_default());
    row(&throughput, &|_, f| f.throughput.map(|rate| format!("{rate:.0}")));
    row("memory of an instance", &|_, f| f.memory.map(text::memory));
    row("CPU time of a call", &|_, f| f.cpu_us.map(text::latency));
    let models = shown.iter().flat_map(|(one, _)| &one.costs);
    let mut names: Vec<(&str, &str)> = Vec::new();
    for cost in models {
        if !names.contains(&(&cost.name, &cost.currency)) {
            names.push((&cost.name, &cost.currency));
        }
    }
    for (name, currency) in names {
        let of = |one: &IsolationFigures, part: &dyn Fn(&CostView) -> Option<f64>| {
            one.costs.iter().find(|cost| cost.name == name).and_then(part).map(text::digits)
        };
        let nothing = |part: f64| (part > 0.0).then_some(part);
        let title = |what: &str| format!("{what}, {currency} ({name})");
        row(&title("million calls"), &|one, _| of(one, &|cost| Some(cost.per_million)));
        row("  of it idle instances", &|one, _| of(one, &|cost| nothing(cost.parts.idle)));
        row("  of it starts", &|one, _| of(one, &|cost| nothing(cost.parts.cold)));
        row(&title("month"), &|one, _| of(one, &|cost| cost.per_month));
    }
    rows
}

/// What a start consists of: `1.2+3.4+0.8`.
fn parts(start: &StartFigures) -> Option<String> {
    let millis = |micros: Option<u64>| micros.map_or_else(|| "?".to_owned(), |us| format!("{:.1}", us as f64 / 1e3));
    start.sandbox_us?;
    Some([start.sandbox_us, start.runtime_us, start.init_us].map(millis).join("+"))
}
