//! `/metrics`: the store's figures in Prometheus's text format.
//!
//! Counters are of all time, restarts included. What makes many series is kept few: revisions are not told apart, and
//! durations are by function only. The edges of histograms' buckets are powers of two of a microsecond, at which the
//! store's buckets end too, so the counts are exact.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use model::metric::{Aggregate, Histogram, Traffic};
use model::{Door, InstanceState, Isolation};
use store::observe::Total;

use crate::Api;
use crate::error::ApiError;

/// Powers of two of a microsecond that buckets end at: 128 µs to 18 minutes.
const EDGES: std::ops::RangeInclusive<u32> = 7..=30;

pub(crate) async fn get(State(api): State<Api>) -> Result<Response, ApiError> {
    let totals = api.observe.totals().await?;
    let mut text = Text::default();
    calls(&mut text, &totals);
    platform(&mut text, &api);
    queue(&mut text, &api).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0).into_response())
}

fn calls(text: &mut Text, totals: &[Total]) {
    let mut functions: BTreeMap<&str, Aggregate> = BTreeMap::new();
    let called = || totals.iter().filter(|one| one.figures.calls > 0);
    text.family("hearth_invocations_total", "counter", "Calls that came to their end.");
    for Total { function, isolation, door, figures } in called() {
        let (isolation, trigger) = (isolation.map_or("", Isolation::as_str), trigger(*door));
        let labels = [("function", function.as_str()), ("isolation", isolation), ("trigger", &trigger)];
        text.sample("hearth_invocations_total", &labels, figures.calls);
        functions.entry(function).or_default().merge(figures);
    }
    let name = "hearth_gb_seconds_total";
    text.family(name, "counter", "Memory that functions may use times the time of calls, in begun milliseconds.");
    for Total { function, isolation, door, figures } in called() {
        let (isolation, trigger) = (isolation.map_or("", Isolation::as_str), trigger(*door));
        let labels = [("function", function.as_str()), ("isolation", isolation), ("trigger", &trigger)];
        text.sample(name, &labels, figures.gb_seconds());
    }
    text.family("hearth_errors_total", "counter", "Calls that failed, by code and by who has to act.");
    for (function, figures) in &functions {
        for (code, count) in &figures.faults {
            let blame = match code.blame() {
                model::Blame::Caller => "caller",
                model::Blame::Function => "function",
                model::Blame::Platform => "platform",
            };
            let labels = [("function", *function), ("code", code.as_str()), ("blame", blame)];
            text.sample("hearth_errors_total", &labels, *count);
        }
    }
    type Of = fn(&Aggregate) -> u64;
    let counters: [(&str, &str, Of); 4] = [
        ("hearth_throttles_total", "Calls that failed for want of room.", Aggregate::throttles),
        ("hearth_cold_starts_total", "Calls that waited for an instance to be made.", |sum| sum.cold),
        ("hearth_request_bytes_total", "Payloads of requests.", |sum| sum.request_bytes),
        ("hearth_response_bytes_total", "Payloads of answers.", |sum| sum.response_bytes),
    ];
    for (name, help, of) in counters {
        text.family(name, "counter", help);
        for (function, figures) in &functions {
            text.sample(name, &[("function", function)], of(figures));
        }
    }
    let name = "hearth_function_cpu_seconds_total";
    text.family(name, "counter", "Processor time of sandboxes during calls, where that is known.");
    for (function, figures) in &functions {
        text.sample(name, &[("function", function)], figures.cpu_us as f64 / 1e6);
    }
    network(text, totals);
    type In = fn(&Aggregate) -> &Histogram;
    let histograms: [(&str, &str, In); 3] = [
        ("hearth_invocation_duration_seconds", "Time in the handler.", |sum| &sum.duration),
        ("hearth_init_duration_seconds", "Cold starts: sandbox, runtime and the function's code.", |sum| &sum.init),
        ("hearth_queue_wait_seconds", "Waiting for an instance.", |sum| &sum.queue),
    ];
    for (name, help, of) in histograms {
        text.family(name, "histogram", help);
        for (function, figures) in &functions {
            text.histogram(name, function, of(figures));
        }
    }
}

/// Of instances, not of calls, and of those functions only whose instances had something to send or to receive.
fn network(text: &mut Text, totals: &[Total]) {
    let mut functions: BTreeMap<&str, Traffic> = BTreeMap::new();
    for Total { function, figures, .. } in totals.iter().filter(|one| !one.figures.traffic.is_none()) {
        *functions.entry(function).or_default() += figures.traffic;
    }
    type Of = fn(&Traffic) -> u64;
    let counters: [(&str, &str, Of); 2] = [
        ("hearth_function_network_sent_bytes_total", "What sandboxes sent through their network.", |one| one.sent),
        ("hearth_function_network_received_bytes_total", "What sandboxes received through it.", |one| one.received),
    ];
    for (name, help, of) in counters {
        text.family(name, "counter", help);
        for (function, traffic) in &functions {
            text.sample(name, &[("function", function)], of(traffic));
        }
    }
}

