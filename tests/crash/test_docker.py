"""kill -9 with containers running, with and without a kernel of their own: whatever dies, none is left that nobody owns."""

import os
import signal

import pytest

from harness import docker, proc
from harness.doctor import driver_state
from harness.door import Door
from harness.functions import ECHO, write
from harness.wait import until

pytestmark = pytest.mark.crash


@pytest.fixture(params=["docker", "gvisor"])
def contained(new_hearth, tmp_path, request):
    """A Hearth with an idle container."""
    hearth = new_hearth(environment={"HEARTH_GVISOR_THROUGH": "docker"}).start()
    works, reason = driver_state(hearth.cli.run("doctor", "--json").json(), request.param)
    if not works:
        pytest.skip(f"isolation {request.param} (through Docker) does not work here, says hearth doctor: {reason}")
    code = write(tmp_path / "echo", ECHO, "python3.11")
    hearth.cli.deploy(code, "echo", "python3.11", "app.handler", isolation=request.param)
    answers(hearth)
    assert containers(hearth), "the call left no idle container"
    return hearth


def answers(hearth):
    with Door(hearth) as door:
        answer = door.invoke("echo", {"n": 1})
    assert (answer.status, answer.function_error, answer.json()) == (200, None, {"n": 1}), answer


def containers(hearth):
    return set(docker.ours())


def helper(hearth):
    """The process that holds Docker's socket."""
    for process in proc.descendants(hearth.process.pid):
        try:
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                if b"docker-host" in file.read():
                    return process.pid
        except OSError:
            pass  # gone meanwhile
    return None


def only_new_ones(hearth, old):
    """It answers again, and every container of before is gone."""
    answers(hearth)
    until("the old containers to be removed", lambda: not containers(hearth) & old, within=10)


def test_a_killed_server_leaves_no_container_unowned(contained):
    old = containers(contained)
    contained.wait_server_replaced(contained.kill_server())
    only_new_ones(contained, old)


def test_a_killed_spawner_leaves_no_container(contained):
    contained.kill_spawner()
    contained.wait_all_gone()
    until("every container to be removed", lambda: not containers(contained), within=10)
    contained.start()
    answers(contained)


def test_what_a_wholly_killed_hearth_left_is_removed_by_the_next_start(contained):
    old = containers(contained)
    pids = [contained.process.pid, contained.server_pid(), helper(contained)]
    for pid in pids:  # stopped first: none of them shall see another die
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    contained.process.wait(2)
    contained.wait_all_gone()
    assert containers(contained) == old, "the container did not outlive its Hearth: nothing is shown here"
    contained.start()
    only_new_ones(contained, old)


def test_a_killed_helper_is_replaced_and_its_containers_too(contained):
    old, dead = containers(contained), helper(contained)
    os.kill(dead, signal.SIGKILL)
    until("a new helper", lambda: helper(contained) not in (None, dead))
    until("the old containers to be removed", lambda: not containers(contained) & old, within=10)
    until("the instance to be forgotten", lambda: not contained.api.instances("echo"))
    answers(contained)
