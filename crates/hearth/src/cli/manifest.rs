//! `hearth.toml`: what was written ([`RawConfig`]) becomes what the API is asked for ([`FunctionWrite`]).
//!
//! Unknown keys are errors that name the key, its line and the nearest known one.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use control::{AsyncWrite, FunctionWrite, RecordsWrite, ScaleWrite, explain_unknown};
use model::{
    Cpu, Egress, EnvValue, FunctionName, Idle, InvalidQuantity, InvokeMode, Isolation, IsolationChoice, KeepPayloads,
    Memory, Missed, Overlap, Qualifier, Runtime, Schedule, Target, Web, WebProtocol,
};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::Usage;
use super::access::{self, RawMount};
use super::http::{self, RawHttp};
use super::sources::{self, RawFolder, RawMqtt, RawQueue};

/// `hearth.toml`, as it may be written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    /// The function's name; default: the folder's.
    name: Option<Spanned<String>>,
    /// For people, at most 256 bytes.
    description: Option<String>,
    /// An AWS runtime identifier; `hearth runtimes` lists what is here. Default: the newest that fits the files.
    runtime: Option<Spanned<String>>,
    /// `file.function`. Default: found in the files.
    handler: Option<String>,
    /// It is an HTTP server; default false.
    web: Option<bool>,
    /// Where that listens, 1024 to 65535; default 8080, and told in `PORT`.
    port: Option<Spanned<u16>>,
    /// A path that it answers with a status below 400 once it takes requests; default: as soon as it listens.
    health: Option<Spanned<String>>,
    /// What it speaks: `http1`, the default, or `h2c`: HTTP/2 in clear, as gRPC servers do.
    protocol: Option<Spanned<String>>,
    /// Program and arguments: a web function's server; else what is run once for each event, with the event on standard
    /// input and the result on standard output.
    command: Option<Vec<String>>,
    /// The root file system of its sandboxes: an image, by its name in a registry. Default: this machine's own `/usr`.
    image: Option<String>,
    /// Of the whole sandbox, 32MB to 10GB; default 128MB.
    memory: Option<Spanned<Text>>,
    /// Of one invocation, 1ms to 15m; default 3s.
    timeout: Option<Spanned<Text>>,
    /// Share of a core, 0.01 to 64; default in proportion to memory.
    cpu: Option<Spanned<Text>>,
    /// Size of `/tmp`, 1MB to 10GB; default 512MB.
    tmp: Option<Spanned<Text>>,
    /// One that `hearth doctor` shows as working; `auto`: the cheapest that works and meets `at-least`; or shares of
    /// the calls on several, `{ namespace = 90, gvisor = 10 }`; default `namespace`.
    isolation: Option<Spanned<toml::Value>>,
    /// No sandbox is made with a weaker isolation than this one.
    #[serde(rename = "at-least")]
    at_least: Option<Spanned<String>>,
    /// Whether instances go on from an image that is made after init, once for each deploy (AWS's SnapStart), instead of
    /// running init each; default false.
    snapstart: Option<bool>,
    /// Whether the ingress answers at `/fn/NAME/…`; default true.
    url: Option<bool>,
    /// Whether the ingress gives answers whole, `buffered`, or as the function writes them, `stream`; default `buffered`.
    #[serde(rename = "invoke-mode")]
    invoke_mode: Option<Spanned<String>>,
    /// Environment variables, at most 4 KB together; `{ secret = "NAME" }`: what that secret holds.
    env: Option<BTreeMap<String, Spanned<toml::Value>>>,
    /// Files below `/run/secrets`, and the secret that each holds.
    secrets: Option<BTreeMap<String, Spanned<String>>>,
    /// Folders of the host's that the function sees, as far as whoever runs Hearth allows.
    mount: Option<Vec<RawMount>>,
    /// Packages that are seen at `/opt`, `NAME:VERSION` each, as `hearth layer publish` made them; at most five.
    layers: Option<Vec<String>>,
    scale: Option<RawScale>,
    network: Option<RawNetwork>,
    /// What becomes of events that nobody waits for.
    #[serde(rename = "async")]
    asynchronous: Option<RawAsync>,
    /// What is kept of its calls.
    records: Option<RawRecords>,
    /// When it is called by the clock.
    schedule: Option<Vec<Spanned<RawSchedule>>>,
    /// Message queues whose messages it gets.
    queue: Option<Vec<Spanned<RawQueue>>>,
    /// MQTT topics whose messages it gets.
    mqtt: Option<Vec<Spanned<RawMqtt>>>,
    /// Folders whose files it is told of.
    folder: Option<Vec<Spanned<RawFolder>>>,
    /// Routes on the ingress that it answers.
    http: Option<Vec<Spanned<RawHttp>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawScale {
    /// Instances kept ready although nothing calls; default 0.
    min: Option<u32>,
    /// Instances at once at most; default 1000.
    max: Option<u32>,
    /// Invocations at once in one instance; 1 for event functions.
    concurrency: Option<u32>,
    /// How long an instance without work is kept: `auto`, or a time; `0s`: none outlives its call.
    idle: Option<Spanned<Text>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawNetwork {
    /// `none`, the default; `internet`; `lan`: private addresses too; or exactly a list of addresses.
    egress: Option<Spanned<toml::Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct RawAsync {
    /// How often an event is run again after the function failed, 0 to 10; default 2.
    retries: Option<u32>,
    /// Before the first of them; the n-th waits n times as long; default 1m.
    retry_delay: Option<Spanned<Text>>,
    /// An event that could not be run within this time is given up, 1s to 14d; default 6h.
    max_age: Option<Spanned<Text>>,
    /// The function that is told of each event that went well; or the message queue, `queue:NAME`.
    on_success: Option<Spanned<String>>,
    /// The same of each event that was given up.
    on_failure: Option<Spanned<String>>,
    /// Whether events that were given up are kept; default true.
    dead_letter: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRecords {
    /// Events and answers of its calls: `none`, the default; of those that fail, `errors`; or `all`.
    payloads: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSchedule {
    /// Its name among the function's; default `schedule-1` and so on.
    name: Option<String>,
    /// Five or six fields of cron, or AWS's `cron(…)`, `rate(…)`, `at(…)`.
    cron: String,
    /// An IANA time zone; default UTC.
    timezone: Option<String>,
    /// `skip`, the default, `queue` or `allow`.
    #[serde(default)]
    overlap: Overlap,
    /// `skip`, `once`, the default, or `all`.
    #[serde(default)]
    missed: Missed,
    /// With `all`: how many at most; default 100.
    missed_most: Option<u32>,
    /// Each event becomes due this much later at most; default none.
    jitter: Option<Text>,
    /// No tick before; RFC 3339.
    start: Option<toml::Value>,
    /// No tick after; RFC 3339.
    end: Option<toml::Value>,
    /// The version or alias that is called; default: what calls without one get.
    qualifier: Option<Qualifier>,
    /// The event; default EventBridge's scheduled event.
    payload: Option<serde_json::Value>,
}

/// A quantity: a text, or a bare number.
#[derive(Debug)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::String(text) => Ok(Self(text)),
            toml::Value::Integer(number) => Ok(Self(number.to_string())),
            toml::Value::Float(number) => Ok(Self(number.to_string())),
            other => {
                Err(serde::de::Error::custom(format_args!("expected a text or a number, got a {}", other.type_str())))
            }
        }
    }
}

/// Reads a `hearth.toml`. What it does not say is left unsaid.
pub fn parse(text: &str) -> Result<FunctionWrite, Usage> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| {
        let message = explain_unknown(error.message());
        // Of several lines only the first is a message; the rest of toml's is a picture of the place.
        let message = message.lines().next().unwrap_or_default().to_owned();
        match error.span() {
            Some(span) => refuse(text, span.start, &message),
            None => Usage(format!("hearth.toml: {message}")),
        }
    })?;
    let web = raw.web.unwrap_or(false);
    for (key, at) in [
        ("port", raw.port.as_ref().map(|port| port.span())),
        ("health", raw.health.as_ref().map(|health| health.span())),
        ("protocol", raw.protocol.as_ref().map(|protocol| protocol.span())),
    ] {
        if let Some(at) = at.filter(|_| !web) {
            return Err(refuse(text, at.start, &format!("{key} is a web function's: say web = true beside it")));
        }
    }
    let mut server = Web::default();
    if let Some(port) = raw.port {
        server.port = port.into_inner();
    }
    server.health = raw.health.map(Spanned::into_inner);
    server.protocol = word::<WebProtocol>(text, "protocol", raw.protocol)?.unwrap_or_default();
    let placed = |(at, message): (usize, String)| refuse(text, at, &message);
    let scale = raw.scale.unwrap_or_default();
    let wait = scale.idle.map(|time| {
        let at = time.span().start;
        idle(&time.into_inner().0).map_err(|error| refuse(text, at, &format!("scale.idle: {error}")))
    });
    let scale = ScaleWrite { min: scale.min, max: scale.max, concurrency: scale.concurrency, idle: wait.transpose()? };
    let timeout = raw.timeout.map(|timeout| {
        let at = timeout.span().start;
        let time = self::timeout(&timeout.into_inner().0);
        time.map_err(|error| refuse(text, at, &format!("timeout: {error}")))
    });
    Ok(FunctionWrite {
        name: word::<FunctionName>(text, "name", raw.name)?,
        description: raw.description,
        runtime: word::<Runtime>(text, "runtime", raw.runtime)?,
        handler: raw.handler,
        web: raw.web.map(|web| web.then_some(server)),
        command: raw.command.map(Some),
        memory: read::<Memory>(text, "memory", raw.memory)?,
        timeout: timeout.transpose()?,
        image: raw.image.map(Some),
        cpu: read::<Cpu>(text, "cpu", raw.cpu)?.map(Some),
        tmp: read::<Memory>(text, "tmp", raw.tmp)?,
        isolation: raw.isolation.map(|choice| isolation_of(text, choice)).transpose()?,
        at_least: word::<Isolation>(text, "at-least", raw.at_least)?.map(Some),
        env: raw.env.map(|env| variables(text, env)).transpose()?,
        secrets: raw.secrets.map(access::files).transpose().map_err(placed)?,
        mounts: raw.mount.map(access::mounts).transpose().map_err(placed)?,
        layers: raw.layers,
        found_layers: None,
        scale: (scale != ScaleWrite::default()).then_some(scale),
        egress: raw.network.and_then(|network| network.egress).map(|egress| egress_of(text, egress)).transpose()?,
        snapstart: raw.snapstart,
        url: raw.url,
        invoke_mode: word::<InvokeMode>(text, "invoke-mode", raw.invoke_mode)?,
        url_rules: None,
        routes: raw.http.map(http::routes).transpose().map_err(placed)?,
        asynchronous: raw.asynchronous.map(|rules| async_of(text, rules)).transpose()?,
        records: raw
            .records
            .map(|records| {
                let payloads = word::<KeepPayloads>(text, "records.payloads", records.payloads)?;
                Ok::<_, Usage>(RecordsWrite { payloads })
            })
            .transpose()?,
        schedules: raw.schedule.map(|all| schedules_of(text, all)).transpose()?,
        aws: None,
        sources: sources::read(raw.queue, raw.mqtt, raw.folder).map_err(placed)?,
        code: None,
    })
}

