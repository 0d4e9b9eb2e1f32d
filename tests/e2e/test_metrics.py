"""Figures of calls, records and logs over all functions: that every way of reading them says the same."""

import fcntl
import http.client
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.parse

import pytest

from harness import world
from harness.doctor import driver_state
from harness.door import Door
from harness.functions import write
from harness.wait import until
from harness.world import LAN, World

CODE = """
import json, time
def handler(event, context):
    print(json.dumps({"level": "WARN" if event.get("fail") else "INFO", "user": {"id": event.get("n", 0)}}))
    time.sleep(event.get("sleep", 0))
    if event.get("fail"):
        raise KeyError("missing thing")
    return event
"""


def prometheus(hearth):
    """{(name, frozenset of labels): value}"""
    status, headers, text = hearth.api.call("GET", "/metrics")
    assert status == 200, text
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (counter|gauge|histogram))", line), line
            continue
        match = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line)
        assert match, f"not Prometheus's format: {line}"
        labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        assert (match[1], labels) not in found, f"twice: {line}"
        found[match[1], labels] = float(match[3])
    return found


def of(found, name, **labels):
    """The sum of a family's samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for (one, has), value in found.items() if one == name and wanted <= has)


def metrics(hearth, **query):
    return hearth.api.get("/api/v1/metrics?" + urllib.parse.urlencode(query))


def total(hearth, name):
    (series,) = metrics(hearth, function=name, **{"from": "1h"})["series"]
    return series["total"]


def agree(hearth, name, calls, errors):
    """The API, /metrics and the command line say the same of a function."""
    api, text = total(hearth, name), prometheus(hearth)
    table = hearth.cli.ok("metrics", name, "--since", "1h", "--json").json()["series"][0]["total"]
    assert api["calls"] == table["calls"] == of(text, "hearth_invocations_total", function=name) == calls
    assert api["errors"] == table["errors"] == of(text, "hearth_errors_total", function=name) == errors
    took = api["duration"]
    assert took["count"] == of(text, "hearth_invocation_duration_seconds_count", function=name) == calls
    assert of(text, "hearth_invocation_duration_seconds_sum", function=name) == pytest.approx(took["sum_us"] / 1e6)
    assert table["duration"] == took
    assert api["cold"] == of(text, "hearth_cold_starts_total", function=name)
    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (family, labels), value in text.items()
        if family == "hearth_invocation_duration_seconds_bucket" and ("function", name) in labels
    )
    counts = [value for _, value in buckets]
    assert counts == sorted(counts) and counts[-1] == calls
    # The median lies where the buckets say.
    median = next(edge for edge, count in buckets if count * 2 >= calls)
    assert median / 2 * 0.96 <= took["p50_us"] / 1e6 <= median
    return api


def test_every_way_of_reading_agrees_and_a_restart_changes_nothing(new_hearth, tmp_path):
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "f", CODE), "counted", "python3.11", "app.handler")
    with Door(hearth) as door:
        for number in range(20):
            door.invoke("counted", {"n": number, "fail": number % 5 == 0})
        answer = door.invoke("counted", {"sleep": 0.3})
        assert answer.status == 200
    api = agree(hearth, "counted", 21, 4)
    assert api["cold"] >= 1 and api["init"]["count"] == api["cold"]
    assert api["faults"] == {"HEARTH-F008": 4} and api["blame"] == {"caller": 0, "function": 4, "platform": 0}
    assert 290_000 < api["duration"]["max_us"] < 2_000_000
    record = hearth.api.record("counted", answer.request_id)
    assert record["handler_us"] == api["duration"]["max_us"]
    by = {
        kind: {one["key"]: one["total"]["calls"] for one in metrics(hearth, function="counted", by=kind)["series"]}
        for kind in ("trigger", "version", "isolation", "function")
    }
    assert by["trigger"] == {"invoke": 21} and by["version"] == {"$LATEST": 21} and by["function"] == {"counted": 21}
    assert by["isolation"] == {"namespace": 21}

    hearth.stop()
    hearth.start()
    agree(hearth, "counted", 21, 4)
    with Door(hearth) as door:
        door.invoke("counted", {})
    agree(hearth, "counted", 22, 4)

    # Killed, not ended: what was counted by then has been written with the records.
    until("the record to be on disk", lambda: len(hearth.api.invocations("counted")) == 22)
    hearth.process.kill()
    hearth.process.wait(10)
    hearth.start()
    agree(hearth, "counted", 22, 4)
    hearth.stop()


def test_instances_are_counted_and_the_overview_shows_them(hearth, function):
    name = function(CODE)
    with Door(hearth) as door:
        for number in range(5):
            door.invoke(name, {"n": number})

    def seen():
        view = hearth.api.get("/api/v1/overview?window=1m")
        return view, next((one for one in view["functions"] if one["function"] == name), None)

    view, mine = seen()
    assert mine["figures"]["calls"] == 5 and mine["calls_per_second"] > 0
    assert sum(mine["instances"].values()) == len(hearth.api.instances(name))
    assert 0 < view["memory"]["used"] <= view["memory"]["budget"]
    assert view["process"]["resident_bytes"] > 1 << 20 and view["process"]["cpu_seconds"] > 0
    until(
        "instances to be sampled",
        lambda: sum(total(hearth, name)["instances"].values()) > 0,
        within=15,
        every=0.5,
    )
    text = prometheus(hearth)
    assert of(text, "hearth_instances", function=name) >= 1
    assert of(text, "hearth_memory_budget_bytes") == view["memory"]["budget"]
    assert of(text, "process_resident_memory_bytes") > 1 << 20


SENDS = """
import socket
def handler(event, context):
    if "to" not in event:
        return 0
    with socket.create_connection(event["to"], timeout=10) as one:
        one.sendall(b"x" * event["send"])
        one.shutdown(socket.SHUT_WR)
        got = 0
        while part := one.recv(65536):
            got += len(part)
    return got
