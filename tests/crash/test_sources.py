"""kill -9 of Hearth, and of the broker, while messages and files come: nothing that was acknowledged is lost, and what comes
twice is bounded.

HEARTH_CRASH_ROUNDS says how often; HEARTH_CRASH_SEED repeats the moments.
"""

import json
import os
import random
import threading
import time
from collections import Counter

import pytest

from harness.functions import write
from harness.mosquitto import Mosquitto, wait_connected
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_CRASH_ROUNDS", "4"))
SEED = int(os.environ.get("HEARTH_CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
# What the function gets goes to a message queue, which forgets nothing in a crash, as a log may.
ECHO = """
def handler(event, context):
    return "ok"
"""
TOLD = '[async]\non-success = "queue:told"\nretry-delay = "10ms"\n'

pytestmark = pytest.mark.crash


class Load:
    """Does `step(n)` for numbers from 0 until stopped, and remembers for which it was acknowledged."""

    def __init__(self, step):
        self._step, self._stop, self.kept = step, threading.Event(), []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)

    def _run(self):
        n = 0
        while not self._stop.is_set():
            try:
                if self._step(n):
                    self.kept.append(n)
            except Exception:  # whoever takes it is dead at the moment, as it should be
                time.sleep(0.02)
            n += 1


def rounds(hearth, load, kill):
    moments = random.Random(SEED)
    for number in range(ROUNDS):
        before = len(load.kept)
        until("some to be acknowledged", lambda: len(load.kept) >= before + 10, within=60)
        time.sleep(moments.uniform(0, 0.5))  # the moment of the crash, not a wait for anything
        kill(number)


def delivered(hearth, number_of):
    """How often each came to the function, by what its invocations' records say."""
    found = Counter()

    def settled():
        functions = hearth.api.get("/api/v1/queue")["functions"]
        sources = hearth.api.get("/api/v1/sources")["sources"]
        idle = all(one["state"] == "running" and not one["in_flight"] and not one["lag"] for one in sources)
        return idle and all(one["waiting"] == 0 for one in functions)

    until("all events to be done", settled, within=120, every=0.5)
    while True:
        messages = hearth.cli.ok("mq", "receive", "told", "--most", "10", "--delete", "--json").json()
        for message in messages:
            for record in json.loads(message["body"])["requestPayload"]["Records"]:
                found[number_of(record)] += 1
        if not messages:
            return found


def judged(load, found, most_twice):
    lost = [n for n in load.kept if n not in found]
    twice = sum(times - 1 for times in found.values())
    assert not lost, f"seed {SEED}: {len(lost)} of {len(load.kept)} were lost: {lost[:10]}"
    assert twice <= most_twice, f"seed {SEED}: {twice} came twice, {most_twice} at most were expected"
    print(f"{len(load.kept)} acknowledged, {twice} came twice, {ROUNDS} crashes")


def test_no_mqtt_message_is_lost_whoever_is_killed(new_hearth, tmp_path):
    broker = Mosquitto(tmp_path / "broker").start()
    hearth = new_hearth().start()
    try:
        hearth.cli.ok("mq", "create", "told")
        toml = f'{TOLD}[[mqtt]]\nname = "in"\nbroker = "{broker.url}"\ntopics = ["numbers"]\n'
        hearth.cli.deploy(write(tmp_path / "f", ECHO, toml=toml), "f", "python3.11", "app.handler")
        absent = {"state": "absent"}
        state = lambda: next(iter(hearth.api.get("/api/v1/sources")["sources"]), absent)  # noqa: E731
        wait_connected(state)

        def kill(number):
            if number % 2 == 0:
                hearth.wait_server_replaced(hearth.kill_server())
            else:
                # What it has acknowledged to a publisher and not saved yet, mosquitto itself would lose: it saves at
                # every change, within a moment.
                time.sleep(0.2)
                broker.kill()
                broker.start()
            wait_connected(state, within=60)

        with Load(lambda n: broker.publish("numbers", str(n))) as load:
            rounds(hearth, load, kill)
            # A publisher is ahead of the broker's saving only while it runs.
        found = delivered(hearth, lambda record: record["payload"])
        # All that was in flight at a crash: no more than the broker sends without an acknowledgement.
        judged(load, found, ROUNDS * 1000)
    finally:
        broker.stop()


def test_no_message_of_a_queue_is_lost(new_hearth, tmp_path):
    hearth = new_hearth().start()
    hearth.cli.ok("mq", "create", "numbers", "--visibility", "1s")
    code = "def handler(event, context):\n    for r in event['Records']:\n        print('mark', r['body'])\n"
    toml = '[[queue]]\nname = "numbers"\nbatch = 5\n'
    hearth.cli.deploy(write(tmp_path / "f", code, toml=toml), "f", "python3.11", "app.handler")

    def send(n):
        status, _, _ = hearth.api.call("POST", "/api/v1/queues/numbers/messages", {"messages": [{"body": str(n)}]})
        return status == 201

    with Load(send) as load:
        rounds(hearth, load, lambda number: hearth.wait_server_replaced(hearth.kill_server()))
    queue = lambda: hearth.cli.ok("mq", "show", "numbers", "--json").json()  # noqa: E731
    until("all to be taken", lambda: not any(queue()[key] for key in ("visible", "in_flight", "delayed")), within=60)
    numbers = queue()
    # Each was deleted by a call that went well, and by nothing else.
    assert numbers["sent"] == numbers["deleted"] >= len(load.kept), f"seed {SEED}: {numbers}, {len(load.kept)} kept"
    assert (numbers["dead"], numbers["expired"], numbers["purged"]) == (0, 0, 0)


def test_no_file_is_lost_and_none_comes_twice(new_hearth, tmp_path):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    inbox.chmod(0o755)
    for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
        folder.chmod(0o755)
    hearth = new_hearth({"HEARTH_ALLOW_MOUNT": f"{inbox}:ro"}).start()
    hearth.cli.ok("mq", "create", "told")
    toml = f'{TOLD}[[folder]]\nname = "in"\npath = "{inbox}"\nsettle = "100ms"\n'
    hearth.cli.deploy(write(tmp_path / "f", ECHO, toml=toml), "f", "python3.11", "app.handler")

    def drop(n):
        (tmp_path / "part").write_text(str(n))
        (tmp_path / "part").rename(inbox / str(n))
        time.sleep(0.02)
        return True

    with Load(drop) as load:
        rounds(hearth, load, lambda number: hearth.wait_server_replaced(hearth.kill_server()))
    until("all to be seen", lambda: enqueued(hearth) >= len(load.kept), within=60)
    found = delivered(hearth, lambda record: int(record["key"]))
    judged(load, found, 0)


def enqueued(hearth):
    return next((one["enqueued"] for one in hearth.api.get("/api/v1/queue")["functions"] if one["function"] == "f"), 0)
