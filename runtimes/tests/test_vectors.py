"""The golden vectors: the fake host's codec and each bootstrap's agree with them, byte for byte."""

import json
import subprocess

import pytest

import wirelib
from runtimes import VECTORS

VALID = [
    vector
    for path in sorted(VECTORS.glob("*.json"))
    if path.name != "invalid.json"
    for vector in json.loads(path.read_text())
]
INVALID = json.loads((VECTORS / "invalid.json").read_text())


def name(vector):
    return "%s/%s" % (vector.get("kind", "invalid"), vector["name"])


def ask(runtime, jobs):
    done = subprocess.run(runtime.probe, input=json.dumps(jobs), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_is_a_file_for_every_kind():
    assert {vector["kind"] for vector in VALID} == set(wirelib.KINDS)


@pytest.mark.parametrize("vector", VALID, ids=name)
def test_the_fake_host_encodes(vector):
    assert wirelib.encode(vector["kind"], vector["fields"]).hex() == vector["hex"]


# TRACE is from whoever set the sandbox up, before there was a bootstrap; the others are a fork point's, or the agent's.
NOT_EVERYBODYS = {"TRACE", "IMAGE", "SNAPSHOT", "CONNECT"}


# What a runtime has no way to say. Java's streams are whole before they are sent, as on AWS.
NEVER_SENT = {"java": {"STREAM"}}


def test_a_guest_encodes_what_it_sends(runtime):
    never = NOT_EVERYBODYS | NEVER_SENT.get(runtime.name, set())
    vectors = [v for v in VALID if v["direction"] != "host_to_guest" and v["kind"] not in never]
    jobs = [{"do": "encode", "kind": v["kind"], "fields": v["fields"]} for v in vectors]
    for vector, result in zip(vectors, ask(runtime, jobs), strict=True):
        assert result == {"hex": vector["hex"]}, name(vector)


def test_a_guest_decodes_what_it_gets(runtime):
    vectors = [v for v in VALID if v["direction"] != "guest_to_host" and v["kind"] not in NOT_EVERYBODYS]
    jobs = [{"do": "decode", "stream": v["stream"], "hex": v["hex"]} for v in vectors]
    for vector, result in zip(vectors, ask(runtime, jobs), strict=True):
        assert result == {"fields": vector["fields"]}, name(vector)


def refusable():
    """What a guest can meet. END with a body needs no INVOKE before it to be wrong in a real stream."""
    return [v for v in INVALID if v["direction"] == "host_to_guest"]


def test_a_guest_refuses_what_is_wrong_in_itself(runtime):
    vectors = [v for v in refusable() if v["level"] != "sequence"]
    jobs = [{"do": "decode", "stream": v["stream"], "hex": v["hex"]} for v in vectors]
    for vector, result in zip(vectors, ask(runtime, jobs), strict=True):
        assert "refused" in result, name(vector)


@pytest.mark.parametrize("vector", refusable(), ids=name)
def test_a_running_guest_ends_at_it(host, vector):
    if vector["stream"] == "control":
        host.hello()
        end = host.control
    else:
        host.ready("app.echo")
        end = host.invoke_stream
    end.send(bytes.fromhex(vector["hex"]))
    host.pump(lambda: not end.pending)
    if vector["then_eof"]:
        end.shut()
    assert host.wait_exit() == 1
    assert "hearth: protocol error: " in host.all_output()
