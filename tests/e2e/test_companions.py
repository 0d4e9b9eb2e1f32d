"""The services beside Lambda: told apart by the credential scope, each with errors of its own protocol."""

import json
import os
import subprocess
import sys
import urllib.request
import uuid
import zipfile
from urllib.error import HTTPError

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import aws
from harness.checked import Checked, refused



def send(hearth, keys, service, path="/", body=b"", method="POST", **headers):
    """A request signed for a service, and otherwise as it is given."""
    request = AWSRequest(method, hearth.endpoint + path, headers=headers, data=body)
    SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), service, "us-east-1").add_auth(request)
    plain = urllib.request.Request(request.url, method=method, data=body or None, headers=dict(request.headers))
    try:
        with urllib.request.urlopen(plain, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_sts_says_whose_keys_these_are(hearth, keys):
    answer = Checked(aws.client(hearth, "sts")).get_caller_identity()
    assert answer["Account"] == "000000000000"
    assert answer["Arn"] == f"arn:aws:iam::000000000000:user/{keys['AWS_ACCESS_KEY_ID']}"
    assert answer["ResponseMetadata"]["RequestId"]


def test_a_wrong_key_is_refused_in_the_words_of_the_protocol(hearth):
    wrong = aws.client(hearth, "sts", AWS_SECRET_ACCESS_KEY="wrong")
    assert refused(wrong.get_caller_identity)[:2] == ("SignatureDoesNotMatch", 403)
    unknown = aws.client(hearth, "sts", AWS_ACCESS_KEY_ID="AKIAAAAAAAAAAAAAAAAA")
    assert refused(unknown.get_caller_identity)[:2] == ("InvalidClientTokenId", 403)


def test_what_no_service_is_says_which_there_are(hearth):
    code, _, message = refused(aws.client(hearth, "dynamodb").list_tables)
    assert code == "UnknownOperationException" and "dynamodb" in message and "sts" in message
    code, status, message = refused(aws.client(hearth, "sts").get_session_token)
    assert (code, status) == ("InvalidAction", 400) and "GetCallerIdentity" in message


@pytest.mark.parametrize("service, operation", [("apigatewayv2", "get_apis"), ("efs", "describe_file_systems"), ("route53", "list_hosted_zones"), ("cloudformation", "list_stacks"), ("ecr", "describe_repositories")])
def test_a_service_that_is_not_here_is_named_in_the_words_of_its_protocol(hearth, service, operation):
    code, status, message = refused(getattr(aws.client(hearth, service), operation))
    scope = {"efs": "elasticfilesystem", "apigatewayv2": "apigateway"}.get(service, service)
    assert (code, status) == ("UnknownOperationException", 400) or (service in ("route53", "cloudformation") and code == "InvalidAction")
    assert f'Hearth has no service "{scope}"' in message and "lambda, sts" in message


def test_a_signature_for_one_service_opens_no_other_door(hearth, keys):
    status, _, text = send(hearth, keys, "sts", "/2015-03-31/functions", method="GET")
    assert status == 400 and "InvalidAction" in text, "the scope says sts: the path is not looked at"
    status, _, text = send(hearth, keys, "sts", "/api/v1/functions", method="GET")
    assert status == 400 and "InvalidAction" in text
    status, headers, _ = send(hearth, keys, "lambda", "/", b"Action=GetCallerIdentity&Version=2011-06-15")
    assert status in (401, 404, 405), "lambda has nothing there"


def test_awss_command_line_needs_nothing_but_the_environment(hearth, keys, tmp_path):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    none = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}

    def run(*words):
        command = [sys.executable, "-m", "awscli", *words, "--output", "json"]
        done = subprocess.run(command, env=inherited | none | keys, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    name = f"cli-{uuid.uuid4().hex[:10]}"
    assert run("sts", "get-caller-identity")["Account"] == "000000000000"
    trust = '{"Version": "2012-10-17", "Statement": []}'
    role = run("iam", "create-role", "--role-name", name, "--assume-role-policy-document", trust)["Role"]["Arn"]
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("app.py", "def handler(event, context):\n    print('from the bucket')\n    return 'done'\n")
    try:
        run("s3", "mb", f"s3://{name}")
        run("s3", "cp", str(tmp_path / "code.zip"), f"s3://{name}/code.zip")
        code = f"S3Bucket={name},S3Key=code.zip"
        run("lambda", "create-function", "--function-name", name, "--runtime", "python3.11", "--handler", "app.handler", "--role", role, "--code", code)
        run("lambda", "invoke", "--function-name", name, str(tmp_path / "out"))
        assert (tmp_path / "out").read_text() == '"done"'
        events = run("logs", "filter-log-events", "--log-group-name", f"/aws/lambda/{name}", "--filter-pattern", "bucket")["events"]
        assert [event["message"].strip() for event in events] == ["from the bucket"]
        run("s3", "rb", "--force", f"s3://{name}")
        run("iam", "delete-role", "--role-name", name)
    finally:
        hearth.api.remove(name)
