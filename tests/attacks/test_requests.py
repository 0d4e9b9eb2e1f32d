"""What a client may write into a function: nothing opens a sandbox, nothing is run, nothing leads elsewhere."""

import json
import os

import pytest

from harness.functions import ECHO, write


@pytest.fixture(scope="module")
def package(attacked, tmp_path_factory):
    """A package that is deployed, and the function of it as the API shows it."""
    folder = write(tmp_path_factory.mktemp("plain"), ECHO)
    attacked.hearth.cli.deploy(folder, "plain", "python3.11", "app.handler")
    yield folder
    attacked.hearth.api.remove("plain")


@pytest.fixture
def spec(attacked, package):
    """What the API shows of a function, less what only it may say, is what it takes."""
    api = attacked.hearth.api
    shown = api.get("/api/v1/functions/plain")
    shown["code"] = {"sha256": shown["code"]["sha256"]}
    while True:
        status, _, body = api.call("PUT", "/api/v1/functions/plain", shown)
        if status < 300:
            return shown
        unknown = [one for one in shown if f'unknown key "{one}"' in body.get("message", "")]
        assert unknown, f"the API does not take what it shows: {status}: {body}"
        del shown[unknown[0]]


# What other platforms have, by their names.
OPENS = ["privileged", "hostPath", "host_path", "hostPID", "hostNetwork", "hostIPC", "serviceAccount", "serviceAccountName",
         "automountServiceAccountToken", "capabilities", "cap_add", "security_opt", "securityContext", "devices", "volumes",
         "binds", "network_mode", "pid_mode", "user", "runAsUser", "seccomp", "sysctls", "ulimits", "cgroup_parent", "uid"]


def test_nothing_opens_a_sandbox(attacked, spec):
    api = attacked.hearth.api
    for name in OPENS:
        for value in (True, "0", ["/:/host"], {"path": "/"}):
            status, _, body = api.call("PUT", "/api/v1/functions/plain", {**spec, name: value})
            assert status == 400 and name in json.dumps(body), f"{name} = {value!r}: {status} {body}"
    assert api.call("PUT", "/api/v1/functions/plain", spec)[0] < 300, "without them it is taken"



def test_no_text_is_run(attacked, package, tmp_path):
    """Every text that reaches a driver, made of what a shell would run."""
    hearth = attacked.hearth
    canary = attacked.canaries.folder / "run"
    evil = f"$(touch {canary}) `touch {canary}` ; touch {canary} | touch {canary} & touch {canary} \n touch {canary} ' \" \\ ${{IFS}} %s%n"
    code = "import os, json\ndef handler(event, context):\n    return {'A': os.environ.get('A'), 'event': event}\n"
    folder = write(tmp_path / "evil", code)
    for driver in ("namespace", "docker", "gvisor"):
        name = f"evil-{driver}"
        ran = hearth.cli.run("deploy", folder, "--name", name, "--runtime", "python3.11", "--handler", "app.handler", "--isolation", driver,
                             "--env", f"A={evil}", "--env", f"LC_X={evil}")
        if ran.code != 0:
            assert "does not work here" in ran.text, ran
            continue
        answered = hearth.cli.ok("invoke", name, json.dumps(evil)).json()
        assert answered == {"A": evil, "event": evil}
        hearth.api.remove(name)
        # A command is given to no shell; neither is a handler.
        for flags in (["--command", f"./main {evil}"], ["--runtime", "python3.11", "--handler", f"app.handler {evil}"]):
            if hearth.cli.run("deploy", folder, "--name", name, "--isolation", driver, *flags).code == 0:
                hearth.cli.run("invoke", name, "1")
                hearth.api.remove(name)
    assert not canary.exists(), "something was run"


@pytest.mark.parametrize(
    "env, named",
    [
        ({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}, "AWS_LAMBDA_RUNTIME_API"),
        ({"LAMBDA_TASK_ROOT": "/"}, "LAMBDA_TASK_ROOT"),
        ({"HEARTH_STEM": "1"}, "HEARTH_STEM"),
        ({"A": "x" * (200 << 10)}, "4096"),
        ({"BIG": "x" * (1 << 20)}, "4096"),
        ({f"A{number}": "x" for number in range(5000)}, "4096"),
        ({"A=B": "x"}, "A=B"),
        ({"A\0B": "x"}, "A"),
        ({"A": "x\0y"}, "A"),
        ({"": "x"}, ""),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value))[:12].replace("\0", "NUL") or "empty",
)
def test_an_environment_that_is_not_a_functions_is_refused(attacked, spec, env, named):
    try:
        status, _, body = attacked.hearth.api.call("PUT", "/api/v1/functions/plain", {**spec, "env": env})
        # What is over the limit of bodies is not even read.
        assert status == 413 or (status == 400 and named in json.dumps(body)), f"{status} {json.dumps(body)[:300]}"
    except ConnectionError:
        assert "BIG" in env, "the server closed"
    assert attacked.hearth.api.get("/api/v1/functions/plain")["env"] == spec["env"]


NAMES = ["../plain", "..", ".", "a/b", "a\\b", "a\0b", "a b", "a\nb", "%2e%2e", "a%00", "pla\u0456n", "\u202enialp", "x" * 10_000, "", "$(id)",
         "a;b", "<b>", "plain\u200b", "ＰＬＡＩＮ"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:16]))
def test_a_name_is_a_name(attacked, spec, name):
    from urllib.parse import quote

    api = attacked.hearth.api
    before = {one["name"] for one in api.functions()}
    # As the path of a request, and as the member of a body that says another.
    for path, body in ((quote(name, safe=""), {**spec, "name": name}), ("plain", {**spec, "name": name})):
        status, _, answer = api.call("PUT", f"/api/v1/functions/{path}", body)
        assert 400 <= status < 500, f"{path[:60]}: {status} {answer}"
    assert {one["name"] for one in api.functions()} == before
    assert "panicked" not in attacked.hearth.output()
    assert not [one for one in os.listdir(attacked.canaries.folder) if one not in ("file", "socket")]
