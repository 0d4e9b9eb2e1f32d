"""A bootstrap that was taken over: what it may say to the server on the streams that it has (docs/wire.md)."""

import json
import os

import pytest

from attacks.cases import DRIVERS
from attacks.watch import unharmed
from harness.door import Door, credentials
from harness.functions import write
from harness.wait import until

# Writes frames where the runtime does. The runtime's own answer follows, unless what was written has ended the sandbox.
CODE = r"""
import array, json, os, random, socket, struct, time

CONTROL, INVOKE = 3, 4
HELLO, READY, LOG, INVOKED, DATA, END, RESPONSE, ERROR = 1, 3, 5, 16, 17, 18, 19, 20


def frame(kind, body=b""):
    return struct.pack("<IB", len(body), kind) + body


def send(stream, data):
    while data:
        data = data[os.write(stream, data):]


def log(request, text):
    return frame(LOG, struct.pack("<QB", 1_700_000_000_000_000, 3) + struct.pack("<H", len(request)) + request + text)


def descriptors(stream):
    one = socket.socket(fileno=os.dup(stream))
    some = array.array("i", [0] * 250)
    for _ in range(400):
        one.sendmsg([log(b"", b"x") if stream == CONTROL else b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)])


def endless(first):
    send(INVOKE, first)
    while True:
        send(INVOKE, frame(DATA, b"x" * 65536))


DO = {
    "noise on control": lambda: send(CONTROL, random.Random(1).randbytes(100_000)),
    "noise on invoke": lambda: send(INVOKE, random.Random(2).randbytes(100_000)),
    "a frame of 4 GiB": lambda: send(INVOKE, struct.pack("<IB", 0xFFFFFFFF, RESPONSE)),
    "a frame of 4 GiB on control": lambda: send(CONTROL, struct.pack("<IB", 0xFFFFFFFF, LOG)),
    "half a frame": lambda: (send(INVOKE, struct.pack("<IB", 1000, RESPONSE) + b"x"), time.sleep(60)),
    "an answer without end": lambda: endless(frame(RESPONSE, b"\0{")),
    "data before an answer": lambda: endless(b""),
    "empty data for ever": lambda: (send(INVOKE, frame(RESPONSE, b"\0")), [send(INVOKE, frame(DATA) * 10_000) for _ in range(10**9)]),
    "two answers": lambda: send(INVOKE, frame(RESPONSE, b"\1\"first\"") * 2),
    "an answer and an error": lambda: send(INVOKE, frame(RESPONSE, b"\1\"first\"") + frame(ERROR, b"{}")),
    "an error that is no JSON": lambda: send(INVOKE, frame(ERROR, b"\xff\xfe not json")),
    "an error that is deep": lambda: send(INVOKE, frame(ERROR, b"[" * 200_000)),
    "an answer that is no text": lambda: send(INVOKE, frame(RESPONSE, b"\1\xff\xfe\0")),
    "a call of its own": lambda: send(INVOKE, frame(INVOKED, b"\0" * 64)),
    "hello again": lambda: send(CONTROL, frame(HELLO, struct.pack("<HH", 1, 1) + b"x")),
    "ready again": lambda: send(CONTROL, frame(READY) * 1000),
    "an unknown kind": lambda: send(CONTROL, frame(0x7F, b"x")),
    "the log of another": lambda: [send(CONTROL, log(b"00000000-0000-0000-0000-000000000000", b"forged " + b"y" * 1000)) for _ in range(5000)],
    "a log that is no text": lambda: send(CONTROL, log(b"\xff\xfe", b"\xff" * 100)),
    "descriptors": lambda: descriptors(CONTROL),
    "control closed": lambda: os.close(CONTROL),
    "invoke closed": lambda: (os.close(INVOKE), time.sleep(60)),
}


def handler(event, context):
    if event in DO:
        DO[event]()
    return list(DO) if event == "all" else "works"
"""


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_a_bootstrap_says_harms_nobody(driver, attacked, works_here, tmp_path, request):
    works_here(driver)
    # Who reads the streams is the server, whatever made the sandbox.
    if driver != "namespace" and not request.config.getoption("--all-attacks"):
        pytest.skip("the long suite only: make attacks")
    hearth, name = attacked.hearth, f"streams-{driver}"
    folder = write(tmp_path / "streams", CODE)
    hearth.cli.deploy(folder, name, "python3.11", "app.handler", isolation=driver, timeout="3s", memory="64MB", flags=["--max", "1"])
    with unharmed(attacked, f"streams on {driver}") as told:
        with Door(hearth, credentials(hearth)) as door:
            attacks = door.invoke(name, "all").json()
            descriptors = len(os.listdir(f"/proc/{attacked.server}/fd"))
            for attack in attacks:
                answer = door.invoke(name, attack)
                # Its own call may fail, or have whatever answer it gave itself; nothing else may.
                assert answer.status == 200, f"{attack}: {answer.status} {answer.body[:300]!r}"
                said = f"{answer.function_error or 'an answer'}: {answer.body[:100]!r}"
                print(f"{driver}: {attack}: {said}")
                assert len(answer.body) <= 6_291_556, f"{attack}: {len(answer.body)} bytes"

                def works():
                    after = door.invoke(name, "works")
                    assert (after.status, after.function_error) == (200, None) and after.json() == "works", after.body[:300]
                    return True

                # The first call after it may meet the end of the sandbox; it is replaced.
                until(f"a call to work after {attack}", works, within=10)
            told.append(f"{len(attacks)} of them")
        left = lambda: len(os.listdir(f"/proc/{attacked.server}/fd"))
        until("the server to hold no more descriptors than before", lambda: left() <= descriptors + 8, within=5)
        hearth.api.remove(name)
    assert json.loads(hearth.cli.ok("invoke", "neighbour", "[1]").stdout) == [1]
