"""Row 21: backups while 200 events a second come in. HEARTH_RELIABILITY_ROUNDS says how many (2)."""

import os
import sqlite3
import time

from harness.caller import Caller
from harness.door import Door
from harness.events import Sender
from harness.functions import ECHO, write
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_RELIABILITY_ROUNDS", "2"))
LONG = ROUNDS >= 20
OLDEST = 5.0
SLOWER = 1.2
# Bytes of a package that does not compress.
LARGE = (48 << 20) if LONG else (8 << 20)


def p99(times, spans):
    """The 99th percentile of the calls that began in one of these spans, and how many there were."""
    took = sorted(took for begun, took in times if any(a <= begun <= b for a, b in spans))
    return (took[int(0.99 * len(took))] if took else None), len(took)


def enqueued(data):
    """Events that a restored queue knows of: those that wait, and those that were settled."""
    with sqlite3.connect(f"file:{data}/queue.db?mode=ro", uri=True) as queue:
        assert queue.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return queue.execute("SELECT total(enqueued) FROM counters").fetchone()[0]


def test_a_backup_under_load_is_whole_and_young_and_slows_nobody(new_hearth, tmp_path):
    hearth = new_hearth().start()
    for name in ("echo", "events"):
        hearth.cli.deploy(write(tmp_path / name, ECHO), name, "python3.11", "app.handler", max=4)
    # Something to copy: what a backup costs beside calls is seen only where it takes longer than its command's start.
    large = write(tmp_path / "large", {"app.py": ECHO, "noise": os.urandom(LARGE)})
    hearth.cli.deploy(large, "large", "python3.11", "app.handler")
    with Door(hearth) as door:
        assert door.invoke("echo", 1).json() == 1
    during, between, sizes = [], [], []
    with Caller(hearth, "echo", tmp_path / "times") as caller, Sender(hearth, "events") as sender:
        until("events to be taken", lambda: len(sender.kept) > 100, within=30)
        for number in range(ROUNDS):
            taken = len(sender.kept)
            begun = time.monotonic()
            hearth.cli.ok("backup", tmp_path / f"{number}.tar")
            during.append((begun, time.monotonic()))
            sizes.append((taken, len(sender.kept)))
            # As long without one, so that like is compared with like.
            meanwhile = time.monotonic()
            time.sleep(during[-1][1] - begun)
            between.append((meanwhile, time.monotonic()))
        times = caller.times
    ages = [end - begun for begun, end in during]
    (without, _), (with_, calls) = p99(times, between), p99(times, during)
    print(
        f"row 21: {len(sizes)} backups at {len(sender.kept) / (during[-1][1] - between[0][0]):.0f} events/s, at most "
        f"{max(ages):.1f} s old when done; {calls} calls met one: p99 {with_ * 1e3:.1f} ms during, {without * 1e3:.1f} ms between "
        f"({with_ / without - 1:+.0%}; bar: +20 %)"
    )
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
    assert calls >= 20, "too few calls met a backup to say what one costs them"
    assert with_ <= SLOWER * without or not LONG, f"p99 {with_ * 1e3:.1f} ms during backups, {without * 1e3:.1f} ms between"


def enqueued_of(span, one):
    before, after = span
    assert before <= one["enqueued"] <= after + 4, (span, one)
    return one["enqueued"]
