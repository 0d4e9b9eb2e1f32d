"""Row 10: upgrades of a running Hearth, by handing its listeners, its data and its instances to another server.

A call counts as failed unless it was answered as it should be, or HTTP's own rules let any client send it again: only a
connection that was used before, that the server closed while it was idle, and on which not a byte of an answer came
(RFC 9112, 9.3.1 and 9.5). Such calls are made again once, over a new connection, and counted; over a new connection
nothing is made again.
"""

import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections import Counter
from http.client import HTTPConnection, RemoteDisconnected

import pytest

from harness import certificates, proc
from harness.doctor import driver_state
from harness.door import Door, credentials
from harness.events import Sender, settled
from harness.functions import write
from harness.wait import until
from harness.websocket import Chatter
from harness.webserver import SERVER

ROUNDS = int(os.environ.get("HEARTH_RELIABILITY_ROUNDS", "2"))
LONG = 30 if ROUNDS >= 20 else 5
BAR_MS = 250

FUNCTION = """
import time, uuid
ME = uuid.uuid4().hex
def handler(event, context):
    wait = event.get("s", 0) if "rawPath" not in event else 0
    time.sleep(wait)
    return {"me": ME, "n": event.get("n")}
"""


class Calls:
    """Calls one after the other until stopped: invokes over the control listener, and requests over the ingress."""

    def __init__(self, hearth, name, keeps, ingress):
        self.hearth, self.name, self.keeps, self.ingress = hearth, name, keeps, ingress
        self.keys = credentials(hearth)
        self.took, self.failures, self.again = [], [], 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _open(self):
        if self.ingress:
            return HTTPConnection("127.0.0.1", self.hearth.ingress_port, timeout=120)
        return Door(self.hearth, self.keys)

    def _call(self, connection):
        if not self.ingress:
            answer = connection.invoke(self.name, {"n": 1})
            return answer.status, answer.body, answer.headers
        connection.request("POST", f"/fn/{self.name}/", body=b"{}")
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers

    def _run(self):
        connection, used = None, False
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                connection, used = connection or self._open(), used and connection is not None
                try:
                    status, body, headers = self._call(connection)
                except (RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                    if not used:
                        raise
                    self.again += 1
                    connection.close()
                    connection = self._open()
                    status, body, headers = self._call(connection)
                if status != 200 or json.loads(body).get("me") is None:
                    self.failures.append(f"{status} {body[:200]!r}")
            except Exception as error:  # whatever a client may meet
                self.failures.append(repr(error))
                status, headers = 0, {}
            self.took.append((begun, time.monotonic() - begun))
            used = True
            if not self.keeps or status == 0 or (headers.get("connection") or "").lower() == "close":
                connection.close()
                connection, used = None, False
            time.sleep(0.005)
        if connection:
            connection.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(130)
        assert not self.thread.is_alive(), "a call never ended"


def p99(times):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * 0.99))] * 1e3 if times else 0.0


def servers(hearth):
    """The processes that `hearth up` started as servers."""
    below = proc.descendants(hearth.process.pid)
    return [one.pid for one in below if " server --config " in one.command and one.state != "Z"]


def alone(hearth):
    """Waits until the server before has ended its calls, and gone."""
    return until("one server to be left", lambda: servers(hearth) if len(servers(hearth)) == 1 else None, within=LONG + 40)[0]


def me(hearth, name):
    with Door(hearth) as door:
        return door.invoke(name, {}).json()["me"]


@pytest.fixture
def ready(new_hearth, tmp_path):
    hearth = new_hearth().start()
    folder = write(tmp_path / "function", FUNCTION)
    for name in ("busy", "idle", "long", "event"):
        hearth.cli.deploy(folder, name, "python3.11", "app.handler", max=8, timeout="60s", idle="10m")
    # Also while one waits: while one server takes over from the other, all do.
    toml = '[[schedule]]\nname = "beat"\ncron = "* * * * * *"\noverlap = "allow"\n'
    ticked = write(tmp_path / "ticked", FUNCTION, toml=toml)
    hearth.cli.deploy(ticked, "ticked", "python3.11", "app.handler", max=8)
    return hearth


