"""EventBridge's schedules and rules: functions really run by them."""

import json
import time
import uuid
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError

from harness import aws
from harness.checked import Checked
from harness.wait import until

ROLE = "arn:aws:iam::000000000000:role/any"
CODE = """
import json
def handler(event, context):
    print("CALLED " + json.dumps(event), flush=True)
"""


@pytest.fixture(scope="module")
def scheduler(hearth):
    return Checked(aws.client(hearth, "scheduler"))


@pytest.fixture(scope="module")
def rules(hearth):
    return Checked(aws.client(hearth, "events"))


@pytest.fixture
def called(hearth, function):
    name = function(CODE)

    def calls():
        lines = aws.client(hearth, "logs").filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="CALLED")["events"]
        return [json.loads(line["message"].split("CALLED ", 1)[1]) for line in lines]

    calls.function = name
    calls.arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    return calls


@pytest.fixture
def unique():
    return f"s-{uuid.uuid4().hex[:10]}"


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def soon(seconds=2):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("at(%Y-%m-%dT%H:%M:%S)")


def test_a_schedule_calls_its_function(scheduler, called, unique):
    once = {"Name": unique, "FlexibleTimeWindow": {"Mode": "OFF"}, "ScheduleExpression": soon()}
    arn = scheduler.create_schedule(**once, Target={"Arn": called.arn, "RoleArn": ROLE, "Input": '{"n": [1, 2]}'})["ScheduleArn"]
    assert arn == f"arn:aws:scheduler:us-east-1:000000000000:schedule/default/{unique}"
    until("the call", lambda: called() == [{"n": [1, 2]}], within=20)
    # Without an input it is the scheduler's own event.
    scheduler.update_schedule(**once | {"ScheduleExpression": soon()}, Target={"Arn": called.arn, "RoleArn": ROLE})
    until("the second call", lambda: len(called()) == 2, within=20)
    event = called()[1]
    assert event["source"] == "aws.scheduler" and event["resources"] == [arn] and event["detail"] == "{}"
    scheduler.delete_schedule(Name=unique)
    assert refused(scheduler.get_schedule, Name=unique) == ("ResourceNotFoundException", 404)
    assert refused(scheduler.delete_schedule, Name=unique) == ("ResourceNotFoundException", 404)


def test_a_schedule_is_shown_as_it_was_made(hearth, scheduler, called, unique):
    begin = datetime.now(timezone.utc).replace(microsecond=0)
    given = {
        "Name": unique,
        "Description": "d",
        "ScheduleExpression": "cron(0 3 * * ? *)",
        "ScheduleExpressionTimezone": "Europe/Berlin",
        "State": "DISABLED",
        "StartDate": begin,
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        "Target": {"Arn": called.arn, "RoleArn": ROLE, "Input": "{}"},
    }
    scheduler.create_schedule(**given)
    assert refused(scheduler.create_schedule, **given) == ("ConflictException", 409)
    shown = scheduler.get_schedule(Name=unique)
    for name, value in given.items():
        if name != "Target":
            assert shown[name] == value, name
    assert shown["Target"]["Input"] == "{}" and shown["GroupName"] == "default"
    scheduler.update_schedule(**given | {"State": "ENABLED"})
    assert scheduler.get_schedule(Name=unique)["State"] == "ENABLED"
    listed = scheduler.list_schedules(NamePrefix=unique)["Schedules"]
    assert [one["Name"] for one in listed] == [unique]
    assert scheduler.list_schedules(NamePrefix=unique, State="DISABLED")["Schedules"] == []
    ours = hearth.cli.ok("schedule", "list", called.function, "--json")
    assert f"scheduler:{unique}" in ours.stdout, "hearth shows it too"
    assert scheduler.list_schedule_groups()["ScheduleGroups"][0]["Name"] == "default"
    scheduler.delete_schedule(Name=unique)


