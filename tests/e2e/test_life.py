"""Starting, draining, starting again: what was deployed is there, and nothing is left."""

import json
import os
import resource
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from harness import aws
from harness.door import Door
from harness.functions import ECHO, ECHO_NODE, MAIN, write
from harness.hearth import Hearth
from harness.load import storm
from harness.wait import until

NOBODY = 65534
ANY_PORTS = ["--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0"]
CODE = {"python3.11": ECHO, "nodejs20.x": ECHO_NODE}


def deploy_both(hearth, folder):
    names = []
    for runtime in MAIN:
        name = "f-" + runtime.replace(".", "")
        hearth.cli.deploy(write(folder / name, CODE[runtime], runtime), name, runtime, "app.handler")
        names.append(name)
    return names


def test_functions_survive_a_restart(new_hearth, tmp_path):
    hearth = new_hearth().start()
    names = deploy_both(hearth, tmp_path)
    with Door(hearth) as door:
        before = {name: door.invoke(name, name).request_id for name in names}
    token = hearth.token
    hearth.stop()
    hearth.start()
    assert hearth.token == token, "the admin token changed"
    with Door(hearth) as door:
        for name in names:
            assert door.invoke(name, {"again": name}).json() == {"again": name}
            assert hearth.api.record(name, before[name]), "an invocation's record is gone"
    hearth.stop()


def test_sigterm_lets_running_calls_finish(new_hearth, tmp_path):
    hearth = new_hearth().start()
    code = "import time\ndef handler(event, context):\n    time.sleep(1.5)\n    return 'finished'\n"
    hearth.cli.deploy(write(tmp_path / "f", code), "slow", "python3.11", "app.handler", timeout="10s")
    answers = []

    def call():
        with Door(hearth) as door:
            answers.append(door.invoke("slow", {}))

    thread = threading.Thread(target=call)
    thread.start()
    until("the call to be running", lambda: [one for one in hearth.api.instances("slow") if one["state"] == "busy"])
    hearth.stop()
    thread.join(20)
    assert answers and answers[0].status == 200 and answers[0].json() == "finished"