def test_upgrades_lose_no_call_and_keep_warm_instances(ready):
    hearth = ready
    warm = me(hearth, "idle")
    answers = []

    def long(n):
        try:
            with Door(hearth) as door:
                answers.append(door.invoke("long", {"n": n, "s": LONG}).json()["n"])
        except Exception as error:  # told at the end
            answers.append(repr(error))

    kinds = [Calls(hearth, "busy", keeps, ingress) for keeps in (True, False) for ingress in (True, False)]
    spans, paused, longs = [], [], []
    with Sender(hearth, "event", rate=20, clients=2) as sender, kinds[0], kinds[1], kinds[2], kinds[3]:
        time.sleep(3)  # the load, for the figure without upgrades
        first = time.monotonic()
        for n in range(ROUNDS):
            before = alone(hearth)
            one = threading.Thread(target=long, args=(n,))
            longs.append(one)
            one.start()
            until("the long call to run", lambda: "busy" in [one["state"] for one in hearth.api.instances("long")])
            begun = time.monotonic()
            told = hearth.cli.ok("upgrade", "--json").json()
            spans.append((begun, time.monotonic()))
            paused.append(told["paused_ms"])
            assert before in servers(hearth), "the server before did not wait for its call"
            assert me(hearth, "idle") == warm, "the idle instance was lost"
            one.join(LONG + 60)
            assert alone(hearth) != before
        time.sleep(1)
    everything = [call for kind in kinds for call in kind.took]
    failures = Counter(text for kind in kinds for text in kind.failures)
    usual = p99([took for begun, took in everything if begun < first])
    during = p99([took for begun, took in everything if any(a <= begun <= b for a, b in spans)])
    print(
        f"row 10: {ROUNDS} upgrades, {len(everything)} calls and {len(longs)} of {LONG} s: {sum(failures.values())} failed, "
        f"{sum(kind.again for kind in kinds)} made again on a connection closed while idle; p99 {usual:.0f} ms without, "
        f"{during:.0f} ms during; nobody accepted for {max(paused)} ms at most; "
        f"{len(sender.kept)} events taken, {len(sender.others)} refused"
    )
    assert not failures, failures
    assert sorted(answers, key=str) == sorted(range(ROUNDS), key=str), answers
    assert not sender.others, sender.others[:5]
    one = settled(hearth, "event")
    assert one["done"] == one["enqueued"] >= len(sender.kept), (one, len(sender.kept))
    seconds = int(time.monotonic() - first)
    ticks = settled(hearth, "ticked")
    assert ticks["done"] == ticks["enqueued"] >= seconds - 1, f"{ticks['done']} ticks in {seconds} s"
    assert during <= usual + BAR_MS * slack(), f"p99 of calls during upgrades: {during:.0f} ms, without: {usual:.0f} ms"


def slack():
    """The bar is one of a machine that does nothing else: the full version's."""
    return 1 if ROUNDS >= 20 else 8


def test_a_program_that_does_not_start_changes_nothing(ready):
    hearth = ready
    warm, server = me(hearth, "idle"), hearth.server_pid()
    with Calls(hearth, "busy", True, False) as calls:
        ran = hearth.cli.refused("upgrade", "--binary", "/bin/false")
        assert "not upgraded" in ran.stderr and "could not take over" in ran.stderr, ran
        ran = hearth.cli.refused("upgrade", "--binary", "/etc/passwd")
        assert "is not a program" in ran.stderr, ran
        time.sleep(0.3)
    assert not calls.failures, calls.failures[:3]
    assert servers(hearth) == [server]
    assert me(hearth, "idle") == warm


def test_who_asks_twice_is_told_so(ready):
    hearth = ready
    first = hearth.cli.start("upgrade")
    until("the new server to be started", lambda: len(servers(hearth)) == 2)
    ran = hearth.cli.refused("upgrade")
    assert "an upgrade is under way" in ran.stderr or "still finishes calls" in ran.stderr, ran
    assert first.wait(90) == 0, first.stdout.read()
    first.stdout.close()
    alone(hearth)


@pytest.mark.parametrize("when", ["at once", "yielding"])
@pytest.mark.parametrize("which", ["old", "new"])
def test_a_server_that_is_killed_in_the_middle_leaves_one_that_answers(ready, which, when):
    """At once: both run, and nothing was given away. Yielding: the old one has begun to let go, and the new one will not
    get what it lets go of, but a third, of the version before."""
    hearth = ready
    old = hearth.server_pid()
    with Calls(hearth, "busy", False, False) as calls:
        asked = hearth.cli.start("upgrade")
        until("the new server to be started", lambda: len(servers(hearth)) == 2, every=0.005)
        new = next(pid for pid in servers(hearth) if pid != old)
        if when == "yielding":
            until("the old one to let go", lambda: "another server takes over" in hearth.output(), every=0.005)
        os.kill(old if which == "old" else new, signal.SIGKILL)
        assert asked.wait(120) is not None
        said = asked.stdout.read()
        asked.stdout.close()
        hearth.wait_ready()
        left = alone(hearth)
        time.sleep(0.3)
    assert me(hearth, "idle")
    if which == "new":
        assert not calls.failures, calls.failures[:3]
        assert asked.returncode == 1 and "could not take over" in said, said
        again = "was started again" in said
        assert (left == old) != again and (again or when == "at once"), said


