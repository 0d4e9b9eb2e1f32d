//! `hearth sources`: where functions' events come from beside calls and clocks, and how that fares. And the sources as
//! `hearth.toml` says them.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use control::{SourceList, SourceView};
use model::{After, EventPattern, FolderSource, FunctionName, MqttSource, QueueSource, SecretRef, Source, SourceState};
use serde::Deserialize;
use toml::Spanned;
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::text;

#[derive(Debug, Args)]
pub struct SourcesArgs {
    #[command(subcommand)]
    command: Option<SourcesCommand>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum SourcesCommand {
    /// List event sources, what waits at them, and what went wrong
    List {
        /// Only this function's
        function: Option<FunctionName>,
    },
    /// Take nothing from a source any more
    Pause(Which),
    /// Let a source go on
    Resume(Which),
}

#[derive(Debug, Args)]
struct Which {
    function: FunctionName,
    /// The source's name; may be left out where the function has one only
    source: Option<String>,
}

pub fn run(args: SourcesArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    match args.command.unwrap_or(SourcesCommand::List { function: None }) {
        SourcesCommand::List { function } => list(all(&client, function.as_ref())?, args.json)?,
        SourcesCommand::Pause(which) => change(&client, &which, "pause", "is paused", args.json)?,
        SourcesCommand::Resume(which) => change(&client, &which, "resume", "goes on", args.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn all(client: &Client, function: Option<&FunctionName>) -> anyhow::Result<Vec<SourceView>> {
    let which = function.map(|name| format!("?function={name}")).unwrap_or_default();
    let SourceList { sources } = client.get(&format!("/api/v1/sources{which}"))?;
    Ok(sources)
}

fn change(client: &Client, which: &Which, verb: &str, said: &str, json: bool) -> anyhow::Result<()> {
    let Which { function, source } = which;
    let source = match source {
        Some(source) => source.clone(),
        None => {
            let mut sources = all(client, Some(function))?;
            let names: Vec<_> = sources.iter().map(|one| text::one_line(&one.name)).collect();
            match (sources.pop(), names.len()) {
                (Some(one), 1) => one.name,
                (None, _) => {
                    return Err(anyhow!(
                        "{function} has no event sources, or is not there: [[queue]], [[mqtt]] and [[folder]] of \
                         hearth.toml make them"
                    ));
                }
                _ => return Err(anyhow!("which source of {function}? it has: {}", names.join(", "))),
            }
        }
    };
    let path = format!("/api/v1/functions/{function}/sources/{source}/{verb}");
    client.checked(client.send(Method::POST, &path, &[], Some(vec![]), None)?)?;
    if json {
        return out::json(&serde_json::json!({"function": function, "source": source, "paused": verb == "pause"}));
    }
    Ok(out::line(&text::one_line(&format!("{source} of {function} {said}")))?)
}

fn list(sources: Vec<SourceView>, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&sources);
    }
    if sources.is_empty() {
        out::note("no event sources: [[queue]], [[mqtt]] and [[folder]] of hearth.toml make them");
        return Ok(());
    }
    use Column::{Left, Right};
    let columns = [
        ("function", Left),
        ("source", Left),
        ("kind", Left),
        ("state", Left),
        ("lag", Right),
        ("in flight", Right),
        ("delivered", Right),
        ("failed", Right),
        ("last error", Left),
    ];
    let rows = sources.into_iter().map(|one| {
        let error = match (one.last_error, one.last_error_at) {
            (Some(error), Some(at)) => format!("{}: {}", text::ago(&at), text::one_line(&error)),
            _ => String::new(),
        };
        vec![
            one.function,
            one.name,
            one.kind,
            state(one.state).to_owned(),
            one.lag.map(|lag| lag.to_string()).unwrap_or_default(),
            one.in_flight.to_string(),
            one.delivered.to_string(),
            one.failed.to_string(),
            error,
        ]
    });
    Ok(out::table(&columns, rows.collect())?)
}

fn state(state: SourceState) -> &'static str {
    match state {
        SourceState::Starting => "starting",
        SourceState::Running => "running",
        SourceState::Paused => "paused",
        SourceState::Failing => "failing",
    }
}

/// `[[queue]]`, as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawQueue {
    /// The message queue's.
    name: String,
    /// Messages of one call at most, 1 to 1000; default 10.
    batch: Option<u32>,
    /// How long a batch may wait for more, 0s to 5m; default 0s.
    window: Option<String>,
    /// Batches that the function has at once, at most; default 5.
    concurrency: Option<u32>,
    /// Whether anything is taken from it; default true.
    enabled: Option<bool>,
    /// Whether the function may name those messages of a batch that failed; default true.
    partial: Option<bool>,
    /// Patterns, of which one must want a message; all others are deleted. Default: all are wanted.
    filters: Option<Vec<serde_json::Value>>,
    /// The version or alias that is called; default `$LATEST`.
    qualifier: Option<String>,
}

