"""AWS Lambda's API through boto3: functions, versions, aliases and what belongs to them, as a script for AWS drives it.

Every answer is held against the service model inside botocore: no member that is not in it, none missing that must be there,
each of the right type, each enum's value one of its values.
"""

import base64
import hashlib
import io
import json
import uuid
import zipfile

import pytest

from harness.checked import Checked, refused


ROLE = "arn:aws:iam::000000000000:role/lambda"
CODE = "import os\ndef handler(event, context):\n    return {'said': 'VERSION', 'env': os.environ.get('COLOUR'), 'version': context.function_version, 'arn': context.invoked_function_arn}\n"


def package(version="1", code=CODE):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code.replace("VERSION", version))
    return buffer.getvalue()


@pytest.fixture
def lambda_(boto):
    return Checked(boto)


@pytest.fixture
def made(hearth, lambda_):
    names = []

    def make(**more):
        name = f"api-{uuid.uuid4().hex[:10]}"
        wanted = {"FunctionName": name, "Role": ROLE, "Runtime": "python3.11", "Handler": "app.handler", "Code": {"ZipFile": package()}}
        names.append(name)
        return name, lambda_.create_function(**wanted | more)

    yield make
    for name in names:
        hearth.api.remove(name)


def call(lambda_, name, **more):
    answer = lambda_.invoke(FunctionName=name, **more)
    assert "FunctionError" not in answer
    return json.load(answer["Payload"])