fn schedules_of(text: &str, all: Vec<Spanned<RawSchedule>>) -> Result<Vec<Schedule>, Usage> {
    let one = |(place, raw): (usize, Spanned<RawSchedule>)| {
        let at = raw.span().start;
        let raw = raw.into_inner();
        let name = raw.name.unwrap_or_else(|| format!("schedule-{}", place + 1));
        let mut schedule = Schedule::new(&name, &raw.cron);
        // Written as text or as TOML's own kind of moment.
        let moment = |value: toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        schedule.timezone = raw.timezone.unwrap_or(schedule.timezone);
        (schedule.overlap, schedule.missed) = (raw.overlap, raw.missed);
        schedule.missed_most = raw.missed_most.unwrap_or(schedule.missed_most);
        if let Some(Text(jitter)) = raw.jitter {
            let read = model::parse_duration(&jitter);
            schedule.jitter = read.map_err(|error| refuse(text, at, &format!("schedule {name:?}: jitter: {error}")))?;
        }
        (schedule.start, schedule.end) = (raw.start.map(moment), raw.end.map(moment));
        (schedule.qualifier, schedule.payload) = (raw.qualifier, raw.payload);
        schedule.timetable().map_err(|error| refuse(text, at, &error.to_string()))?;
        Ok(schedule)
    };
    all.into_iter().enumerate().map(one).collect()
}

