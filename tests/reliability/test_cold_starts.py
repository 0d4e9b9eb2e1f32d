"""Row 14: cold starts, one after the other. HEARTH_RELIABILITY_STARTS says how many (60)."""

import os
import time

from harness import leaks, proc
from harness.functions import ECHO, ECHO_NODE, write
from harness.load import storm
from harness.memory import resident
from harness.wait import until

STARTS = int(os.environ.get("HEARTH_RELIABILITY_STARTS", "60"))
GROWTH = 10 << 20
# Descriptors of connections that clients have just closed may be there a moment more.
SLACK = {"server's descriptors": 4}


def held(hearth):
    """What the host has of this Hearth, and its server and spawner of descriptors."""
    now = leaks.take()
    found = {"mounts": len(now.mounts), "control groups": len(now.cgroups), "network namespaces": len(now.netns)}
    found["processes"] = len(hearth.tagged())
    for name, pid in (("server's", hearth.server_pid()), ("spawner's", hearth.process.pid)):
        found[f"{name} descriptors"] = len(proc.descriptors(pid))
    return found


def settled(hearth):
    """As [`held`], when twice in a row the same: stems were made again."""
    one = held(hearth)
    time.sleep(0.5)
    return one if held(hearth) == one else None


def test_cold_starts_leave_nothing(new_hearth, tmp_path):
    hearth = new_hearth().start()
    runtimes = {"py": "python3.11", "node": "nodejs20.x"}
    for name, runtime in runtimes.items():
        code, toml = (ECHO, ECHO_NODE)[runtime.startswith("node")], '[scale]\nidle = "0s"\nmax = 8\n'
        hearth.cli.deploy(write(tmp_path / name, code, runtime, toml), name, runtime, "app.handler")

    def start(count):
        answers = storm(hearth, [(list(runtimes)[n % 2], {"n": n}) for n in range(count)], clients=4)
        assert [answer.json() for answer in answers] == [{"n": n} for n in range(count)]
        # At rest: what waits for the next call as at the beginning.
        until("no instances", lambda: not hearth.api.instances() and not leaks.orphans(before, hearth.process.pid), within=20)

    def same():
        now = held(hearth)
        # Stems come and go: their number is what it was when all are made.
        more = {kind: f"{count} instead of {base[kind]}" for kind, count in now.items() if count > base[kind] + SLACK.get(kind, 0)}
        assert not more, more
        return now

    before = leaks.take()
    # What is made once, and the caches that fill.
    start(max(40, STARTS // 10))
    base, kib = until("stems", lambda: settled(hearth), within=30), resident(hearth)
    begun = time.monotonic()
    start(STARTS)
    took = time.monotonic() - begun
    records = [one for name in runtimes for one in hearth.api.invocations(name)]
    made = len({one["instance"] for one in records}) / len(records)
    assert made >= 0.9, f"only {made:.0%} of the calls had an instance of their own"
    now = until("what there was before", same, within=20)
    grew = resident(hearth) - kib
    assert grew <= GROWTH, f"the server grew by {grew / 2**20:.1f} MiB"
    print(
        f"row 14: {STARTS} cold starts in {took:.0f} s: {', '.join(f'{kind} {base[kind]} → {count}' for kind, count in now.items())}; "
        f"the server {grew / 2**20:+.1f} MiB; bar: +10 MiB"
    )
