"""Event sources: message queues, MQTT topics and watched folders call functions, are listed, paused, and go on."""

import json
import os
import time

import pytest

from harness.functions import write
from harness.mosquitto import Mosquitto, wait_connected
from harness.wait import until

TOLD = """
import json
def handler(event, context):
    for record in event["Records"]:
        print("told " + json.dumps(record))
"""
PICKY = """
import json
def handler(event, context):
    bodies = [record["body"] for record in event["Records"]]
    print("told " + json.dumps({"bodies": bodies, "counts": [r["attributes"]["ApproximateReceiveCount"] for r in event["Records"]]}))
    if "all" in bodies:
        raise ValueError("all of them")
    bad = [record["messageId"] for record in event["Records"] if record["body"].startswith("bad")]
    return {"batchItemFailures": [{"itemIdentifier": one} for one in bad]}
"""


def told(hearth, name):
    lines = [line["message"] for line in hearth.cli.logs(name, "--since", "10m")]
    return [json.loads(line.removeprefix("told ")) for line in lines if line.startswith("told ")]


def source(hearth, name, which):
    listed = hearth.cli.ok("sources", "list", name, "--json").json()
    # It is begun in the moment after the deploy.
    absent = {"state": "absent", "last_error": None}
    return next((one for one in listed if one["name"] == which), absent)


def mq(hearth, *arguments):
    return hearth.cli.ok("mq", *arguments, "--json").json()


@pytest.fixture
def queue(hearth):
    """Makes message queues on the shared Hearth: `queue(name, *rules) -> name`."""
    made = []

    def make(name, *rules):
        mq(hearth, "create", name, *rules)
        made.append(name)
        return name

    yield make
    for name in reversed(made):
        hearth.cli.run("mq", "rm", name)


def test_a_queue_keeps_hides_and_gives_messages_back(hearth, queue):
    queue("work", "--visibility", "1s")
    sent = hearth.cli.ok("mq", "send", "work", "hello", "--attribute", "kind=new").stdout.strip()
    [one] = mq(hearth, "receive", "work")
    assert (one["id"], one["body"], one["receives"]) == (sent, "hello", 1)
    assert one["attributes"]["kind"] == {"data_type": "String", "string_value": "new"}
    assert mq(hearth, "receive", "work") == []
    [again] = mq(hearth, "receive", "work", "--wait", "5s")
    assert (again["id"], again["receives"]) == (sent, 2)
    assert "is void" in hearth.cli.refused("mq", "delete", "work", one["receipt"]).text
    hearth.cli.ok("mq", "delete", "work", again["receipt"])
    shown = mq(hearth, "show", "work")
    assert (shown["sent"], shown["deleted"], shown["bytes"]) == (1, 1, 0)
    assert "0s to 15m" in hearth.cli.refused("mq", "send", "work", "x", "--delay", "1h").text
    assert "hearth mq create" in hearth.cli.refused("mq", "send", "wrok", "x").text
    mq(hearth, "send", "work", "a")
    assert mq(hearth, "purge", "work") == {"count": 1}


def test_a_function_gets_batches_and_says_which_failed(hearth, function, queue, tmp_path):
    queue("orders-dead")
    queue("orders", "--visibility", "1s", "--max-receives", "2", "--dead-letter", "orders-dead")
    name = function(PICKY, toml='[[queue]]\nname = "orders"\nbatch = 10\nwindow = "500ms"\n')
    for body in ("good1", "bad1", "good2"):
        mq(hearth, "send", "orders", body)
    until("the bad one to be set aside", lambda: mq(hearth, "show", "orders-dead")["visible"] == 1, within=20)
    [dead] = mq(hearth, "receive", "orders-dead")
    assert (dead["body"], dead["origin"]) == ("bad1", "orders")
    assert mq(hearth, "show", "orders")["deleted"] == 2
    mq(hearth, "send", "orders", "all")
    until("the failed batch to be set aside", lambda: mq(hearth, "show", "orders-dead")["visible"] == 1, within=20)
    calls = told(hearth, name)
    assert [body for call in calls for body in call["bodies"]].count("bad1") == 2
    assert any(len(call["bodies"]) > 1 for call in calls), calls
    state = source(hearth, name, "orders")
    assert (state["kind"], state["state"], state["delivered"]) == ("queue", "running", 2)
    assert state["failed"] == 4 and state["last_error"]
    assert "used by function" in hearth.cli.refused("mq", "rm", "orders").text
    assert "dead-letter queue of orders" in hearth.cli.refused("mq", "rm", "orders-dead").text