/// `[[mqtt]]`, as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawMqtt {
    /// Default `mqtt-1` and so on.
    name: Option<String>,
    /// `mqtt://HOST[:PORT]`, or `mqtts://…` for TLS.
    broker: String,
    topics: Vec<String>,
    /// 0 or 1; default 1.
    qos: Option<u8>,
    /// By which the broker knows the session; default made of the names of installation, function and source.
    client_id: Option<String>,
    user: Option<String>,
    /// `{ secret = "NAME" }`.
    password: Option<SecretRef>,
    /// Messages of one event at most; default 1.
    batch: Option<u32>,
    window: Option<String>,
}

/// `[[folder]]`, as it may be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawFolder {
    /// Default `folder-1` and so on.
    name: Option<String>,
    /// Absolute, within what whoever runs Hearth allows.
    path: String,
    /// Of the file's name, with `*` and `?`; default all.
    pattern: Option<String>,
    /// Whether folders in it are watched too; default false.
    recursive: Option<bool>,
    /// How long a file must not have changed, 100ms to 1h; default 2s.
    settle: Option<String>,
    /// `keep`, the default, `delete`, or `{ move-to = "/FOLDER" }`: once the event is done.
    after: Option<After>,
    /// Files of one event at most; default 1.
    batch: Option<u32>,
    window: Option<String>,
}

type Raw<T> = Option<Vec<Spanned<T>>>;

/// Reads all sources; none, if none is said. The error comes with its place.
pub fn read(
    queues: Raw<RawQueue>,
    mqtts: Raw<RawMqtt>,
    folders: Raw<RawFolder>,
) -> Result<Option<Vec<Source>>, (usize, String)> {
    if queues.is_none() && mqtts.is_none() && folders.is_none() {
        return Ok(None);
    }
    let mut all = Vec::new();
    for raw in queues.into_iter().flatten() {
        let (at, raw) = (raw.span().start, raw.into_inner());
        let time = |text: Option<String>| time(at, "queue", text);
        let name = raw.name.parse().map_err(|error| (at, format!("queue: {error}")))?;
        let pattern = |one| EventPattern::try_from(one).map_err(|why| (at, format!("queue: filters: {why}")));
        let qualifier = raw.qualifier.map(|text| text.parse()).transpose();
        all.push(Source::Queue(QueueSource {
            batch: raw.batch.unwrap_or(10),
            window: time(raw.window)?.unwrap_or_default(),
            concurrency: raw.concurrency,
            enabled: raw.enabled.unwrap_or(true),
            partial: raw.partial.unwrap_or(true),
            filters: raw.filters.into_iter().flatten().map(pattern).collect::<Result<_, _>>()?,
            qualifier: qualifier.map_err(|error| (at, format!("queue: {error}")))?,
            ..QueueSource::new(name)
        }));
    }
    for (n, raw) in mqtts.into_iter().flatten().enumerate() {
        let (at, raw) = (raw.span().start, raw.into_inner());
        all.push(Source::Mqtt(MqttSource {
            name: raw.name.unwrap_or_else(|| format!("mqtt-{}", n + 1)),
            broker: raw.broker,
            topics: raw.topics,
            qos: raw.qos.unwrap_or(1),
            client_id: raw.client_id,
            user: raw.user,
            password: raw.password,
            batch: raw.batch.unwrap_or(1),
            window: time(at, "mqtt", raw.window)?.unwrap_or_default(),
        }));
    }
    for (n, raw) in folders.into_iter().flatten().enumerate() {
        let (at, raw) = (raw.span().start, raw.into_inner());
        all.push(Source::Folder(FolderSource {
            name: raw.name.unwrap_or_else(|| format!("folder-{}", n + 1)),
            path: raw.path.parse().map_err(|error| (at, format!("folder: {error}")))?,
            pattern: raw.pattern,
            recursive: raw.recursive.unwrap_or(false),
            settle: time(at, "folder", raw.settle)?.unwrap_or(std::time::Duration::from_secs(2)),
            after: raw.after.unwrap_or_default(),
            batch: raw.batch.unwrap_or(1),
            window: time(at, "folder", raw.window)?.unwrap_or_default(),
        }));
    }
    Ok(Some(all))
}

fn time(at: usize, what: &str, text: Option<String>) -> Result<Option<std::time::Duration>, (usize, String)> {
    text.map(|text| model::parse_duration(&text)).transpose().map_err(|error| (at, format!("{what}: {error}")))
}
