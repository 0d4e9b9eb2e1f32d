//! Where the time of a call went, drawn: a line for each stage, its parts below it, on one axis of time.

use std::time::Duration;

use control::{PartView, RecordView, StageView};
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use super::{out, text};

/// Where stderr is no terminal.
const WIDTH: usize = 100;
/// Between them, bars say something and lines are not lost.
const BARS: std::ops::RangeInclusive<usize> = 10..=100;

/// A call as who made it saw it. What `--json` prints, too.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// What the caller waited.
    pub total_us: u64,
    /// Its trace, where it is known by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    pub cold: bool,
    pub stem: bool,
    /// The way there, what the record has, and the way back.
    pub stages: Vec<StageView>,
}

/// What the caller's own clocks say of a call.
#[derive(Debug, Clone, Copy)]
pub struct Waited {
    /// When it began, microseconds since the epoch.
    pub begun: i64,
    pub took: Duration,
}

// === impl Trace ===

impl Trace {
    pub fn new(record: RecordView, waited: Waited) -> Self {
        let RecordView { stages, received_us, cold, stem, trace_id, .. } = record;
        let here = stages.last().map_or(0, end);
        let total = (waited.took.as_micros() as u64).max(here);
        let rest = total - here;
        // On another machine, another clock: then it is not known how much of it was the way there.
        let there = u64::try_from(received_us.saturating_sub(waited.begun)).ok().filter(|there| *there <= rest);
        let (name, before) = there.map_or(("request and response", rest), |there| ("request", there));
        let mut all = vec![stage(name, 0, before)];
        all.extend(stages.into_iter().map(|stage| later(stage, before)));
        all.push(stage("response", before + here, rest - before));
        all.retain(|stage| stage.took_us > 0);
        Self { total_us: total, trace_id, cold, stem, stages: all }
    }

    /// Tells it on stderr, as wide as the terminal is.
    pub fn tell(&self) {
        let width = tcgetwinsize(std::io::stderr()).map_or(WIDTH, |size| usize::from(size.ws_col));
        out::note(&self.draw(if width == 0 { WIDTH } else { width }, out::Paint::stderr()));
    }

    fn draw(&self, width: usize, paint: out::Paint) -> String {
        let names = self.stages.iter().flat_map(|stage| {
            let parts = stage.parts.iter().map(|part| part.name.chars().count() + 4);
            parts.chain([stage.name.chars().count() + 2])
        });
        let names = names.max().unwrap_or(0).max("  total".len());
        // Two columns of times, and what stands between.
        let bars = width.saturating_sub(names + 2 * (TIME + 2) + 2).clamp(*BARS.start(), *BARS.end());
        let line = |indent: usize, name: &str, start: u64, took: u64, mark: char| {
            let name = format!("{:indent$}{}", "", text::one_line(name));
            let (start_text, took_text) = (time(start), time(took));
            let bar = self.bar(start, took, bars, mark);
            format!("{name:<names$}  {start_text:>TIME$}  {took_text:>TIME$}  {bar}").trim_end().to_owned()
        };
        let kind = match (self.cold, self.stem) {
            (false, _) => "warm start",
            (true, false) => "cold start",
            (true, true) => "cold start, out of a stem",
        };
        let head = format!("{kind:<names$}  {:>TIME$}  {:>TIME$}", "at", "took");
        let mut lines = vec![paint.dim(&head)];
        for stage in &self.stages {
            lines.push(line(2, &stage.name, stage.start_us, stage.took_us, '█'));
            let parts = stage.parts.iter();
            lines.extend(parts.map(|part| paint.dim(&line(4, &part.name, part.start_us, part.took_us, '▒'))));
        }
        let (name, none, total) = ("  total", "", time(self.total_us));
        lines.push(paint.bold(&format!("{name:<names$}  {none:>TIME$}  {total:>TIME$}")));
        lines.extend(self.trace_id.iter().map(|id| paint.dim(&format!("trace {id}"))));
        lines.join("\n")
    }

    fn bar(&self, start: u64, took: u64, width: usize, mark: char) -> String {
        let at = |us: u64| (us as f64 / self.total_us.max(1) as f64 * width as f64).clamp(0.0, width as f64);
        let begin = (at(start).floor() as usize).min(width - 1);
        let end = (at(start + took).round() as usize).clamp(begin + 1, width);
        let mut bar = " ".repeat(begin);
        bar.extend(std::iter::repeat_n(mark, end - begin));
        bar
    }
}