def test_a_source_is_paused_and_goes_on_and_changes_without_a_restart(hearth, function, queue, tmp_path):
    queue("first")
    queue("second")
    name = function(TOLD, toml='[[queue]]\nname = "first"\n')
    until("it to be begun", lambda: hearth.cli.ok("sources", "list", name, "--json").json(), within=10)
    hearth.cli.ok("sources", "pause", name)
    until("it to be paused", lambda: source(hearth, name, "first")["state"] == "paused", within=10)
    mq(hearth, "send", "first", "while paused")
    time.sleep(1)  # long enough for it to be taken, were it taken
    assert told(hearth, name) == []
    hearth.cli.ok("sources", "resume", name, "first")
    until("it to go on", lambda: [one["body"] for one in told(hearth, name)] == ["while paused"], within=10)
    folder = write(tmp_path / "changed", TOLD, toml='[[queue]]\nname = "second"\n')
    hearth.cli.deploy(folder, name, "python3.11", "app.handler")
    mq(hearth, "send", "second", "two")
    until("the new source", lambda: "two" in [one["body"] for one in told(hearth, name)], within=10)
    assert [one["name"] for one in hearth.cli.ok("sources", "list", name, "--json").json()] == ["second"]
    assert "second" in hearth.cli.refused("sources", "pause", name, "secnod").text


def test_what_cannot_be_is_refused_with_its_line_or_its_name(hearth, tmp_path):
    cases = (
        ('[[queue]]\nname = "none-such"', "no message queue named none-such"),
        ('[[queue]]\nname = "a"\nbacth = 1', 'did you mean "batch"'),
        ('[[folder]]\npath = "/root"', "--allow-mount /root:ro"),
        ('[[mqtt]]\nbroker = "tcp://x"\ntopics = ["a"]', "expected mqtt://"),
        ('[async]\non-failure = "queue:none-such"', "no message queue named none-such"),
    )
    for number, (toml, said) in enumerate(cases):
        folder = write(tmp_path / str(number), TOLD, toml=f"{toml}\n")
        refused = hearth.cli.refused("deploy", folder, "--name", "never", "--runtime", "python3.11")
        assert said in refused.text, refused


def test_the_end_of_an_event_is_told_to_a_queue(hearth, function, queue):
    queue("told-well")
    queue("told-ill")
    toml = '[async]\nretries = 0\non-success = "queue:told-well"\non-failure = "queue:told-ill"\n'
    name = function("def handler(event, context):\n    return 1 / event['n']\n", toml=toml)
    hearth.cli.ok("invoke", name, "--async", '{"n": 1}')
    hearth.cli.ok("invoke", name, "--async", '{"n": 0}')
    [well] = mq(hearth, "receive", "told-well", "--wait", "10s")
    [ill] = mq(hearth, "receive", "told-ill", "--wait", "10s")
    assert json.loads(well["body"])["requestContext"]["condition"] == "Success"
    assert json.loads(ill["body"])["requestContext"]["condition"] == "RetriesExhausted"