"""

# Takes all that it is sent, and then sends something itself.
SINK = """
import socket, threading
def serve(one):
    while one.recv(65536):
        pass
    one.sendall(b"y" * 1_000_000)
    one.close()
listener = socket.create_server(("0.0.0.0", 9000), backlog=64)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def sink(new_hearth):
    """A listener beyond this machine, of which Hearths see nothing but its address. Gone before `new_hearth` looks for what
    was left behind: from in here, all that others start meanwhile would be in another network."""
    why_not = world.possible()
    if why_not:
        pytest.skip(f"no network namespaces for this test: {why_not}")
    with World() as made:
        there = ["nsenter", "-t", str(made.beyond.pid), "-n", sys.executable, "-c", SINK]
        process = subprocess.Popen(there, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "listening\n"
            yield LAN, 9000
        finally:
            process.kill()
            process.wait(10)
            process.stdout.close()


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_what_a_function_sends_over_its_network_is_counted(new_hearth, sink, tmp_path, isolation):
    sent, received = 2_000_000, 1_000_000
    folder = write(tmp_path / "f", SENDS)

    def deploy(name, *flags):
        flags = ["--isolation", isolation, "--timeout", "30s", *flags]
        hearth.cli.deploy(folder, name, "python3.11", "app.handler", flags=flags)

    def call(name):
        assert hearth.cli.ok("invoke", name, json.dumps({"to": sink, "send": sent})).json() == received

    def told(name):
        """Sent and received: as the API, the command line and /metrics say it."""
        table = hearth.cli.ok("metrics", name, "--json").json()["series"][0]["total"]
        text, keys = prometheus(hearth), ("sent", "received")
        yield [total(hearth, name)[f"{key}_bytes"] for key in keys]
        yield [table[f"{key}_bytes"] for key in keys]
        yield [of(text, f"hearth_function_network_{key}_bytes_total", function=name) for key in keys]

    def counted(name, calls):
        """That many calls' worth, and headers."""

        def alike():
            api, table, text = told(name)
            return api == table == text and api[1] >= calls * received

        until("it to be counted, and told alike", alike, within=15, every=0.5)
        now = next(told(name))
        assert calls * sent <= now[0] <= calls * sent * 1.2 and calls * received <= now[1] <= calls * received * 1.2, now

    hearth = new_hearth().start()
    works, why = driver_state(hearth.cli.run("doctor", "--json").json(), isolation)
    if not works:
        pytest.skip(f"isolation {isolation} does not work here, says hearth doctor: {why}")
    deploy("kept", "--egress", f"{LAN}:9000")
    deploy("brief", "--egress", "lan", "--idle", "0s")
    deploy("alone")
    for _ in range(2):
        call("kept")
        call("brief")
    assert hearth.cli.ok("invoke", "alone", "{}").json() == 0
    counted("kept", 2)
    # Its instances are gone, and had nobody looking at them.
    until("its instances to go", lambda: not hearth.api.instances("brief"), within=15)
    counted("brief", 2)
    assert re.search(r"\bSENT +RECEIVED$", hearth.cli.ok("metrics").stdout.splitlines()[0])
    assert "RECEIVED" not in hearth.cli.ok("metrics", "alone").stdout

    # Handed to another server with its counters, or ended for it, and counted once.
    call("kept")
    hearth.cli.ok("upgrade")
    counted("kept", 3)
    call("kept")
    counted("kept", 4)
    # What comes last is counted at the end.
    call("kept")
    hearth.stop()
    hearth.start()
    counted("kept", 5)
    counted("brief", 2)
    alone = total(hearth, "alone")
    assert (alone["calls"], alone["sent_bytes"], alone["received_bytes"]) == (1, 0, 0)
    assert not any("network" in family and ("function", "alone") in labels for family, labels in prometheus(hearth))
    hearth.stop()
    assert world.left(hearth) == []


def test_records_are_found_by_what_happened(hearth, function):
    name = function(CODE)
    with Door(hearth) as door:
        ids = [door.invoke(name, {"fail": number % 2 == 1, "n": number}).request_id for number in range(10)]
    until("all records", lambda: len(hearth.api.invocations(name)) == 10)

    def find(**query):
        page = hearth.api.get("/api/v1/invocations?" + urllib.parse.urlencode({"function": name, **query}))
        return [one["request_id"] for one in page["invocations"]], page["next"]

    assert sorted(find()[0]) == sorted(ids)
    assert sorted(find(status="fault")[0]) == sorted(ids[1::2])
    assert sorted(find(text="missing THING")[0]) == sorted(ids[1::2])
    assert find(text="nothing like it")[0] == []
    assert sorted(find(code="HEARTH-F008", blame="function", trigger="invoke")[0]) == sorted(ids[1::2])
    assert find(cold="true")[0] and len(find(cold="true")[0]) + len(find(cold="false")[0]) == 10
    assert find(min_duration="1h")[0] == [] and find(trigger="http")[0] == []
    assert len(find(isolation="namespace", since="10m")[0]) == 10 and find(until="10m")[0] == []
    seen, before = [], None
    while True:
        page, before = find(limit=3, **({"before": before} if before else {}))
        seen += page
        if before is None or not page:
            break
    assert seen == find(limit=1000)[0] and len(seen) == 10
    record = hearth.api.record(name, ids[1])
    assert record["error"].startswith("KeyError: ") and "missing thing" in record["error"]
    assert hearth.api.record(name, ids[0])["error"] is None
    for wrong in ("status=odd", "cold=maybe", "limit=0", "min_duration=x", "since=x", "colour=red"):
        status, _, body = hearth.api.call("GET", f"/api/v1/invocations?{wrong}")
        assert status == 400 and wrong.split("=")[0] in body["message"], body


def test_logs_of_all_functions_are_searched_and_followed(hearth, function):
    one, other = function(CODE), function(CODE)
    with Door(hearth) as door:
        for name in (one, other):
            for number in range(3):
                door.invoke(name, {"n": 7000 + number, "fail": number == 2})

    def find(**query):
        page = hearth.api.get("/api/v1/logs?" + urllib.parse.urlencode({"since": "10m", "limit": 1000, **query}))
        return [(line["function"], line["message"]) for line in page["lines"] if line["function"] in (one, other)]

    assert {name for name, _ in find(field="user.id=7001")} == {one, other} and len(find(field="user.id=7001")) == 2
    assert {name for name, _ in find(level="warn", grep="7002")} == {one, other}
    assert find(level="error", field="user.id=7001") == []
    assert {name for name, _ in find(function=one)} == {one}
    (instance,) = {row["instance"] for row in hearth.api.instances(one)}
    assert {name for name, _ in find(instance=instance)} == {one}
    shown = hearth.cli.ok("logs", "--field", "user.id=7001", "--since", "10m").stdout
    assert one in shown and other in shown
    assert "expected trace" in hearth.cli.refused("logs", "--level", "loud").text

    connection = http.client.HTTPConnection("127.0.0.1", hearth.port, timeout=30)
    connection.request(
        "GET", "/api/v1/logs?follow=true&limit=0", headers={"Authorization": f"Bearer {hearth.token}"}
    )
    answer = connection.getresponse()
    assert answer.status == 200
    with Door(hearth) as door:
        door.invoke(one, {"n": 8001})
        door.invoke(other, {"n": 8002})
    heard = set()
    until_at = time.monotonic() + 20
    while heard != {(one, 8001), (other, 8002)}:
        assert time.monotonic() < until_at, f"only heard {heard}"
        line = answer.readline().strip()
        if not line:
            continue
        line = json.loads(line)
        if line.get("function") in (one, other) and line["message"].startswith("{"):
            heard.add((line["function"], json.loads(line["message"])["user"]["id"]))
    connection.close()


def test_metrics_want_a_token_unless_they_are_open(new_hearth):
    def status(hearth, headers):
        connection = http.client.HTTPConnection("127.0.0.1", hearth.port, timeout=10)
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    hearth = new_hearth().start()
    assert status(hearth, {}) == 401
    assert status(hearth, {"Authorization": f"Bearer {hearth.token}"}) == 200
    hearth.stop()
    hearth.arguments.append("--metrics-open")
    hearth.start()
    assert status(hearth, {}) == 200
    assert status(hearth, {"Host": "evil.example"}) == 421
    connection = http.client.HTTPConnection("127.0.0.1", hearth.port, timeout=10)
    connection.request("GET", "/api/v1/metrics")
    assert connection.getresponse().status == 401, "only /metrics is open"
    hearth.stop()


def test_the_command_line_shows_figures_and_says_what_is_wrong(hearth, function):
    name = function(CODE)
    with Door(hearth) as door:
        for number in range(4):
            door.invoke(name, {"fail": number == 3})
    shown = hearth.cli.ok("metrics", name).stdout
    assert re.search(r"^4 +1 ", shown.splitlines()[1].strip()), shown
    assert "calls" in shown and "most 4" in shown and "p99" in shown
    assert name in hearth.cli.ok("metrics").stdout
    assert name in hearth.cli.ok("top", "--once").stdout
    view = hearth.cli.ok("top", "--json", "--window", "5m").json()
    assert any(one["function"] == name for one in view["functions"])
    refused = hearth.cli.refused("metrics", name, "--step", "15s")
    assert refused.code == 2 and "multiple of 10s" in refused.text
    refused = hearth.cli.refused("metrics", "nobody-called-so")
    assert "no function named nobody-called-so" in refused.text
    refused = hearth.cli.refused("top")
    assert refused.code == 2 and "--once" in refused.text
    refused = hearth.cli.refused("top", "--once", "--window", "1s")
    assert refused.code == 2 and "10s to 1h" in refused.text


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, hearth, *arguments):
        self.master, slave = pty.openpty()
        # Of a height for all the functions that other tests have called meanwhile.
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 500, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        environment = {**hearth.cli.environment(), "TERM": "xterm"}
        self.process = subprocess.Popen(
            hearth.cli.command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        self.text = ""

    def read(self):
        while select.select([self.master], [], [], 0.05)[0]:
            self.text += os.read(self.master, 65536).decode(errors="replace")
        return self.text

    def ended_well(self, code):
        assert until("it to end", lambda: (self.read(), self.process.poll() is not None)[1], within=10)
        assert self.process.returncode == code
        assert self.read().rstrip().endswith("\x1b[?25h\x1b[?1049l"), "the screen was not given back"
        assert termios.tcgetattr(self.slave) == self.before, "the terminal's settings were not given back"
        os.close(self.slave)
        os.close(self.master)


@pytest.mark.parametrize("how", ["q", "ctrl-c", "signal"])
def test_top_draws_on_a_terminal_and_gives_it_back(hearth, function, how):
    name = function(CODE)
    with Door(hearth) as door:
        door.invoke(name, {})
    screen = Screen(hearth, "top", "--every", "1")
    until("the function on the screen", lambda: name in screen.read(), within=10)
    assert screen.text.startswith("\x1b[?1049h\x1b[?25l") and "CALLS/S" in screen.text
    drawn = screen.text.count("\x1b[H")
    until("it to be drawn again", lambda: screen.read().count("\x1b[H") > drawn, within=10)
    if how == "signal":
        screen.process.send_signal(signal.SIGTERM)
        screen.ended_well(128 + signal.SIGTERM)
    else:
        os.write(screen.master, b"q" if how == "q" else b"\x03")
        screen.ended_well(0)