/// How wide a time is at most.
const TIME: usize = 9;

/// Whole microseconds below ten milliseconds, where each matters.
fn time(us: u64) -> String {
    match us {
        0..10_000 => format!("{us} µs"),
        10_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.3} s", us as f64 / 1e6),
    }
}

fn stage(name: &str, start_us: u64, took_us: u64) -> StageView {
    StageView { name: name.to_owned(), start_us, took_us, parts: vec![] }
}

fn end(stage: &StageView) -> u64 {
    stage.start_us.saturating_add(stage.took_us)
}

fn later(stage: StageView, by: u64) -> StageView {
    let part = |part: PartView| PartView { start_us: part.start_us.saturating_add(by), ..part };
    let parts = stage.parts.into_iter().map(part).collect();
    StageView { start_us: stage.start_us.saturating_add(by), parts, ..stage }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(received_us: i64) -> RecordView {
        let part = |name: &str, start_us, took_us| PartView { name: name.into(), start_us, took_us };
        let json = serde_json::json!({
            "request_id": "8f5c2a4e-3b1d-4c6a-9e7f-0a1b2c3d4e5f", "function": "f", "revision": 1, "instance": null,
            "door": "invoke", "received": "2026-11-22T10:00:00.000Z", "received_us": received_us, "cold": true,
            "outcome": {"status": "ok"}, "queued_us": 0, "sandbox_us": null, "runtime_us": null, "init_us": null,
            "handler_us": 0, "memory_peak": null, "cpu_us": null, "request_bytes": 0, "response_bytes": 0,
        });
        let mut record: RecordView = serde_json::from_value(json).unwrap();
        record.stages = vec![
            stage("door", 0, 100),
            StageView {
                parts: vec![part("cgroup", 100, 400), part("clone", 500, 600)],
                ..stage("sandbox", 100, 1_000)
            },
            stage("runtime", 1_100, 9_900),
            stage("handler", 11_000, 20),
        ];
        record
    }

    fn waited(us: u64) -> Waited {
        Waited { begun: 1_000_000, took: Duration::from_micros(us) }
    }

    #[test]
    fn a_waterfall_reads_like_this() {
        let trace = Trace::new(record(1_000_480), waited(12_000));
        let expected = "\
cold start         at       took
  request        0 µs     480 µs  ██
  door         480 µs     100 µs    █
  sandbox      580 µs    1000 µs    █████
    cgroup     580 µs     400 µs    ▒▒
    clone      980 µs     600 µs      ▒▒▒
  runtime     1580 µs    9900 µs         █████████████████████████████████████████
  handler    11.48 ms      20 µs
  response   11.50 ms     500 µs
  total                 12.00 ms";
        let drawn = trace.draw(84, out::Paint::none());
        let heads = |text: &str| text.lines().map(|l| l.chars().take(32).collect::<String>()).collect::<Vec<_>>();
        assert_eq!(heads(&drawn), heads(expected), "\n{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 84), "\n{drawn}");
        let bars: Vec<_> = drawn.lines().skip(1).map(|line| line.chars().skip(34).collect::<String>()).collect();
        assert_eq!(bars.first().unwrap(), "██", "\n{drawn}");
        assert!(bars.iter().rev().skip(1).all(|bar| bar.contains(['█', '▒'])), "\n{drawn}");
    }

    #[test]
    fn everything_that_the_caller_waited_is_in_it() {
        for (received, names) in [
            (1_000_480, ["request", "door", "sandbox", "runtime", "handler", "response"].as_slice()),
            (9_000_000, &["request and response", "door", "sandbox", "runtime", "handler"]),
            (-1, &["request and response", "door", "sandbox", "runtime", "handler"]),
        ] {
            let trace = Trace::new(record(received), waited(12_000));
            assert_eq!(trace.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(), names);
            let mut at = 0;
            for stage in &trace.stages {
                assert_eq!(stage.start_us, at, "{trace:?}");
                at = end(stage);
            }
            assert_eq!((at, trace.total_us), (12_000, 12_000));
        }
        let trace = Trace::new(record(1_000_000), waited(5));
        assert_eq!(trace.total_us, 11_020, "two clocks that disagree do not hide what was measured");
    }

    #[test]
    fn no_width_is_too_small() {
        let trace = Trace::new(record(1_000_480), waited(12_000));
        for width in [0, 1, 20, 79, 1_000] {
            assert_eq!(trace.draw(width, out::Paint::none()).lines().count(), 10);
        }
    }
}
