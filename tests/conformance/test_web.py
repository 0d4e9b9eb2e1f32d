"""What goes through web functions, on each driver, for programs in each language, as clients of the ingress see it.

`web` is any of the programs; `own` is harness/webserver.py's, which does what frameworks do not let one do.
"""

import hashlib
import json
import os
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from conformance import programs
from conformance.suite import DRIVERS
from harness.memory import Watch
from harness.wait import until
from harness.web import request
from harness.webserver import SERVER
from harness.websocket import Chatter

TOML = 'web = true\ntimeout = "10s"\nmemory = "256MB"\n'
MB = 1024 * 1024
SIZE = 200 * MB
# The server keeps windows of both sides, not bodies.
FLAT = 24 * MB


@pytest.fixture(scope="module")
def deploy(hearth, need_driver, tmp_path_factory):
    """Deploys one of the programs, once: `deploy(program, driver, …) -> name`."""
    made = {}

    def one(program, driver, suffix="", toml=""):
        need_driver(driver)
        if program != "python" and (reason := programs.missing(program)):
            pytest.skip(reason)
        name = f"w-{program}-{driver}{suffix}"
        if name not in made:
            folder = tmp_path_factory.mktemp("web")
            if program == "python":
                (folder / "server.py").write_text(SERVER)
                toml = 'command = ["python3", "server.py"]\n' + toml
            else:
                shutil.copy(programs.built(program, "web"), folder / "bootstrap")
            (folder / "hearth.toml").write_text(TOML + toml)
            made[name] = hearth.cli.ok("deploy", folder, "--name", name, "--isolation", driver, "--json").json()
            assert made[name]["web"] == {"port": 8080} and made[name]["runtime"] == "provided.al2023"
        return name

    yield one
    for name in made:
        hearth.api.remove(name)


@pytest.fixture(scope="module", params=[(d, p) for d in DRIVERS for p in ("python", *programs.LANGUAGES)], ids="-".join)
def web(request, deploy):
    return deploy(request.param[1], request.param[0])


@pytest.fixture(scope="module", params=DRIVERS)
def own(request, deploy):
    return deploy("python", request.param)


def ask(hearth, name, path="/", method="GET", headers=(), body=None):
    return request(hearth, method, f"/fn/{name}{path}", headers, body)


def messages(hearth, name):
    return [line["message"] for line in hearth.cli.logs(name, "--since", "10m")]


def stream(hearth, name, path):
    connection = HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=30)
    connection.request("GET", f"/fn/{name}{path}")
    return connection, connection.getresponse()


def test_a_request_comes_as_it_was_sent(hearth, web):
    headers = [("X-Twice", "1"), ("X-Twice", "2"), ("Cookie", "a=1; hearth_session=x"), ("Connection", "X-Hop"), ("X-Hop", "1")]
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"):
        body = b"\0\xff" * 500 if method in ("POST", "PUT", "PATCH") else None
        seen = ask(hearth, web, "/a%20b/c?x=1&x=%C3%BC", method, headers, body).json()
        assert (seen["method"], seen["target"], seen["version"]) == (method, "/a%20b/c?x=1&x=%C3%BC", "HTTP/1.1")
        assert seen["bytes"] == (1000 if body else 0)
    got = [(name.lower(), value) for name, value in seen["headers"]]
    assert [value for name, value in got if name == "x-twice"] == ["1", "2"]
    one = dict(got)
    assert one["host"] == f"127.0.0.1:{hearth.ingress_port}"
    assert (one["x-forwarded-for"], one["x-forwarded-proto"], one["x-forwarded-port"]) == ("127.0.0.1", "http", str(hearth.ingress_port))
    assert one["cookie"] == "a=1" and "x-hop" not in one
    assert one["x-amzn-trace-id"].startswith("Root=1-") and len(one["x-amzn-requestid"]) == 36
    environment = seen["env"]
    assert environment.pop("_HANDLER") in ("command", "bootstrap")
    assert environment == {"PORT": "8080", "AWS_LAMBDA_HTTP_ENDPOINT": "127.0.0.1:8080"}


