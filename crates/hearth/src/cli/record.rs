//! `hearth record` and `hearth replay`: how one call went, what it was given and answered where that is kept, and the
//! same once more.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use control::{KeptView, OutcomeStatus, PayloadView, PayloadsView, RecordView, ReplayView};
use model::{Qualifier, RequestId};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::{FUNCTION_ERROR, invoke, out, text};

/// The longest timeout of a function, its start, and a queue before it.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// The longest answer of a function as JSON may have it, bytes.
const LONGEST: u64 = 64 << 20;

#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The call: `hearth invoke --json` has its id, as the START line of its log does
    request_id: RequestId,
    /// Print the event and nothing else, as it was
    #[arg(long, conflicts_with_all = ["output", "json"])]
    input: bool,
    /// Print the answer and nothing else, as it was
    #[arg(long, conflicts_with = "json")]
    output: bool,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit status 3: the function answered with an error, which is on stderr.")]
pub struct ReplayArgs {
    /// The call whose event is to be run once more
    request_id: RequestId,
    /// The version or alias that is to get it [default: what that call had asked for]
    #[arg(long, value_name = "QUALIFIER")]
    qualifier: Option<Qualifier>,
    /// Print answer, request id and the rest as a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Both {
    #[serde(flatten)]
    record: RecordView,
    input: Option<PayloadView>,
    output: Option<PayloadView>,
}

pub fn show(args: RecordArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let id = args.request_id;
    let payloads = || client.get::<PayloadsView>(&format!("/api/v1/invocations/{id}/payloads"));
    if args.input || args.output {
        let PayloadsView { input, output, .. } = payloads()?;
        let one = if args.input { Some(input) } else { output };
        let one = one.context("no answer is kept of this call: there was none, or it was passed on as it came")?;
        if one.truncated {
            out::note(&format!("only the beginning is kept: it was {} bytes long", one.bytes));
        }
        raw(&one)?;
        return Ok(ExitCode::SUCCESS);
    }
    let record: RecordView = client.get(&format!("/api/v1/invocations/{id}"))?;
    let kept = if record.payloads == KeptView::Kept { Some(payloads()) } else { None };
    if args.json {
        let (input, output) = match kept.transpose()? {
            Some(kept) => (Some(kept.input), kept.output),
            None => (None, None),
        };
        out::json(&Both { record, input, output })?;
        return Ok(ExitCode::SUCCESS);
    }
    facts(&record)?;
    match kept {
        None if record.payloads == KeptView::Dropped => {
            out::note("event and answer were not kept: they came faster than they could be written");
        }
        None => out::note(&format!(
            "event and answer were not kept: `hearth config {} records.payloads=errors` keeps those of calls that fail",
            text::one_line(&record.function)
        )),
        // The record is shown also to who may not see more.
        Some(Err(error)) => out::note(&error.to_string()),
        Some(Ok(PayloadsView { input, output, .. })) => {
            told("event", &input)?;
            if let Some(output) = output {
                told("answer", &output)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let qualifier = args.qualifier.as_ref().map(|qualifier| {
        let text = qualifier.to_string();
        format!("?qualifier={}", utf8_percent_encode(&text, NON_ALPHANUMERIC))
    });
    let path = format!("/api/v1/invocations/{}/replay{}", args.request_id, qualifier.unwrap_or_default());
    let response = client.send(Method::POST, &path, &[], None, Some(PATIENCE))?;
    let mut response = client.checked(response)?;
    let bytes = response.body_mut().with_config().limit(LONGEST).read_to_vec().context("reading the answer")?;
    let view: ReplayView = serde_json::from_slice(&bytes).context("the answer is not what was expected")?;
    let failed = view.outcome.status == OutcomeStatus::Fault;
    let code = if failed { ExitCode::from(FUNCTION_ERROR) } else { ExitCode::SUCCESS };
    if args.json {
        out::json(&view)?;
        return Ok(code);
    }
    let payload = decoded(&view.output)?;
    if failed {
        invoke::tell_error(&payload, Some(&view.request_id));
    } else {
        invoke::print(&payload)?;
        out::note(&out::Paint::stderr().dim(&format!("request id {}", text::one_line(&view.request_id))));
    }
    Ok(code)
}

fn facts(record: &RecordView) -> anyhow::Result<()> {
    let millis = |micros: u64| text::latency(micros as f64);
    let outcome = match (&record.outcome.code, &record.error) {
        (None, _) => "ok".to_owned(),
        (Some(code), None) => code.to_string(),
        (Some(code), Some(error)) => format!("{code} {}", text::one_line(error)),
    };
    let which = match &record.qualifier {
        Some(qualifier) => format!("{} (as {})", record.version, text::one_line(qualifier)),
        None => record.version.clone(),
    };
    let billed = match record.gb_seconds {
        Some(gb_seconds) => format!("{} ms, {} GB-s", record.billed_ms, text::digits(gb_seconds)),
        None => "-".to_owned(),
    };
    let start = if record.cold { "cold" } else { "warm" };
    let isolation = record.isolation.map_or_else(|| "-".to_owned(), |isolation| isolation.to_string());
    let lines = [
        ("function", text::one_line(&record.function)),
        ("version", which),
        ("revision", record.revision.to_string()),
        ("received", record.received.clone()),
        ("outcome", outcome),
        ("start", format!("{start}, {isolation}")),
        ("waited", millis(record.queued_us)),
        ("handler", millis(record.handler_us)),
        ("billed", billed),
        ("event", text::bytes(record.request_bytes)),
        ("answer", text::bytes(record.response_bytes)),
    ];
    for (name, value) in lines {
        out::line(&format!("{name:<9} {value}"))?;
    }
    if let Some(other) = &record.replay_of {
        out::line(&format!("{:<9} {}", "replay of", text::one_line(other)))?;
    }
    Ok(())
}

/// Indented where it is JSON, and harmless on a terminal.
fn told(title: &str, payload: &PayloadView) -> anyhow::Result<()> {
    out::line("")?;
    let cut = if payload.truncated { format!(", the beginning of {} bytes", payload.bytes) } else { String::new() };
    out::line(&out::Paint::stdout().dim(&format!("{title}{cut}")))?;
    let shown = match &payload.text {
        None => format!("{} bytes that are no text: --{} prints them", payload.bytes, option(title)),
        Some(text) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) if !payload.truncated => text::json(&serde_json::to_string_pretty(&value)?),
            _ => text::block(text),
        },
    };
    Ok(out::line(&shown)?)
}

fn option(title: &str) -> &'static str {
    if title == "event" { "input" } else { "output" }
}

fn decoded(payload: &PayloadView) -> anyhow::Result<Vec<u8>> {
    match (&payload.text, &payload.base64) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(base64)) => STANDARD.decode(base64).context("the payload is not base64"),
        (None, None) => Ok(Vec::new()),
    }
}

/// Its own bytes; on a terminal made harmless.
fn raw(payload: &PayloadView) -> anyhow::Result<()> {
    let bytes = decoded(payload)?;
    if io::stdout().is_terminal() {
        return Ok(out::line(&text::block(&String::from_utf8_lossy(&bytes)))?);
    }
    let mut screen = io::stdout().lock();
    screen.write_all(&bytes)?;
    Ok(screen.flush()?)
}
