"""The leak check catches a planted leak of each kind, and names it."""

import os
import subprocess
import sys
import tempfile

import pytest

from harness import docker, leaks
from harness.wait import until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="plants things that only root can make")


@pytest.fixture
def before():
    return leaks.take()


def found(before, folders=()):
    return leaks.difference(before, leaks.take(folders))


@pytest.fixture
def running():
    """Starts a process that is ended with the test."""
    started = []

    def start(command, **environment):
        process = subprocess.Popen(command, env={**os.environ, **environment})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_host_without_leaks_is_clean(before):
    leaks.assert_clean(before)


def test_a_process_that_carries_the_tag_is_caught(before, running):
    process = running(["sleep", "600"], **{leaks.TAG: "planted"})
    line = until("the process to be seen", lambda: [one for one in found(before) if f"pid {process.pid} " in one])
    assert "process:" in line[0] and "carries the tag" in line[0]


def test_a_runsc_of_hearths_is_caught(before, running):
    process = running(["sh", "-c", "sleep 600; :", "runsc-gofer", "--root=/run/hearth-planted/gvisor/state"])
    line = until("the process to be seen", lambda: [one for one in found(before) if f"pid {process.pid} " in one])
    assert "a runsc of Hearth" in line[0]


@AS_ROOT
def test_a_process_in_other_namespaces_is_caught(before, running):
    process = running(["unshare", "--mount", "sleep", "600"])
    line = until("the process to be seen", lambda: [one for one in found(before) if f"pid {process.pid} " in one])
    assert "in another mnt namespace" in line[0]


@AS_ROOT
def test_a_process_under_another_root_is_caught(before, running):
    process = running([sys.executable, "-c", "import os, signal; os.chroot('/usr'); signal.pause()"])
    line = until("the process to be seen", lambda: [one for one in found(before) if f"pid {process.pid} " in one])
    assert "rooted at /usr" in line[0]


@AS_ROOT
def test_a_network_namespace_is_caught_also_when_nothing_runs_in_it(before, running):
    process = running(["unshare", "--net", "sleep", "600"])
    own = os.readlink("/proc/self/ns/net")

    def moved():
        return os.readlink(f"/proc/{process.pid}/ns/net") != own

    until("the process to have moved", moved)
    held = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
    try:
        process.kill()
        process.wait()
        lines = [one for one in found(before) if one.startswith("network namespace:")]
        assert lines and "held open by" in lines[0]
    finally:
        os.close(held)
    leaks.assert_clean(before)


@AS_ROOT
def test_a_mount_is_caught(before):
    with tempfile.TemporaryDirectory(prefix="ht-planted-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "planted", folder], check=True)
        try:
            assert any(one.startswith("mount:") and folder in one for one in found(before))
        finally:
            subprocess.run(["umount", folder], check=True)
    leaks.assert_clean(before)


@AS_ROOT
def test_a_cgroup_is_caught_in_every_hierarchy(before):
    roots = [root for root in leaks.cgroup_roots() if os.access(root, os.W_OK)]
    if not roots:
        pytest.skip("no cgroup hierarchy is writable here")
    for root in roots:
        planted = os.path.join(root, "hearth-planted")
        os.mkdir(planted)
        try:
            assert f"cgroup: {planted}" in found(before)
        finally:
            os.rmdir(planted)
    leaks.assert_clean(before)


@AS_ROOT
def test_a_file_in_run_is_caught(before):
    path = "/run/hearth-planted"
    open(path, "w").close()
    try:
        assert f"file: {path}" in found(before)
    finally:
        os.unlink(path)


def test_a_file_in_the_temporary_folder_is_caught():
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        before = leaks.take([folder])
        os.makedirs(os.path.join(folder, "left/over"))
        assert f"file: {folder}/left/over" in found(before, [folder])
        with pytest.raises(AssertionError, match="left/over"):
            leaks.assert_clean(before, [folder], within=0.1)


def test_an_orphan_is_a_process_of_hearth_below_nobody(before, running):
    process = running(["sleep", "600"], **{leaks.TAG: "planted"})
    until("the process to be seen", lambda: leaks.orphans(before, owner=1 << 30))
    assert not leaks.orphans(before, owner=os.getpid()), "a descendant of the owner is no orphan"
    assert any(f"pid {process.pid} " in one for one in leaks.orphans(before, owner=1 << 30))


def test_a_container_is_caught_also_when_it_does_not_run(before):
    images = docker.ask("GET", "/images/json")
    if not images:
        pytest.skip("no Docker Engine answers here, or it has no image to plant a container of")
    body = {"Image": images[0]["Id"], "Cmd": ["/none"], "Labels": {docker.LABELS[0]: "planted"}}
    planted = docker.ask("POST", "/containers/create", body)["Id"]
    try:
        assert any(line.startswith("container:") and planted[:12] in line for line in found(before))
    finally:
        docker.ask("DELETE", f"/containers/{planted}?force=1")
    leaks.assert_clean(before)
