"""kill -9 under a load of events: every one that was answered with 202 runs, and the numbers are right.

HEARTH_CRASH_ROUNDS says how often the server, or all of Hearth, is killed; HEARTH_CRASH_SEED repeats the moments.
"""

import os
import random
import statistics
import time
from collections import Counter

import pytest

from harness.events import Sender, settled, words
from harness.functions import write
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("HEARTH_CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
# Runs at once, at most.
MOST = 4
MARKS = """
import time
def handler(event, context):
    print("mark", event["n"])
    time.sleep(0.005)
"""

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("whole", (False, True), ids=("server", "both"))
def test_every_event_that_was_answered_runs(new_hearth, tmp_path, whole):
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "marks", MARKS), "marks", "python3.11", "app.handler", max=MOST)
    moments, ready = random.Random(SEED), []
    try:
        begun = time.monotonic()
        with Sender(hearth, "marks") as sender:
            for _ in range(ROUNDS):
                before = len(sender.kept)
                until("events to be taken", lambda: len(sender.kept) >= before + 20, within=30)
                time.sleep(moments.uniform(0, 0.5))  # the moment of the crash, not a wait for anything
                if whole:
                    hearth.kill_both()
                    hearth.wait_all_gone(within=2)
                    began = time.monotonic()
                    hearth.start()
                else:
                    began = time.monotonic()
                    hearth.wait_server_replaced(hearth.kill_server())
                ready.append(time.monotonic() - began)
            rate = len(sender.kept) / (time.monotonic() - begun - sum(ready))
        one = settled(hearth, "marks")
        # None failed and none was set aside: so each that was answered has run to its end, whatever the log has lost.
        assert (one["failed"], one["dead"], one["purged"]) == (0, 0, 0), one
        assert one["done"] == one["enqueued"] >= len(sender.kept), (one, len(sender.kept))
        time.sleep(1.2)  # the log writes once a second
        ran = Counter(int(n) for _, n in words(hearth, "marks", "mark"))
        # What was logged more than once ran more than once: no more than ran at once, at each crash.
        twice = sum(times - 1 for times in ran.values())
        assert twice <= ROUNDS * MOST, f"{twice} runs too many in {ROUNDS} crashes"
        missing = [n for n in sender.kept if n not in ran]
        # A crash loses at most a second of log, in which some 200 events ran.
        assert len(missing) <= ROUNDS * 250, f"{len(missing)} of {len(sender.kept)} are in no log"
        # Ready again within two seconds, at its best: what else this machine does at the moment is no fault of Hearth's.
        assert min(ready) <= 2, ready
        print(
            f"row 1: {ROUNDS} kills at {rate:.0f} events/s: {len(sender.kept)} answered, 0 lost, {twice} ran again, "
            f"ready after {min(ready):.2f} s (median {statistics.median(ready):.2f}, at most {max(ready):.2f} s); "
            f"{len(missing)} without a line in the log"
        )
    except AssertionError as error:
        raise AssertionError(f"seed {SEED}: {error}\n{hearth.output_tail()}") from error
