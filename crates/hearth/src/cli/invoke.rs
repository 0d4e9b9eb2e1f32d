//! `hearth invoke`: calls a function through AWS's Invoke door, as AWS's own tools do.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use control::RecordView;
use model::{FunctionName, InvalidId, Qualifier, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use ureq::http::{Method, Response};

use super::client::{Client, ClientError, ConnectArgs};
use super::waterfall::{Trace, Waited};
use super::{FUNCTION_ERROR, Usage, out, text};

/// The longest timeout of a function, its start, and a queue before it.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

#[derive(Debug, Args)]
#[command(after_help = "Exit status 3: the function answered with an error, which is on stderr.")]
pub struct InvokeArgs {
    /// The function, alone or with a version or alias: NAME, NAME:VERSION, NAME:ALIAS
    #[arg(value_name = "NAME")]
    which: Which,
    /// The event: JSON, @FILE, or - for standard input [default: {}]
    #[arg(value_name = "EVENT", conflicts_with_all = ["payload", "payload_file"])]
    event: Option<String>,
    /// The same as EVENT
    #[arg(short, long, value_name = "EVENT", conflicts_with = "payload_file", allow_hyphen_values = true)]
    payload: Option<String>,
    /// A file with the event
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// Do not wait: print the request id once the event is kept, and have it run in its turn
    #[arg(long = "async", conflicts_with_all = ["log", "trace"])]
    asynchronous: bool,
    /// With --async: names the event; the same key within 24 hours is the same event
    #[arg(long, value_name = "KEY", requires = "asynchronous")]
    idempotency_key: Option<String>,
    /// Print the end of the call's log too, on stderr
    #[arg(short, long)]
    log: bool,
    /// Show where the time went, step by step, on stderr
    #[arg(short, long)]
    trace: bool,
    /// Print answer, request id and the rest as a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A function, and what of it.
#[derive(Debug, Clone)]
struct Which {
    name: FunctionName,
    qualifier: Option<Qualifier>,
}

impl FromStr for Which {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (name, qualifier) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        Ok(Self { name: name.parse()?, qualifier: qualifier.map(str::parse).transpose()? })
    }
}

/// For a query string.
fn escaped(qualifier: &Qualifier) -> String {
    qualifier.to_string().replace('$', "%24")
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    function_error: Option<&'a str>,
    executed_version: Option<&'a str>,
    request_id: Option<&'a str>,
    /// As the function wrote it; a text where that is no JSON.
    payload: Box<RawValue>,
    log: Option<&'a str>,
    /// Only when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Trace>,
}

pub fn run(args: InvokeArgs) -> anyhow::Result<ExitCode> {
    let event = args.event()?;
    if let Err(error) = serde_json::from_slice::<&RawValue>(&event) {
        return Err(Usage(format!("the event is not JSON: {error}")).into());
    }
    let most = if args.asynchronous { model::MAX_EVENT_BYTES } else { model::MAX_REQUEST_BYTES };
    if event.len() > most {
        let message = format!("the event is too large: {} bytes, at most {most}", event.len());
        return Err(Usage(message).into());
    }
    let client = Client::new(&args.connect)?;
    let qualifier = args.which.qualifier.as_ref().map(|qualifier| format!("?Qualifier={}", escaped(qualifier)));
    let path = format!("/2015-03-31/functions/{}/invocations{}", args.which.name, qualifier.unwrap_or_default());
    if args.asynchronous {
        return keep(&client, &path, &args, event);
    }
    let mut headers = vec![("content-type", "application/json"), ("x-amz-invocation-type", "RequestResponse")];
    if args.log || args.json {
        headers.push(("x-amz-log-type", "Tail"));
    }
    let (begun, clock) = (Timestamp::now().micros(), Instant::now());
    let response = client.send(Method::POST, &path, &headers, Some(event), Some(PATIENCE))?;
    let mut response = client.checked(response).map_err(|error| args.explain(&client, error))?;
    let payload = client.body(&mut response)?;
    let waited = Waited { begun, took: clock.elapsed() };
    let header = |name: &str| header(&response, name);
    let log = header("x-amz-log-result").and_then(|tail| STANDARD.decode(tail).ok());
    let log = log.map(|tail| String::from_utf8_lossy(&tail).into_owned());
    let failed = header("x-amz-function-error");
    let code = if failed.is_some() { ExitCode::from(FUNCTION_ERROR) } else { ExitCode::SUCCESS };

    let trace = || if args.trace { trace(&client, header("x-amzn-requestid"), waited) } else { None };
    if args.json {
        out::json(&Answer {
            status: response.status().as_u16(),
            function_error: failed,
            executed_version: header("x-amz-executed-version"),
            request_id: header("x-amzn-requestid"),
            payload: raw(&payload)?,
            log: log.as_deref(),
            trace: trace(),
        })?;
        return Ok(code);
    }
    if let (true, Some(log)) = (args.log, &log) {
        out::note(&out::Paint::stderr().dim(text::block(log).trim_end()));
    }
    if failed.is_some() {
        tell_error(&payload, header("x-amzn-requestid"));
    } else {
        print(&payload)?;
    }
    if let Some(trace) = trace() {
        trace.tell();
    }
    Ok(code)
}

/// Hands the event over, and says under which id it will run.
fn keep(client: &Client, path: &str, args: &InvokeArgs, event: Vec<u8>) -> anyhow::Result<ExitCode> {
    let mut headers = vec![("content-type", "application/json"), ("x-amz-invocation-type", "Event")];
    headers.extend(args.idempotency_key.as_deref().map(|key| ("idempotency-key", key)));
    let response = client.send(Method::POST, path, &headers, Some(event), Some(PATIENCE))?;
    let response = client.checked(response).map_err(|error| args.explain(client, error))?;
    let id = header(&response, "x-amzn-requestid").context("the answer has no request id")?;
    let repeated = header(&response, "idempotency-replayed").is_some();
    if args.json {
        out::json(&serde_json::json!({"status": 202, "request_id": id, "repeated": repeated}))?;
        return Ok(ExitCode::SUCCESS);
    }
    out::line(&text::one_line(id))?;
    if repeated {
        out::note("this key had named that event before: no other was made");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the time went. The call itself went well or ill without it: what is wrong here is told, and no more.
fn trace(client: &Client, request_id: Option<&str>, waited: Waited) -> Option<Trace> {
    let Some(id) = request_id else {
        out::note("no trace: the answer has no request id");
        return None;
    };
    match client.get::<RecordView>(&format!("/api/v1/invocations/{id}")) {
        Ok(record) => Some(Trace::new(record, waited)),
        Err(error) => {
            out::note(&format!("no trace: {error}"));
            None
        }
    }
}

fn header<'a>(response: &'a Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Indented on a terminal, and harmless there; elsewhere the function's own bytes.
pub(super) fn print(payload: &[u8]) -> anyhow::Result<()> {
    let mut screen = io::stdout().lock();
    if !io::stdout().is_terminal() {
        screen.write_all(payload)?;
        screen.write_all(b"\n")?;
        return Ok(screen.flush()?);
    }
    let shown = match serde_json::from_slice::<serde_json::Value>(payload) {
        Ok(value) => text::json(&serde_json::to_string_pretty(&value)?),
        Err(_) => text::block(&String::from_utf8_lossy(payload)),
    };
    Ok(writeln!(screen, "{shown}")?)
}

/// AWS's error shape in words; anything else as it is.
pub(super) fn tell_error(payload: &[u8], request_id: Option<&str>) {
    let paint = out::Paint::stderr();
    let value: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
    let field = |key: &str| value.get(key).and_then(|value| value.as_str());
    let Some(message) = field("errorMessage") else {
        return out::note(&format!(
            "{} {}",
            paint.red("function error:"),
            text::block(&String::from_utf8_lossy(payload))
        ));
    };
    let kind = field("errorType").map(|kind| format!("{}: ", text::one_line(kind))).unwrap_or_default();
    out::note(&format!("{} {kind}{}", paint.red("function error:"), text::block(message)));
    let trace = value.get("stackTrace").or_else(|| value.get("trace")).and_then(|trace| trace.as_array());
    for frame in trace.into_iter().flatten().filter_map(|frame| frame.as_str()) {
        out::note(&paint.dim(&text::block(frame.trim_end())));
    }
    if let Some(id) = request_id {
        out::note(&paint.dim(&format!("request id {}", text::one_line(id))));
    }
}

fn raw(payload: &[u8]) -> anyhow::Result<Box<RawValue>> {
    if payload.is_empty() {
        return Ok(RawValue::from_string("null".to_owned())?);
    }
    match serde_json::from_slice::<Box<RawValue>>(payload) {
        Ok(value) => Ok(value),
        Err(_) => Ok(serde_json::value::to_raw_value(&String::from_utf8_lossy(payload))?),
    }
}

// === impl InvokeArgs ===

impl InvokeArgs {
    /// What is missing: the function, or what was said of it.
    fn explain(&self, client: &Client, error: ClientError) -> ClientError {
        let Which { name, qualifier } = &self.which;
        let there = || client.get::<serde_json::Value>(&format!("/api/v1/functions/{name}")).is_ok();
        match (qualifier, error) {
            (Some(qualifier), ClientError::Refused { status: 404, code, .. }) if there() => {
                let message = format!(
                    "{name} has no version or alias {qualifier}: `hearth versions {name}` and \
                    `hearth alias list {name}` show what it has"
                );
                ClientError::Refused { status: 404, code, message }
            }
            (_, error) => client.explain_absent(name, error),
        }
    }

    fn event(&self) -> anyhow::Result<Vec<u8>> {
        if let Some(path) = &self.payload_file {
            return read(path);
        }
        match self.event.as_deref().or(self.payload.as_deref()) {
            None => Ok(b"{}".to_vec()),
            Some("-") => {
                let mut event = Vec::new();
                io::stdin().lock().read_to_end(&mut event)?;
                Ok(event)
            }
            Some(text) => match text.strip_prefix('@') {
                Some("") => Err(Usage("@ needs a file name".into()).into()),
                Some(path) => read(&PathBuf::from(path)),
                None => Ok(text.as_bytes().to_vec()),
            },
        }
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_keeps_its_own_text() {
        assert_eq!(raw(b"1.0e2").unwrap().get(), "1.0e2");
        assert_eq!(raw(b"").unwrap().get(), "null");
        assert_eq!(raw(b"no json").unwrap().get(), r#""no json""#);
    }
}