def test_an_answer_comes_as_it_was_given(hearth, web):
    for code in (200, 204, 304, 404, 418, 500, 503):
        assert ask(hearth, web, f"/status?code={code}").status == code
    answer = ask(hearth, web, "/cookies")
    assert answer.all("set-cookie") == ["a=1"] and answer.header("x-hearth-fault") is None
    assert ask(hearth, web, "/status?code=200", "HEAD").status == 200


def test_many_calls_run_at_once_in_one_instance(hearth, web):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(hearth, web, "/together?n=20").json(), range(20)))
    assert len({answer["pid"] for answer in answers}) == 1
    here = [one for one in hearth.api.instances() if one["function"] == web]
    assert len(here) == 1, here


def test_6_mb_go_both_ways(hearth, web):
    body = os.urandom(6 * MB)
    assert ask(hearth, web, "/any", "POST", body=body).json()["bytes"] == 6 * MB
    got = ask(hearth, web, f"/download?bytes={6 * MB}")
    assert got.body == bytes(range(256)) * (6 * MB // 256)


def test_events_come_as_they_are_sent(hearth, web):
    ask(hearth, web)
    connection, answer = stream(hearth, web, "/events?n=4&every=0.3")
    assert answer.getheader("content-type") == "text/event-stream"
    times = []
    for number in range(4):
        assert answer.readline() == b"data: %d\n" % number
        times.append(time.monotonic())
        answer.readline()
    gaps = [later - sooner for sooner, later in zip(times, times[1:])]
    assert all(gap > 0.15 for gap in gaps), f"not buffered: {gaps}"
    assert answer.read() == b""
    connection.close()


def test_a_listener_who_leaves_is_noticed(hearth, web):
    connection, answer = stream(hearth, web, "/events?n=1000&every=0.05")
    answer.readline()
    answer.close()
    connection.close()
    until("the server noticed", lambda: "the listener left" in messages(hearth, web), within=10)


def test_a_crash_is_a_502_with_its_reason_and_is_replaced(hearth, web):
    assert ask(hearth, web).status == 200
    crashed = ask(hearth, web, "/crash")
    assert (crashed.status, crashed.header("x-hearth-fault")) == (502, "HEARTH-F003")
    assert crashed.header("x-hearth-reason") == "Runtime exited with error: exit status 9"
    assert ask(hearth, web).status == 200, "it was replaced"
    until("its last words", lambda: "about to crash" in messages(hearth, web), within=5)


def test_lines_are_their_requests_where_there_is_one_at_a_time(hearth, deploy):
    for program in programs.LANGUAGES:
        if programs.missing(program) is None:
            name = deploy(program, "namespace", "-one", "[scale]\nconcurrency = 1\nmax = 1\n")
            break
    else:
        pytest.skip(programs.missing(program))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: (n, ask(hearth, name, f"/say?text={n}")), range(40)))
    wanted = {f"said {n}": answer.header("x-amzn-requestid") for n, answer in answers}

    def seen():
        lines = hearth.cli.logs(name, "--since", "10m")
        return {line["message"]: line.get("request_id") for line in lines if line["message"] in wanted}

    until("every line", lambda: len(seen()) == len(wanted), within=5)
    assert seen() == wanted


def test_a_connection_that_closes_when_it_is_used_again_is_made_anew(hearth, own):
    assert ask(hearth, own).status == 200
    assert ask(hearth, own, "/fickle").json() == {"fickle": "at last"}, "what may be asked twice is"
    assert ask(hearth, own).status == 200
    lost = ask(hearth, own, "/fickle", "POST", body=b"pay")
    assert (lost.status, lost.header("x-hearth-fault")) == (502, "HEARTH-F008"), "what may not is not"
    until("both were seen", lambda: messages(hearth, own).count("a fickle POST") == 1, within=5)


