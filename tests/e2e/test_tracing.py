"""Traces by OTLP, and the context of traces that functions are told."""

import re
import socket
import subprocess

import pytest

from harness.collector import Collector
from harness.door import Door
from harness.functions import write
from harness.hearth import Hearth
from harness.wait import until
from harness.web import request
from harness.webserver import SERVER

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FROM = f"00-{TRACE}-{PARENT}-01"

PYTHON = """
import os
def handler(event, context):
    if event.get("fail"):
        raise KeyError("as told")
    return {"xray": os.environ.get("_X_AMZN_TRACE_ID"), "headers": event.get("headers")}
"""
NODE = """
export const handler = async (event) => ({ xray: process.env._X_AMZN_TRACE_ID, headers: event.headers });
"""
TWICE = """
def handler(event, context):
    raise ValueError("again")
"""
WEB = 'web = true\ncommand = ["python3", "server.py"]\ntimeout = "10s"\n'


def xray_of(text):
    """Trace, parent and decision of an X-Ray header."""
    match = re.fullmatch(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;Parent=([0-9a-f]{16}))?(?:;Sampled=([01]))?", text)
    assert match, text
    return match[1] + match[2], match[3], match[4]


def traced(binary, url, **environment):
    quick = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_SERVICE_NAME": "shop", **environment}
    return Hearth(binary, arguments=["--otlp", url], environment=quick)


