"""Versions and aliases: what AWS's tools see of them, and that no switch is felt by any caller."""

import json
import os
import time
from http.client import HTTPConnection

import pytest
from botocore.exceptions import ClientError

from harness.functions import write
from harness.load import Load
from harness.wait import until

# 1,000 in the long version: `make switches`.
SWITCHES = int(os.environ.get("HEARTH_SWITCHES", "60"))

SAYS = """
import os

def handler(event, context):
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("as asked")
    log = context.log_stream_name
    return {"code": %d, "version": context.function_version, "arn": context.invoked_function_arn,
            "env": os.environ["AWS_LAMBDA_FUNCTION_VERSION"], "log": log, "stage": os.environ.get("STAGE")}
"""


def deploy(hearth, folder, code, name="says", **options):
    files = write(folder / f"{name}-{code}", SAYS % code)
    return hearth.cli.deploy(files, name, "python3.11", "app.handler", **options).json()


@pytest.fixture
def says(hearth, tmp_path):
    """Version 1 says 1, version 2 says 2, $LATEST says 3."""
    for code in (1, 2, 3):
        deploy(hearth, tmp_path, code)
        if code < 3:
            published = hearth.cli.ok("publish", "says", "--description", f"it says {code}", "--json").json()
            assert published["created"] is True
    first = hearth.cli.ok("versions", "says", "--json").json()[0]["version"]
    yield first
    hearth.api.remove("says")


def ask(boto, name, qualifier=None):
    more = {"Qualifier": qualifier} if qualifier else {}
    answer = boto.invoke(FunctionName=name, Payload=b"{}", **more)
    assert "FunctionError" not in answer
    return answer["ExecutedVersion"], json.load(answer["Payload"])


def get(hearth, path):
    connection = HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_calls_by_version_and_alias_run_what_they_name(hearth, boto, says, keys):
    first, second = says, says + 1
    arn = f"arn:aws:lambda:{keys['AWS_REGION']}:000000000000:function:says"
    hearth.cli.ok("alias", "set", "says", "live", str(first))
    for name, qualifier, version, code, invoked in [
        ("says", None, "$LATEST", 3, arn),
        ("says", "$LATEST", "$LATEST", 3, f"{arn}:$LATEST"),
        ("says", str(first), str(first), 1, f"{arn}:{first}"),
        (f"says:{second}", None, str(second), 2, f"{arn}:{second}"),
        ("says", "live", str(first), 1, f"{arn}:live"),
        (f"{arn}:live", None, str(first), 1, f"{arn}:live"),
        ("000000000000:function:says:live", None, str(first), 1, f"{arn}:live"),
    ]:
        executed, answer = ask(boto, name, qualifier)
        assert (executed, answer["version"], answer["env"]) == (version, version, version), (name, qualifier)
        assert (answer["code"], answer["arn"]) == (code, invoked)
        assert f"[{version}]" in answer["log"]
    answer = hearth.cli.ok("invoke", "says:live", "--json").json()
    assert (answer["executed_version"], answer["payload"]["code"]) == (str(first), 1)
    record = hearth.api.record("says", answer["request_id"])
    assert record["version"] == str(first)
    tail = hearth.cli.ok("invoke", "says:live", "--log").stderr
    assert f"Version: {first}" in tail
    for path, code in [("/fn/says/", 3), ("/fn/says:live/", 1), (f"/fn/says:{second}/x", 2)]:
        status, body = get(hearth, path)
        assert (status, json.loads(body)["code"]) == (200, code), path


def test_what_is_not_there_is_named(hearth, boto, says):
    for qualifier in ("999", "nobody"):
        with pytest.raises(ClientError) as caught:
            ask(boto, "says", qualifier)
        error = caught.value.response["Error"]
        assert error["Code"] == "ResourceNotFoundException" and error["Message"].endswith(f"function:says:{qualifier}")
        assert get(hearth, f"/fn/says:{qualifier}/")[0] == 404
        assert f"no version or alias {qualifier}" in hearth.cli.refused("invoke", f"says:{qualifier}").stderr
    assert "no version 999" in hearth.cli.refused("alias", "set", "says", "live", "999").stderr
    assert "expected" in hearth.cli.refused("alias", "set", "says", "12", "1").stderr


