//! `hearth logs`: what functions wrote, up to now or as it comes.
//!
//! Following reads one endless answer. When it breaks off it is asked for again behind the last line that was
//! seen, so that a restart of the server loses nothing.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use control::{LogLineView, LogPageView};
use model::{FunctionName, InstanceId, LogLevel, RequestId};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::Method;

use super::client::{Client, ClientError, ConnectArgs};
use super::{Usage, out, text};

/// How long a server that went away is waited for.
const AWAY: Duration = Duration::from_secs(60);
/// Longest line of an answer: a message is at most 256 KiB, and escaped six times that.
const MOST: u64 = 4 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Whose lines; without it, those of all functions
    name: Option<FunctionName>,
    /// Go on printing what comes
    #[arg(short, long)]
    follow: bool,
    /// Only from then on: a time back from now like 10m, or 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only lines of this severity or a higher one: trace, debug, info, warn, error or fatal
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<LogLevel>,
    /// Only lines that are a JSON object with this value at this path, like user.id=42
    #[arg(long, value_name = "PATH=VALUE")]
    field: Option<String>,
    /// Only lines of this instance
    #[arg(long, value_name = "ID")]
    instance: Option<InstanceId>,
    /// Only lines that hold this text, in any case
    #[arg(short, long, value_name = "TEXT")]
    grep: Option<String>,
    /// Only lines of this invocation
    #[arg(long, value_name = "ID")]
    request_id: Option<RequestId>,
    /// The newest so many lines [default: 100, or 1000 where any other filter is given]
    #[arg(short = 'n', long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Print each line as a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub fn run(args: LogsArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let printer = Printer { json: args.json, names: args.name.is_none(), paint: out::Paint::stdout() };
    let absent = |error| match &args.name {
        Some(name) => client.explain_absent(name, error),
        None => error,
    };
    if !args.follow {
        let page: LogPageView = client.get(&args.path(None)).map_err(|error| misused(absent(error)))?;
        page.lines.iter().try_for_each(|line| printer.print(line))?;
        if page.lines.is_empty() && !args.json {
            out::note("no lines");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut after = None;
    let mut away: Option<Instant> = None;
    loop {
        let mut print = |heard: Heard<'_>| match heard {
            Heard::Line(line) => printer.print(line),
            Heard::Heartbeat => Ok(()),
            Heard::Dropped(count) => {
                out::note(&format!("{count} lines and records were lost since Hearth's start: they came too fast"));
                Ok(())
            }
        };
        match follow(&client, &args.path(after), &mut print, &mut after) {
            // It was there, and went.
            Ok(()) => away = None,
            Err(Broken::Output(error)) => return Err(error),
            // Never seen: the first answer decides whether there is anything to follow.
            Err(Broken::Hearth(error)) if after.is_none() && away.is_none() => {
                return Err(misused(absent(error)));
            }
            Err(Broken::Hearth(error)) => match error {
                ClientError::Refused { status, .. } if status < 500 => return Err(error.into()),
                error if away.is_some_and(|since| since.elapsed() > AWAY) => return Err(error.into()),
                _ => {}
            },
        }
        if away.is_none() {
            out::note("Hearth went away: waiting for it");
            away = Some(Instant::now());
        }
        sleep(Duration::from_millis(500));
    }
}

/// A wrong flag is a wrong command line, although only the server can tell.
fn misused(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused { status: 400, message, .. } => Usage(message).into(),
        error => error.into(),
    }
}

/// What ended an answer before its end.
pub enum Broken {
    Hearth(ClientError),
    /// Whoever was told did not want to hear more.
    Output(anyhow::Error),
}

/// What an endless answer says.
pub enum Heard<'a> {
    Line(&'a LogLineView),
    /// That both ends are there still.
    Heartbeat,
    /// That so many lines were lost since the server's start.
    Dropped(u64),
}