@pytest.fixture(scope="module")
def collector():
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def up(binary, collector, tmp_path_factory):
    """A Hearth that exports, with a function of each kind."""
    with traced(binary, collector.url, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test") as hearth:
        folder = tmp_path_factory.mktemp
        hearth.cli.deploy(write(folder("p"), PYTHON), "py", "python3.11", "app.handler")
        hearth.cli.deploy(write(folder("n"), NODE, runtime="nodejs20.x"), "node", "nodejs20.x", "app.handler")
        hearth.cli.ok("deploy", write(folder("w"), {"server.py": SERVER}, toml=WEB), "--name", "web")
        rules = '[async]\nretries = 1\nretry-delay = "100ms"\n'
        hearth.cli.deploy(write(folder("t"), TWICE, toml=rules), "twice", "python3.11", "app.handler")
        yield hearth


def metric(hearth, name):
    status, _, text = hearth.api.call("GET", "/metrics")
    assert status == 200
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_a_cold_call_goes_on_with_its_callers_trace_and_its_stages_fill_it(up, collector):
    with Door(up) as door:
        answer = door.invoke("py", {}, headers={"traceparent": FROM, "tracestate": "a=1,b=2"})
    span = collector.call(answer.request_id)
    assert (span.trace, span.parent, span.kind, span.name, span.state) == (TRACE, PARENT, "server", "py", "a=1,b=2")
    assert span.resource == {"service.name": "shop", "deployment.environment.name": "test"}
    said = span.attributes
    assert (said["faas.name"], said["faas.version"], said["faas.trigger"]) == ("py", "$LATEST", "other")
    assert said["faas.coldstart"] is True and said["http.response.status_code"] == 200
    assert (said["http.request.method"], said["http.route"]) == ("POST", "/2015-03-31/functions/{name}/invocations")
    assert not span.failed
    stages = collector.below(span)
    names = [stage.name for stage in stages]
    assert names[0] == "door" and names[-1] == "answer" and {"init", "handler"} <= set(names), names
    at = span.start
    for stage in stages:
        assert stage.start == at, stages
        at = stage.end
    assert at == span.end
    # The function's own spans would be below the call.
    assert xray_of(answer.json()["xray"]) == (TRACE, span.id, "1")
    record = up.api.record("py", answer.request_id)
    assert record["trace_id"] == TRACE
    shown = up.cli.ok("invoke", "py", "--trace", "--json").json()["trace"]["trace_id"]
    assert until("that call's spans", lambda: collector.of(shown))


def test_a_warm_call_over_http_is_a_span_with_its_handler(up, collector):
    request(up, "GET", "/fn/node/a")
    answer = request(up, "GET", "/fn/node/a?b=secret")
    trace, parent, sampled = xray_of(answer.json()["xray"])
    span = collector.call(answer.header("x-amzn-requestid"))
    assert (span.trace, span.id, sampled, span.parent) == (trace, parent, "1", "")
    assert (span.name, span.attributes["http.route"]) == ("GET /fn/node/{path...}", "/fn/node/{path...}")
    assert (span.attributes["faas.trigger"], span.attributes["url.path"]) == ("http", "/fn/node/a")
    assert span.attributes["faas.coldstart"] is False and "secret" not in str(span.attributes)
    (handler,) = collector.below(span)
    assert handler.name == "handler" and span.start <= handler.start <= handler.end == span.end
    # The event has W3C's headers too.
    headers = answer.json()["headers"]
    assert headers["traceparent"] == f"00-{trace}-{span.id}-01" and "tracestate" not in headers


def test_a_web_function_gets_the_headers(up, collector):
    answer = request(up, "GET", "/fn/web/x", [("traceparent", FROM), ("tracestate", "a=1")])
    got = {name.lower(): value for name, value in answer.json()["headers"]}
    span = collector.call(answer.header("x-amzn-requestid"))
    assert (span.trace, span.parent) == (TRACE, PARENT)
    assert (got["traceparent"], got["tracestate"]) == (f"00-{TRACE}-{span.id}-01", "a=1")
    assert xray_of(got["x-amzn-trace-id"]) == (TRACE, span.id, "1")
    assert span.attributes["http.response.status_code"] == 200


def test_a_fault_is_an_error(up, collector):
    with Door(up) as door:
        answer = door.invoke("py", {"fail": True})
    span = collector.call(answer.request_id)
    code = up.api.record("py", answer.request_id)["outcome"]["code"]
    assert span.failed and span.message.startswith(code) and "as told" in span.message
    assert span.attributes["error.type"] == code


def test_each_attempt_of_an_event_is_a_span_of_its_callers_trace(up, collector):
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-{PARENT}-01", "x-amz-invocation-type": "Event"}
    with Door(up) as door:
        answer = door.invoke("twice", {}, headers=headers)
    assert answer.status == 202
    first, second = (collector.call(answer.request_id, attempt) for attempt in (1, 2))
    (way,) = [span for span in collector.of(trace) if span.kind == "producer"]
    assert (way.parent, first.parent, second.parent) == (PARENT, way.id, way.id)
    assert {first.kind, second.kind} == {"consumer"} and first.failed and second.failed
    assert way.start <= way.end <= first.start < first.end <= second.start
    assert first.attributes["messaging.destination.name"] == "twice" == way.attributes["messaging.destination.name"]


def test_what_is_no_traceparent_is_ignored(up, collector):
    for bad in (f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE.upper()}-{PARENT}-01", f"ff{FROM[2:]}", FROM + "-x", "x"):
        answer = request(up, "GET", "/fn/node/", [("traceparent", bad), ("tracestate", "a=1")])
        assert answer.status == 200
        span = collector.call(answer.header("x-amzn-requestid"))
        assert (span.parent, span.state) == ("", "") and span.trace != TRACE
        assert answer.json()["headers"]["traceparent"] == f"00-{span.trace}-{span.id}-01"


def test_a_caller_of_x_ray_and_one_who_does_not_sample_are_understood(up, collector):
    given = f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={PARENT};Sampled=1"
    answer = request(up, "GET", "/fn/node/", [("x-amzn-trace-id", given)])
    span = collector.call(answer.header("x-amzn-requestid"))
    assert (span.trace, span.parent) == ("5759e988bd862e3fe1be46a994272793", PARENT)
    other = "1af7651916cd43dd8448eb211c80319c"
    answer = request(up, "GET", "/fn/node/", [("traceparent", f"00-{other}-{PARENT}-00")])
    assert xray_of(answer.json()["xray"])[::2] == (other, "0")
    # Later calls are there, and this one is not.
    collector.call(request(up, "GET", "/fn/node/").header("x-amzn-requestid"))
    assert collector.of(other) == []


def test_a_sampler_that_is_off_exports_nothing(binary, tmp_path):
    with Collector() as collector:
        with traced(binary, collector.url, OTEL_TRACES_SAMPLER="always_off") as hearth:
            hearth.cli.deploy(write(tmp_path, PYTHON), "py", "python3.11", "app.handler")
            answer = request(hearth, "GET", "/fn/py/", [("traceparent", FROM)])
            assert xray_of(answer.json()["xray"])[::2] == (TRACE, "0")
        # It has ended, and what it had to send would be here.
        assert collector.requests == []


def test_without_an_exporter_what_the_caller_says_is_passed_on(hearth, function):
    name = function(PYTHON)
    given = [("traceparent", FROM), ("tracestate", "a=1")]
    answer = request(hearth, "GET", f"/fn/{name}/", given)
    got = answer.json()
    assert xray_of(got["xray"]) == (TRACE, PARENT, "1")
    assert (got["headers"]["traceparent"], got["headers"]["tracestate"]) == (FROM, "a=1")
    assert hearth.api.record(name, answer.header("x-amzn-requestid"))["trace_id"] == TRACE
    # Nothing is decided for those who said nothing.
    got = request(hearth, "GET", f"/fn/{name}/").json()
    assert xray_of(got["xray"])[1:] == (None, None) and "traceparent" not in got["headers"]


def test_a_collector_that_is_down_harms_no_call_and_is_said_once(binary, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    limits = {"OTEL_BSP_EXPORT_TIMEOUT": "300", "OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    with traced(binary, f"http://127.0.0.1:{port}", **limits) as hearth:
        hearth.cli.deploy(write(tmp_path, PYTHON), "py", "python3.11", "app.handler")
        for _ in range(20):
            assert request(hearth, "GET", "/fn/py/").status == 200
        dropped = 'hearth_trace_spans_dropped_total{reason="'
        until("spans that overflow", lambda: metric(hearth, dropped + "queue_full"))
        until("spans that are given up", lambda: metric(hearth, dropped + "unreachable"))
        assert metric(hearth, "hearth_trace_spans_exported_total") == 0
        assert hearth.log_path.read_text().count("traces cannot be exported") == 1


def test_a_collector_that_is_back_gets_what_waits_and_an_end_sends_the_rest(binary, tmp_path):
    with Collector() as collector:
        collector.status = 503
        slow = {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        with traced(binary, collector.url, **slow) as hearth:
            hearth.cli.deploy(write(tmp_path, PYTHON), "py", "python3.11", "app.handler")
            first = request(hearth, "GET", "/fn/py/").header("x-amzn-requestid")
            until("an attempt", lambda: collector.requests)
            collector.status = 200
            collector.call(first)
            last = request(hearth, "GET", "/fn/py/").header("x-amzn-requestid")
        assert last in [span.attributes.get("faas.invocation_id") for span in collector.spans]
        path, headers = collector.requests[-1]
        assert path == "/v1/traces" and {name.lower(): value for name, value in headers.items()}["x-key"] == "a b"


def test_what_hearth_has_not_is_refused_at_the_start(binary, tmp_path):
    for name, value, expected in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "xray", "parentbased_traceidratio"),
        ("OTEL_TRACES_EXPORTER", "console", "otlp or none"),
    ]:
        environment = {"PATH": "/usr/bin:/bin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value}
        command = [str(binary), "up", "--data-dir", str(tmp_path / "data")]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        assert ran.returncode != 0 and name in ran.stderr and expected in ran.stderr, ran
    assert not (tmp_path / "data").exists()
