"""AWS Lambda's event source mappings through boto3: a queue's messages come to a function as its mapping says."""

import io
import json
import time
import zipfile

import pytest

from harness.checked import Checked, refused
from harness.wait import until

TELL = """
def handler(event, context):
    print("told " + ",".join(record["body"] for record in event["Records"]) + " " + context.invoked_function_arn)
    bad = [record["messageId"] for record in event["Records"] if record["body"].startswith("bad")]
    return {"batchItemFailures": [{"itemIdentifier": one} for one in bad]}
"""
ROLE = "arn:aws:iam::000000000000:role/lambda"


def package(code):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code)
    return buffer.getvalue()



def arn(queue):
    return f"arn:aws:sqs:us-east-1:000000000000:{queue}"


def mq(hearth, *arguments):
    return hearth.cli.ok("mq", *arguments, "--json").json()


def told(hearth, name):
    lines = [line["message"] for line in hearth.cli.logs(name, "--since", "10m")]
    return sorted(body for line in lines if line.startswith("told ") for body in line.split(" ")[1].split(","))


@pytest.fixture
def lambda_(boto):
    return Checked(boto)


@pytest.fixture
def made(hearth, lambda_, request):
    """A function and a queue of the test's own name: `made(*rules) -> (function, queue)`."""
    stem = "esm-" + "".join(letter for letter in request.node.name if letter.isalnum())[-50:]
    names = []

    def make(*rules, suffix=""):
        name = stem + suffix
        lambda_.create_function(FunctionName=name, Role=ROLE, Runtime="python3.11", Handler="app.handler", Timeout=10, Code={"ZipFile": package(TELL)})
        mq(hearth, "create", name, *rules)
        names.append(name)
        return name, name

    yield make
    for name in names:
        hearth.api.remove(name)
        hearth.cli.run("mq", "rm", name)


