"""Rows 22 and 23: ten times what a function can do, and a busy neighbour. HEARTH_RELIABILITY_SECONDS says how long (5)."""

import os

from harness.functions import write
from harness.offered import offer
from harness.wait import until

SECONDS = int(os.environ.get("HEARTH_RELIABILITY_SECONDS", "5"))
LONG = SECONDS >= 30
SLOW = """
import time
def handler(event, context):
    time.sleep(0.1)
"""
QUICK = "def handler(event, context):\n    return event\n"


def test_what_is_too_much_is_refused_at_once_and_the_rest_goes_on(new_hearth, tmp_path):
    """Row 22."""
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "slow", SLOW), "slow", "python3.11", "app.handler", max=4)
    capacity = 40
    alone = offer(hearth, 3, slow=(capacity * 0.9, {}))["slow"]
    assert set(alone.statuses) == {200}, alone.statuses
    good = alone.statuses[200] / alone.seconds
    much = offer(hearth, SECONDS, slow=(capacity * 10, {}))["slow"]
    assert set(much.statuses) == {200, 429} and not much.broken, (much.statuses, much.broken[:3])
    assert int(much.headers[429]["retry-after"]) >= 1, much.headers[429]
    goodput = much.statuses[200] / much.seconds
    assert goodput >= 0.9 * good, f"{goodput:.1f} answers a second under overload, {good:.1f} without"
    # Over at once: the next call is answered.
    over = until("calls to be answered again", lambda: offer(hearth, 0.1, slow=(10, {}))["slow"].statuses[200], within=2)
    assert over
    refused = much.quantile(429, 0.99)
    if LONG:
        assert refused <= 0.01, f"a refusal takes {refused * 1e3:.1f} ms (p99)"
    print(
        f"row 22: {much.sent} calls offered, ten times what it can: {goodput:.1f} answers/s of {good:.1f}; "
        f"{much.statuses[429]} refused, p99 {refused * 1e3:.1f} ms"
    )


def test_a_busy_function_takes_nothing_from_another(new_hearth, tmp_path):
    """Row 23."""
    hearth = new_hearth().start()
    for name in ("busy", "calm"):
        hearth.cli.deploy(write(tmp_path / name, QUICK), name, "python3.11", "app.handler", max=4)
    rate = 1000 if LONG else 400
    offer(hearth, 1, busy=(20, {}), calm=(20, {}))
    alone = offer(hearth, SECONDS, calm=(10, {}))["calm"]
    both = offer(hearth, SECONDS, busy=(rate, {}), calm=(10, {}))
    calm = both["calm"]
    answered = calm.statuses[200] / calm.sent
    before, after = alone.quantile(200, 0.99), calm.quantile(200, 0.99)
    assert answered >= 0.999, (calm.statuses, calm.broken[:3])
    if LONG:
        assert after <= 2 * before, f"p99 {before * 1e3:.1f} ms alone, {after * 1e3:.1f} ms beside the busy one"
    print(
        f"row 23: beside {both['busy'].statuses[200] / both['busy'].seconds:.0f} calls/s of another, {answered:.2%} of "
        f"10 calls/s answered, p99 {after * 1e3:.1f} instead of {before * 1e3:.1f} ms"
    )