fn platform(text: &mut Text, api: &Api) {
    let mut instances: BTreeMap<(String, &'static str, &'static str), u64> = BTreeMap::new();
    for one in api.platform.instances() {
        let state = match one.state {
            InstanceState::Starting => "starting",
            InstanceState::Idle => "idle",
            InstanceState::Frozen => "frozen",
            InstanceState::Busy => "busy",
        };
        *instances.entry((one.function.to_string(), one.isolation.as_str(), state)).or_default() += 1;
    }
    text.family("hearth_instances", "gauge", "Instances that live now.");
    for ((function, isolation, state), count) in instances {
        text.sample("hearth_instances", &[("function", &function), ("isolation", isolation), ("state", state)], count);
    }
    let mut stems: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
    for one in api.platform.stems() {
        *stems.entry((one.isolation.as_str(), one.runtime.to_string())).or_default() += one.ready;
    }
    text.family("hearth_stems", "gauge", "Sandboxes that are ready to become instances.");
    for ((isolation, runtime), ready) in stems {
        text.sample("hearth_stems", &[("isolation", isolation), ("runtime", &runtime)], ready);
    }
    let memory = api.platform.memory();
    text.one("hearth_memory_budget_bytes", "gauge", "What all instances together may use.", memory.budget);
    text.one("hearth_memory_used_bytes", "gauge", "What is charged to the budget.", memory.used);
    let dropped = api.telemetry.dropped();
    let help = "Records and log lines that came faster than they could be written, since the start.";
    text.one("hearth_telemetry_dropped_total", "counter", help, dropped);
    if let Some(spans) = api.platform.traces() {
        text.one("hearth_trace_spans_exported_total", "counter", "Spans that a collector took.", spans.exported);
        let name = "hearth_trace_spans_dropped_total";
        text.family(name, "counter", "Spans that no collector got, by why not.");
        for (reason, count) in
            [("queue_full", spans.overflowed), ("unreachable", spans.failed), ("refused", spans.refused)]
        {
            text.sample(name, &[("reason", reason)], count);
        }
        text.one("hearth_trace_spans_waiting", "gauge", "Spans that are to be sent.", spans.waiting);
    }
    text.family("hearth_build_info", "gauge", "Always 1.");
    text.sample("hearth_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let process = api.platform.process();
    text.one("process_cpu_seconds_total", "counter", "Processor time of the server.", process.cpu_seconds);
    text.one("process_resident_memory_bytes", "gauge", "Memory of the server.", process.resident_bytes);
    text.one("process_open_fds", "gauge", "Open descriptors of the server.", process.open_fds);
    let started = process.started_us as f64 / 1e6;
    text.one("process_start_time_seconds", "gauge", "When the server started, seconds since 1970.", started);
}

async fn queue(text: &mut Text, api: &Api) -> Result<(), ApiError> {
    let counts = api.queue.counts().await?;
    text.family("hearth_queue_events", "gauge", "Asynchronous events that wait or run, or were given up and kept.");
    for one in &counts {
        let function = one.function.as_str();
        text.sample("hearth_queue_events", &[("function", function), ("state", "waiting")], one.waiting);
        text.sample("hearth_queue_events", &[("function", function), ("state", "dead")], one.dead);
    }
    Ok(())
}

/// As the API has it, so that a new door needs no change here.
fn trigger(door: Option<Door>) -> String {
    let text = door.and_then(|door| serde_json::to_value(door).ok());
    text.as_ref().and_then(|text| text.as_str()).unwrap_or_default().to_owned()
}

/// Text that grows.
#[derive(Default)]
struct Text(String);

// === impl Text ===

// Writing to a String cannot fail.
impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn histogram(&mut self, name: &str, function: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for edge in EDGES {
            let le = ((1u64 << edge) as f64 / 1e6).to_string();
            self.sample(&bucket, &[("function", function), ("le", &le)], histogram.below(edge));
        }
        self.sample(&bucket, &[("function", function), ("le", "+Inf")], histogram.count());
        let function = [("function", function)];
        self.sample(&format!("{name}_sum"), &function, histogram.sum() as f64 / 1e6);
        self.sample(&format!("{name}_count"), &function, histogram.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus_s() {
        let mut text = Text::default();
        text.one("up", "gauge", "Whether.", 1);
        text.sample("odd", &[("a", "x\"\\\n"), ("b", "")], 0.5);
        let mut histogram = Histogram::default();
        [100, 128, 2_000_000].into_iter().for_each(|micros| histogram.add(micros));
        text.histogram("took", "f", &histogram);
        let lines: Vec<_> = text.0.lines().collect();
        assert_eq!(lines[..4], ["# HELP up Whether.", "# TYPE up gauge", "up 1", "odd{a=\"x\\\"\\\\\\n\",b=\"\"} 0.5"]);
        assert_eq!(lines[4], "took_bucket{function=\"f\",le=\"0.000128\"} 1");
        assert_eq!(lines[5], "took_bucket{function=\"f\",le=\"0.000256\"} 2");
        let last = &lines[lines.len() - 3..];
        assert_eq!(
            last,
            [
                "took_bucket{function=\"f\",le=\"+Inf\"} 3",
                "took_sum{function=\"f\"} 2.000228",
                "took_count{function=\"f\"} 3"
            ]
        );
    }
}
