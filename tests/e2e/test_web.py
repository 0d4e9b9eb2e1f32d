"""Functions that are HTTP servers, as clients of the ingress see them."""

import base64
import hashlib
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from harness.wait import until
from harness.web import request
from harness.webserver import SERVER

DRIVERS = ["namespace", "docker", "gvisor"]
TOML = 'web = true\ncommand = ["python3", "server.py"]\ntimeout = "10s"\nmemory = "256MB"\n'
MB = 1024 * 1024


@pytest.fixture(scope="module")
def deploy(hearth, tmp_path_factory):
    made = set()

    def one(name, driver="namespace", toml=TOML, flags=()):
        folder = tmp_path_factory.mktemp("web")
        (folder / "server.py").write_text(SERVER)
        (folder / "hearth.toml").write_text(toml)
        ran = hearth.cli.ok("deploy", folder, "--name", name, "--isolation", driver, "--json", *flags)
        made.add(name)
        return ran.json()

    yield one
    for name in made:
        hearth.api.remove(name)


@pytest.fixture(scope="module", params=DRIVERS)
def web(request, hearth, deploy, need_driver):
    """The name of the web function on each driver."""
    need_driver(request.param)
    name = f"web-{request.param}"
    function = deploy(name, request.param)
    assert function["web"] == {"port": 8080} and function["scale"]["concurrency"] == 64
    assert function["runtime"] == "provided.al2023"
    return name


def ask(hearth, name, path="/", method="GET", headers=(), body=None):
    return request(hearth, method, f"/fn/{name}{path}", headers, body)


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
    assert seen["env"] == {"PORT": "8080", "AWS_LAMBDA_HTTP_ENDPOINT": "127.0.0.1:8080", "_HANDLER": "command"}


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


def stream(hearth, name, path):
    connection = HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=30)
    connection.request("GET", f"/fn/{name}{path}")
    return connection, connection.getresponse()


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


def messages(hearth, name):
    return [line["message"] for line in hearth.cli.logs(name, "--since", "10m")]


class Chatter:
    """A WebSocket client."""

    def __init__(self, hearth, name):
        self.socket = socket.create_connection(("127.0.0.1", hearth.ingress_port), timeout=20)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /fn/{name}/chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        status = self.file.readline()
        assert status.startswith(b"HTTP/1.1 101"), status
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(self.file.readline, b"\r\n"))
        wanted = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        assert headers["sec-websocket-accept"] == wanted.lower()
        assert headers["upgrade"] == "websocket" and "x-amzn-requestid" in headers

    def say(self, text, kind=1):
        data, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.socket.sendall(bytes([0x80 | kind, 0x80 | len(data)]) + mask + masked)

    def hear(self):
        first, size = self.file.read(2)
        return first & 15, self.file.read(size).decode()

    def close(self):
        self.say("", 8)
        assert self.hear()[0] == 8
        assert self.file.read() == b""
        self.socket.close()


def test_chatters_hear_each_other(hearth, web):
    ada, bob = Chatter(hearth, web), Chatter(hearth, web)
    ada.say("GET / HTTP/1.1\n\nis no request here")
    assert ada.hear() == bob.hear() == (1, "GET / HTTP/1.1\n\nis no request here")
    time.sleep(1)
    bob.say("still there")
    assert ada.hear() == bob.hear() == (1, "still there")
    assert ask(hearth, web).status == 200, "others are served meanwhile"
    ada.close()
    bob.close()


def memory(hearth):
    """Bytes that the server has resident."""
    status = open(f"/proc/{hearth.server_pid()}/status").read()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