/// Tells of one answer to its end.
pub fn follow(
    client: &Client,
    path: &str,
    tell: &mut dyn FnMut(Heard<'_>) -> anyhow::Result<()>,
    after: &mut Option<u64>,
) -> Result<(), Broken> {
    let response = client.send(Method::GET, path, &[], None, None).map_err(Broken::Hearth)?;
    let response = client.checked(response).map_err(Broken::Hearth)?;
    let mut reader = BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader());
    let mut line = Vec::new();
    loop {
        line.clear();
        let limited = &mut std::io::Read::take(&mut reader, MOST);
        // A connection that broke is the same as an answer that ended.
        if limited.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return Ok(());
        }
        if line == b"\n" {
            tell(Heard::Heartbeat).map_err(Broken::Output)?;
        } else if let Ok(mut line) = serde_json::from_slice::<LogLineView>(&line) {
            let cursor = line.cursor.take();
            tell(Heard::Line(&line)).map_err(Broken::Output)?;
            *after = cursor.or(*after);
        } else if let Ok(Lost { dropped }) = serde_json::from_slice(&line) {
            tell(Heard::Dropped(dropped)).map_err(Broken::Output)?;
        }
    }
}

/// What a line says that is not one of a function's.
#[derive(Deserialize)]
struct Lost {
    dropped: u64,
}

fn level(text: &str) -> Result<LogLevel, String> {
    LogLevel::parse(text).ok_or_else(|| "expected trace, debug, info, warn, error or fatal".into())
}

/// Prints lines for people or for programs.
pub struct Printer {
    pub json: bool,
    /// Whether each line says whose it is.
    pub names: bool,
    pub paint: out::Paint,
}

// === impl Printer ===

impl Printer {
    fn print(&self, line: &LogLineView) -> anyhow::Result<()> {
        if self.json {
            return Ok(out::line(&text::json(&serde_json::to_string(line)?))?);
        }
        Ok(out::line(&self.human(line))?)
    }

    pub fn human(&self, line: &LogLineView) -> String {
        let paint = self.paint;
        let level = line.level.as_deref().unwrap_or("-");
        let padded = format!("{:<5}", text::one_line(level));
        let level = match level {
            "error" | "fatal" => paint.red(&padded),
            "warn" => paint.yellow(&padded),
            _ => paint.dim(&padded),
        };
        let id = line.request_id.as_deref().unwrap_or("-");
        let id = paint.dim(&format!("{:<8}", text::short_id(id)));
        let time = paint.dim(&text::one_line(&line.time));
        let name = if self.names { format!("{} ", paint.bold(&text::one_line(&line.function))) } else { String::new() };
        format!("{time} {level} {id} {name}{}", text::lines(own_message(line)))
    }
}

/// The message without AWS's prefix where that only repeats time, level and request:
/// `TIME\tID\tLEVEL\t` of Node, `[LEVEL]\tTIME\tID\t` of Python's logging.
fn own_message(line: &LogLineView) -> &str {
    let message = line.message.as_str();
    let mut parts = message.splitn(4, '\t');
    let (Some(first), Some(second), Some(third), Some(rest)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return message;
    };
    let bracketed = first.strip_prefix('[').and_then(|level| level.strip_suffix(']'));
    let (time, id, level) = match bracketed {
        Some(level) => (second, third, level),
        None => (first, second, third),
    };
    let level = LogLevel::parse(level).map(LogLevel::as_str);
    let same_level = level.is_some() && level == line.level.as_deref();
    let same_id = match line.request_id.as_deref() {
        Some(one) => one == id,
        // As Node and Python write none.
        None => id == "undefined" || id.is_empty(),
    };
    let moment = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    // Python looks at the clock twice.
    let same_time = moment(time).zip(moment(&line.time)).is_some_and(|(one, other)| one.abs_diff(other) < 1000);
    if same_level && same_id && same_time { rest } else { message }
}

// === impl LogsArgs ===

