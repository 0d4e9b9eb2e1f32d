"""Life of functions that are HTTP servers: starts, ports, times, concurrency, deploys. What goes through them, on each
driver and in each language, is in ../conformance/test_web.py."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.wait import until
from harness.web import request
from harness.websocket import Chatter
from harness.webserver import SERVER

TOML = 'web = true\ncommand = ["python3", "server.py"]\ntimeout = "10s"\nmemory = "256MB"\n'


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


def ask(hearth, name, path="/", method="GET", headers=(), body=None):
    return request(hearth, method, f"/fn/{name}{path}", headers, body)


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
