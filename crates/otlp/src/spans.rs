//! A call's spans: the call itself and, below it, the stages of its record; of an event, also its way through the queue.

use model::trace::{Cause, Finished, SpanId};
use model::{Blame, Door, FaultCode, Record, RecordOutcome, Stage, Timestamp, Version};

use crate::encode::{Kind, Span, Value};

/// How many there will be.
pub fn count(call: &Finished) -> usize {
    1 + call.record.stages.len().max(usize::from(ran(&call.record))) + usize::from(queued(call).is_some())
}

/// All of them.
pub fn of(call: Finished) -> Vec<Span> {
    let mut all = Vec::with_capacity(count(&call));
    all.extend(queue_span(&call));
    let record = &call.record;
    let begun = nanos(record.received);
    let measured = record.stages.last().map(|last| begun + last.end_us() * 1000);
    let end = measured.unwrap_or_else(|| nanos(call.ended).max(begun));
    for stage in &record.stages {
        all.push(stage_span(&call, stage, begun));
    }
    if record.stages.is_empty() && ran(record) {
        // Of a warm call the record has two durations: the handler's is at its end.
        let took = (record.handler_us * 1000).min(end - begun);
        all.push(child(&call, "handler", end - took, end));
    }
    all.push(call_span(&call, begun, end));
    all
}

fn ran(record: &Record) -> bool {
    record.instance.is_some() && record.handler_us > 0
}

/// The parent of an event's runs, which the first of them tells of.
fn queued(call: &Finished) -> Option<(SpanId, Timestamp)> {
    match call.cause {
        Cause::Event { attempt: 1, received, enqueued, .. } => Some((enqueued, received)),
        _ => None,
    }
}

fn queue_span(call: &Finished) -> Option<Span> {
    let (id, received) = queued(call)?;
    let function = call.record.function.as_str();
    let mut span = child(call, "", nanos(received), nanos(call.record.received));
    span.id = id.bytes();
    span.parent = call.parent.map(|parent| parent.bytes());
    span.name = format!("enqueue {function}");
    span.kind = Kind::Producer;
    span.attributes = messaging(call, "enqueue", "send");
    Some(span)
}

fn messaging(call: &Finished, operation: &str, kind: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("messaging.system", text("hearth")),
        ("messaging.operation.name", text(operation)),
        ("messaging.operation.type", text(kind)),
        ("messaging.destination.name", text(call.record.function.as_str())),
        ("messaging.message.id", text(&call.record.request_id.to_string())),
    ]
}

fn stage_span(call: &Finished, stage: &Stage, begun: u64) -> Span {
    let mut span = child(call, &stage.name, begun + stage.start_us * 1000, begun + stage.end_us() * 1000);
    if !stage.parts.is_empty() {
        let parts = stage.parts.iter().map(|part| format!("{} {} µs", part.name, part.took_us));
        span.attributes.push(("hearth.parts", text(&parts.collect::<Vec<_>>().join(", "))));
    }
    span
}

fn call_span(call: &Finished, begun: u64, end: u64) -> Span {
    let record = &call.record;
    let function = record.function.as_str();
    let (mut parent, mut kind, mut name) = (call.parent, Kind::Server, function.to_owned());
    let mut attributes = vec![
        ("faas.name", text(function)),
        ("faas.invoked_name", text(function)),
        ("faas.version", text(&version(record.version))),
        ("faas.invocation_id", text(&record.request_id.to_string())),
        ("faas.coldstart", Value::Bool(record.cold)),
        ("hearth.revision", Value::Int(record.revision.0 as i64)),
    ];
    let trigger = match call.cause {
        Cause::Event { attempt, enqueued, trigger, .. } => {
            (parent, kind) = (Some(enqueued), Kind::Consumer);
            name = format!("process {function}");
            attributes.extend(messaging(call, "process", "process"));
            attributes.push(("hearth.attempt", Value::Int(i64::from(attempt))));
            trigger.as_str()
        }
        Cause::Messages => {
            (kind, name) = (Kind::Consumer, format!("process {function}"));
            attributes.extend(messaging(call, "process", "process"));
            "pubsub"
        }
        Cause::Call if record.door == Door::Http => "http",
        Cause::Call => "other",
    };
    attributes.push(("faas.trigger", text(trigger)));
    if let Some(instance) = &record.instance {
        attributes.push(("faas.instance", text(instance.as_str())));
    }
    if let Some(isolation) = record.isolation {
        attributes.push(("hearth.isolation", text(isolation.as_str())));
    }
    if let Some(http) = &call.http {
        if record.door == Door::Http {
            name = format!("{} {}", http.method, http.route);
        }
        attributes.push(("http.request.method", text(&http.method)));
        attributes.push(("http.route", text(&http.route)));
        attributes.push(("url.path", text(&http.path)));
        attributes.push(("url.scheme", text(http.scheme)));
    }
    if let Some(status) = call.status {
        attributes.push(("http.response.status_code", Value::Int(i64::from(status))));
    }
    let error = match (record.outcome, call.status) {
        (RecordOutcome::Fault(code), _) => {
            attributes.push(("error.type", text(code.as_str())));
            attributes.push(("hearth.blame", text(blame(code))));
            let why = record.error.as_deref().map(|why| format!("{}: {why}", code.as_str()));
            Some(why.unwrap_or_else(|| code.as_str().to_owned()))
        }
        (RecordOutcome::Ok, Some(status @ 500..)) => {
            attributes.push(("error.type", text(&status.to_string())));
            Some(String::new())
        }
        _ => None,
    };
    Span {
        trace: call.id.bytes(),
        id: call.span.bytes(),
        parent: parent.map(|parent| parent.bytes()),
        state: call.state.as_deref().unwrap_or_default().to_owned(),
        name,
        kind,
        start: begun,
        end,
        attributes,
        error,
    }
}

