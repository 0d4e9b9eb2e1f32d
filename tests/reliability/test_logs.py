"""Row 18: log lines that are numbered arrive complete and in order; a flood harms nobody, and what it loses is counted.

HEARTH_RELIABILITY_LINES says how many lines (60,000 by default, a million in the long version).
"""

import os
import threading

from harness.door import Door
from harness.functions import ECHO, write
from harness.load import Load
from harness.memory import Watch
from harness.wait import until

LINES = int(os.environ.get("HEARTH_RELIABILITY_LINES", "60000"))
RATE = 1 << 20
# Of a line with its number; 64 bytes with the line's end.
WIDTH = 63

NUMBERED = f"""
import sys, time
def handler(event, context):
    first, count = event["first"], event["count"]
    begun, rate = time.monotonic(), {RATE} / {WIDTH + 1}
    for at in range(0, count, 500):
        some = range(first + at, first + min(at + 500, count))
        sys.stdout.write("".join(f"n {{n:<{WIDTH - 2}}}\\n" for n in some))
        sys.stdout.flush()
        time.sleep(max(0, begun + (at + len(some)) / rate - time.monotonic()))
    return time.monotonic() - begun
"""
FLOOD = """
import os
def handler(event, context):
    line = (b"flood " + b"x" * 1017 + b"\\n") * 1024
    for _ in range(event["mib"]):
        left = line
        while left:
            left = left[os.write(1, left):]
"""
# Lines of one call: a call has an end, and its clients a patience.
SHARE = 50_000


def numbers(hearth, function):
    cursor, found = 0, []
    while True:
        page = hearth.api.get(f"/api/v1/functions/{function}/logs?limit=10000&after={cursor}")
        words = [line["message"].split() for line in page["lines"]]
        found += [int(word[1]) for word in words if word[:1] == ["n"]]
        if page["cursor"] == cursor:
            return found
        cursor = page["cursor"]


def dropped(hearth):
    return hearth.api.get("/api/v1/doctor")["telemetry_dropped"]


def test_numbered_lines_arrive_complete_and_in_order(new_hearth, tmp_path):
    hearth = new_hearth().start()
    toml = 'timeout = "60s"\n'
    hearth.cli.deploy(write(tmp_path / "numbered", NUMBERED, toml=toml), "numbered", "python3.11", "app.handler", max=1)
    took = 0.0
    with Door(hearth) as door:
        for first in range(0, LINES, SHARE):
            answer = door.invoke("numbered", {"first": first, "count": min(SHARE, LINES - first)})
            assert (answer.status, answer.function_error) == (200, None), answer
            took += answer.json()
    found = numbers(hearth, "numbered")
    assert found == list(range(LINES)), f"{len(found)} of {LINES} lines, the first that is wrong: {wrong(found)}"
    assert dropped(hearth) == 0
    # What was written a second ago survives the death of everything.
    hearth.kill_both()
    hearth.wait_all_gone()
    hearth.start()
    found = numbers(hearth, "numbered")
    # At the stated rate, a second is so many.
    lost = LINES - len(found)
    assert found == list(range(len(found))) and lost <= RATE / (WIDTH + 1), f"{lost} lines are gone after a kill -9"
    rate = LINES * (WIDTH + 1) / took / 2**20
    print(f"row 18: {LINES} lines at {rate:.2f} MiB/s, all in order; {lost} of them gone with a kill -9 right after")


def wrong(found):
    return next((n for at, n in enumerate(found) if n != at), None)


def test_a_flood_of_lines_harms_nobody_and_what_it_loses_is_counted(new_hearth, tmp_path):
    hearth = new_hearth().start()
    toml = 'timeout = "120s"\n'
    hearth.cli.deploy(write(tmp_path / "flood", FLOOD, toml=toml), "flood", "python3.11", "app.handler", max=1)
    hearth.cli.deploy(write(tmp_path / "numbered", NUMBERED, toml=toml), "numbered", "python3.11", "app.handler", max=1)
    hearth.cli.deploy(write(tmp_path / "echo", ECHO), "echo", "python3.11", "app.handler", max=4)
    mib, lines = 256 if LINES < 1_000_000 else 1024, 20_000
    answers = {}

    def call(function, event):
        with Door(hearth) as door:
            answers[function] = door.invoke(function, event)

    with Watch(hearth) as watch, Load(hearth, "echo", {"n": 1}, clients=2) as load:
        calls = [
            threading.Thread(target=call, args=("flood", {"mib": mib})),
            threading.Thread(target=call, args=("numbered", {"first": 0, "count": lines})),
        ]
        for one in calls:
            one.start()
        for one in calls:
            one.join(180)
    assert {name: (one.status, one.function_error) for name, one in answers.items()} == {
        "flood": (200, None),
        "numbered": (200, None),
    }
    assert not load.failures and load.answers, load.summary()
    found = numbers(hearth, "numbered")
    assert found == list(range(lines)), f"the neighbour has {len(found)} of {lines} lines"
    watch.assert_below(128 << 20)
    kept = until("the flood's lines", lambda: count(hearth, "flood"), within=30)
    assert kept <= mib * 1024
    # Of what is kept the oldest goes by size too; what was never written is counted.
    lost = dropped(hearth)
    assert kept + lost <= mib * 1024 + 100 and (lost > 0 or kept >= min(mib, 128) * 1000), (kept, lost)
    print(f"row 18: {mib} MiB of lines in a flood: {kept} kept, {lost} dropped and counted; of a neighbour's none")


def count(hearth, function):
    page = hearth.api.get(f"/api/v1/functions/{function}/logs?limit=10000&after=0")
    found, cursor = 0, 0
    while page["cursor"] != cursor:
        found += sum(line["message"].startswith("flood ") for line in page["lines"])
        cursor = page["cursor"]
        page = hearth.api.get(f"/api/v1/functions/{function}/logs?limit=10000&after={cursor}")
    return found
