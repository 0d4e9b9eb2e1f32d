//! What `hearth dev` says: in the columns of `hearth logs` for people, a JSON object a line for programs.

use std::time::Duration;

use control::{LogLineView, RecordView};
use model::Timestamp;
use serde_json::{Value, json};

use crate::cli::logs::Printer;
use crate::cli::{out, text};

/// Prints whole lines, from any thread.
#[derive(Clone, Copy)]
pub struct Screen {
    json: bool,
    paint: out::Paint,
}

// === impl Screen ===

impl Screen {
    pub fn new(json: bool) -> Self {
        Self { json, paint: out::Paint::stdout() }
    }

    /// One event. `human` is put behind the time; of several lines, all but the first are marked.
    fn event(&self, kind: &str, mut value: Value, word: &str, human: &str) -> anyhow::Result<()> {
        let time = Timestamp::now().rfc3339();
        if self.json {
            value["event"] = kind.into();
            value["time"] = time.into();
            return Ok(out::line(&text::json(&value.to_string()))?);
        }
        Ok(out::line(&format!("{} {word} {}", self.paint.dim(&time), text::lines(human)))?)
    }

    /// What is watched, and where.
    pub fn ready(&self, folder: &str, endpoint: &str, own: Option<&str>) -> anyhow::Result<()> {
        let value = json!({"watching": folder, "endpoint": endpoint, "own_data_dir": own});
        let human = match own {
            Some(data_dir) => format!(
                "{folder}, on a Hearth of its own at {endpoint}; for other commands:\n\
                 export HEARTH_ENDPOINT={endpoint} HEARTH_DATA_DIR={data_dir}"
            ),
            None => format!("{folder}, on the Hearth at {endpoint}"),
        };
        self.event("ready", value, &self.paint.bold("watch"), &human)
    }

    pub fn deployed(&self, name: &str, revision: u64, what: &[String], took: Duration) -> anyhow::Result<()> {
        let value = json!({"function": name, "revision": revision, "changed": what, "took_ms": millis(took)});
        let human = format!("{name} revision {revision} in {}{}", text::span(took), shown(what));
        self.event("deployed", value, &self.paint.green("saved"), &human)
    }

    pub fn failed(&self, name: &str, what: &[String], error: &str, answering: Option<u64>) -> anyhow::Result<()> {
        let value = json!({"function": name, "changed": what, "message": error, "answering": answering});
        let rest = match answering {
            Some(revision) => format!("\nrevision {revision} goes on answering"),
            None => String::new(),
        };
        self.event("failed", value, &self.paint.red("wrong"), &format!("{error}{rest}"))
    }

    pub fn note(&self, message: &str) -> anyhow::Result<()> {
        self.event("note", json!({"message": message}), &self.paint.dim("note "), message)
    }

    /// Where a debugger can attach, and how.
    pub fn debugger(&self, name: &str, port: u16, how: &str) -> anyhow::Result<()> {
        let value = json!({"function": name, "port": port});
        self.event("debugger", value, &self.paint.bold("debug"), &format!("127.0.0.1:{port}: {how}"))
    }

    pub fn url(&self, url: Option<&str>, name: &str) -> anyhow::Result<()> {
        let human = match url {
            Some(url) => format!("curl {url}"),
            None => format!("hearth invoke {name} '{{}}'"),
        };
        self.event("url", json!({"function": name, "url": url}), &self.paint.bold("try  "), &human)
    }

    pub fn line(&self, line: &LogLineView) -> anyhow::Result<()> {
        if self.json {
            let mut value = serde_json::to_value(line)?;
            value["event"] = "log".into();
            return Ok(out::line(&text::json(&value.to_string()))?);
        }
        Ok(out::line(&Printer { json: false, names: false, paint: self.paint }.human(line))?)
    }

    pub fn call(&self, record: &RecordView) -> anyhow::Result<()> {
        if self.json {
            let mut value = serde_json::to_value(record)?;
            value["event"] = "call".into();
            return Ok(out::line(&text::json(&value.to_string()))?);
        }
        Ok(out::line(&call(record, self.paint))?)
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

fn shown(what: &[String]) -> String {
    match what {
        [] => String::new(),
        [first @ .., last] if first.len() < 3 => {
            format!(": {}", first.iter().chain([last]).map(|one| text::one_line(one)).collect::<Vec<_>>().join(", "))
        }
        [first, second, rest @ ..] => {
            format!(": {}, {} and {} more", text::one_line(first), text::one_line(second), rest.len())
        }
        [one] => format!(": {}", text::one_line(one)),
    }
}

/// A call in the columns of a log line.
fn call(record: &RecordView, paint: out::Paint) -> String {
    let micros = Duration::from_micros;
    let outcome = match record.outcome.code {
        None => paint.green("ok"),
        Some(code) => paint.red(&format!("failed, {code}")),
    };
    let took = text::span(micros(record.queued_us.saturating_add(record.handler_us)));
    let how = match record.cold {
        true => format!("cold, {} of it starting", text::span(micros(record.queued_us))),
        false => "warm".to_owned(),
    };
    let (time, id) = (paint.dim(&text::one_line(&record.received)), paint.dim(&text::short_id(&record.request_id)));
    format!("{time} {} {id} {outcome}, {took}, {how}", paint.bold("call "))
}