class Watch:
    """The most that the server's memory grew while it runs."""

    def __init__(self, hearth):
        self.hearth, self.before, self.most, self.over = hearth, memory(hearth), 0, threading.Event()

    def __enter__(self):
        def look():
            while not self.over.wait(0.02):
                self.most = max(self.most, memory(self.hearth) - self.before)

        self.thread = threading.Thread(target=look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


SIZE = 200 * MB


def test_200_mb_go_down_with_flat_memory(hearth, web):
    ask(hearth, web)
    with Watch(hearth) as watch:
        connection, answer = stream(hearth, web, f"/download?bytes={SIZE}")
        digest, size = hashlib.sha256(), 0
        while piece := answer.read(256 * 1024):
            size += len(piece)
            digest.update(piece)
        connection.close()
    wanted = hashlib.sha256(bytes(range(256)) * (SIZE // 256)).hexdigest()
    assert (size, digest.hexdigest()) == (SIZE, wanted)
    assert watch.most < 24 * MB, f"{watch.most / MB:.1f} MB"


def test_200_mb_go_up_with_flat_memory(hearth, web):
    ask(hearth, web)
    piece = os.urandom(MB)
    digest = hashlib.sha256()
    with Watch(hearth) as watch:
        connection = HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=60)
        connection.putrequest("PUT", f"/fn/{web}/upload")
        connection.putheader("content-length", str(SIZE))
        connection.endheaders()
        for _ in range(SIZE // MB):
            connection.send(piece)
            digest.update(piece)
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"bytes": SIZE, "sha256": digest.hexdigest()}
        connection.close()
    assert watch.most < 24 * MB, f"{watch.most / MB:.1f} MB"


def test_a_slow_reader_slows_the_writer(hearth, web):
    connection, answer = stream(hearth, web, f"/download?bytes={SIZE}")
    answer.read(1)
    with Watch(hearth) as watch:
        time.sleep(1.5)
    assert watch.most < 24 * MB
    connection.close()
    assert ask(hearth, web).status == 200


def test_both_ways_stream_at_once_and_trailers_pass(hearth, web):
    client = socket.create_connection(("127.0.0.1", hearth.ingress_port), timeout=20)
    client.sendall(f"POST /fn/{web}/duplex HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
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
    client.sendall(f"GET /fn/{web}/trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\r\n".encode())
    text = client.makefile("rb").read().decode()
    assert text.endswith("0\r\nx-sum: 7\r\n\r\n"), text
    client.close()


def test_a_crash_is_a_502_with_its_reason_and_is_replaced(hearth, web):
    before = ask(hearth, web).json()["pid"]
    crashed = ask(hearth, web, "/crash")
    assert (crashed.status, crashed.header("x-hearth-fault")) == (502, "HEARTH-F003")
    assert crashed.header("x-hearth-reason") == "Runtime exited with error: exit status 9"
    assert ask(hearth, web).status == 200, f"{before} was replaced"
    until("its last words", lambda: "about to crash" in messages(hearth, web), within=5)
    connection, answer = stream(hearth, web, "/begin-and-crash")
    with pytest.raises(Exception, match="IncompleteRead"):
        answer.read()
    connection.close()
    assert ask(hearth, web).status == 200


def test_a_server_that_does_not_answer_properly_is_a_502(hearth, web):
    gone = ask(hearth, web, "/hangup")
    assert (gone.status, gone.header("x-hearth-fault")) == (502, "HEARTH-F008")
    assert "closed the connection without an answer" in gone.header("x-hearth-reason")
    odd = ask(hearth, web, "/garbage")
    assert (odd.status, odd.header("x-hearth-fault")) == (502, "HEARTH-F007")
    assert ask(hearth, web).status == 200


def test_a_server_that_is_slow_to_begin_is_waited_for(hearth, deploy):
    deploy("web-late", toml=TOML + '[env]\nLATE = "1.5"\n')
    assert ask(hearth, "web-late").status == 200


def test_a_request_has_its_time_and_others_are_not_hurt(hearth, deploy):
    deploy("web-slow", toml=TOML.replace("10s", "1s"))
    ask(hearth, "web-slow")
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(ask, hearth, "web-slow", "/sleep?s=30")
        events = pool.submit(ask, hearth, "web-slow", "/events?n=8&every=0.3")
        late, events = late.result(), events.result()
    assert (late.status, late.header("x-hearth-fault")) == (502, "HEARTH-F001")
    assert late.header("x-hearth-reason") == "Task timed out after 1.00 seconds"
    assert events.body.count(b"data:") == 8, "a stream lasts longer than the time to its beginning"
    until("another instance", lambda: ask(hearth, "web-slow").status == 200, within=5)
    assert [one for one in hearth.api.invocations("web-slow") if "HEARTH-F001" in str(one)], "it is recorded"


def test_a_port_of_its_own_and_a_health_path(hearth, deploy):
    toml = TOML.replace("web = true", 'web = true\nport = 3999\nhealth = "/status?code=204"') + '[env]\nFIXED = "3999"\n'
    deploy("web-fixed", toml=toml)
    assert ask(hearth, "web-fixed").json()["env"]["PORT"] == "3999"


def test_one_that_never_listens_is_told_of(hearth, deploy):
    deploy("web-never", toml=TOML.replace('"server.py"', '"-c", "print(1)"'))
    answer = ask(hearth, "web-never")
    assert (answer.status, answer.header("x-hearth-fault")) == (502, "HEARTH-F003")


def test_concurrency_is_the_calls_at_once_in_an_instance(hearth, deploy):
    deploy("web-two", toml=TOML + "[scale]\nconcurrency = 2\n")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: ask(hearth, "web-two", "/sleep?s=1"), range(6)))
    here = [one for one in hearth.api.instances() if one["function"] == "web-two"]
    assert len(here) == 3, here


def test_a_new_revision_takes_over_and_the_old_one_finishes(hearth, deploy):
    deploy("web-new")
    first = ask(hearth, "web-new").json()["pid"]
    chatter = Chatter(hearth, "web-new")
    deploy("web-new", toml=TOML + '[env]\nA = "1"\n')
    assert ask(hearth, "web-new").status == 200
    chatter.say(str(first))
    assert chatter.hear() == (1, str(first)), "its connection outlives the deploy"
    chatter.close()


def test_invoke_makes_a_request_of_an_event(hearth, deploy):
    deploy("web-invoke")
    event = {"version": "2.0", "rawPath": "/a", "rawQueryString": "x=1", "headers": {"x-mine": "1"},
             "requestContext": {"http": {"method": "PUT"}}, "body": "hello"}
    answer = hearth.cli.run("invoke", "web-invoke", json.dumps(event)).json()
    assert answer["statusCode"] == 200 and answer["headers"]["content-type"] == "application/json"
    seen = json.loads(answer["body"])
    assert (seen["method"], seen["target"], seen["bytes"]) == ("PUT", "/a?x=1", 5)
    assert hearth.cli.run("invoke", "web-invoke", "[1, 2]").json() == {"events": 6}
    crashed = hearth.cli.run("invoke", "web-invoke", json.dumps({**event, "rawPath": "/crash"}))
    assert crashed.code == 3 and "exit status 9" in crashed.text, crashed
