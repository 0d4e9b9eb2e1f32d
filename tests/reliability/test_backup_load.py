"""Row 21: backups while 200 events a second come in. HEARTH_RELIABILITY_ROUNDS says how many (2; more until 20 calls met one)."""

import os
import sqlite3
import threading
import time

from harness.door import Door
from harness.events import Sender
from harness.functions import ECHO, write
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_RELIABILITY_ROUNDS", "2"))
LONG = ROUNDS >= 20
OLDEST = 5.0


class Calls:
    """Calls one after the other, and how long each took: (when it began, seconds)."""

    def __init__(self, hearth, function, keys):
        self._hearth, self._function, self._keys, self._over = hearth, function, keys, threading.Event()
        self.times, self._thread = [], threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(60)

    def _run(self):
        with Door(self._hearth, self._keys) as door:
            while not self._over.wait(0.002):
                begun = time.monotonic()
                answer = door.invoke(self._function, 1)
                assert answer.status == 200, answer
                self.times.append((begun, time.monotonic() - begun))

    def within(self, spans):
        """How long those took that began in one of these spans."""
        return sorted(took for begun, took in list(self.times) if any(a <= begun <= b for a, b in spans))

    def p99(self, spans):
        times = self.within(spans)
        return times[int(0.99 * len(times))]


def enqueued(data):
    """Events that a restored queue knows of: those that wait, and those that were settled."""
    with sqlite3.connect(f"file:{data}/queue.db?mode=ro", uri=True) as queue:
        assert queue.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return queue.execute("SELECT total(enqueued) FROM counters").fetchone()[0]


def test_a_backup_under_load_is_whole_and_young_and_slows_nobody(new_hearth, tmp_path):
    hearth = new_hearth().start()
    for name in ("echo", "events"):
        hearth.cli.deploy(write(tmp_path / name, ECHO), name, "python3.11", "app.handler", max=4)
    with Door(hearth) as door:
        keys = door._keys
        assert door.invoke("echo", 1).json() == 1
    during, between, sizes, ages = [], [], [], []
    with Sender(hearth, "events") as sender, Calls(hearth, "echo", keys) as calls:
        until("events to be taken", lambda: len(sender.kept) > 100, within=30)
        for number in range(ROUNDS + 100):
            if number >= ROUNDS and len(calls.within(during)) >= 20:
                break
            # As many calls without a backup as one takes, so that like is compared with like.
            begun, seen = time.monotonic(), len(calls.times)
            until("calls without a backup", lambda: len(calls.times) >= seen + 100, within=60)
            between.append((begun, time.monotonic()))
            taken = len(sender.kept)
            begun = time.monotonic()
            hearth.cli.ok("backup", tmp_path / f"{number}.tar")
            during.append((begun, time.monotonic()))
            ages.append(during[-1][1] - begun)
            sizes.append((taken, len(sender.kept)))
    assert len(calls.within(during)) >= 20, "too few calls met a backup to say what one costs them"
    assert not sender.others, sender.others[:2]
    for number, (before, after) in enumerate(sizes):
        data = tmp_path / f"data-{number}"
        hearth.cli.ok("restore", tmp_path / f"{number}.tar", "--data-dir", data)
        found = enqueued(data)
        # What was taken before it began is in it; four clients may wait for answers.
        assert before <= found <= after + 4, f"backup {number} has {found} events, {before} to {after} were taken"
    # And it is one that runs: every event of it is worked off.
    other = new_hearth()
    (tmp_path / f"data-{len(sizes) - 1}").rename(other.data)
    other.start()
    done = until("its events to be worked off", lambda: [
        one for one in other.api.get("/api/v1/queue")["functions"] if one["function"] == "events" and one["waiting"] == 0
    ], within=120)[0]
    assert done["done"] == done["enqueued"] == enqueued_of(sizes[-1], done), done
    assert max(ages) <= OLDEST or not LONG, f"a backup was {max(ages):.1f} s old when it was done"
    without, with_ = calls.p99(between), calls.p99(during)
    if LONG:
        assert with_ <= 2 * without + 0.02, f"p99 {with_ * 1e3:.1f} ms during backups, {without * 1e3:.1f} ms between"
    print(
        f"row 21: {len(sizes)} backups at {len(sender.kept) / (during[-1][1] - between[0][0]):.0f} events/s, all whole, at most "
        f"{max(ages):.1f} s old when done; p99 {with_ * 1e3:.1f} ms during, {without * 1e3:.1f} ms between "
        f"({with_ / without - 1:+.0%}; bar: +20 %)"
    )


def enqueued_of(span, one):
    before, after = span
    assert before <= one["enqueued"] <= after + 4, (span, one)
    return one["enqueued"]