def test_a_version_is_published_once_and_never_changes(hearth, boto, says, tmp_path):
    newest = hearth.cli.ok("publish", "says", "--json").json()
    again = hearth.cli.ok("publish", "says", "--json").json()
    assert (newest["created"], again["created"], again["version"]) == (True, False, newest["version"])
    hearth.cli.ok("config", "says", "env.STAGE=new", "memory=192MB")
    assert ask(boto, "says", str(newest["version"]))[1]["stage"] is None
    assert ask(boto, "says")[1]["stage"] == "new"
    other = hearth.cli.ok("publish", "says", "--json").json()
    assert other["version"] == newest["version"] + 1 and other["memory"] == "192MB"
    # A number that was given is not given again.
    hearth.cli.ok("versions", "says", "--remove", str(other["version"]))
    hearth.cli.ok("config", "says", "env.STAGE=newer")
    assert hearth.cli.ok("publish", "says", "--json").json()["version"] == other["version"] + 1
    hearth.cli.ok("alias", "set", "says", "live", str(newest["version"]))
    assert "the alias live" in hearth.cli.refused("versions", "says", "--remove", str(newest["version"])).stderr


def test_an_alias_may_give_a_second_version_a_share(hearth, boto, says):
    hearth.cli.ok("alias", "set", "says", "split", str(says), "--second", f"{says + 1}=25%")
    executed = [ask(boto, "says", "split")[0] for _ in range(40)]
    assert (executed.count(str(says)), executed.count(str(says + 1))) == (30, 10)
    alias = hearth.api.get("/api/v1/functions/says/aliases/split")
    assert (alias["version"], alias["weights"]) == (str(says), {str(says + 1): 0.25})
    assert "two different" in hearth.cli.refused("alias", "set", "says", "x", str(says), "--second", f"{says}=5%").stderr
    hearth.cli.ok("alias", "set", "says", "split", str(says + 1))
    assert {ask(boto, "says", "split")[0] for _ in range(8)} == {str(says + 1)}
    hearth.cli.ok("alias", "rm", "says", "split")
    assert "no version or alias" in hearth.cli.refused("invoke", "says:split").stderr


def test_an_event_for_an_alias_runs_what_the_alias_leads_to_then(hearth, boto, says):
    hearth.cli.ok("alias", "set", "says", "later", str(says))
    answer = boto.invoke(FunctionName="says", Qualifier="later", InvocationType="Event", Payload=b"{}")
    assert answer["StatusCode"] == 202
    request = answer["ResponseMetadata"]["RequestId"]
    record = until("the event to run", lambda: hearth.api.record("says", request), within=20)
    assert (record["version"], record["door"]) == (str(says), "async")


def test_versions_and_aliases_outlive_a_restart(new_hearth, tmp_path):
    hearth = new_hearth().start()
    deploy(hearth, tmp_path, 1)
    hearth.cli.ok("publish", "says")
    hearth.cli.ok("alias", "set", "says", "live", "1")
    deploy(hearth, tmp_path, 2)
    hearth.kill_both()
    hearth.start()
    assert hearth.cli.ok("invoke", "says:live").json()["code"] == 1
    assert hearth.cli.ok("invoke", "says").json()["code"] == 2


def test_switches_and_deploys_under_load_are_felt_by_nobody(hearth, says, tmp_path):
    """RELIABILITY 9. Deploys of $LATEST and switches of an alias in turn, while both are called."""
    versions, packages = [says, says + 1], [write(tmp_path / f"p{code}", SAYS % code) for code in (1, 2)]
    hearth.cli.ok("alias", "set", "says", "live", str(says))
    hashes = []
    for package in packages:
        done = hearth.cli.deploy(package, "says", "python3.11", "app.handler").json()
        hashes.append(done["code"]["sha256"])
    with Load(hearth, "says:live", {}, clients=4) as aliased, Load(hearth, "says", {}, clients=3) as latest:
        until("the first answers", lambda: aliased.answers and latest.answers, within=20)
        begun = time.monotonic()
        for turn in range(SWITCHES // 2):
            to = versions[(turn + 1) % 2]
            status, _, body = hearth.api.call(
                "PUT", "/api/v1/functions/says/aliases/live", {"version": str(to)})
            assert status == 200, body
            status, _, body = hearth.api.call(
                "PATCH", "/api/v1/functions/says", {"code": {"sha256": hashes[turn % 2]}, "env": {"STAGE": str(turn)}})
            assert status == 200, body

            def seen(turn=turn):
                return latest.answers[-1]["stage"] == str(turn)

            # The next one comes when calls are answered by this one.
            until(f"deploy {turn} to answer", seen, within=20)
        took = time.monotonic() - begun
    answers = len(aliased.answers) + len(latest.answers)
    print(f"{SWITCHES} switches in {took:.1f} s, {answers} answers, {answers / took:.0f} a second")
    assert not aliased.failures, aliased.summary()
    assert not latest.failures, latest.summary()
    assert {answer["version"] for answer in aliased.answers} == {str(version) for version in versions}
    assert all(answer["version"] == str(versions[answer["code"] - 1]) for answer in aliased.answers)
    assert {answer["version"] for answer in latest.answers} == {"$LATEST"}