fn child(call: &Finished, name: &str, start: u64, end: u64) -> Span {
    Span {
        trace: call.id.bytes(),
        id: SpanId::random().bytes(),
        parent: Some(call.span.bytes()),
        state: call.state.as_deref().unwrap_or_default().to_owned(),
        name: name.to_owned(),
        kind: Kind::Internal,
        start,
        end,
        attributes: Vec::new(),
        error: None,
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn version(version: Version) -> String {
    version.to_string()
}

fn blame(code: FaultCode) -> &'static str {
    match code.blame() {
        Blame::Caller => "caller",
        Blame::Function => "function",
        Blame::Platform => "platform",
    }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.micros()).unwrap_or_default().saturating_mul(1000)
}

#[cfg(test)]
pub mod tests {
    use model::trace::{Context, Http, Trigger};

    use super::*;

    /// A warm call that went well.
    pub fn finished() -> Finished {
        let record = serde_json::json!({
            "request_id": "8f5c2a4e-3b1d-4c6a-9e7f-0a1b2c3d4e5f", "function": "f", "revision": 3,
            "instance": "0123456789abcdef", "door": "http", "received": 1_000_000, "cold": false, "stem": false,
            "isolation": null, "outcome": {"status": "ok"}, "queued_us": 5, "sandbox_us": null, "runtime_us": null,
            "init_us": null, "handler_us": 300, "memory_peak": null, "cpu_us": null, "request_bytes": 0,
            "response_bytes": 0,
        });
        let said = Context::w3c("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        Finished {
            id: said.id,
            span: SpanId::new([7; 8]).unwrap(),
            parent: said.parent,
            state: None,
            cause: Cause::Call,
            http: None,
            status: None,
            record: serde_json::from_value(record).unwrap(),
            ended: Timestamp(1_000_400),
        }
    }

    fn said<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
        span.attributes.iter().find(|(one, _)| *one == name).map(|(_, value)| value)
    }

    #[test]
    fn a_warm_call_is_two_spans() {
        let call = finished();
        let all = of(call.clone());
        assert_eq!(all.len(), count(&call));
        let [handler, whole] = &all[..] else { panic!("{all:?}") };
        assert_eq!((whole.start, whole.end, whole.kind), (1_000_000_000, 1_000_400_000, Kind::Server));
        assert_eq!((handler.start, handler.end, handler.parent), (1_000_100_000, 1_000_400_000, Some(whole.id)));
        assert_eq!((whole.parent, &whole.error), (call.parent.map(|p| p.bytes()), &None));
    }

    #[test]
    fn the_stages_of_a_cold_call_fill_it() {
        let mut call = finished();
        let stage =
            |name: &'static str, start_us, took_us| Stage { name: name.into(), start_us, took_us, parts: vec![] };
        call.record.stages = vec![stage("door", 0, 40), stage("sandbox", 40, 60), stage("handler", 100, 9)];
        let all = of(call.clone());
        assert_eq!(all.len(), count(&call));
        let whole = all.last().unwrap();
        let mut at = whole.start;
        for stage in &all[..3] {
            assert_eq!((stage.start, stage.parent), (at, Some(whole.id)));
            at = stage.end;
        }
        assert_eq!(at, whole.end);
    }

    #[test]
    fn an_events_runs_are_below_its_way_here() {
        let mut call = finished();
        let enqueued = SpanId::new([9; 8]).unwrap();
        for attempt in 1..3 {
            let (received, trigger) = (Timestamp(500_000), Trigger::Timer);
            call.cause = Cause::Event { attempt, received, enqueued, trigger };
            let all = of(call.clone());
            assert_eq!(all.len(), count(&call));
            let whole = all.last().unwrap();
            assert_eq!((whole.parent, whole.kind), (Some([9; 8]), Kind::Consumer));
            assert_eq!(said(whole, "faas.trigger"), Some(&text("timer")));
            let way = all.iter().find(|span| span.kind == Kind::Producer);
            assert_eq!(way.is_some(), attempt == 1);
            if let Some(way) = way {
                assert_eq!((way.id, way.parent), ([9; 8], call.parent.map(|parent| parent.bytes())));
                assert_eq!((way.start, way.end), (500_000_000, whole.start));
            }
        }
    }

    #[test]
    fn what_went_wrong_is_said() {
        let mut call = finished();
        call.record.outcome = RecordOutcome::Fault(FaultCode::HandlerError);
        call.record.error = Some("KeyError: 'x'".into());
        let whole = of(call.clone()).pop().unwrap();
        let code = FaultCode::HandlerError.as_str();
        let why = format!("{code}: KeyError: 'x'");
        assert_eq!((said(&whole, "error.type"), whole.error.as_deref()), (Some(&text(code)), Some(why.as_str())));
        call.record.outcome = RecordOutcome::Ok;
        call.status = Some(503);
        let http = Http { method: "GET".into(), route: "/a/{b}".into(), path: "/a/1".into(), scheme: "http" };
        call.http = Some(http);
        let whole = of(call).pop().unwrap();
        assert_eq!((whole.name.as_str(), whole.error.as_deref()), ("GET /a/{b}", Some("")));
        assert_eq!(said(&whole, "http.response.status_code"), Some(&Value::Int(503)));
    }
}