def test_a_function_is_made_shown_changed_and_removed(lambda_, made):
    name, function = made(Description="first", Timeout=5, MemorySize=256, Environment={"Variables": {"COLOUR": "red"}}, Tags={"team": "a"})
    lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
    assert function["CodeSha256"] == base64.b64encode(hashlib.sha256(package()).digest()).decode()
    assert (function["State"], function["Version"], function["MemorySize"], function["Timeout"]) == ("Active", "$LATEST", 256, 5)
    assert function["FunctionArn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert call(lambda_, name)["env"] == "red"

    whole = lambda_.get_function(FunctionName=function["FunctionArn"])
    assert whole["Tags"] == {"team": "a"} and whole["Code"]["RepositoryType"] == "S3"
    assert lambda_.get_function_configuration(FunctionName=name)["RevisionId"] == function["RevisionId"]

    changed = lambda_.update_function_configuration(FunctionName=name, RevisionId=function["RevisionId"], Timeout=7, Environment={"Variables": {"OTHER": "x"}})
    assert changed["RevisionId"] != function["RevisionId"] and changed["Timeout"] == 7
    assert changed["Environment"]["Variables"] == {"OTHER": "x"}, "an environment is replaced whole"
    assert changed["MemorySize"] == 256 and changed["Description"] == "first", "what is not said stays"
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert call(lambda_, name)["env"] is None

    dry = lambda_.update_function_code(FunctionName=name, ZipFile=package("2"), DryRun=True)
    assert dry["CodeSha256"] != function["CodeSha256"] and call(lambda_, name)["said"] == "1"
    lambda_.update_function_code(FunctionName=name, ZipFile=package("2"))
    assert call(lambda_, name)["said"] == "2"

    lambda_.client.delete_function(FunctionName=name)
    assert refused(lambda_.get_function, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    assert refused(lambda_.delete_function, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)


def test_what_is_wrong_is_refused_as_aws_refuses_it(lambda_, made):
    name, function = made()
    exists = refused(lambda_.create_function, FunctionName=name, Role=ROLE, Runtime="python3.11", Handler="app.handler", Code={"ZipFile": package()})
    assert exists == ("ResourceConflictException", 409, f"Function already exist: {name}")
    stale = refused(lambda_.update_function_code, FunctionName=name, ZipFile=package("2"), RevisionId="00000000-0000-4000-8000-000000000000")
    assert stale[:2] == ("PreconditionFailedException", 412)
    code, status, message = refused(lambda_.update_function_configuration, FunctionName=name, Timeout=901)
    assert (code, status) == ("InvalidParameterValueException", 400) and "timeout" in message
    code, status, message = refused(lambda_.update_function_configuration, FunctionName=name, MemorySize=40000)
    assert (code, status) == ("ValidationException", 400)
    assert message == "1 validation error detected: Value '40000' at 'memorySize' failed to satisfy constraint: Member must have value less than or equal to 32768"
    code, status, message = refused(lambda_.update_function_configuration, FunctionName=name, Runtime="cobol1")
    assert (code, status) == ("ValidationException", 400) and "enum value set" in message
    for asked, word in (
        ({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}, "VpcConfig"),
        ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:nobody:1"]}, "layer:nobody:1 does not exist"),
        ({"Runtime": "python3.9"}, "python3.9"),
        ({"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"}}, "OnFailure"),
        ({"Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}}}, "AWS_LAMBDA_EXEC_WRAPPER is not honoured"),
        ({"LoggingConfig": {"LogGroup": "/another"}}, "LogGroup"),
        ({"LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "WARN"}}, "SystemLogLevel"),
        ({"LoggingConfig": {"LogFormat": "Text", "ApplicationLogLevel": "WARN"}}, "for LogFormat JSON only"),
    ):
        code, status, message = refused(lambda_.update_function_configuration, FunctionName=name, **asked)
        assert (code, status) == ("InvalidParameterValueException", 400) and word in message
    for asked, word in (
        ({"CodeSigningConfigArn": "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdefg"}, "CodeSigningConfigArn"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
        ({"Code": {"ZipFile": package(), "SourceKMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/a"}}, "SourceKMSKeyArn"),
        ({"PublishTo": "LATEST_PUBLISHED"}, "PublishTo"),
    ):
        wanted = {"FunctionName": f"{name}-more", "Role": ROLE, "Runtime": "python3.11", "Handler": "app.handler", "Code": {"ZipFile": package()}}
        code, status, message = refused(lambda_.create_function, **wanted | asked)
        assert (code, status) == ("InvalidParameterValueException", 400) and word in message
    assert refused(lambda_.update_function_code, FunctionName=name, ZipFile=b"no zip")[:2] == ("InvalidParameterValueException", 400)
    assert lambda_.get_function_configuration(FunctionName=name)["RevisionId"] == function["RevisionId"], "nothing was changed"
    assert refused(lambda_.list_functions, Marker="x")[0] == "InvalidParameterValueException"
    assert refused(lambda_.put_function_code_signing_config, FunctionName=name, CodeSigningConfigArn="arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdefg")[:2] == ("NotImplementedException", 501)


def test_versions_and_aliases(lambda_, made):
    name, first = made(Publish=True)
    assert first["Version"] == "1" and first["FunctionArn"].endswith(f"{name}:1")
    assert lambda_.publish_version(FunctionName=name)["Version"] == "1", "nothing changed"
    lambda_.update_function_code(FunctionName=name, ZipFile=package("2"))
    second = lambda_.publish_version(FunctionName=name, Description="the second")
    assert (second["Version"], second["Description"]) == ("2", "the second")
    listed = lambda_.list_versions_by_function(FunctionName=name)["Versions"]
    assert [one["Version"] for one in listed] == ["$LATEST", "1", "2"]

    alias = lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert refused(lambda_.create_alias, FunctionName=name, Name="live", FunctionVersion="1")[:2] == ("ResourceConflictException", 409)
    told = call(lambda_, name, Qualifier="live")
    assert (told["said"], told["version"]) == ("1", "1") and told["arn"] == alias["AliasArn"]
    assert call(lambda_, f"{name}:2")["said"] == "2"
    assert lambda_.invoke(FunctionName=f"{name}:live")["ExecutedVersion"] == "1"

    moved = lambda_.update_alias(FunctionName=name, Name="live", RevisionId=alias["RevisionId"], FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}})
    assert moved["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.5}}
    assert refused(lambda_.update_alias, FunctionName=name, Name="live", RevisionId=alias["RevisionId"])[:2] == ("PreconditionFailedException", 412)
    said = [call(lambda_, name, Qualifier="live")["said"] for _ in range(20)]
    assert sorted(said) == ["1"] * 10 + ["2"] * 10
    assert lambda_.get_alias(FunctionName=name, Name="live")["RevisionId"] == moved["RevisionId"]
    assert [one["Name"] for one in lambda_.list_aliases(FunctionName=name)["Aliases"]] == ["live"]
    assert lambda_.get_function(FunctionName=name, Qualifier="live")["Configuration"]["Version"] == "1"

    assert refused(lambda_.client.delete_function, FunctionName=name, Qualifier="1")[1] == 409, "an alias leads to it"
    lambda_.delete_alias(FunctionName=name, Name="live")
    lambda_.client.delete_function(FunctionName=name, Qualifier="1")
    assert refused(lambda_.get_function, FunctionName=name, Qualifier="1")[:2] == ("ResourceNotFoundException", 404)
    assert refused(lambda_.client.delete_function, FunctionName=name, Qualifier="$LATEST")[:2] == ("InvalidParameterValueException", 400)


def test_no_version_is_made_of_what_belongs_to_none(lambda_, made):
    name, first = made(Publish=True)
    lambda_.tag_resource(Resource=first["FunctionArn"].rsplit(":", 1)[0], Tags={"a": "1"})
    lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    assert lambda_.publish_version(FunctionName=name)["Version"] == "1"
    lambda_.update_function_configuration(FunctionName=name, Timeout=9)
    assert lambda_.publish_version(FunctionName=name)["Version"] == "2"
    assert lambda_.get_function_configuration(FunctionName=name, Qualifier="1")["Timeout"] == 3


def test_lines_are_json_of_a_level_where_the_function_says_so(lambda_, made):
    code = "import logging\ndef handler(event, context):\n    logging.info('not shown')\n    logging.warning('shown')\n"
    name, function = made(Code={"ZipFile": package(code=code)}, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})
    own = {"LogGroup": f"/aws/lambda/{name}"}
    assert function["LoggingConfig"] == own | {"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO"}

    def said():
        tail = base64.b64decode(lambda_.invoke(FunctionName=name, LogType="Tail")["LogResult"]).decode()
        return [line for line in tail.splitlines() if "shown" in line]

    [line] = said()
    assert json.loads(line)["message"] == "shown" and json.loads(line)["level"] == "WARNING"
    changed = lambda_.update_function_configuration(FunctionName=name, LoggingConfig={"LogFormat": "Text"} | own)
    assert changed["LoggingConfig"] == own | {"LogFormat": "Text"}
    assert [line.startswith("[WARNING]") for line in said()] == [True]


@pytest.mark.parametrize("runtime, handler, file, code, word", [
    ("python3.11", "app.handler", "app.py", "import boto3\ndef handler(event, context):\n    pass\n", "boto3"),
    ("nodejs20.x", "app.handler", "app.js", "require('@aws-sdk/client-s3')\nexports.handler = async () => {}\n", "@aws-sdk/client-s3"),
    ("nodejs20.x", "app.handler", "app.mjs", "import '@aws-sdk/client-s3'\nexport const handler = async () => {}\n", "@aws-sdk/client-s3"),
])
def test_a_sdk_that_only_awss_runtimes_have_is_named(lambda_, made, runtime, handler, file, code, word):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(file, code)
    name, _ = made(Runtime=runtime, Handler=handler, Code={"ZipFile": buffer.getvalue()})
    answer = lambda_.invoke(FunctionName=name)
    error = json.load(answer["Payload"])
    assert answer["FunctionError"] == "Unhandled"
    assert f"(AWS's runtimes have {word}, Hearth's do not: put it into the package, or into a layer)" in error["errorMessage"]


def test_what_is_made_here_reaches_what_the_server_says(hearth, made, new_hearth):
    from harness import aws

    name, _ = made()
    assert hearth.api.get(f"/api/v1/functions/{name}")["egress"] == "none"
    another = new_hearth()
    another.arguments += ["--lambda-egress", "internet"]
    another.start()
    try:
        aws.client(another).create_function(FunctionName="open", Role=ROLE, Runtime="python3.11", Handler="app.handler", Code={"ZipFile": package()})
        assert another.api.get("/api/v1/functions/open")["egress"] == "internet"
    finally:
        another.stop()


def test_lists_come_in_pages(lambda_, made):
    names = {made()[0] for _ in range(3)}
    pages = list(lambda_.client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}))
    assert all(len(page["Functions"]) <= 2 for page in pages)
    assert names <= {one["FunctionName"] for page in pages for one in page["Functions"]}
    lambda_.list_functions(FunctionVersion="ALL")


def test_tags_concurrency_events_and_urls(hearth, lambda_, made):
    name, function = made()
    other, _ = made()
    arn = function["FunctionArn"]
    lambda_.tag_resource(Resource=arn, Tags={"a": "1", "b": "2"})
    lambda_.untag_resource(Resource=arn, TagKeys=["a"])
    assert lambda_.list_tags(Resource=arn)["Tags"] == {"b": "2"}

    assert "ReservedConcurrentExecutions" not in lambda_.get_function_concurrency(FunctionName=name)
    lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert lambda_.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 0
    assert refused(lambda_.client.invoke, FunctionName=name)[:2] == ("TooManyRequestsException", 429)
    lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1000)
    assert lambda_.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 1000, "as much as is usual is said all the same"
    lambda_.delete_function_concurrency(FunctionName=name)
    assert "ReservedConcurrentExecutions" not in lambda_.get_function_concurrency(FunctionName=name)
    assert call(lambda_, name)["said"] == "1"

    assert refused(lambda_.get_function_event_invoke_config, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    to = {"OnFailure": {"Destination": f"arn:aws:lambda:us-east-1:000000000000:function:{other}"}}
    config = lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1, MaximumEventAgeInSeconds=60, DestinationConfig=to)
    assert config["DestinationConfig"]["OnFailure"] == to["OnFailure"]
    lambda_.update_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    config = lambda_.get_function_event_invoke_config(FunctionName=name)
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)
    assert len(lambda_.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"]) == 1
    lambda_.delete_function_event_invoke_config(FunctionName=name)
    lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=2, MaximumEventAgeInSeconds=21600)
    config = lambda_.get_function_event_invoke_config(FunctionName=name)
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (2, 21600), "what is usual was said all the same"
    lambda_.delete_function_event_invoke_config(FunctionName=name)
    assert refused(lambda_.get_function_event_invoke_config, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)

    assert refused(lambda_.get_function_url_config, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    url = lambda_.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    assert url == f"http://127.0.0.1:{hearth.ingress_port}/fn/{name}/"
    assert refused(lambda_.create_function_url_config, FunctionName=name, AuthType="NONE")[:2] == ("ResourceConflictException", 409)
    lambda_.update_function_url_config(FunctionName=name, AuthType="NONE")
    assert len(lambda_.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]) == 1
    lambda_.delete_function_url_config(FunctionName=name)


def test_what_nobody_configured_is_answered_as_aws_does(lambda_, made):
    name, _ = made()
    assert lambda_.get_function_code_signing_config(FunctionName=name)["CodeSigningConfigArn"] == ""
    assert lambda_.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    assert lambda_.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    assert refused(lambda_.get_policy, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    assert lambda_.list_event_source_mappings(FunctionName=name)["EventSourceMappings"] == []
    assert lambda_.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"] == []
    assert lambda_.get_account_settings()["AccountUsage"]["FunctionCount"] >= 1


def test_a_stranger_is_refused(hearth):
    from harness import aws

    stranger = aws.client(hearth, AWS_SECRET_ACCESS_KEY="x" * 40)
    code, status, _ = refused(stranger.list_functions)
    assert status == 403 and code in ("InvalidSignatureException", "SignatureDoesNotMatch")
