"""What is kept of single calls, where a function asks for it: events and answers, and the same event once more."""

import json
import math

from harness.door import Door
from harness.functions import write
from harness.wait import until

CODE = """
import os
def handler(event, context):
    if isinstance(event, dict) and event.get("fail"):
        raise KeyError("missing thing")
    return {"stage": os.environ.get("STAGE", "-"), "event": event}
"""


def call(hearth, name, event, qualifier=None):
    with Door(hearth) as door:
        answer = door.invoke(f"{name}:{qualifier}" if qualifier else name, event)
    assert answer.status == 200
    return answer.request_id


def payloads(hearth, request_id, token=None):
    status, _, answer = hearth.api.call("GET", f"/api/v1/invocations/{request_id}/payloads", token=token)
    return status, answer


def replay(hearth, request_id, query="", token=None):
    status, _, answer = hearth.api.call("POST", f"/api/v1/invocations/{request_id}/replay{query}", token=token)
    return status, answer


def test_nothing_is_kept_unless_a_function_asks_for_it(hearth, function):
    name = function(CODE)
    well, ill = call(hearth, name, {"a": 1}), call(hearth, name, {"fail": True})
    for request_id in (well, ill):
        status, answer = payloads(hearth, request_id)
        assert status == 404 and "records.payloads=errors" in answer["message"], answer
    shown = hearth.cli.ok("config", name, "records.payloads=errors")
    assert "changed" in shown.stdout
    well, ill = call(hearth, name, {"a": 1}), call(hearth, name, {"fail": True})
    status, answer = payloads(hearth, well)
    assert status == 404 and "calls that fail, and this one did not" in answer["message"]
    status, answer = payloads(hearth, ill)
    assert status == 200 and json.loads(answer["input"]["text"]) == {"fail": True}
    assert json.loads(answer["output"]["text"])["errorType"] == "KeyError"
    assert not answer["input"]["truncated"]


def test_events_and_answers_are_as_they_were_and_go_on_over_a_restart(new_hearth, tmp_path):
    hearth = new_hearth().start()
    toml = '[records]\npayloads = "all"\n'
    hearth.cli.deploy(write(tmp_path / "f", CODE, toml=toml), "kept", "python3.11", "app.handler")
    event = {"text": "<script>ä\u2028", "number": 1.5}
    request_id = call(hearth, "kept", event)
    long = call(hearth, "kept", "x" * 300_000)
    hearth.stop()
    hearth.start()
    status, answer = payloads(hearth, request_id)
    assert status == 200 and answer["function"] == "kept"
    assert json.loads(answer["input"]["text"]) == event
    assert json.loads(answer["output"]["text"]) == {"stage": "-", "event": event}
    written = hearth.cli.ok("record", request_id, "--input").stdout
    assert json.loads(written) == event and written == answer["input"]["text"]
    shown = hearth.cli.ok("record", request_id).stdout
    assert "script" in shown and "\u2028" not in shown and "kept" in shown and "GB-s" in shown
    both = hearth.cli.ok("record", request_id, "--json").json()
    assert both["payloads"] == "kept" and json.loads(both["input"]["text"]) == event

    status, answer = payloads(hearth, long)
    assert (answer["input"]["truncated"], answer["input"]["bytes"]) == (True, 300_002)
    assert len(answer["input"]["text"]) == 256 << 10
    assert "beginning of 300002 bytes" in hearth.cli.ok("record", long).stdout
    status, answer = replay(hearth, long)
    assert status == 409 and "262144 of the 300002 bytes" in answer["message"]
    refused = hearth.cli.refused("replay", long)
    assert refused.code == 2 and "262144 of the 300002 bytes" in refused.stderr
    hearth.stop()


def test_a_replay_gives_the_same_event_to_the_version_that_it_went_to(hearth, function):
    name = function(CODE, flags=("--payloads", "all", "--env", "STAGE=one"))
    hearth.cli.ok("publish", name)
    hearth.cli.ok("alias", "set", name, "prod", "1")
    hearth.cli.ok("env", name, "STAGE=two")
    first = call(hearth, name, {"n": 7}, "prod")
    ran = hearth.cli.ok("replay", first, "--json").json()
    assert ran["replay_of"] == first and ran["version"] == "1" and ran["outcome"]["status"] == "ok"
    assert json.loads(ran["output"]["text"]) == {"stage": "one", "event": {"n": 7}}
    record = hearth.api.get(f"/api/v1/invocations/{ran['request_id']}")
    assert (record["replay_of"], record["qualifier"], record["version"]) == (first, "prod", "1")
    assert record["payloads"] == "kept"
    # The newest code instead, and a replay of a replay.
    status, answer = replay(hearth, ran["request_id"], "?qualifier=%24LATEST")
    assert status == 200 and json.loads(answer["output"]["text"]) == {"stage": "two", "event": {"n": 7}}
    ill = call(hearth, name, {"fail": True})
    failed = hearth.cli.run("replay", ill)
    assert failed.code == 3 and "KeyError" in failed.stderr, failed
    status, answer = replay(hearth, first, "?qualifier=nosuch")
    assert status == 404 and "nosuch" in answer["message"]
    assert replay(hearth, "00000000-0000-4000-8000-000000000000")[0] == 404