def test_what_is_not_done_is_refused(scheduler, rules, called, unique):
    good = {"Name": unique, "FlexibleTimeWindow": {"Mode": "OFF"}, "ScheduleExpression": "rate(1 day)"}
    target = {"Arn": called.arn, "RoleArn": ROLE}
    for wrong in (
        {"ScheduleExpression": "every day"},
        {"ScheduleExpression": "* * * * *"},
        {"ScheduleExpressionTimezone": "Mars/Olympus"},
        {"ActionAfterCompletion": "DELETE"},
        {"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}},
        {"Target": target | {"Input": "no json"}},
        {"Target": target | {"Arn": "arn:aws:sqs:us-east-1:000000000000:q"}},
        {"Target": target | {"RetryPolicy": {"MaximumRetryAttempts": 3}}},
        {"Target": target | {"DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:000000000000:q"}}},
    ):
        assert refused(scheduler.create_schedule, **good | {"Target": target} | wrong) == ("ValidationException", 400), wrong
    assert refused(scheduler.create_schedule, **good, Target=target, GroupName="other") == ("ResourceNotFoundException", 404)
    for wrong in ({"EventPattern": "{}", "ScheduleExpression": "rate(1 day)"}, {}, {"ScheduleExpression": "at(2030-01-01T00:00:00)"}):
        assert refused(rules.put_rule, Name=unique, **wrong) == ("ValidationException", 400), wrong


def test_a_rule_calls_its_targets(rules, called, unique):
    arn = rules.put_rule(Name=unique, ScheduleExpression="rate(1 minute)", Description="d")["RuleArn"]
    assert refused(rules.put_targets, Rule="none", Targets=[{"Id": "1", "Arn": called.arn}]) == ("ResourceNotFoundException", 400)
    put = rules.put_targets(Rule=unique, Targets=[{"Id": "a", "Arn": called.arn}, {"Id": "b", "Arn": called.arn, "Input": '{"b": 1}'}])
    assert put["FailedEntryCount"] == 0
    shown = rules.describe_rule(Name=unique)
    assert (shown["State"], shown["ScheduleExpression"], shown["Arn"]) == ("ENABLED", "rate(1 minute)", arn)
    assert [target["Id"] for target in rules.list_targets_by_rule(Rule=unique)["Targets"]] == ["a", "b"]
    assert rules.list_rule_names_by_target(TargetArn=called.arn)["RuleNames"] == [unique]
    assert [rule["Name"] for rule in rules.list_rules(NamePrefix=unique)["Rules"]] == [unique]
    assert refused(rules.delete_rule, Name=unique) == ("ValidationException", 400)
    begun = time.monotonic()
    until("both calls", lambda: len(called()) >= 2, within=75, every=0.5)
    assert time.monotonic() - begun < 70
    events = called()
    assert {"b": 1} in events
    own = next(event for event in events if event != {"b": 1})
    assert own["source"] == "aws.events" and own["resources"] == [arn]
    rules.disable_rule(Name=unique)
    assert rules.describe_rule(Name=unique)["State"] == "DISABLED"
    rules.enable_rule(Name=unique)
    rules.remove_targets(Rule=unique, Ids=["a", "b"])
    rules.delete_rule(Name=unique)
    assert refused(rules.describe_rule, Name=unique) == ("ResourceNotFoundException", 400)


def test_rules_have_tags(rules, unique):
    tag = {"Key": "a", "Value": "1"}
    arn = rules.put_rule(Name=unique, ScheduleExpression="rate(1 day)", Tags=[tag])["RuleArn"]
    rules.tag_resource(ResourceARN=arn, Tags=[{"Key": "b", "Value": "2"}])
    rules.put_rule(Name=unique, ScheduleExpression="rate(2 days)", Tags=[{"Key": "ignored", "Value": ""}])
    assert rules.list_tags_for_resource(ResourceARN=arn)["Tags"] == [tag, {"Key": "b", "Value": "2"}]
    rules.untag_resource(ResourceARN=arn.replace("rule/", "rule/default/"), TagKeys=["b"])
    assert rules.list_tags_for_resource(ResourceARN=arn)["Tags"] == [tag]
    many = [{"Key": f"t{number}", "Value": ""} for number in range(50)]
    assert refused(rules.tag_resource, ResourceARN=arn, Tags=many) == ("LimitExceededException", 400)
    rules.delete_rule(Name=unique)
    assert refused(rules.list_tags_for_resource, ResourceARN=arn) == ("ResourceNotFoundException", 400)
    assert refused(rules.tag_resource, ResourceARN=arn.replace("rule/", "archive/"), Tags=[tag]) == ("ResourceNotFoundException", 400)