def test_mqtt_messages_become_events_also_those_sent_while_hearth_was_away(new_hearth, tmp_path):
    broker = Mosquitto(tmp_path / "broker", password=("hearth", "s3cret"))
    hearth = new_hearth().start()
    try:
        broker.start()
        hearth.cli.ok("secret", "set", "mqtt-password", input="wrong")
        toml = f"""
[[mqtt]]
name = "sensors"
broker = "{broker.url}"
topics = ["sensors/+/t", "$share/group/jobs/#"]
user = "hearth"
password = {{ secret = "mqtt-password" }}
"""
        hearth.cli.deploy(write(tmp_path / "f", TOLD, toml=toml), "f", "python3.11", "app.handler")
        refused = until("the broker to refuse it", lambda: source(hearth, "f", "sensors")["last_error"], within=20)
        assert "refused" in refused or "NotAuthorized" in refused or "BadUserName" in refused, refused
        hearth.cli.ok("secret", "set", "mqtt-password", input="s3cret")
        wait_connected(lambda: source(hearth, "f", "sensors"))
        login = ("-u", "hearth", "-P", "s3cret")
        assert broker.publish("sensors/1/t", '{"celsius": 21.5}', *login)
        assert broker.publish("sensors/1/other", "not subscribed", *login)
        assert broker.publish("jobs/a/b", "plain text", *login)
        assert broker.publish("sensors/2/t", b"\xff\x00", *login)
        found = until("three messages", lambda: (f := told(hearth, "f")) and len(f) >= 3 and f, within=20)
        by_topic = {one["topic"]: one for one in found}
        assert by_topic["sensors/1/t"]["payload"] == {"celsius": 21.5} and by_topic["sensors/1/t"]["qos"] == 1
        assert by_topic["jobs/a/b"]["payload"] == "plain text"
        assert by_topic["sensors/2/t"]["payload"] == "/wA=" and by_topic["sensors/2/t"]["isBase64Encoded"]
        hearth.stop()
        assert broker.publish("sensors/3/t", "while away", *login)
        hearth.start()
        try:
            until("what came while away", lambda: "while away" in [one["payload"] for one in told(hearth, "f")], within=15)
        except AssertionError as error:
            log = (broker.folder / "log").read_text()
            raise AssertionError(f"{error} {source(hearth, 'f', 'sensors')} {told(hearth, 'f')} {log}") from error
    finally:
        broker.stop()


def test_files_become_events_once_and_are_moved_when_done(new_hearth, tmp_path):
    inbox, done = tmp_path / "inbox", tmp_path / "done"
    for folder in (inbox, done):
        folder.mkdir()
        folder.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and len(parent.parts) > 2:
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    hearth = new_hearth({"HEARTH_ALLOW_MOUNT": f"{inbox},{done}"}).start()
    (inbox / "before.txt").write_text("was there")
    toml = f"""
[[folder]]
name = "in"
path = "{inbox}"
pattern = "*.txt"
settle = "500ms"
after = {{ move-to = "{done}" }}

[[mount]]
host = "{inbox}"
path = "/mnt/inbox"
"""
    reads = TOLD + "        print('read ' + open(record['mountedPath']).read())\n"
    hearth.cli.deploy(write(tmp_path / "f", reads, toml=toml), "f", "python3.11", "app.handler")
    (inbox / "new.txt").write_text("new")
    (inbox / "other.jpg").write_text("not wanted")
    (tmp_path / "moved").write_text("moved")
    (tmp_path / "moved").rename(inbox / "moved.txt")
    growing = inbox / "growing.txt"
    with growing.open("w") as file:
        for _ in range(10):
            file.write("x")
            file.flush()
            time.sleep(0.2)
    until("all to be moved", lambda: sorted(os.listdir(done)) == ["before.txt", "growing.txt", "moved.txt", "new.txt"],
          within=30)
    assert sorted(os.listdir(inbox)) == ["other.jpg"]
    found = {one["key"]: one for one in told(hearth, "f")}
    assert found["growing.txt"]["size"] == 10 and found["growing.txt"]["path"] == str(growing)
    keys = [(one["key"], one["size"], one["mtime"], one["eventTime"]) for one in told(hearth, "f")]
    assert len(keys) == 4, keys
    assert any("read was there" in line["message"] for line in hearth.cli.logs("f", "--since", "10m"))
    hearth.stop()
    (inbox / "away.txt").write_text("while away")
    hearth.start()
    until("the one that came while away", lambda: (done / "away.txt").exists(), within=20)
    assert len(told(hearth, "f")) == 5
