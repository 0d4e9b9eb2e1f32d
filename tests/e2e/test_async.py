"""Asynchronous events: kept before they are answered, run, retried, told of, set aside, redriven."""

import json
import threading

import pytest

from harness.door import Door
from harness.functions import ECHO
from harness.wait import until

RULES = """
[async]
retries = {retries}
retry-delay = "200ms"
{more}
"""
# Fails as long as it is told to.
FAILS = """
def handler(event, context):
    print("ran", event["n"])
    if event.get("fail"):
        raise ValueError("as told")
    return {"n": event["n"]}
"""
TOLD = """
import json
def handler(event, context):
    print("told " + json.dumps(event))
"""
KILLS = """
import os
def handler(event, context):
    os._exit(3)
"""


def counts(hearth, function):
    found = hearth.api.get("/api/v1/queue")["functions"]
    one = next((one for one in found if one["function"] == function), None)
    if one is not None:
        parts = sum(one[key] for key in ("waiting", "done", "failed", "dead", "purged"))
        assert one["enqueued"] == parts, one
    return one


def settled(hearth, function, within=30):
    def over():
        one = counts(hearth, function)
        return one if one and one["waiting"] == 0 else None

    return until(f"{function}'s events to be settled", over, within=within)


def messages(hearth, function, text):
    return [line["message"] for line in hearth.cli.logs(function, "--since", "10m") if text in line["message"]]


def test_boto3_hands_an_event_over_and_it_runs(hearth, function, boto):
    name = function(FAILS)
    answer = boto.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": 1}))
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    request_id = answer["ResponseMetadata"]["RequestId"]
    record = hearth.api.record(name, request_id)
    assert (record["door"], record["outcome"]["status"]) == ("async", "ok")
    one = settled(hearth, name)
    assert (one["enqueued"], one["done"], one["bytes"]) == (1, 1, 0)


def test_one_mebibyte_is_taken_and_no_more(hearth, function, boto):
    name = function(ECHO)
    fits = '"' + "x" * (1024 * 1024 - 2) + '"'
    assert boto.invoke(FunctionName=name, InvocationType="Event", Payload=fits)["StatusCode"] == 202
    with pytest.raises(boto.exceptions.RequestTooLargeException):
        boto.invoke(FunctionName=name, InvocationType="Event", Payload=fits[:-1] + 'x"')
    assert settled(hearth, name)["done"] == 1


def test_what_fails_is_retried_told_of_kept_and_redriven(hearth, function):
    told = function(TOLD)
    name = function(FAILS, toml=RULES.format(retries=2, more=f'on-failure = "{told}"'))
    ran = hearth.cli.ok("invoke", name, "--async", '{"n": 7, "fail": true}')
    event = ran.stdout.strip()
    one = settled(hearth, name)
    assert (one["enqueued"], one["dead"]) == (1, 1)
    until("three runs in the log", lambda: len(messages(hearth, name, "ran 7")) == 3, within=5)

    lines = until("the record of the failure", lambda: messages(hearth, told, "told "), within=10)
    record = json.loads(lines[0].removeprefix("told "))
    assert record["requestContext"]["requestId"] == event
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestContext"]["functionArn"].endswith(f":function:{name}:$LATEST")
    assert record["requestPayload"] == {"n": 7, "fail": True}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorType"] == "ValueError"

    listed = hearth.cli.ok("queue", "list", name, "--dead", "--json").json()
    assert [one["id"] for one in listed] == [event]
    shown = hearth.cli.ok("queue", "show", event).stdout
    assert "RetriesExhausted" in shown and "as told" in shown and '"n": 7' in shown
    assert "1 event will run again" in hearth.cli.ok("queue", "redrive", event).stdout
    until("six runs", lambda: len(messages(hearth, name, "ran 7")) == 6, within=10)
    assert settled(hearth, name)["dead"] == 1
    assert "1 event removed" in hearth.cli.ok("queue", "purge", "--function", name).stdout
    one = counts(hearth, name)
    assert (one["dead"], one["purged"], one["bytes"]) == (0, 1, 0)
    assert name in hearth.cli.ok("queue").stdout
    hearth.cli.refused("queue", "purge")


