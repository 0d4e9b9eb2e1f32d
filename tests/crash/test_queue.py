"""kill -9 under a load of events: every one that was answered with 202 runs, and the numbers are right.

HEARTH_CRASH_ROUNDS says how often the server, or all of Hearth, is killed; HEARTH_CRASH_SEED repeats the moments.
"""

import os
import random
import threading
import time
from collections import Counter

import pytest

from harness.door import Door, credentials
from harness.functions import write
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("HEARTH_CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
CLIENTS = 4
# Runs at once, at most.
MOST = 4
MARKS = """
import time
def handler(event, context):
    print("mark", event["n"])
    time.sleep(0.005)
"""

pytestmark = pytest.mark.crash


class Sender:
    """Sends numbered events until stopped, and remembers which were answered with 202."""

    def __init__(self, hearth, function):
        self._hearth, self._function, self._keys = hearth, function, credentials(hearth)
        self._stop, self._lock, self._next = threading.Event(), threading.Lock(), 0
        self.kept = {}
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        door = None
        while not self._stop.is_set():
            with self._lock:
                self._next += 1
                n = self._next
            try:
                door = door or Door(self._hearth, self._keys)
                answer = door.invoke(self._function, {"n": n}, headers={"x-amz-invocation-type": "Event"})
                if answer.status == 202:
                    self.kept[n] = answer.request_id
            except Exception:  # the server is dead at the moment, as it should be
                if door:
                    door.close()
                door = None
                time.sleep(0.02)
            time.sleep(0.015)  # some 200 events a second, from four clients


def settled(hearth, function):
    def over():
        found = hearth.api.get("/api/v1/queue")["functions"]
        one = next(one for one in found if one["function"] == function)
        parts = sum(one[key] for key in ("waiting", "done", "failed", "dead", "purged"))
        assert one["enqueued"] == parts, one
        return one if one["waiting"] == 0 else None

    return until("all events to be settled", over, within=120, every=0.3)


def marks(hearth, function):
    """How often each event ran, as far as the log knows: a crash may lose its last second."""
    path = f"/api/v1/functions/{function}/logs?limit=1000&after="
    cursor, found = 0, Counter()
    while True:
        page = hearth.api.get(path + str(cursor))
        for line in page["lines"]:
            words = line["message"].split()
            if words[:1] == ["mark"]:
                found[int(words[1])] += 1
        if page["cursor"] == cursor:
            return found
        cursor = page["cursor"]


@pytest.mark.parametrize("whole", (False, True), ids=("server", "both"))
def test_every_event_that_was_answered_runs(new_hearth, tmp_path, whole):
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "marks", MARKS), "marks", "python3.11", "app.handler", max=MOST)
    moments = random.Random(SEED)
    try:
        with Sender(hearth, "marks") as sender:
            for _ in range(ROUNDS):
                before = len(sender.kept)
                until("events to be taken", lambda: len(sender.kept) >= before + 20, within=30)
                time.sleep(moments.uniform(0, 0.5))  # the moment of the crash, not a wait for anything
                if whole:
                    hearth.kill_both()
                    hearth.wait_all_gone(within=2)
                    hearth.start()
                else:
                    hearth.wait_server_replaced(hearth.kill_server())
        one = settled(hearth, "marks")
        # None failed and none was set aside: so each that was answered has run to its end, whatever the log has lost.
        assert (one["failed"], one["dead"], one["purged"]) == (0, 0, 0), one
        assert one["done"] == one["enqueued"] >= len(sender.kept), (one, len(sender.kept))
        time.sleep(1.2)  # the log writes once a second
        ran = marks(hearth, "marks")
        # What was logged more than once ran more than once: no more than ran at once, at each crash.
        twice = sum(times - 1 for times in ran.values())
        assert twice <= ROUNDS * MOST, f"{twice} runs too many in {ROUNDS} crashes"
        missing = [n for n in sender.kept if n not in ran]
        # A crash loses at most a second of log, in which some 200 events ran.
        assert len(missing) <= ROUNDS * 250, f"{len(missing)} of {len(sender.kept)} are in no log"
        print(f"{len(sender.kept)} kept, {twice} ran again, {len(missing)} without a line, {ROUNDS} crashes")
    except AssertionError as error:
        raise AssertionError(f"seed {SEED}: {error}\n{hearth.output_tail()}") from error
