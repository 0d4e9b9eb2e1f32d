"""kill -9 with a gVisor sandbox running: it ends with its spawner, and what it had on the host goes with the next start."""

import glob
import os

import pytest

from harness import leaks, proc
from harness.doctor import driver_state
from harness.door import Door
from harness.functions import ECHO, write
from harness.wait import until

pytestmark = pytest.mark.crash


@pytest.fixture
def walled(new_hearth, tmp_path):
    """A Hearth with an idle sandbox, and the host as it was before."""
    before = leaks.take()
    hearth = new_hearth().start()
    works, reason = driver_state(hearth.cli.run("doctor", "--json").json(), "gvisor")
    if not works:
        pytest.skip(f"isolation gvisor does not work here, says hearth doctor: {reason}")
    code = write(tmp_path / "echo", ECHO, "python3.11")
    hearth.cli.deploy(code, "echo", "python3.11", "app.handler", isolation="gvisor")
    answers(hearth)
    assert sandboxes(hearth), "the call left no sandbox"
    return hearth, before


def answers(hearth):
    with Door(hearth) as door:
        answer = door.invoke("echo", {"n": 1})
    assert (answer.status, answer.function_error, answer.json()) == (200, None, {"n": 1}), answer


def sandboxes(hearth):
    """pids of the runscs that belong to this Hearth."""
    table = proc.everyone()
    return {below.pid for below in proc.descendants(hearth.process.pid, table) if "runsc" in below.command}


def nobody_is_left(before):
    def nobody():
        left = [what for key, what in leaks.sandboxed().items() if key not in before.processes]
        assert not left, "still running:\n  " + "\n  ".join(left)
        return True

    until("every sandbox to end", nobody, within=2, every=0.05)


def test_a_killed_server_leaves_no_sandbox_of_before(walled):
    hearth, _ = walled
    old = sandboxes(hearth)
    hearth.wait_server_replaced(hearth.kill_server())
    until("the old sandboxes to end", lambda: not sandboxes(hearth) & old, within=5)
    answers(hearth)


def test_a_killed_spawner_takes_its_sandboxes_with_it(walled):
    hearth, before = walled
    hearth.kill_spawner()
    hearth.wait_all_gone()
    nobody_is_left(before)
    hearth.start()
    answers(hearth)


def test_what_a_wholly_killed_hearth_left_is_removed_by_the_next_start(walled):
    hearth, before = walled
    hearth.kill_both()
    nobody_is_left(before)
    left = {path: os.stat(path).st_ino for path in leaks.take().cgroups - before.cgroups if "-gvisor/" in path}
    folders = set(glob.glob("/run/hearth-*/gvisor/sandboxes/*")) & leaks.take().files - before.files
    assert not leaks.take().mounts.keys() - before.mounts.keys(), "a mount outlived its namespace"
    hearth.start()
    stale = [path for path, inode in left.items() if os.path.exists(path) and os.stat(path).st_ino == inode]
    assert not stale and not [path for path in folders if os.path.exists(path)]
    answers(hearth)