def test_only_its_owner_may_upgrade(ready):
    if os.geteuid() != 0:
        pytest.skip("takes another user")
    hearth = ready
    ran = subprocess.run(
        ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups", hearth.binary, "upgrade"],
        capture_output=True,
        text=True,
        env=hearth.cli.environment(),
        cwd="/",
    )
    assert ran.returncode != 0, ran
    assert len(servers(hearth)) == 1


def test_calls_in_containers_end_and_the_next_server_makes_its_own(ready, tmp_path):
    """docker-host goes on, and serves both servers."""
    hearth = ready
    works, reason = driver_state(hearth.cli.run("doctor", "--json").json(), "docker")
    if not works:
        pytest.skip(reason)
    folder = write(tmp_path / "contained", FUNCTION)
    hearth.cli.deploy(folder, "contained", "python3.11", "app.handler", isolation="docker", max=4, timeout="60s")
    answers = []
    me(hearth, "contained")

    def long():
        with Door(hearth) as door:
            answers.append(door.invoke("contained", {"n": 1, "s": 6}).json()["n"])

    one = threading.Thread(target=long)
    one.start()
    until("the long call to run", lambda: "busy" in [one["state"] for one in hearth.api.instances("contained")])
    hearth.cli.ok("upgrade")
    assert len(servers(hearth)) == 2, "the server before did not wait for its call"
    assert me(hearth, "contained")
    one.join(60)
    assert answers == [1]
    alone(hearth)
    assert me(hearth, "contained")


def test_http2_over_tls_goes_on_and_a_websocket_outlives_its_server(new_hearth, tmp_path):
    """By curl, which makes thousands of requests over a connection, and none again that may have been looked at."""
    for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
        folder.chmod(0o755)
    cert, key = certificates.make(tmp_path / "made")
    context = ssl.create_default_context(cafile=cert)
    hearth = new_hearth(arguments=["--tls-cert", str(cert), "--tls-key", str(key)], tls=context).start()
    known = {"HEARTH_CA_FILE": str(cert)}
    web = 'web = true\ncommand = ["python3", "server.py"]\ntimeout = "60s"\nmemory = "256MB"\n'
    for name, files, toml in (("chat", {"server.py": SERVER}, web), ("busy", {"app.py": FUNCTION}, None)):
        runtime = () if toml else ("--runtime", "python3.11", "--handler", "app.handler")
        hearth.cli.ok("deploy", write(tmp_path / name, files, toml=toml), "--name", name, *runtime, environment=known)
    chatter = Chatter(hearth, "chat")
    url = f"https://127.0.0.1:{hearth.ingress_port}/fn/busy/?n=[1-100000]"
    command = ["curl", "-sS", "--http2", "--cacert", str(cert), "-w", "\n%{http_code} %{http_version} %{num_connects}\n", url]
    with open(tmp_path / "answers", "w+") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as curl:

        def answered():
            return [line.split() for line in (tmp_path / "answers").read_text().splitlines() if line[:1] not in ("{", "")]

        until("the first answers", lambda: len(answered()) > 20)
        hearth.cli.ok("upgrade", environment=known)
        count = len(answered())
        until("answers of the new server", lambda: len(answered()) > count + 20, within=30)
        curl.send_signal(signal.SIGINT)
        curl.wait(10)
    found = [line for line in answered() if len(line) == 3]
    assert {(code, version) for code, version, _ in found} == {("200", "2")}, Counter(map(tuple, answered()))
    connects = sum(int(connects) for _, _, connects in found)
    assert 2 <= connects <= 4, f"{connects} connections: the old server's is over, and only that"
    assert len(servers(hearth)) == 2, f"the server before did not wait for the WebSocket\n{hearth.output_tail()}"
    chatter.say("still here")
    assert chatter.hear() == (1, "still here")
    chatter.close()
    alone(hearth)
