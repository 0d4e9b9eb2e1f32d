"""HTTP/2 in clear, by prior knowledge: to the ingress, to functions whose server speaks it, and gRPC through both."""

import json
import os
import shutil
import socket
import subprocess
import time

import pytest

from conformance import programs
from conformance.suite import DRIVERS
from harness.memory import Watch
from harness.web import request
from harness.webserver import SERVER

MB = 1024 * 1024
TOML = 'web = true\ntimeout = "10s"\nmemory = "256MB"\n'


@pytest.fixture
def deploy(hearth, tmp_path):
    made = []

    def one(name, files, toml, *flags):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "hearth.toml").write_text(toml)
        for path, content in files.items():
            if isinstance(content, str):
                (folder / path).write_text(content)
            else:
                shutil.copy(content, folder / path)
        ran = hearth.cli.run("deploy", folder, "--name", name, "--json", *flags)
        if ran.code == 0:
            made.append(name)
        return ran

    yield one
    for name in made:
        hearth.api.remove(name)


@pytest.fixture(scope="module")
def curl():
    """A client that begins with HTTP/2."""
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    if "HTTP2" not in subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("curl here does not speak HTTP/2")

    def run(hearth, path, *arguments):
        url = f"http://127.0.0.1:{hearth.ingress_port}{path}"
        command = ["curl", "-sS", "--max-time", "30", "--http2-prior-knowledge", *arguments, url]
        ran = subprocess.run(command, capture_output=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


@pytest.mark.parametrize("driver", DRIVERS)
def test_grpc_calls_go_through(hearth, deploy, need_driver, driver):
    need_driver(driver)
    if reason := programs.missing("go"):
        pytest.skip(reason)
    program, name = programs.built("go", "grpc"), f"words-{driver}"
    ran = deploy(name, {"bootstrap": program}, TOML + 'protocol = "h2c"\n', "--isolation", driver)
    assert ran.code == 0 and ran.json()["web"]["protocol"] == "h2c", ran
    command = [program, f"127.0.0.1:{hearth.ingress_port}", f"{name}.fn.localhost"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen.pop("gaps") >= 2, "each message comes when it is sent"
    assert seen == {
        "unary": "HELLO",
        "trailer": "yes",
        "error": ["FailedPrecondition", "as asked"],
        "missing": "Unimplemented",
        "large": 3_000_000,
        "streamed": list("flour"),
        "chat": ["re: one", "re: two"],
        "chat_end": True,
        "crash": "Unavailable",
        "again": "AGAIN",
    }
    # Whoever speaks HTTP/1.1 is brought there too: gRPC's own server says what it thinks of that.
    answer = request(hearth, "POST", f"/fn/{name}/test.Words/Upper", [("content-type", "text/plain")], b"x")
    assert answer.status == 415, answer


def test_http2_comes_to_servers_of_http1(hearth, deploy, curl, tmp_path):
    assert deploy("h2-web", {"server.py": SERVER}, TOML + 'command = ["python3", "server.py"]\n').code == 0
    given = ["-X", "PUT", "-H", "cookie: a=1", "-H", "cookie: b=2", "--data-binary", "hello"]
    seen = json.loads(curl(hearth, "/fn/h2-web/a%20b?x=1", *given))
    assert (seen["method"], seen["target"], seen["version"], seen["bytes"]) == ("PUT", "/a%20b?x=1", "HTTP/1.1", 5)
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert headers["host"] == f"127.0.0.1:{hearth.ingress_port}" and headers["cookie"] == "a=1; b=2"
    told = curl(hearth, "/fn/h2-web/status?code=418", "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
    assert told == b"2 418"
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.write(os.urandom(MB) * 100)
    with Watch(hearth) as watch:
        assert json.loads(curl(hearth, "/fn/h2-web/upload", "-T", str(big)))["bytes"] == 100 * MB
        assert curl(hearth, f"/fn/h2-web/download?bytes={100 * MB}", "-o", "/dev/null", "-w", "%{size_download}") == b"%d" % (100 * MB)
    watch.assert_below(24 * MB)


def test_event_functions_and_refusals_answer_in_http2(hearth, function, curl):
    name = function("def handler(event, context):\n    return {'statusCode': 200, 'body': event['requestContext']['http']['protocol']}\n")
    assert curl(hearth, f"/fn/{name}") == b"HTTP/2.0"
    assert b"no function" in curl(hearth, "/fn/nobody")
    two = ["-H", "host: one.fn.localhost"]
    assert curl(hearth, "/", *two, "-w", " %{http_code}").endswith(b" 404"), "a host names a function"


def test_a_server_that_does_not_speak_it_is_told_of(hearth, deploy):
    ran = deploy("h1-only", {"server.py": SERVER}, TOML + 'command = ["python3", "server.py"]\nprotocol = "h2c"\n')
    assert ran.code == 0, ran
    answer = request(hearth, "GET", "/fn/h1-only/")
    assert answer.status == 502 and answer.header("x-hearth-fault") in ("HEARTH-F007", "HEARTH-F008"), answer


def test_what_does_not_fit_is_refused_at_the_deploy(hearth, deploy):
    files, command = {"server.py": SERVER}, 'command = ["python3", "server.py"]\n'
    for toml, said in [
        (TOML + command + 'protocol = "h3"\n', "expected http1 or h2c"),
        (TOML + command + 'protocol = "h2c"\nhealth = "/up"\n', "health is asked for in HTTP/1.1"),
        (command + 'protocol = "h2c"\n', "protocol is a web function's"),
    ]:
        ran = deploy(f"refused-{len(said)}", files, toml)
        assert ran.code != 0 and said in ran.text, ran


def test_an_idle_connection_does_not_hold_a_server_that_ends(new_hearth):
    hearth = new_hearth().start()
    with socket.create_connection(("127.0.0.1", hearth.ingress_port), timeout=20) as client:
        empty_settings = b"\0\0\0\4\0\0\0\0\0"
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + empty_settings)
        heard = client.makefile("rb")
        kinds = [frame(heard)]
        begun = time.monotonic()
        hearth.stop()
        assert time.monotonic() - begun < 10
        while (kind := frame(heard)) is not None:
            kinds.append(kind)
    assert kinds[0] == 4 and 7 in kinds, f"SETTINGS first, and GOAWAY before the end: {kinds}"


def frame(heard):
    """Reads one; its kind, or None at the end."""
    head = heard.read(9)
    if len(head) < 9:
        return None
    heard.read(int.from_bytes(head[:3], "big"))
    return head[3]