def test_payloads_are_for_who_may_read_the_logs_and_reading_them_is_in_the_audit_log(hearth, function):
    name = function(CODE, flags=("--payloads", "all"))
    request_id = call(hearth, name, {"n": 1})
    made = {}
    try:
        for scope in (f"logs:{name}", f"invoke:{name}", "read", f"deploy:{name}", "logs:nobody-has-this-name"):
            status, _, made[scope] = hearth.api.call(
                "POST", "/api/v1/tokens", {"name": scope.replace(":", "."), "scopes": [scope]}
            )
            assert status == 201
        got = {
            scope: (
                payloads(hearth, request_id, token=each["secret"])[0],
                replay(hearth, request_id, token=each["secret"])[0],
            )
            for scope, each in made.items()
        }
        assert list(got.values()) == [(200, 403), (403, 200), (403, 403), (403, 403), (404, 404)], got
    finally:
        for each in made.values():
            hearth.api.call("DELETE", f"/api/v1/tokens/{each['token']['id']}")
    records = hearth.api.get("/api/v1/audit?action=get_payloads&limit=100")["records"]
    mine = [one for one in records if request_id in one["object"]]
    assert [one["by"] for one in mine if one["status"] == 200] == [f"logs.{name}"]
    assert not any("KeyError" in json.dumps(one) or '"n"' in json.dumps(one) for one in records)


def test_a_web_function_cannot_keep_them_and_says_so(hearth, function):
    name = function(CODE)
    status, _, answer = hearth.api.call(
        "PATCH", f"/api/v1/functions/{name}", {"web": {"port": 8080}, "records": {"payloads": "all"}}
    )
    assert status == 400 and "passes by as a stream" in answer["message"], answer
    status, _, answer = hearth.api.call("PATCH", f"/api/v1/functions/{name}", {"records": {"payloads": "some"}})
    assert status == 400 and "none" in answer["message"], answer


def test_what_a_call_would_cost_is_its_memory_times_its_begun_milliseconds(new_hearth, tmp_path):
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "f", CODE), "billed", "python3.11", "app.handler", memory="512MB")
    ids = [call(hearth, "billed", {"n": n}) for n in range(10)]
    records = [hearth.api.get(f"/api/v1/invocations/{one}") for one in ids]
    for record in records:
        assert record["memory_limit"] == 512 << 20
        assert record["billed_ms"] in (math.ceil(record["handler_us"] / 1000), record["handler_us"] // 1000 + 1)
        report = hearth.api.get(f"/api/v1/functions/billed/logs?request_id={record['request_id']}")["lines"]
        report = next(line["message"] for line in report if line["message"].startswith("REPORT"))
        assert f"Billed Duration: {record['billed_ms']} ms" in report
    exact = sum(record["billed_ms"] for record in records) * 512 / 1024 / 1000

    def table():
        return hearth.cli.ok("metrics", "billed", "--since", "1h", "--json").json()

    total = table()["series"][0]["total"]
    assert abs(total["gb_seconds"] - exact) < 1e-9 and total["cost"] is None and table()["price"] is None
    status, _, text = hearth.api.call("GET", "/metrics")
    line = next(line for line in text.splitlines() if line.startswith('hearth_gb_seconds_total{function="billed"'))
    assert abs(float(line.split()[-1]) - exact) < 1e-9
    hearth.cli.ok("prices", "cloud", "--gb-second", "2", "--request", "0.5", "--currency", "EUR", "--name", "mine")
    priced = table()
    assert abs(priced["series"][0]["total"]["cost"] - (2 * exact + 10 * 0.5)) < 1e-9
    shown = hearth.cli.ok("metrics", "billed").text
    assert "COST EUR" in shown and "mine" in shown
    hearth.stop()


def test_versions_and_the_shares_of_an_alias_are_told_apart_in_metrics(hearth, function):
    name = function(CODE)
    hearth.cli.ok("publish", name)
    hearth.cli.ok("env", name, "STAGE=two")
    hearth.cli.ok("publish", name)
    status, _, answer = hearth.api.call(
        "PUT", f"/api/v1/functions/{name}/aliases/live", {"version": "1", "weights": {"2": 0.5}}
    )
    assert status in (200, 201), answer
    for n in range(40):
        call(hearth, name, {"n": n}, "live")
    for n in range(3):
        call(hearth, name, {"n": n}, "2")
    call(hearth, name, {})

    def by(what):
        series = hearth.api.get(f"/api/v1/metrics?function={name}&by={what}")["series"]
        return {one["key"]: one["total"]["calls"] for one in series if one["total"]["calls"]}

    until("all calls to be counted", lambda: sum(by("version").values()) == 44)
    versions, aliases = by("version"), by("alias")
    assert set(versions) == {"$LATEST", "1", "2"} and versions["$LATEST"] == 1
    assert aliases == {"live:1": versions["1"], "live:2": versions["2"] - 3, "2": 3, "$LATEST": 1}
    assert aliases["live:1"] + aliases["live:2"] == 40
    assert "live:1" in hearth.cli.ok("metrics", name, "--by", "alias").stdout
