"""kill -9 of the server, of the spawner, of both, at random moments under load.

HEARTH_CRASH_ROUNDS says how often each is killed (6 by default, 50 in `make crash`); the moments come
from a seed that is printed, and HEARTH_CRASH_SEED repeats them.
"""

import os
import re
import random
import time

import pytest

from harness import leaks, proc
from harness.door import Door
from harness.functions import ECHO, ECHO_NODE, WITNESS, write
from harness.load import Load
from harness.strace import Inject
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("HEARTH_CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
LINGERS = """
import subprocess, time
def handler(event, context):
    subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    time.sleep(0.05)
    return event
"""
NAP = "import time\ndef handler(event, context):\n    time.sleep(0.5)\n"

pytestmark = pytest.mark.crash


@pytest.fixture
def busy(new_hearth, tmp_path):
    """A Hearth with functions of every kind deployed, and the host as it was before."""
    before = leaks.take()
    hearth = new_hearth().start()
    for name, code, runtime in (
        ("echo", ECHO, "python3.11"),
        ("echo-node", ECHO_NODE, "nodejs20.x"),
        ("witness", WITNESS, "python3.11"),
        ("lingers", LINGERS, "python3.11"),
    ):
        hearth.cli.deploy(write(tmp_path / name, code, runtime), name, runtime, "app.handler", max=4)
    yield hearth, before


def everything_answers(hearth):
    with Door(hearth) as door:
        for name in ("echo", "echo-node", "lingers"):
            answer = door.invoke(name, {"to": name})
            assert (answer.status, answer.function_error) == (200, None), f"{name}: {answer}"
            assert answer.json() == {"to": name}
        assert door.invoke("witness", {"n": 7}).json()["n"] == 7


def no_orphans(hearth, before):
    def none():
        found = leaks.orphans(before, hearth.process.pid)
        assert not found, "orphans:\n  " + "\n  ".join(found)
        return True

    until("a host without orphans", none, within=2, every=0.1)


def rounds(busy, kill):
    """Load, a random moment, `kill`, and then everything as it was."""
    hearth, before = busy
    moments = random.Random(SEED)
    for number in range(ROUNDS):
        try:
            with Load(hearth, "witness", {"n": 1}, clients=3) as one, Load(hearth, "lingers", {}, clients=2):
                until("load", lambda: one.answers, within=20)
                time.sleep(moments.uniform(0, 0.3))  # the moment of the crash, not a wait for anything
                kill(hearth, before)
            everything_answers(hearth)
            no_orphans(hearth, before)
        except AssertionError as error:
            raise AssertionError(f"round {number} of seed {SEED}: {error}\n{hearth.output_tail()}") from error


def test_a_killed_server_is_replaced_by_the_spawner(busy):
    def kill(hearth, before):
        old = hearth.kill_server()
        hearth.wait_server_replaced(old)
        assert hearth.running, "the spawner ended with its server"

    rounds(busy, kill)


def test_with_the_spawner_killed_everything_ends_and_a_start_finds_all(busy):
    def kill(hearth, before):
        hearth.kill_spawner()
        everything_is_gone(hearth, before)
        hearth.start()

    rounds(busy, kill)


def test_with_both_killed_everything_ends_and_a_start_finds_all(busy):
    def kill(hearth, before):
        hearth.kill_both()
        everything_is_gone(hearth, before)
        hearth.start()

    rounds(busy, kill)


def test_a_sandbox_cloned_at_the_moment_of_a_crash_ends_too(new_hearth, tmp_path):
    """Before it asks to die with the spawner, and before it is told to go on."""
    hearth = new_hearth(arguments=["--fork-servers", "off"]).start()
    hearth.cli.deploy(write(tmp_path / "nap", NAP), "nap", "python3.11", "app.handler", max=20)
    spawner = hearth.process.pid

    def held():
        return [one for one in proc.everyone().values() if one.parent == spawner and one.state == "t"]

    with Inject(spawner, ["prctl"], "delay_enter=1000000:when=1"):
        with Load(hearth, "nap", {}, clients=8):
            until("a sandbox that was just cloned", held, within=20)
            hearth.kill_both()
    hearth.wait_all_gone(within=2)
    # Its cgroups may outlive it: they are the next start's to remove.
    hearth.start()


def everything_is_gone(hearth, before):
    """Within two seconds no process of the dead Hearth runs, in a sandbox or outside."""
    hearth.wait_all_gone(within=2)

    def nobody():
        left = [what for key, what in leaks.sandboxed().items() if key not in before.processes]
        assert not left, "still running:\n  " + "\n  ".join(left)
        return True

    until("every sandbox to end", nobody, within=2, every=0.05)


def test_a_start_removes_what_a_killed_hearth_left(busy):
    """Cgroups and mounts may outlive a kill -9 of both; they may not outlive the next start."""
    hearth, before = busy
    everything_answers(hearth)
    hearth.kill_both()
    left = sandbox_cgroups(before)
    everything_is_gone(hearth, before)
    hearth.start()

    def swept():
        # By inode: a new sandbox may have a cgroup of an old one's name.
        stale = left & sandbox_cgroups(before)
        assert not stale, "left by the killed one:\n  " + "\n  ".join(path for path, _ in sorted(stale))
        return True

    until("the old cgroups to be removed", swept, within=2, every=0.1)
    everything_answers(hearth)


def sandbox_cgroups(before):
    """(path, inode) of each new cgroup that has none below it: sandboxes' own, not the folders they are kept in."""
    found = set()
    for path in leaks.take().cgroups - before.cgroups:
        if re.fullmatch(r"hearth-[0-9a-f]{8}(-gvisor)?", os.path.basename(path)):
            continue  # an isolation's own, which the next start takes over
        try:
            if not any(entry.is_dir() for entry in os.scandir(path)):
                found.add((path, os.stat(path).st_ino))
        except OSError:
            pass  # removed meanwhile
    return found


def test_a_server_that_dies_again_and_again_is_replaced_each_time(busy):
    hearth, _ = busy
    for _ in range(3):
        hearth.wait_server_replaced(hearth.kill_server())
    everything_answers(hearth)


def test_logs_and_records_of_before_the_crash_are_still_there(busy):
    hearth, _ = busy
    with Door(hearth) as door:
        answer = door.invoke("witness", {"n": 41})
    hearth.api.record("witness", answer.request_id)

    def marked():
        return [line for line in hearth.cli.logs("witness", "--since", "5m") if "mark 41" in line["message"]]

    # "A server crash loses at most one second of logs": what could be read before is there afterwards.
    until("the line to be stored", marked, within=5)
    until("it to be a second old", lambda: not hearth.cli.logs("witness", "--since", "1s"), within=5)
    hearth.kill_both()
    hearth.start()
    assert hearth.api.record("witness", answer.request_id)
    assert marked()[0]["request_id"] == answer.request_id