def test_ctrl_c_drains_too(new_hearth):
    import signal

    hearth = new_hearth().start()
    os.killpg(hearth.process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    assert hearth.process.wait(20) == 0, hearth.output_tail()
    hearth.wait_all_gone()


def test_a_second_hearth_on_the_same_folder_is_refused(new_hearth):
    hearth = new_hearth().start()
    other = subprocess.run(
        [hearth.binary, "up", "--data-dir", hearth.data, *ANY_PORTS],
        capture_output=True,
        text=True,
        timeout=20,
        env=hearth.environment,
    )
    assert other.returncode != 0
    assert "panicked" not in other.stderr and other.stderr.strip()
    assert hearth.probe("/readyz") == 200


def test_a_taken_port_is_named(new_hearth):
    hearth = new_hearth().start()
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        other = subprocess.run(
            [hearth.binary, "up", "--data-dir", f"{folder}/data", "--listen", f"127.0.0.1:{hearth.port}", *ANY_PORTS[2:]],
            capture_output=True,
            text=True,
            timeout=20,
            env=hearth.environment,
        )
    assert other.returncode != 0
    assert str(hearth.port) in other.stderr and "panicked" not in other.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_a_low_soft_limit_on_descriptors_is_no_limit_on_instances(new_hearth, tmp_path):
    def low():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    hearth = new_hearth(before_exec=low).start()
    code = "import time\ndef handler(event, context):\n    time.sleep(1)\n    return 'ok'\n"
    hearth.cli.deploy(write(tmp_path / "f", code), "slow", "python3.11", "app.handler")
    answers = storm(hearth, [("slow", {})] * 40, clients=40)
    assert [answer.status for answer in answers] == [200] * 40
    assert all(answer.json() == "ok" for answer in answers), [answer.body for answer in answers][:3]


def test_hearth_lives_on_when_nobody_reads_what_it_prints(new_hearth):
    hearth = new_hearth(output="/dev/full").start()
    hearth.wait_server_replaced(hearth.kill_server())
    assert hearth.running


def test_listening_twice_on_one_address_is_refused_at_once(binary, tmp_path):
    one = ["--listen", "127.0.0.1:7999", "--ingress", "127.0.0.1:7999"]
    done = subprocess.run([binary, "up", "--data-dir", tmp_path / "d", *one], capture_output=True, text=True, timeout=5)
    assert done.returncode == 1 and "must differ" in done.stderr


def test_the_server_of_a_root_hearth_is_not_root(new_hearth):
    hearth = new_hearth().start()
    status = Path(f"/proc/{hearth.server_pid()}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split(), fields["Uid"]
    assert fields["CapEff"].strip() == fields["CapPrm"].strip() == "0" * 16
    assert fields["NoNewPrivs"].strip() == "1"


def test_the_server_stands_behind_walls_of_its_own(new_hearth):
    hearth = new_hearth().start()
    # Each of its threads: a filter is a thread's.
    for task in Path(f"/proc/{hearth.server_pid()}/task").iterdir():
        fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        assert fields["Seccomp"].strip() == "2", "a filter"
        assert fields["NoNewPrivs"].strip() == "1"
        assert fields["CapBnd"].strip() == fields["CapAmb"].strip() == fields["CapEff"].strip() == "0" * 16


# === as an ordinary user ===


@pytest.fixture
def rootless(new_hearth, binary):
    """A Hearth of an ordinary user. Skips, saying why, where the kernel gives users no namespaces."""
    options = {}
    if os.geteuid() == 0:
        as_nobody = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        tried = subprocess.run([*as_nobody, "unshare", "--user", "--map-root-user", "true"], capture_output=True, text=True)
        if tried.returncode != 0:
            pytest.skip(f"an ordinary user gets no user namespace here: {tried.stderr.strip()}")
        options["uid"] = NOBODY
        reachable = subprocess.run([*as_nobody, "test", "-x", str(binary)])
        if reachable.returncode != 0:
            # A checkout below /root: the user gets a copy to run.
            copy = Path(tempfile.mkdtemp(prefix="ht-binary-"))
            copy.chmod(0o755)
            shutil.copy(binary, copy / "hearth")
            options["binary"] = copy / "hearth"
    one = new_hearth(**{key: value for key, value in options.items() if key == "uid"})
    if "binary" in options:
        one.binary = str(options["binary"])
    yield one
    if "binary" in options:
        shutil.rmtree(options["binary"].parent)


def test_an_ordinary_user_runs_functions_and_finds_them_after_a_restart(rootless):
    hearth = rootless.start()
    names = deploy_both(hearth, hearth.base / "files")
    client = aws.client(hearth)
    for name in names:
        answer = client.invoke(FunctionName=name, Payload=b'{"root": false}')
        assert "FunctionError" not in answer and json.load(answer["Payload"]) == {"root": False}
    hearth.stop()
    hearth.start()
    with Door(hearth) as door:
        for name in names:
            assert door.invoke(name, {"again": name}).json() == {"again": name}


def test_an_ordinary_users_functions_are_ended_at_their_timeout(rootless):
    hearth = rootless.start()
    code = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'works'\n"
    hearth.cli.deploy(write(hearth.base / "f", code), "sleepy", "python3.11", "app.handler", timeout="1s")
    with Door(hearth) as door:
        assert door.invoke("sleepy", 30).json()["errorType"] == "Sandbox.Timedout"
        assert door.invoke("sleepy", 0).json() == "works"


def test_an_ordinary_users_functions_are_walled_in_too(rootless):
    hearth = rootless.start()
    code = """
import os, socket
def handler(event, context):
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    reached = []
    for path in event["files"]:
        if os.path.exists(path):
            reached.append(path)
    try:
        socket.create_connection(("127.0.0.1", event["port"]), timeout=1).close()
        reached.append("control")
    except OSError:
        pass
    return {"caps": status["CapEff"].strip(), "privs": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
            "reached": reached}
"""
    hearth.cli.deploy(write(hearth.base / "f", code), "walls", "python3.11", "app.handler")
    event = {"files": [str(hearth.data), "/etc/shadow", str(hearth.log_path)], "port": hearth.port}
    with Door(hearth) as door:
        seen = door.invoke("walls", event).json()
    assert seen == {"caps": "0" * 16, "privs": "1", "seccomp": "2", "reached": []}


def test_an_ordinary_user_is_told_what_is_weaker(rootless):
    hearth = rootless.start()
    text = hearth.output() + hearth.cli.run("doctor").text
    assert "cgroup" in text.lower(), "nothing is said of the limits that cannot be enforced"
    assert "cgroup" in json.dumps(hearth.cli.run("doctor", "--json").json()).lower()


def test_a_user_may_not_use_anothers_data_folder(rootless, new_hearth):
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    roots = new_hearth().start()
    roots.stop()
    stranger = Hearth(rootless.binary, uid=NOBODY)
    try:
        ran = subprocess.run(
            stranger.as_user([rootless.binary, "up", "--data-dir", str(roots.data), *ANY_PORTS]),
            capture_output=True,
            text=True,
            timeout=20,
            env=stranger.environment,
        )
        assert ran.returncode != 0 and "panicked" not in ran.stderr
        assert str(roots.data) in ran.stderr
    finally:
        stranger.discard()