def test_success_is_told_of_too(hearth, function):
    told = function(TOLD)
    name = function(FAILS, toml=RULES.format(retries=0, more=f'on-success = "{told}"\ndead-letter = false'))
    with Door(hearth) as door:
        assert door.invoke(name, {"n": 1}, headers={"x-amz-invocation-type": "Event"}).status == 202
        lines = until("the record of the success", lambda: messages(hearth, told, "told "), within=10)
        record = json.loads(lines[0].removeprefix("told "))
        assert record["requestContext"]["condition"] == "Success"
        assert record["responsePayload"] == {"n": 1}
        door.invoke(name, {"n": 2, "fail": True}, headers={"x-amz-invocation-type": "Event"})
    one = settled(hearth, name)
    assert (one["done"], one["failed"], one["dead"]) == (1, 1, 0)


def test_what_kills_its_instance_is_set_aside_and_holds_nobody_up(hearth, function):
    kills = function(KILLS, toml=RULES.format(retries=10, more=""))
    good = function(FAILS)
    with Door(hearth) as door:
        event = door.invoke(kills, {}, headers={"x-amz-invocation-type": "Event"}).request_id
        for n in range(20):
            door.invoke(good, {"n": n}, headers={"x-amz-invocation-type": "Event"})
    assert settled(hearth, good)["done"] == 20
    assert settled(hearth, kills)["dead"] == 1
    shown = hearth.api.get(f"/api/v1/queue/events/{event}")
    assert (shown["condition"], shown["attempts"]) == ("Poison", 3)


def test_a_key_names_one_event_however_often_it_is_sent(hearth, function, keys):
    name = function(FAILS)
    ids = []

    def send(payload):
        headers = {"x-amz-invocation-type": "Event", "idempotency-key": "order-17"}
        with Door(hearth, keys) as door:
            return door.invoke(name, payload, headers=headers)

    threads = [threading.Thread(target=lambda: ids.append(send({"n": 17}).request_id)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20 and len(set(ids)) == 1
    one = settled(hearth, name)
    assert (one["enqueued"], one["done"]) == (1, 1)
    # It has run, and is still known.
    again = send({"n": 17})
    assert (again.status, again.request_id) == (202, ids[0])
    assert again.headers["idempotency-replayed"] == "true"
    other = send({"n": 18})
    assert (other.status, other.headers["x-amzn-errortype"]) == (409, "ResourceConflictException")
    assert counts(hearth, name)["enqueued"] == 1


def test_an_event_of_a_removed_function_is_not_lost(hearth, function):
    name = function(FAILS, toml=RULES.format(retries=10, more='max-age = "1h"'))
    with Door(hearth) as door:
        event = door.invoke(name, {"n": 5, "fail": True}, headers={"x-amz-invocation-type": "Event"}).request_id
    until("a first run", lambda: hearth.api.get(f"/api/v1/queue/events/{event}")["failures"] > 0, within=10)
    hearth.api.remove(name)

    def aside():
        return hearth.api.get(f"/api/v1/queue/events/{event}")["condition"] == "FunctionNotFound"

    until("the event to be set aside", aside, within=15)
    hearth.cli.ok("queue", "purge", event)


def test_a_manifest_that_is_wrong_is_refused_by_name(hearth, function, tmp_path):
    from harness.functions import write

    for toml, said in (("retires = 1", '"retries"'), ('max-age = "soon"', "async.max-age"), ("retries = 11", "0 to 10")):
        folder = write(tmp_path / said.strip('"').replace(" ", ""), ECHO, toml=f"[async]\n{toml}\n")
        refused = hearth.cli.refused("deploy", folder, "--name", "never", "--runtime", "python3.11")
        assert said in refused.text, refused