fn async_of(text: &str, rules: RawAsync) -> Result<AsyncWrite, Usage> {
    let time = |key: &str, value: Option<Spanned<Text>>, expected: &str| {
        let Some(value) = value else { return Ok(None) };
        let (at, written) = (value.span().start, value.into_inner().0);
        let read = model::parse_duration(&written);
        let why = |error: InvalidQuantity| range(&written, expected).unwrap_or_else(|| error.to_string());
        read.map(Some).map_err(|error| refuse(text, at, &format!("async.{key}: {}", why(error))))
    };
    Ok(AsyncWrite {
        retries: rules.retries,
        retry_delay: time("retry-delay", rules.retry_delay, "10ms to 1d")?,
        max_age: time("max-age", rules.max_age, "1s to 14d")?,
        on_success: word::<Target>(text, "async.on-success", rules.on_success)?.map(Some),
        on_failure: word::<Target>(text, "async.on-failure", rules.on_failure)?.map(Some),
        dead_letter: rules.dead_letter,
    })
}

/// Reads a time that an invocation may take.
pub fn timeout(text: &str) -> Result<Duration, String> {
    model::parse_duration(text).map_err(|error| range(text, "1ms to 15m").unwrap_or_else(|| error.to_string()))
}

/// Reads how long an instance is kept.
pub fn idle(text: &str) -> Result<Idle, String> {
    text.parse().map_err(|error: InvalidQuantity| range(text, "0s to 7d, or auto").unwrap_or_else(|| error.to_string()))
}