def test_a_mapping_is_made_shown_changed_and_removed(hearth, lambda_, made):
    name, queue = made()
    mapping = lambda_.create_event_source_mapping(FunctionName=name, EventSourceArn=arn(queue), BatchSize=7, MaximumBatchingWindowInSeconds=1, ScalingConfig={"MaximumConcurrency": 5}, Tags={"team": "a"})
    uuid = mapping["UUID"]
    assert (mapping["State"], mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]) == ("Enabled", 7, 1)
    assert mapping["FunctionResponseTypes"] == [] and mapping["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert mapping["FunctionArn"].endswith(f":function:{name}") and mapping["EventSourceArn"] == arn(queue)
    assert lambda_.get_event_source_mapping(UUID=uuid)["LastModified"] == mapping["LastModified"]
    again = refused(lambda_.create_event_source_mapping, FunctionName=name, EventSourceArn=arn(queue))
    assert again[:2] == ("ResourceConflictException", 409) and uuid in again[2]

    mq(hearth, "send", queue, "one")
    until("the message to be told", lambda: told(hearth, name) == ["one"], within=20)
    until("its result", lambda: lambda_.get_event_source_mapping(UUID=uuid)["LastProcessingResult"] == "OK", within=5)

    changed = lambda_.update_event_source_mapping(UUID=uuid, BatchSize=3, ScalingConfig={})
    assert (changed["BatchSize"], changed["MaximumBatchingWindowInSeconds"]) == (3, 1), "what is not said stays"
    assert "ScalingConfig" not in changed
    assert lambda_.list_tags(Resource=mapping["EventSourceMappingArn"])["Tags"] == {"team": "a"}
    lambda_.tag_resource(Resource=mapping["EventSourceMappingArn"], Tags={"cost": "b"})
    lambda_.untag_resource(Resource=mapping["EventSourceMappingArn"], TagKeys=["team"])
    assert lambda_.list_tags(Resource=mapping["EventSourceMappingArn"])["Tags"] == {"cost": "b"}

    for which in ({"FunctionName": name}, {"EventSourceArn": arn(queue)}, {"FunctionName": name, "EventSourceArn": arn(queue)}):
        assert [one["UUID"] for one in lambda_.list_event_source_mappings(**which)["EventSourceMappings"]] == [uuid], which
    assert lambda_.list_event_source_mappings(EventSourceArn=arn("elsewhere"))["EventSourceMappings"] == []

    assert lambda_.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
    assert refused(lambda_.get_event_source_mapping, UUID=uuid)[:2] == ("ResourceNotFoundException", 404)
    assert refused(lambda_.delete_event_source_mapping, UUID=uuid)[:2] == ("ResourceNotFoundException", 404)
    until("its source to end", lambda: hearth.cli.ok("sources", "list", name, "--json").json() == [], within=10)


def test_a_mapping_is_switched_off_and_on(hearth, lambda_, made):
    name, queue = made()
    uuid = lambda_.create_event_source_mapping(FunctionName=name, EventSourceArn=arn(queue), Enabled=False)["UUID"]
    assert lambda_.get_event_source_mapping(UUID=uuid)["State"] == "Disabled"
    mq(hearth, "send", queue, "one")
    time.sleep(1)  # long enough for it to be taken, were it taken
    assert told(hearth, name) == [] and mq(hearth, "show", queue)["visible"] == 1
    assert "enabled = true" in hearth.cli.refused("sources", "resume", name, queue).text
    assert lambda_.update_event_source_mapping(UUID=uuid, Enabled=True)["State"] == "Enabled"
    until("the message to be told", lambda: told(hearth, name) == ["one"], within=20)

    revision = lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    assert lambda_.update_event_source_mapping(UUID=uuid, Enabled=False)["State"] == "Disabled"
    assert hearth.cli.ok("sources", "list", name, "--json").json()[0]["state"] == "paused"
    mq(hearth, "send", queue, "two")
    time.sleep(1)
    assert told(hearth, name) == ["one"]
    hearth.cli.ok("sources", "resume", name, queue)
    until("it to go on", lambda: told(hearth, name) == ["one", "two"], within=20)
    assert lambda_.get_event_source_mapping(UUID=uuid)["State"] == "Enabled"
    assert lambda_.get_function_configuration(FunctionName=name)["RevisionId"] == revision, "a pause is no deploy"


def test_what_a_filter_does_not_want_never_reaches_the_function(hearth, lambda_, made):
    name, queue = made()
    pattern = json.dumps({"body": {"kind": ["new", {"prefix": "re"}], "in": {"n": [{"numeric": [">", 1]}]}, "secret": [{"exists": False}]}})
    other = json.dumps({"body": [{"suffix": "!"}]})
    mapping = lambda_.create_event_source_mapping(FunctionName=name, EventSourceArn=arn(queue), FilterCriteria={"Filters": [{"Pattern": pattern}, {"Pattern": other}]})
    assert [one["Pattern"] for one in mapping["FilterCriteria"]["Filters"]] == [pattern, other]
    wanted = [{"kind": "new", "in": {"n": 2}}, {"kind": "reopened", "in": {"n": 1.5}}]
    unwanted = [{"kind": "old", "in": {"n": 2}}, {"kind": "new", "in": {"n": 1}}, {"kind": "new", "in": {"n": 2}, "secret": 1}]
    bodies = [json.dumps(one, separators=(",", ":")) for one in wanted]
    for body in [*(json.dumps(one) for one in unwanted), *bodies, "plain!", "plain"]:
        mq(hearth, "send", queue, body)
    until("all to be gone", lambda: mq(hearth, "show", queue)["deleted"] == 7, within=20)
    expected = sorted(part for body in [*bodies, "plain!"] for part in body.split(","))
    until("the wanted ones", lambda: told(hearth, name) == expected, within=10)
    lambda_.update_event_source_mapping(UUID=mapping["UUID"], FilterCriteria={"Filters": []})
    assert "FilterCriteria" not in lambda_.get_event_source_mapping(UUID=mapping["UUID"])
    mq(hearth, "send", queue, "plain")
    until("what is not filtered any more", lambda: "plain" in told(hearth, name), within=20)


def test_failed_messages_come_again_only_where_the_mapping_reports_them(hearth, lambda_, made):
    name, queue = made("--visibility", "1s")
    uuid = lambda_.create_event_source_mapping(FunctionName=name, EventSourceArn=arn(queue))["UUID"]
    mq(hearth, "send", queue, "bad1")
    until("it to be deleted", lambda: mq(hearth, "show", queue)["deleted"] == 1, within=20)
    changed = lambda_.update_event_source_mapping(UUID=uuid, FunctionResponseTypes=["ReportBatchItemFailures"])
    assert changed["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    mq(hearth, "send", queue, "bad2")
    until("it to come again", lambda: told(hearth, name).count("bad2") >= 2, within=20)
    assert told(hearth, name).count("bad1") == 1
    problem = lambda_.get_event_source_mapping(UUID=uuid)["LastProcessingResult"]
    assert problem.startswith("PROBLEM: ") and "named it as failed" in problem


def test_an_alias_is_called_where_the_mapping_names_one(hearth, lambda_, made):
    name, queue = made()
    assert refused(lambda_.create_event_source_mapping, FunctionName=f"{name}:live", EventSourceArn=arn(queue))[:2] == ("ResourceNotFoundException", 404)
    version = lambda_.publish_version(FunctionName=name)["Version"]
    lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    mapping = lambda_.create_event_source_mapping(FunctionName=f"{name}:live", EventSourceArn=arn(queue))
    assert mapping["FunctionArn"].endswith(f":{name}:live")
    mq(hearth, "send", queue, "x")
    until("it to be told", lambda: told(hearth, name) == ["x"], within=20)
    [line] = [line["message"] for line in hearth.cli.logs(name, "--since", "10m") if line["message"].startswith("told ")]
    assert line.endswith(f":function:{name}:live")
    assert [one["UUID"] for one in lambda_.list_event_source_mappings(FunctionName=f"{name}:live")["EventSourceMappings"]] == [mapping["UUID"]]


def test_what_the_manifest_declares_is_a_mapping_and_the_other_way_round(hearth, lambda_, function, request):
    hearth.cli.ok("mq", "create", "esm-declared")
    request.addfinalizer(lambda: hearth.cli.run("mq", "rm", "esm-declared"))
    toml = '[[queue]]\nname = "esm-declared"\nbatch = 4\nconcurrency = 3\nfilters = [{ body = { kind = ["new"] } }]\n'
    name = function(TELL, toml=toml)
    [mapping] = lambda_.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    assert (mapping["BatchSize"], mapping["ScalingConfig"]) == (4, {"MaximumConcurrency": 3})
    assert mapping["FilterCriteria"] == {"Filters": [{"Pattern": '{"body":{"kind":["new"]}}'}]}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    lambda_.update_event_source_mapping(UUID=mapping["UUID"], BatchSize=6)
    assert hearth.api.get(f"/api/v1/functions/{name}")["sources"][0]["batch"] == 6
    hearth.api.remove(name)


def test_what_is_no_mapping_here_is_refused_as_aws_refuses_it(lambda_, made):
    name, queue = made()
    for asked, word in (
        ({"EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s", "StartingPosition": "LATEST"}, "StartingPosition"),
        ({"EventSourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/1"}, "Unrecognized event source"),
        ({"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["h:1"]}}}, "SelfManagedEventSource"),
        ({}, "EventSourceArn is missing"),
        ({"EventSourceArn": arn("nowhere")}, "NonExistentQueue"),
        ({"EventSourceArn": arn(queue), "ParallelizationFactor": 2}, "ParallelizationFactor"),
        ({"EventSourceArn": arn(queue), "KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}, "KMSKeyArn"),
        ({"EventSourceArn": arn(queue), "BatchSize": 5000}, "1 to 1000"),
        ({"EventSourceArn": arn(queue), "FilterCriteria": {"Filters": [{"Pattern": '{"body": {"a": [{"wildcard": "x*"}]}}'}]}}, "Invalid filter pattern"),
        ({"EventSourceArn": arn(queue), "FilterCriteria": {"Filters": [{"Pattern": '{"data": ["x"]}'}]}}, 'no "data"'),
    ):
        code, status, message = refused(lambda_.create_event_source_mapping, FunctionName=name, **asked)
        assert (code, status) == ("InvalidParameterValueException", 400) and word in message, (asked, message)
    assert refused(lambda_.create_event_source_mapping, FunctionName="nobody", EventSourceArn=arn(queue))[:2] == ("ResourceNotFoundException", 404)
    uuid = lambda_.create_event_source_mapping(FunctionName=name, EventSourceArn=arn(queue))["UUID"]
    other, _ = made(suffix="-b")
    assert "cannot go to" in refused(lambda_.update_event_source_mapping, UUID=uuid, FunctionName=other)[2]
    assert lambda_.update_event_source_mapping(UUID=uuid, FunctionName=name)["UUID"] == uuid
