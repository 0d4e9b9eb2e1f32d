"""Row 11: SIGTERM under load."""

import signal
import threading
import time

from harness.door import Door
from harness.events import Sender, settled
from harness.functions import write

SLOW = """
import time
def handler(event, context):
    time.sleep(event.get("s", 0))
    return event
"""
LIMIT = 40


def test_an_end_that_was_asked_for_lets_calls_end_and_keeps_the_rest(new_hearth, tmp_path):
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "slow", SLOW), "slow", "python3.11", "app.handler", max=4, timeout="20s")
    hearth.cli.deploy(write(tmp_path / "queued", SLOW), "queued", "python3.11", "app.handler", max=2, timeout="20s")
    answers = []

    def call(n):
        with Door(hearth) as door:
            answers.append(door.invoke("slow", {"n": n, "s": 3}))

    calls = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    with Sender(hearth, "queued") as sender:
        for one in calls:
            one.start()
        time.sleep(1.5)  # the load, not a wait for anything
        begun = time.monotonic()
        hearth.process.send_signal(signal.SIGTERM)
        while hearth.probe("/readyz") == 200:
            assert time.monotonic() - begun < 5, "still ready 5 s after SIGTERM"
        not_ready = time.monotonic() - begun
        code = hearth.process.wait(LIMIT)
        ended = time.monotonic() - begun
        hearth.wait_all_gone()
    for one in calls:
        one.join(5)
    assert code == 0
    assert not_ready <= 0.1, f"not ready only after {not_ready * 1e3:.0f} ms"
    assert [(answer.status, answer.function_error) for answer in answers] == [(200, None)] * 4, answers
    assert ended <= 35, f"the end took {ended:.1f} s"
    hearth.start()
    one = settled(hearth, "queued")
    assert (one["failed"], one["dead"], one["purged"]) == (0, 0, 0), one
    assert one["done"] == one["enqueued"] >= len(sender.kept), (one, len(sender.kept))
    print(
        f"row 11: not ready after {not_ready * 1e3:.0f} ms; 4 calls in flight answered; ended after {ended:.1f} s; "
        f"{len(sender.kept)} events taken, {one['done']} done"
    )