/// What to say of a time that is well written, and beyond what can be read.
fn range(text: &str, expected: &str) -> Option<String> {
    let unit = text.trim().trim_start_matches(|c: char| c.is_ascii_digit());
    let written = unit.len() < text.trim().len() && model::parse_duration(&format!("1{unit}")).is_ok();
    written.then(|| format!("{text} is out of range: expected {expected}"))
}

fn variables(
    text: &str,
    env: BTreeMap<String, Spanned<toml::Value>>,
) -> Result<BTreeMap<String, Option<EnvValue>>, Usage> {
    let one = |(name, value): (String, Spanned<toml::Value>)| {
        let at = value.span().start;
        let value = access::variable(&name, value.into_inner()).map_err(|why| refuse(text, at, &why))?;
        Ok((name, Some(value)))
    };
    env.into_iter().map(one).collect()
}

fn isolation_of(text: &str, choice: Spanned<toml::Value>) -> Result<IsolationChoice, Usage> {
    let at = choice.span().start;
    let value = choice.into_inner();
    value.try_into().map_err(|error: toml::de::Error| refuse(text, at, &format!("isolation: {}", error.message())))
}

fn egress_of(text: &str, egress: Spanned<toml::Value>) -> Result<Egress, Usage> {
    let at = egress.span().start;
    let value = egress.into_inner();
    value.try_into().map_err(|error: toml::de::Error| refuse(text, at, &format!("network.{}", error.message())))
}

fn word<T: FromStr<Err: std::fmt::Display>>(
    text: &str,
    key: &str,
    value: Option<Spanned<String>>,
) -> Result<Option<T>, Usage> {
    let Some(value) = value else { return Ok(None) };
    let at = value.span().start;
    value.get_ref().parse().map(Some).map_err(|error| refuse(text, at, &format!("{key}: {error}")))
}

fn read<T: FromStr<Err: std::fmt::Display>>(
    text: &str,
    key: &str,
    value: Option<Spanned<Text>>,
) -> Result<Option<T>, Usage> {
    let Some(value) = value else { return Ok(None) };
    let at = value.span().start;
    value.get_ref().0.parse().map(Some).map_err(|error| refuse(text, at, &format!("{key}: {error}")))
}

