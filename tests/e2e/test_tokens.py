"""API tokens with scopes, the access keys that go with them, and how often one may ask."""

import select
import time
from http.client import HTTPConnection

import pytest
from botocore.exceptions import ClientError

from harness import aws
from harness.door import credentials
from harness.wait import until

ECHO = """
def handler(event, context):
    print("line of the function")
    return event
"""


def make(hearth, name, *scopes, **more):
    status, _, made = hearth.api.call("POST", "/api/v1/tokens", {"name": name, "scopes": list(scopes), **more})
    assert status == 201, made
    return made


@pytest.fixture
def token(hearth):
    """Makes a token that goes with the test."""
    made = []

    def one(name, *scopes, **more):
        made.append(make(hearth, name, *scopes, **more))
        return made[-1]

    yield one
    for each in made:
        hearth.api.call("DELETE", f"/api/v1/tokens/{each['token']['id']}")


def invoke(hearth, name, secret):
    return hearth.api.call("POST", f"/2015-03-31/functions/{name}/invocations", {}, token=secret)[0]


def client(hearth, made):
    keys = {"AWS_ACCESS_KEY_ID": made["aws"]["access_key_id"], "AWS_SECRET_ACCESS_KEY": made["aws"]["secret_access_key"]}
    return aws.client(hearth, **keys)


