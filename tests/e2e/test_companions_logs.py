"""CloudWatch Logs over the lines that functions write."""

import json
import time
import uuid

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import aws
from harness.checked import Checked

CODE = """
import json
def handler(event, context):
    for line in event.get("lines", []):
        print(line if isinstance(line, str) else json.dumps(line), flush=True)
    return {"stream": context.log_stream_name, "group": context.log_group_name}
"""


@pytest.fixture(scope="module")
def logs(hearth):
    return Checked(aws.client(hearth, "logs"))


@pytest.fixture
def talker(boto, function):
    name = function(CODE)

    def say(*lines):
        return json.load(boto.invoke(FunctionName=name, Payload=json.dumps({"lines": lines}))["Payload"])

    say.group = f"/aws/lambda/{name}"
    return say


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def said(events, *wanted):
    """The messages among those that a test wrote, without what the platform says about calls."""
    return [event["message"].rstrip("\n") for event in events if any(text in event["message"] for text in wanted)]


def test_a_function_is_a_group_and_an_instance_a_stream(logs, talker):
    told = talker("one", "two")
    assert told["group"] == talker.group
    groups = logs.describe_log_groups(logGroupNamePrefix=talker.group)["logGroups"]
    assert [group["logGroupName"] for group in groups] == [talker.group]
    assert groups[0]["arn"] == f"arn:aws:logs:us-east-1:000000000000:log-group:{talker.group}:*"
    streams = logs.describe_log_streams(logGroupName=talker.group, orderBy="LastEventTime", descending=True)["logStreams"]
    assert told["stream"] in [stream["logStreamName"] for stream in streams], "as the function itself is told"
    assert all(stream["firstEventTimestamp"] <= stream["lastEventTimestamp"] for stream in streams)
    events = logs.get_log_events(logGroupName=talker.group, logStreamName=told["stream"], startFromHead=True)["events"]
    assert said(events, "one", "two") == ["one", "two"]
    assert abs(events[0]["timestamp"] - time.time() * 1000) < 60_000


