"""The AWS Lambda Invoke API, through boto3 and below it."""

import base64
import json
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError

from harness import aws
from harness.door import Door
from harness.functions import ECHO

TALKATIVE = """
def handler(event, context):
    print("first of all")
    for number in range(event.get("lines", 0)):
        print("filler", number)
    print("last of all")
    custom = context.client_context
    return {"id": context.aws_request_id, "custom": custom.custom if custom else None,
            "client": custom.client.app_title if custom else None}
"""


@pytest.fixture(scope="module")
def talkative(hearth, tmp_path_factory):
    from harness.functions import write

    hearth.cli.deploy(write(tmp_path_factory.mktemp("f") / "f", TALKATIVE), "talkative", "python3.11", "app.handler")
    yield "talkative"
    hearth.api.remove("talkative")


def error_of(call):
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer


def test_an_invocation_has_awss_fields(boto, talkative):
    answer = boto.invoke(FunctionName=talkative, Payload=b"{}")
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer and "LogResult" not in answer
    assert json.load(answer["Payload"])["id"] == answer["ResponseMetadata"]["RequestId"]


def test_the_log_tail_comes_when_asked_for(boto, talkative):
    answer = boto.invoke(FunctionName=talkative, Payload=b"{}", LogType="Tail")
    tail = aws.log_tail(answer)
    assert "first of all" in tail and "last of all" in tail


def test_the_log_tail_is_the_last_4_kb(boto, talkative):
    answer = boto.invoke(FunctionName=talkative, Payload=b'{"lines": 2000}', LogType="Tail")
    raw = base64.b64decode(answer["LogResult"])
    assert len(raw) <= 4096 and b"last of all" in raw and b"first of all" not in raw


def test_the_client_context_arrives(boto, talkative):
    context = {"client": {"app_title": "tests"}, "custom": {"key": "välue"}}
    encoded = base64.b64encode(json.dumps(context).encode()).decode()
    answer = boto.invoke(FunctionName=talkative, Payload=b"{}", ClientContext=encoded)
    seen = json.load(answer["Payload"])
    assert seen["custom"] == {"key": "välue"} and seen["client"] == "tests"


def test_the_qualifier_latest_is_accepted_and_another_is_not_found(boto, talkative):
    assert boto.invoke(FunctionName=talkative, Qualifier="$LATEST", Payload=b"{}")["StatusCode"] == 200
    code, status, _ = error_of(lambda: boto.invoke(FunctionName=talkative, Qualifier="17", Payload=b"{}"))
    assert (code, status) == ("ResourceNotFoundException", 404)


def test_a_function_may_be_named_by_its_arn(boto, hearth, talkative, keys):
    for name in (f"arn:aws:lambda:{keys['AWS_REGION']}:000000000000:function:{talkative}", f"{talkative}:$LATEST"):
        assert boto.invoke(FunctionName=name, Payload=b"{}")["StatusCode"] == 200


def test_an_empty_payload_is_an_empty_event(boto, function):
    name = function(ECHO)
    assert json.load(boto.invoke(FunctionName=name)["Payload"]) == {}


def test_an_unknown_function_is_not_found(boto):
    code, status, answer = error_of(lambda: boto.invoke(FunctionName="nobody-home", Payload=b"{}"))
    assert (code, status) == ("ResourceNotFoundException", 404)
    assert answer["Error"]["Message"].startswith("Function not found: arn:aws:lambda:")
    assert answer["Error"]["Message"].endswith(":function:nobody-home")


def test_a_dry_run_runs_nothing(boto, hearth, talkative):
    before = len(hearth.api.invocations(talkative, limit=1000))
    answer = boto.invoke(FunctionName=talkative, InvocationType="DryRun", Payload=b"{}")
    assert answer["StatusCode"] == 204
    assert len(hearth.api.invocations(talkative, limit=1000)) == before


def test_a_wrong_secret_is_refused(hearth, talkative):
    stranger = aws.client(hearth, AWS_SECRET_ACCESS_KEY="wrong")
    code, status, _ = error_of(lambda: stranger.invoke(FunctionName=talkative, Payload=b"{}"))
    assert (code, status) == ("InvalidSignatureException", 403)


def test_an_unknown_key_is_refused(hearth, talkative):
    stranger = aws.client(hearth, AWS_ACCESS_KEY_ID="AKIANOBODYNOBODYNOBO")
    code, status, _ = error_of(lambda: stranger.invoke(FunctionName=talkative, Payload=b"{}"))
    assert (code, status) == ("UnrecognizedClientException", 403)


def test_a_call_without_a_signature_is_refused_also_for_what_is_not_there(hearth, talkative):
    # The same answer for both: nobody learns names without a key.
    answers = set()
    for name in (talkative, "nobody-home"):
        status, headers, body = hearth.api.call("POST", f"/2015-03-31/functions/{name}/invocations", body={}, token="x")
        answers.add((status, headers.get("x-amzn-errortype"), str(body)))
    assert len(answers) == 1
    assert answers.pop()[0] == 403


def test_a_changed_body_is_refused(hearth, keys, talkative):
    from harness.door import sign
    from http.client import HTTPConnection

    path = f"/2015-03-31/functions/{talkative}/invocations"
    headers = sign("POST", path, {"host": f"127.0.0.1:{hearth.port}"}, b'{"lines": 0}', keys)
    connection = HTTPConnection("127.0.0.1", hearth.port, timeout=20)
    connection.request("POST", path, body=b'{"lines": 1}', headers=headers)
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_signature_from_another_time_is_refused(hearth, keys, talkative, minutes):
    with Door(hearth, keys) as door:
        answer = door.invoke(talkative, {}, now=datetime.now(timezone.utc) + timedelta(minutes=minutes))
    assert answer.status == 403


def test_request_ids_are_never_given_twice(hearth, keys, talkative):
    with Door(hearth, keys) as door:
        ids = {door.invoke(talkative, {}).request_id for _ in range(50)}
    assert len(ids) == 50


def test_a_record_is_kept_of_each_invocation(hearth, keys, talkative):
    with Door(hearth, keys) as door:
        answer = door.invoke(talkative, {"lines": 1})
    record = hearth.api.record(talkative, answer.request_id)
    assert isinstance(record["cold"], bool)
    assert "ok" in json.dumps(record["outcome"]).lower()
    assert any("memory" in key for key in record) and any("cpu" in key for key in record)
    newest_first = [one["request_id"] for one in hearth.api.invocations(talkative, limit=2)]
    assert newest_first[0] == answer.request_id and len(newest_first) <= 2


def test_the_api_wants_the_token(hearth):
    for token in ("", "wrong", hearth.token[:-1]):
        for method, path in (("GET", "/api/v1/functions"), ("DELETE", "/api/v1/functions/talkative")):
            assert hearth.api.call(method, path, token=token or " ")[0] == 401


def test_what_of_awss_api_is_not_here_yet_says_so(boto):
    with pytest.raises(ClientError) as error:
        boto.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": ["arn:aws:signer:us-east-1:123456789012:/signing-profiles/p/v"]})
    assert error.value.response["Error"]["Code"] == "NotImplementedException"
    assert "docs/lambda-api.md" in error.value.response["Error"]["Message"]
