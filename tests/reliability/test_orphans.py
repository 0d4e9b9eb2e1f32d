"""Row 12: kill -9 with many sandboxes. HEARTH_RELIABILITY_ROUNDS says how often (2), HEARTH_RELIABILITY_SANDBOXES with how many (12)."""

import os
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

from harness import leaks, proc
from harness.door import Door
from harness.functions import ECHO, write
from harness.load import Load
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_RELIABILITY_ROUNDS", "2"))
SANDBOXES = int(os.environ.get("HEARTH_RELIABILITY_SANDBOXES", "12"))
NAP = "import time\ndef handler(event, context):\n    time.sleep(0.2)\n    return 1\n"
WITHIN = 2.0


def groups(before):
    """(path, inode) of each new control group that has none below it."""
    found = set()
    for path in leaks.take().cgroups - before.cgroups:
        try:
            if not any(entry.is_dir() for entry in os.scandir(path)):
                found.add((path, os.stat(path).st_ino))
        except OSError:
            pass  # removed meanwhile
    return found


def members(group):
    try:
        with open(f"{group[0]}/cgroup.procs") as file:
            return {int(line) for line in file}
    except OSError:
        return set()


@contextmanager
def sandboxes(hearth, before):
    """What there is of sandboxes now, each with an identity that no other gets meanwhile."""
    ids = {one["instance"] for one in hearth.api.instances("nap")}
    leaf = {group for group in groups(before) if os.path.basename(group[0]) in ids}
    table = proc.everyone()
    pids = set().union(*map(members, leaf)) & set(table)
    spaces = {pid: proc.link(f"/proc/{pid}/ns/net") for pid in table}
    others = {space for pid, space in spaces.items() if pid not in pids}
    with ExitStack() as held:
        mine = set()
        for pid in pids:
            # Held open: the number of one that is gone is given to the next.
            try:
                held.callback(os.close, fd := os.open(f"/proc/{pid}/ns/net", os.O_RDONLY))
            except OSError:
                continue  # it ended
            mine.add(f"net:[{os.fstat(fd).st_ino}]")
        yield {
            "processes": {table[pid].identity for pid in pids},
            "control groups": leaf,
            "network namespaces": mine - others,
        }


def enough(hearth, before):
    """Opens `sandboxes` once all are there."""

    def look():
        with ExitStack() as stack:
            what = stack.enter_context(sandboxes(hearth, before))
            if all(len(found) >= SANDBOXES for found in what.values()):
                return what, stack.pop_all()
        return None

    return until("all sandboxes", look, within=60)


def still_there(what, before, mounts):
    """Of what was there, what is there yet; and mounts that a Hearth at rest does not have."""
    table = proc.everyone()
    now = {
        "processes": {one.identity for one in table.values() if one.state != "Z"},
        "control groups": groups(before),
        "network namespaces": {proc.link(f"/proc/{pid}/ns/net") for pid in table},
    }
    left = {kind: what[kind] & now[kind] for kind in what}
    left["mounts"] = set(leaks.take().mounts) - mounts
    return {kind: found for kind, found in left.items() if found}


def test_of_killed_sandboxes_nothing_is_left(new_hearth, tmp_path):
    before = leaks.take()
    hearth = new_hearth(arguments=["--stems", "0"]).start()
    mounts = set(leaks.take().mounts)
    hearth.cli.deploy(write(tmp_path / "nap", NAP), "nap", "python3.11", "app.handler", max=SANDBOXES, memory="64MB")
    hearth.cli.deploy(write(tmp_path / "echo", ECHO), "echo", "python3.11", "app.handler")
    clean, counted = [], Counter()
    for number in range(ROUNDS):
        with Load(hearth, "nap", {}, clients=SANDBOXES + 4):
            what, held = enough(hearth, before)
            # The server, the spawner, and both in turn.
            if number % 3 == 0:
                hearth.wait_server_replaced(hearth.kill_server())
            else:
                hearth.kill_spawner() if number % 3 == 1 else hearth.kill_both()
                hearth.start()
            begun = time.monotonic()
            left = None

            def nothing():
                nonlocal left
                left = still_there(what, before, mounts)
                return not left

            try:
                until("a host without what was killed", nothing, within=WITHIN, every=0.05)
            except AssertionError as error:
                raise AssertionError(f"round {number}: {left}\n{error}") from error
            clean.append(time.monotonic() - begun)
            held.close()
        counted.update({kind: len(found) for kind, found in what.items()})
        with Door(hearth) as door:
            assert door.invoke("echo", number).json() == number
    print(
        f"row 12: {ROUNDS} kills with {SANDBOXES} sandboxes each: 0 left of {', '.join(f'{n} {kind}' for kind, n in counted.items())}, "
        f"0 mounts; seen clean {max(clean) * 1e3:.0f} ms after the restart at the latest; bar: 2 s"
    )
