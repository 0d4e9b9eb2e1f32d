"""Many clients at once: right answers, right logs, an honest limit, and zero when nobody calls."""

import json
import selectors
import socket
import uuid
from collections import Counter

from harness.door import Door, sign
from harness.functions import ECHO, WITNESS, WITNESS_NODE
from harness.load import Load, storm
from harness.wait import until

CALLS, CLIENTS = 1000, 50


def test_two_functions_with_50_clients_at_once_do_not_mix(hearth, function):
    one = function(WITNESS, max=8)
    two = function(WITNESS_NODE, runtime="nodejs20.x", max=8)
    calls = [(name, {"n": n}) for n in range(CALLS) for name in (one, two)]
    answers = storm(hearth, calls, CLIENTS)

    wrong = []
    ids = {one: {}, two: {}}
    for (name, event), answer in zip(calls, answers):
        if answer.status != 200 or answer.function_error:
            wrong.append(f"{name} {event}: {answer.status} {answer.body!r}")
            continue
        seen = answer.json()
        if (seen["n"], seen["function"], seen["id"]) != (event["n"], name, answer.request_id):
            wrong.append(f"{name} {event}: answered {seen}, request id {answer.request_id}")
        ids[name][event["n"]] = answer.request_id
    assert not wrong, f"{len(wrong)} of {len(calls)} calls:\n" + "\n".join(wrong[:10])
    assert len({answer.request_id for answer in answers}) == len(calls)

    for name in (one, two):

        def complete(name=name):
            lines = hearth.cli.logs(name, "--since", "10m", "--grep", "mark")
            marks = [line for line in lines if "mark " in line["message"]]
            assert len(marks) == CALLS, f"{len(marks)} marks in the log of {name}"
            return marks

        marks = until(f"every line of {name}", complete, within=10, every=0.2)
        for line in marks:
            number = int(line["message"].split("mark ")[1].split()[0])
            assert line["request_id"] == ids[name][number], f"{line} should be of {ids[name][number]}"
            assert line["function"] == name


def test_calls_over_the_maximum_wait_and_never_share_an_instance(hearth, function):
    code = """
import time
busy = False
def handler(event, context):
    global busy
    assert not busy, "two calls in one instance"
    busy = True
    time.sleep(0.05)
    busy = False
"""
    name = function(code, max=2)
    answers = storm(hearth, [(name, {})] * 24, 12)
    assert Counter((answer.status, answer.function_error) for answer in answers) == {(200, None): 24}
    used = {record["instance"] for record in hearth.api.invocations(name, limit=100)}
    assert 1 <= len(used) <= 2, f"max = 2, and {len(used)} instances answered"


def test_a_full_queue_is_a_429_that_says_when_to_come_back(hearth, keys, function):
    name = function("import time\ndef handler(event, context):\n    time.sleep(15)\n", max=1, timeout="20s")
    path = f"/2015-03-31/functions/{name}/invocations"
    signed = sign("POST", path, {"host": f"127.0.0.1:{hearth.port}", "content-length": "2"}, b"{}", keys)
    raw = f"POST {path} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in signed.items()) + "\r\n{}"
    waiting = selectors.DefaultSelector()
    sockets = []
    try:
        # More than any sensible queue holds; each waits on a connection of its own.
        for _ in range(1500):
            one = socket.create_connection(("127.0.0.1", hearth.port), timeout=10)
            one.sendall(raw.encode())
            waiting.register(one, selectors.EVENT_READ)
            sockets.append(one)
        ready = waiting.select(timeout=12)
        assert ready, "1,500 calls of a function with max = 1, and none was told to come back later"
        text = ready[0][0].fileobj.recv(65536).decode()
    finally:
        waiting.close()
        for one in sockets:
            one.close()
    head, _, body = text.partition("\r\n\r\n")
    headers = {line.split(":")[0].lower(): line.split(":", 1)[1].strip() for line in head.split("\r\n")[1:]}
    assert head.split()[1] == "429", text
    assert int(headers["retry-after"]) >= 0
    assert headers["x-amzn-errortype"].startswith("TooManyRequestsException")
    assert "Reason" in json.loads(body) or "message" in body.lower()