def test_events_of_a_stream_come_in_pages_in_both_directions(logs, talker):
    stream = talker(*[f"line-{number:02}" for number in range(20)])["stream"]
    which = {"logGroupName": talker.group, "logStreamName": stream}
    whole = logs.get_log_events(**which, startFromHead=True)["events"]
    forward, token = [], None
    while True:
        more = {"nextToken": token} if token else {"startFromHead": True}
        page = logs.get_log_events(**which, limit=7, **more)
        forward += page["events"]
        if page["nextForwardToken"] == token:
            assert page["events"] == []
            break
        token = page["nextForwardToken"]
    assert forward == whole
    last = logs.get_log_events(**which, limit=5)
    assert last["events"] == whole[-5:]
    before = logs.get_log_events(**which, limit=5, nextToken=last["nextBackwardToken"])
    assert before["events"] == whole[-10:-5]
    talker("later")
    page = logs.get_log_events(**which, nextToken=token)
    assert said(page["events"], "line-") == [], "only what came behind the token"
    middle = whole[len(whole) // 2]["timestamp"]
    bounded = logs.get_log_events(**which, startTime=middle, startFromHead=True)["events"]
    assert bounded and all(event["timestamp"] >= middle for event in bounded)
    assert all(event["timestamp"] < middle for event in logs.get_log_events(**which, endTime=middle)["events"])
    assert refused(logs.get_log_events, **which, nextToken="x") == ("InvalidParameterException", 400)
    assert refused(logs.get_log_events, logGroupName=talker.group, logStreamName="none") == ("ResourceNotFoundException", 400)
    assert refused(logs.describe_log_streams, logGroupName="/aws/lambda/none-of-them") == ("ResourceNotFoundException", 400)


def test_filters_find_lines(logs, talker):
    talker("ERROR disk full", "WARN disk slow", {"level": "error", "code": 42, "user": {"name": "ann"}}, {"level": "info", "code": 7})

    def found(pattern, **more):
        answer = logs.filter_log_events(logGroupName=talker.group, filterPattern=pattern, **more)
        assert len({event["eventId"] for event in answer["events"]}) == len(answer["events"])
        return [event["message"].rstrip("\n") for event in answer["events"]]

    assert found("ERROR") == ["ERROR disk full"]
    assert found("disk -ERROR") == ["WARN disk slow"]
    assert found('?"ERROR disk" ?WARN') == ["ERROR disk full", "WARN disk slow"]
    assert [json.loads(line)["code"] for line in found('{ $.level = "error" && $.user.name = "a*" }')] == [42]
    assert [json.loads(line)["code"] for line in found("{ $.code < 42 }")] == [7]
    assert found("{ $.code NOT EXISTS && $.level = x }") == []
    for bad in ("[a, b]", "%ERR%", "{ $.a", 'a"b'):
        assert refused(logs.filter_log_events, logGroupName=talker.group, filterPattern=bad) == ("InvalidParameterException", 400), bad
    pages = logs.client.get_paginator("filter_log_events").paginate(logGroupName=talker.group, filterPattern="disk", PaginationConfig={"PageSize": 1})
    assert [event["message"].rstrip("\n") for page in pages for event in page["events"]] == ["ERROR disk full", "WARN disk slow"]
    names = [stream["logStreamName"] for stream in logs.describe_log_streams(logGroupName=talker.group)["logStreams"]]
    assert len(found("disk", logStreamNames=names)) == 2
    assert len(found("disk", logStreamNamePrefix=names[0][:10])) == 2


def test_groups_are_made_kept_and_removed(logs, talker):
    name = f"/test/{uuid.uuid4().hex[:10]}"
    logs.create_log_group(logGroupName=name)
    assert refused(logs.create_log_group, logGroupName=name) == ("ResourceAlreadyExistsException", 400)
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    assert refused(logs.create_log_stream, logGroupName=name, logStreamName="s") == ("ResourceAlreadyExistsException", 400)
    assert logs.get_log_events(logGroupName=name, logStreamName="s")["events"] == []
    logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    assert refused(logs.put_retention_policy, logGroupName=name, retentionInDays=8) == ("InvalidParameterException", 400)
    shown = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
    assert shown["retentionInDays"] == 7
    assert logs.list_tags_for_resource(resourceArn=shown["logGroupArn"])["tags"] == {}
    logs.delete_log_group(logGroupName=name)
    assert refused(logs.describe_log_streams, logGroupName=name) == ("ResourceNotFoundException", 400)

    talker("before")
    time.sleep(0.01)
    logs.delete_log_group(logGroupName=talker.group)
    assert logs.describe_log_groups(logGroupNamePrefix=talker.group)["logGroups"] == []
    talker("after")
    events = logs.filter_log_events(logGroupName=talker.group)["events"]
    assert said(events, "before", "after") == ["after"], "the next line makes the group anew"


def test_a_group_is_made_after_its_function_as_long_as_nothing_is_written_in_it(logs, talker):
    """Terraform makes it after the function as often as before."""
    logs.create_log_group(logGroupName=talker.group, tags={"team": "a"}, logGroupClass="INFREQUENT_ACCESS")
    assert refused(logs.create_log_group, logGroupName=talker.group) == ("ResourceAlreadyExistsException", 400)
    shown = logs.describe_log_groups(logGroupNamePrefix=talker.group, logGroupClass="INFREQUENT_ACCESS")["logGroups"][0]
    assert (shown["logGroupName"], shown["logGroupClass"]) == (talker.group, "INFREQUENT_ACCESS")
    assert logs.describe_log_groups(logGroupNamePrefix=talker.group, logGroupClass="STANDARD")["logGroups"] == []
    talker("said")
    assert said(logs.filter_log_events(logGroupName=talker.group)["events"], "said") == ["said"]
    logs.delete_log_group(logGroupName=talker.group)
    talker("again")
    assert refused(logs.create_log_group, logGroupName=talker.group) == ("ResourceAlreadyExistsException", 400), "lines made it anew"


def test_groups_have_tags(logs, talker):
    name = f"/test/{uuid.uuid4().hex[:10]}"
    logs.create_log_group(logGroupName=name, tags={"a": "1"})
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{name}"
    logs.tag_resource(resourceArn=arn, tags={"b": "2", "c": "3"})
    logs.untag_resource(resourceArn=arn, tagKeys=["a", "c"])
    logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    assert refused(logs.tag_resource, resourceArn=arn, tags={f"t{number}": "" for number in range(50)}) == ("TooManyTagsException", 400)
    logs.delete_log_group(logGroupName=name)
    assert refused(logs.list_tags_for_resource, resourceArn=arn) == ("ResourceNotFoundException", 400)
    own = f"arn:aws:logs:us-east-1:000000000000:log-group:{talker.group}"
    logs.tag_resource(resourceArn=own, tags={"made": "by nobody"})
    assert logs.list_tags_for_resource(resourceArn=own)["tags"] == {"made": "by nobody"}
    for asked in ({"kmsKeyId": "arn:aws:kms:us-east-1:000000000000:key/a"}, {"deletionProtectionEnabled": True}):
        assert refused(logs.create_log_group, logGroupName=name, **asked) == ("InvalidParameterException", 400)


def test_a_live_tail_tells_what_comes(hearth, keys, talker):
    import boto3

    # AWS's clients put `streaming-` before the host's name otherwise.
    client = boto3.client(
        "logs",
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(inject_host_prefix=False, read_timeout=20, proxies={}),
    )
    talker("early")
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{talker.group}"
    stream = client.start_live_tail(logGroupIdentifiers=[arn], logEventFilterPattern="tell")["responseStream"]
    events = iter(stream)
    assert next(events)["sessionStart"]["logGroupIdentifiers"] == [arn]
    talker("tell this", "not that")
    deadline, found = time.monotonic() + 15, []
    while not found and time.monotonic() < deadline:
        found += next(events)["sessionUpdate"]["sessionResults"]
    stream.close()
    assert [event["message"].rstrip("\n") for event in found] == ["tell this"]
    assert found[0]["logStreamName"].count("/") == 3


def test_lines_are_followed_as_aws_logs_tail_does(logs, talker):
    """The loop of AWS's command line 2, which no package of Python's has: all pages from a moment on, again and again; what was
    shown is known by its id."""
    talker("tail-early")
    shown, seen, since = [], set(), int((time.time() - 300) * 1000)

    def look():
        nonlocal since
        pages = logs.client.get_paginator("filter_log_events").paginate(logGroupName=talker.group, startTime=since, interleaved=True)
        for event in [event for page in pages for event in page["events"]]:
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                shown.extend(said([event], "tail-"))
                since = event["timestamp"]
        return shown

    assert look() == ["tail-early"]
    for number in range(3):
        talker(f"tail-{number}")
        assert look()[-1] == f"tail-{number}"
    assert shown == ["tail-early", "tail-0", "tail-1", "tail-2"]