def code_of(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_a_token_lets_its_holder_do_what_its_scopes_say(hearth, function, token):
    mine, other = function(ECHO), function(ECHO)
    secret = token("caller", f"invoke:{mine}", f"logs:{mine}")["secret"]
    assert invoke(hearth, mine, secret) == 200
    # As if it were not there, whether it is or not.
    assert [invoke(hearth, name, secret) for name in (other, "never-made")] == [404, 404]
    statuses = {
        path: hearth.api.call("GET", path, token=secret)[0]
        for path in (
            f"/api/v1/functions/{mine}/logs",
            f"/api/v1/functions/{other}/logs",
            f"/api/v1/functions/{mine}",
            "/api/v1/logs",
            "/api/v1/tokens",
            "/api/v1/audit",
            "/api/v1/secrets",
            "/metrics",
        )
    }
    assert list(statuses.values()) == [200, 404, 403, 403, 403, 403, 403, 403], statuses
    status, _, body = hearth.api.call("DELETE", f"/api/v1/functions/{mine}", token=secret)
    assert (status, body["code"]) == (403, "HEARTH-C002") and f"deploy:{mine}" in body["message"], body
    assert hearth.api.call("DELETE", f"/api/v1/functions/{other}", token=secret)[0] == 404
    assert hearth.api.call("GET", "/api/v1/functions", token=secret)[2]["functions"] == []


def test_the_command_makes_lists_and_revokes_and_deploys_with_less_than_all_rights(hearth, function, tmp_path):
    mine = function(ECHO)
    made = hearth.cli.ok("token", "create", "ci", "--scope", f"deploy:{mine}*", "--expires", "1d", "--json").json()
    secret, identifier = made["secret"], made["token"]["id"]
    try:
        assert made["token"]["expires"] > made["token"]["created"] and made["aws"] is None
        as_ci = {"environment": {"HEARTH_TOKEN": secret}}
        (tmp_path / "app.py").write_text("def handler(event, context):\n    return 'deployed by ci'\n")
        hearth.cli.ok("deploy", tmp_path, "--name", f"{mine}-2", "--runtime", "python3.11", "--handler", "app.handler", **as_ci)
        denied = hearth.cli.refused("deploy", tmp_path, "--name", "elsewhere", "--runtime", "python3.11", **as_ci)
        assert "deploy:elsewhere" in denied.text, denied
        assert "invoke:" in hearth.cli.refused("invoke", f"{mine}-2", **as_ci).text
        assert "no scope admin" in hearth.cli.refused("token", "ls", **as_ci).text
        by = hearth.cli.ok("history", f"{mine}-2", "--json").stdout
        assert "token ci" in by, by

        listed = hearth.cli.ok("token", "ls")
        assert secret not in listed.text and "never" in listed.stdout and identifier in listed.stdout, listed
        row = next(one for one in hearth.cli.ok("token", "ls", "--json").json() if one["id"] == identifier)
        assert row["last_used"] and row["scopes"] == [f"deploy:{mine}*"], row
        begun = time.monotonic()
        assert "revoked ci" in hearth.cli.ok("token", "revoke", "ci").stdout
        assert hearth.api.call("GET", f"/api/v1/functions/{mine}", token=secret)[0] == 401
        assert time.monotonic() - begun < 10
        assert "no token has the name" in hearth.cli.refused("token", "revoke", "ci").text
    finally:
        hearth.cli.run("rm", f"{mine}-2")
        hearth.cli.run("token", "revoke", "ci")


def test_what_cannot_be_is_refused_in_words(hearth):
    for arguments, said in (
        (["--scope", "invoke"], "invoke:NAME"),
        (["--scope", "write"], "secrets:write"),
        (["--scope", "read", "--expires", "1s"], "1m to 3650d"),
        ([], "--scope"),
    ):
        assert said in hearth.cli.refused("token", "create", "wrong", *arguments).text
    own = next(one for one in hearth.cli.ok("token", "ls", "--json").json() if one["own"])
    assert "installation's own" in hearth.cli.refused("token", "revoke", own["id"]).text


def test_a_revoked_token_ends_within_a_second_its_sessions_and_keys_as_well(hearth, function, token):
    mine = function(ECHO)
    made = token("short", f"invoke:{mine}", "read", aws=True)
    boto = client(hearth, made)
    assert boto.invoke(FunctionName=mine)["StatusCode"] == 200
    assert boto.get_function(FunctionName=mine)["Configuration"]["FunctionName"] == mine
    assert hearth.api.call("DELETE", f"/api/v1/tokens/{made['token']['id']}")[0] == 204
    revoked = time.monotonic()
    assert invoke(hearth, mine, made["secret"]) == 403
    assert code_of(boto.invoke, FunctionName=mine) == "UnrecognizedClientException"
    assert code_of(boto.get_function, FunctionName=mine) == "UnrecognizedClientException"
    assert time.monotonic() - revoked < 1


def test_an_access_key_has_the_scopes_of_its_token(hearth, function, token):
    mine, other = function(ECHO), function(ECHO)
    made = token("key", f"deploy:{mine}", aws=True)
    boto = client(hearth, made)
    boto.update_function_configuration(FunctionName=mine, MemorySize=256)
    assert code_of(boto.update_function_configuration, FunctionName=other, MemorySize=256) == "ResourceNotFoundException"
    assert code_of(boto.update_function_configuration, FunctionName="never", MemorySize=256) == "ResourceNotFoundException"
    assert code_of(boto.list_functions) == "AccessDeniedException"
    assert code_of(boto.invoke, FunctionName=mine) == "AccessDeniedException"
    # `hearth aws-env` gives each token its own.
    environment = {"HEARTH_TOKEN": made["secret"]}
    shown = hearth.cli.ok("aws-env", "--json", environment=environment).json()
    assert shown["AWS_ACCESS_KEY_ID"] == made["token"]["access_key_id"]
    none = token("none", "read")
    assert "--aws" in hearth.cli.refused("aws-env", environment={"HEARTH_TOKEN": none["secret"]}).text


def test_whoever_may_deploy_gives_a_function_nothing_that_it_did_not_have(new_hearth, tmp_path):
    """Its code could tell a secret, a broker is told a password, and files that became events may be removed."""
    photos = tmp_path / "photos"
    photos.mkdir()
    hearth = new_hearth(arguments=[f"--allow-mount={photos}"]).start()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(ECHO)
    hearth.cli.ok("deploy", tmp_path / "code", "--name", "mine", "--runtime", "python3.11", "--handler", "app.handler")
    hearth.cli.ok("secret", "set", "db-password", input="hush")
    made = make(hearth, "ci", "deploy:mine", aws=True)
    broker = {"kind": "mqtt", "name": "m", "broker": "mqtt://127.0.0.1:1", "topics": ["a"], "user": "u"}
    told = {**broker, "password": {"secret": "db-password"}}
    folder = {"kind": "folder", "name": "f", "path": str(photos)}

    def change(token=made["secret"], **write):
        status, _, body = hearth.api.call("PATCH", "/api/v1/functions/mine", write, token=token)
        return status, body.get("message", "")

    for write, scope in (
        ({"env": {"X": {"secret": "db-password"}}}, "secrets:write"),
        ({"sources": [told]}, "secrets:write"),
        ({"sources": [folder]}, "admin"),
    ):
        status, message = change(**write)
        assert status == 403 and scope in message, (write, status, message)
    alias = {"version": "$LATEST", "env": {"X": {"secret": "db-password"}}}
    status, _, body = hearth.api.call("PUT", "/api/v1/functions/mine/aliases/a", alias, token=made["secret"])
    assert status == 403 and "secrets:write" in body["message"], body
    assert code_of(client(hearth, made).update_function_code, FunctionName="mine", S3Bucket="any", S3Key="any") == "AccessDeniedException"

    # What it has it keeps, and a password goes to no other broker, nor are files removed that were not before.
    assert change(hearth.token, sources=[told, folder])[0] == 200
    assert change(description="changed")[0] == 200
    assert change(sources=[{**told, "topics": ["b"]}, folder])[0] == 200
    status, message = change(sources=[{**told, "broker": "mqtt://127.0.0.1:2"}, folder])
    assert status == 403 and "secrets:write" in message
    status, message = change(sources=[told, {**folder, "after": "delete"}])
    assert status == 403 and "admin" in message
    assert change(sources=[])[0] == 200


def test_who_hangs_up_is_in_the_audit_log_all_the_same(new_hearth):
    hearth = new_hearth().start()
    headers = {"authorization": f"Bearer {hearth.token}", "content-type": "application/octet-stream"}
    # Each hangs up a little later than the one before, and the last when it sees the first byte of its answer.
    for number in range(20):
        connection = HTTPConnection("127.0.0.1", hearth.port, timeout=10)
        connection.request("PUT", f"/api/v1/secrets/s{number}", "value", headers)
        select.select([connection.sock], [], [], number * 0.0005 if number < 19 else 10)
        connection.close()

    def all_recorded():
        there = {one["name"] for one in hearth.api.call("GET", "/api/v1/secrets")[2]["secrets"]}
        said = {one["object"] for one in hearth.api.call("GET", "/api/v1/audit?limit=100")[2]["records"]}
        assert {f"secrets/{name}" for name in there} <= said
        return "s19" in there

    until("what was done to be recorded", all_recorded)


def test_tokens_outlive_a_restart_and_the_chosen_access_key_is_the_admins(new_hearth, tmp_path):
    environment = {"HEARTH_AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "HEARTH_AWS_SECRET_ACCESS_KEY": "test-secret"}
    place = ["--region", "eu-central-1", "--account-id", "123456789012"]
    hearth = new_hearth(environment=environment, arguments=place).start()
    assert credentials(hearth)["AWS_REGION"] == "eu-central-1"
    (tmp_path / "app.py").write_text(ECHO)
    hearth.cli.ok("deploy", tmp_path, "--name", "placed", "--runtime", "python3.11", "--handler", "app.handler")
    shown = aws.client(hearth).get_function(FunctionName="placed")["Configuration"]["FunctionArn"]
    assert shown == "arn:aws:lambda:eu-central-1:123456789012:function:placed"
    hearth.cli.ok("rm", "placed")
    assert credentials(hearth)["AWS_ACCESS_KEY_ID"] == "AKIAIOSFODNN7EXAMPLE"
    made, gone = make(hearth, "kept", "read", aws=True), make(hearth, "gone", "read", aws=True)
    hearth.api.call("DELETE", f"/api/v1/tokens/{gone['token']['id']}")
    assert hearth.api.call("GET", "/api/v1/functions", token=made["secret"])[0] == 200
    hearth.stop()
    hearth.start()
    assert hearth.api.call("GET", "/api/v1/functions", token=made["secret"])[0] == 200
    assert hearth.api.call("GET", "/api/v1/functions", token=gone["secret"])[0] == 401
    assert client(hearth, made).list_functions()["Functions"] == []
    assert code_of(client(hearth, gone).list_functions) == "UnrecognizedClientException"
    mine = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "test-secret"}
    assert aws.client(hearth, **mine).list_functions()["Functions"] == []
    wrong = {**mine, "AWS_SECRET_ACCESS_KEY": "test-secreT"}
    assert code_of(aws.client(hearth, **wrong).list_functions) == "InvalidSignatureException"
    # Neither in what anybody may read of its processes, nor in what it printed.
    assert "test-secret" not in hearth.output()
    assert made["secret"] not in hearth.output()


def test_whoever_fails_to_log_in_waits_and_whoever_asks_too_often_too(new_hearth):
    hearth = new_hearth(arguments=["--api-rate", "2/s"]).start()

    def login(secret):
        connection = HTTPConnection("127.0.0.1", hearth.port, timeout=60)
        try:
            body = '{"token": "%s"}' % secret
            connection.request("POST", "/api/v1/session", body=body, headers={"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers
        finally:
            connection.close()

    assert [login("hth_wrong")[0] for _ in range(5)] == [401] * 5
    status, headers = login(hearth.token)
    assert status == 429 and 50 <= int(headers["retry-after"]) <= 60, headers["retry-after"]

    answers = [hearth.api.call("GET", "/api/v1/session") for _ in range(12)]
    refused = [headers for status, headers, _ in answers if status == 429]
    assert answers[0][0] == 200 and refused and int(refused[0]["retry-after"]) >= 1
    time.sleep(int(refused[-1]["retry-after"]) + 0.5)
    assert hearth.api.call("GET", "/api/v1/session")[0] == 200