def test_a_function_at_its_limit_does_not_hold_up_its_neighbour(hearth, keys, function):
    slow = function("import time\ndef handler(event, context):\n    time.sleep(0.2)\n", max=1)
    quick = function(ECHO)
    with Load(hearth, slow, {}, clients=8), Door(hearth, keys) as door:
        door.invoke(quick, {})
        for number in range(20):
            assert door.invoke(quick, number).json() == number
        waits = [record["queued_us"] for record in hearth.api.invocations(quick, limit=20) if not record["cold"]]
        assert max(waits) < 200_000, f"a neighbour waited {max(waits)} µs for an instance"


def test_an_idle_function_scales_to_zero_and_comes_back_cold(hearth, keys, function):
    name = function(ECHO, idle="1s")
    with Door(hearth, keys) as door:
        door.invoke(name, 1)
        assert hearth.api.instances(name), "no instance right after a call"
        until("scale to zero", lambda: not hearth.api.instances(name), within=8)
        again = door.invoke(name, 2)
    assert again.json() == 2
    assert hearth.api.record(name, again.request_id)["cold"] is True


def test_with_idle_zero_no_instance_outlives_its_call(hearth, keys, function):
    name = function(ECHO, idle="0s")
    with Door(hearth, keys) as door:
        answers = [door.invoke(name, number) for number in range(3)]
    assert all(hearth.api.record(name, one.request_id)["cold"] is True for one in answers)
    until("no instance", lambda: not hearth.api.instances(name), within=2)


def test_fresh_instances_draw_different_random_numbers(hearth, function):
    python = """
import os, random, secrets, uuid
def handler(event, context):
    return [str(random.random()), str(uuid.uuid4()), str(uuid.uuid1()), secrets.token_hex(8), os.urandom(8).hex()]
"""
    node = """
import { randomUUID, randomBytes } from "node:crypto";
export const handler = async () => [String(Math.random()), randomUUID(), randomBytes(8).toString("hex")];
"""
    for code, runtime in ((python, "python3.11"), (node, "nodejs20.x")):
        name = function(code, runtime=runtime, idle="0s", max=4)
        draws = [answer.json() for answer in storm(hearth, [(name, {})] * 24, 4)]
        for column in zip(*draws):
            assert len(set(column)) == len(column), f"{runtime}: clones drew the same number twice: {column}"


def test_nothing_of_one_function_is_seen_by_another(hearth, keys, function):
    canary = uuid.uuid4().hex
    writer = """
import os
kept = None
def handler(event, context):
    global kept
    kept = event
    for path in ("/tmp/left", "/dev/shm/left", "/var/tmp/left"):
        try:
            open(path, "w").write(event)
        except OSError:
            pass
    return sorted(os.listdir("/tmp"))
"""
    reader = """
import os
def handler(event, context):
    found = []
    for folder in ("/tmp", "/dev/shm", "/var/tmp", "/var/task"):
        try:
            found += [os.path.join(folder, name) for name in os.listdir(folder)]
        except OSError:
            pass
    return [path for path in found if path != "/var/task/app.py" and "__pycache__" not in path]
"""
    one, two = function(writer), function(reader)
    with Door(hearth, keys) as door:
        assert "left" in door.invoke(one, canary).json()
        assert door.invoke(two, {}).json() == []
    # A new version of a function sees nothing of the old one's either.
    function(reader, name=one)

    def replaced():
        with Door(hearth, keys) as door:
            return door.invoke(one, {}).json() == []

    until("the new version", replaced, within=5)


def test_two_hundred_instances_live_at_once(hearth, function):
    """Each holds descriptors of the spawner's, which all sandboxes are forked from."""
    wait = "import time\ndef handler(event, context):\n    time.sleep(3)\n    return event\n"
    name = function(wait, max=250, timeout="60s", memory="64MB")
    answers = storm(hearth, [(name, {"n": n}) for n in range(200)], 200)
    wrong = [answer for answer in answers if answer.status != 200 or answer.function_error]
    assert not wrong, f"{len(wrong)} of 200, the first: {wrong[0].status} {wrong[0].body!r}"
    assert len(hearth.api.instances(name)) >= 150