# === the big passes ===


def test_chatters_hear_each_other(hearth, own):
    ada, bob = Chatter(hearth, own), Chatter(hearth, own)
    ada.say("GET / HTTP/1.1\n\nis no request here")
    assert ada.hear() == bob.hear() == (1, "GET / HTTP/1.1\n\nis no request here")
    time.sleep(1)
    bob.say("still there")
    assert ada.hear() == bob.hear() == (1, "still there")
    assert ask(hearth, own).status == 200, "others are served meanwhile"
    ada.close()
    bob.close()


def test_200_mb_go_down_with_flat_memory(hearth, own):
    ask(hearth, own)
    with Watch(hearth) as watch:
        connection, answer = stream(hearth, own, f"/download?bytes={SIZE}")
        digest, size = hashlib.sha256(), 0
        while piece := answer.read(256 * 1024):
            size += len(piece)
            digest.update(piece)
        connection.close()
    wanted = hashlib.sha256(bytes(range(256)) * (SIZE // 256)).hexdigest()
    assert (size, digest.hexdigest()) == (SIZE, wanted)
    watch.assert_below(FLAT)


def test_200_mb_go_up_with_flat_memory(hearth, own):
    ask(hearth, own)
    piece = os.urandom(MB)
    digest = hashlib.sha256()
    with Watch(hearth) as watch:
        connection = HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=60)
        connection.putrequest("PUT", f"/fn/{own}/upload")
        connection.putheader("content-length", str(SIZE))
        connection.endheaders()
        for _ in range(SIZE // MB):
            connection.send(piece)
            digest.update(piece)
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"bytes": SIZE, "sha256": digest.hexdigest()}
        connection.close()
    watch.assert_below(FLAT)


def test_a_slow_reader_slows_the_writer(hearth, own):
    connection, answer = stream(hearth, own, f"/download?bytes={SIZE}")
    answer.read(1)
    with Watch(hearth) as watch:
        time.sleep(1.5)
    watch.assert_below(FLAT)
    connection.close()
    assert ask(hearth, own).status == 200


def test_both_ways_stream_at_once_and_trailers_pass(hearth, own):
    client = socket.create_connection(("127.0.0.1", hearth.ingress_port), timeout=20)
    client.sendall(f"POST /fn/{own}/duplex HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    file = client.makefile("rb")
    client.sendall(b"5\r\nfirst\r\n")
    assert file.readline().startswith(b"HTTP/1.1 200")
    while file.readline() != b"\r\n":
        pass
    assert file.readline() == b"5\r\n" and file.readline() == b"first\r\n"
    client.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
    assert file.readline() == b"6\r\n" and file.readline() == b"second\r\n"
    client.close()
    client = socket.create_connection(("127.0.0.1", hearth.ingress_port), timeout=20)
    client.sendall(f"GET /fn/{own}/trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\r\n".encode())
    text = client.makefile("rb").read().decode()
    assert text.endswith("0\r\nx-sum: 7\r\n\r\n"), text
    client.close()


def test_a_server_that_does_not_answer_properly_is_a_502(hearth, own):
    gone = ask(hearth, own, "/hangup")
    assert (gone.status, gone.header("x-hearth-fault")) == (502, "HEARTH-F008")
    assert "closed the connection without an answer" in gone.header("x-hearth-reason")
    odd = ask(hearth, own, "/garbage")
    assert (odd.status, odd.header("x-hearth-fault")) == (502, "HEARTH-F007")
    assert ask(hearth, own).status == 200


def test_an_answer_that_is_cut_is_not_taken_for_whole(hearth, own):
    connection, answer = stream(hearth, own, "/begin-and-crash")
    with pytest.raises(Exception, match="IncompleteRead"):
        answer.read()
    connection.close()
    assert ask(hearth, own).status == 200