fn refuse(text: &str, at: usize, message: &str) -> Usage {
    let line = text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
    Usage(format!("hearth.toml, line {line}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        parse(text).unwrap_err().0
    }

    #[test]
    fn every_key_that_works_is_read() {
        let manifest = parse(
            r#"
            name = "thumbnails"
            description = "small pictures"
            runtime = "python3.11"
            image = "python:3.11-slim"
            handler = "app.handler"
            memory = "256MB"
            timeout = "10s"
            cpu = 0.5
            tmp = "1GB"
            isolation = "namespace"
            url = false
            [env]
            BUCKET = "photos"
            API_KEY = { secret = "photo-api-key" }
            [scale]
            min = 1
            max = 20
            concurrency = 1
            idle = "auto"
            [network]
            egress = "none"
            [async]
            retries = 1
            retry-delay = "30s"
            max-age = "1h"
            on-success = "well"
            on-failure = "ill"
            dead-letter = false
            [records]
            payloads = "errors"
            [[schedule]]
            cron = "0 3 * * *"
            timezone = "Europe/Berlin"
            overlap = "queue"
            missed = "all"
            missed-most = 3
            jitter = "30s"
            start = 2026-01-01T00:00:00Z
            payload = { a = 1 }
            [[queue]]
            name = "orders"
            batch = 100
            window = "1s"
            filters = [{ body = { kind = ["new"] } }]
            [[mqtt]]
            broker = "mqtt://10.0.0.5"
            topics = ["sensors/+/t"]
            user = "hearth"
            password = { secret = "mqtt" }
            [[folder]]
            path = "/srv/in"
            pattern = "*.jpg"
            after = { move-to = "/srv/done" }
            [secrets]
            "db/password" = "db-password"
            [[mount]]
            host = "/srv/photos"
            path = "/mnt/photos"
            [[mount]]
            host = "/backup"
            path = "/mnt/backup"
            read-only = false
            "#,
        )
        .unwrap();
        let expected = serde_json::json!({
            "name": "thumbnails", "description": "small pictures", "runtime": "python3.11",
            "image": "python:3.11-slim", "handler": "app.handler", "memory": "256MB", "timeout": "10s", "cpu": "0.5", "tmp": "1GB",
            "isolation": "namespace", "url": false, "env": {"BUCKET": "photos", "API_KEY": {"secret": "photo-api-key"}}, "egress": "none",
            "secrets": {"db/password": "db-password"},
            "mounts": [
                {"host": "/srv/photos", "path": "/mnt/photos", "read_only": true},
                {"host": "/backup", "path": "/mnt/backup", "read_only": false},
            ],
            "scale": {"min": 1, "max": 20, "concurrency": 1, "idle": "auto"},
            "async": {
                "retries": 1, "retry_delay": "30s", "max_age": "1h", "on_success": "well", "on_failure": "ill",
                "dead_letter": false,
            },
            "records": {"payloads": "errors"},
            "schedule": [{
                "name": "schedule-1", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "overlap": "queue",
                "missed": "all", "missed_most": 3, "jitter": "30s", "start": "2026-01-01T00:00:00Z",
                "payload": {"a": 1},
            }],
            "sources": [
                {"kind": "queue", "name": "orders", "batch": 100, "window": "1s", "filters": [r#"{"body":{"kind":["new"]}}"#]},
                {"kind": "mqtt", "name": "mqtt-1", "broker": "mqtt://10.0.0.5", "topics": ["sensors/+/t"], "qos": 1,
                 "user": "hearth", "password": {"secret": "mqtt"}, "batch": 1, "window": "0s"},
                {"kind": "folder", "name": "folder-1", "path": "/srv/in", "pattern": "*.jpg", "recursive": false,
                 "settle": "2s", "after": {"move_to": "/srv/done"}, "batch": 1, "window": "0s"},
            ],
        });
        assert_eq!(serde_json::to_value(&manifest).unwrap(), expected);
    }

    #[test]
    fn several_isolations_have_shares_of_the_calls() {
        let manifest = parse("isolation = { namespace = 90, gvisor = 10 }").unwrap();
        assert_eq!(manifest.isolation.unwrap().to_string(), "namespace=90,gvisor=10");
        let manifest = parse("isolation = \"auto\"\nat-least = \"gvisor\"").unwrap();
        assert_eq!(manifest.isolation, Some(IsolationChoice::Auto));
        assert_eq!(manifest.at_least, Some(Some(Isolation::Gvisor)));
        let wrong = said("\nisolation = { namespace = 90 }");
        assert!(wrong.contains("line 2: isolation: the shares of the calls sum up to 90"), "{wrong}");
    }

    #[test]
    fn a_network_is_a_word_or_a_list() {
        let egress = |text: &str| parse(&format!("[network]\negress = {text}")).unwrap().egress.unwrap();
        assert_eq!(egress("\"internet\""), Egress::Internet);
        assert_eq!(egress("[\"10.0.0.0/8\", \"1.2.3.4:5\"]").to_string(), "1.2.3.4:5,10.0.0.0/8");
    }

    #[test]
    fn a_web_function_says_where_it_listens() {
        let manifest = parse("web = true\ncommand = [\"node\", \"server.js\"]").unwrap();
        assert_eq!(manifest.web, Some(Some(Web::default())));
        assert_eq!(manifest.command, Some(Some(vec!["node".into(), "server.js".into()])));
        let manifest = parse("web = true\nport = 3000\nhealth = \"/up\"").unwrap();
        assert_eq!(manifest.web, Some(Some(Web { port: 3000, health: Some("/up".into()), ..Web::default() })));
        assert_eq!(parse("web = false").unwrap().web, Some(None));
        assert!(said("\nport = 80").contains("line 2: port is a web function's"));
    }

    #[test]
    fn what_is_not_said_is_left_unsaid() {
        assert_eq!(parse("").unwrap(), FunctionWrite::default());
        assert_eq!(parse("memory = 512\ntimeout = 1.5").unwrap().timeout.unwrap().as_millis(), 1500);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_its_neighbour() {
        assert_eq!(
            said("name = \"a\"\nmemroy = \"1GB\""),
            r#"hearth.toml, line 2: unknown key "memroy": did you mean "memory"?"#
        );
        assert_eq!(said("[scale]\n\nmaxx = 3"), r#"hearth.toml, line 3: unknown key "maxx": did you mean "max"?"#);
        assert!(said("[networks]\n").contains("\"network\""));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let cases = [
            ("memory = \"lots\"", "line 1: memory: \"lots\" is not an amount of memory"),
            ("\ntimeout = \"10 years\"", "line 2: timeout: \"10 years\" is not a time"),
            ("runtime = \"python\"", "line 1: runtime"),
            ("name = \"a b\"", "line 1: function name"),
            ("isolation = \"prayer\"", "line 1: isolation"),
            ("[env]\nA = 1", "line 2: env.A: expected a text in quotes or { secret = \"NAME\" }, got a integer"),
            ("memory = [1]", "line 1: expected a text or a number"),
            ("[scale]\nidle = \"soon\"", "line 2: scale.idle"),
            (
                "[scale]\nidle = \"9999999h\"",
                "line 2: scale.idle: 9999999h is out of range: expected 0s to 7d, or auto",
            ),
            ("[env]\n\nK = { secret = \"a b\" }", "line 3: env.K: secret name \"a b\" is not valid"),
            ("[secrets]\n\"a\" = \"b/c\"", "line 2: secrets.a: secret name"),
            ("[[mount]]\nhost = \"srv\"\npath = \"/mnt/a\"", "line 2: mount: host folder"),
            ("[[mount]]\nhost = \"/srv\"\npath = \"/etc\"", "line 3: mount: mount path"),
            (
                "[network]\negress = [\"127.0.0.1:80\"]",
                "line 2: network.egress \"127.0.0.1:80\" is this machine's loopback",
            ),
            ("[network]\negress = 3", "line 2: network.expected none, internet"),
            ("name = ", "line 1"),
            ("\n[[schedule]]\ncron = \"61 * * * *\"", "line 2: schedule \"schedule-1\": minute \"61\" is not valid"),
            ("\n[[queue]]\nname = \"a b\"", "line 2: queue: queue name \"a b\" is not valid"),
            ("[[queue]]\nname = \"a\"\nbacth = 3", "line 3: unknown key \"bacth\": did you mean \"batch\"?"),
            ("[[folder]]\npath = \"in\"", "line 1: folder: host folder"),
            ("[[mqtt]]\nbroker = \"mqtt://h\"", "topics"),
            ("[[schedule]]\ncron = \"* * * * *\"\noverlap = \"x\"", "line 3"),
        ];
        for (text, expected) in cases {
            let said = said(text);
            assert!(said.contains(expected.split(": function name").next().unwrap()), "{text}: {said}");
        }
    }

    #[test]
    fn routes_are_read_with_what_stands_before_them() {
        let text = r#"
            [[http]]
            route = "POST /hooks/{name}"
            auth = { signature = "github", secret = "hook-key" }
            rate = "10/s"
            burst = 20
            max-body = "64KB"
            timeout = "5s"
            [http.cors]
            allow-origins = ["https://a.example"]
            max-age = "1m"
            [[http]]
            route = "/files/{proxy+}"
        "#;
        let expected = serde_json::json!([
            {
                "route": "POST /hooks/{name}", "auth": {"signature": "github", "secret": "hook-key"}, "rate": "10/s",
                "burst": 20, "max_body": "64KB", "timeout": "5s",
                "cors": {"allow_origins": ["https://a.example"], "max_age": "1m"},
            },
            {"route": "ANY /files/{proxy+}"},
        ]);
        assert_eq!(serde_json::to_value(parse(text).unwrap().routes).unwrap(), expected);
        assert!(
            said("[[http]]\nroute = \"/a\"\nrat = \"1/s\"")
                .contains("line 3: unknown key \"rat\": did you mean \"rate\"")
        );
        assert!(said("\n[[http]]\nroute = \"FETCH /a\"").contains("line 2: http: route"));
    }
}