impl LogsArgs {
    fn path(&self, after: Option<u64>) -> String {
        let narrowed = self.since.is_some()
            || self.grep.is_some()
            || self.request_id.is_some()
            || self.level.is_some()
            || self.field.is_some()
            || self.instance.is_some();
        let limit = self.limit.unwrap_or(if narrowed { 1000 } else { 100 });
        let mut path = match &self.name {
            Some(name) => format!("/api/v1/functions/{name}/logs?limit={limit}"),
            None => format!("/api/v1/logs?limit={limit}"),
        };
        let mut add = |key: &str, value: &str| {
            path.push_str(&format!("&{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        };
        if let Some(after) = after {
            add("after", &after.to_string());
        } else if let Some(since) = &self.since {
            add("since", since);
        }
        if let Some(grep) = &self.grep {
            add("grep", grep);
        }
        if let Some(level) = self.level {
            add("level", level.as_str());
        }
        if let Some(field) = &self.field {
            add("field", field);
        }
        if let Some(instance) = &self.instance {
            add("instance", instance.as_str());
        }
        if let Some(id) = &self.request_id {
            add("request_id", &id.to_string());
        }
        if self.follow {
            add("follow", "true");
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        logs: LogsArgs,
    }

    #[test]
    fn a_query_is_written_safely_and_goes_on_behind_its_cursor() {
        let args = Line::parse_from(["hearth", "--level", "warning", "--field", "user.id=42"]).logs;
        assert_eq!(args.path(None), "/api/v1/logs?limit=1000&level=warn&field=user%2Eid%3D42");
        let args = Line::parse_from(["hearth", "f", "-f", "--since", "10m", "--grep", "a&b=c d"]).logs;
        assert_eq!(args.path(None), "/api/v1/functions/f/logs?limit=1000&since=10m&grep=a%26b%3Dc%20d&follow=true");
        assert_eq!(args.path(Some(7)), "/api/v1/functions/f/logs?limit=1000&after=7&grep=a%26b%3Dc%20d&follow=true");
    }

    #[test]
    fn a_prefix_that_repeats_the_columns_is_left_out() {
        let own = |level: &str, id: Option<&str>, message: &str| {
            let line = LogLineView {
                time: "2026-11-22T10:00:00.123Z".into(),
                function: "f".into(),
                request_id: id.map(str::to_owned),
                instance: "0123456789abcdef".into(),
                level: Some(level.into()),
                message: message.into(),
                cursor: None,
            };
            own_message(&line).to_owned()
        };
        assert_eq!(own("info", Some("a-b"), "2026-11-22T10:00:00.123Z\ta-b\tINFO\tx\ty\nz"), "x\ty\nz");
        assert_eq!(own("info", None, "2026-11-22T10:00:00.123Z\tundefined\tINFO\tearly"), "early");
        assert_eq!(own("warn", Some("a-b"), "[WARNING]\t2026-11-22T10:00:00.122Z\ta-b\tx"), "x");
        assert_eq!(own("error", None, "[ERROR]\t2026-11-22T10:00:00.122Z\t\tearly"), "early");
        for other in [
            "2026-11-22T10:00:00.123Z\tother\tINFO\tx",
            "2026-11-22T10:00:00.123Z\ta-b\tERROR\tx",
            "2026-11-22T11:00:00.123Z\ta-b\tINFO\tx",
            "now\ta-b\tINFO\tx",
            "a\tb",
            "",
        ] {
            assert_eq!(own("info", Some("a-b"), other), other);
        }
    }

    #[test]
    fn a_line_for_people_is_one_line_and_cannot_be_forged() {
        let line = LogLineView {
            time: "2026-11-22T10:00:00.123Z".into(),
            function: "f".into(),
            request_id: Some("01995a2e-0000-7000-8000-00000a1b2c3d".into()),
            instance: "0123456789abcdef".into(),
            level: Some("error".into()),
            message: "boom\x1b[2J\n2026-11-22T10:00:00.124Z info  0a1b2c3d all well".into(),
            cursor: None,
        };
        let printer = Printer { json: false, names: false, paint: out::Paint::none() };
        let expected = "2026-11-22T10:00:00.123Z error 0a1b2c3d boom\\x1b[2J\n    | 2026-11-22T10:00:00.124Z info  0a1b2c3d all well";
        assert_eq!(printer.human(&line), expected);
        let of_all = Printer { names: true, ..printer };
        assert!(of_all.human(&line).starts_with("2026-11-22T10:00:00.123Z error 0a1b2c3d f boom"));
    }
}
