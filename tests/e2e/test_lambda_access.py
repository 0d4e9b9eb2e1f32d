"""Who may call, as AWS's tools say it, through boto3: resource policies of functions and layers, function URLs, and what is
kept ready."""

import io
import json
import uuid
import zipfile

import pytest

from harness.checked import Checked, refused

ROLE = "arn:aws:iam::000000000000:role/lambda"
CODE = "import os\ndef handler(event, context):\n    return {'version': context.function_version, 'event': event, 'pid': os.getpid()}\n"
SERVER = """
import http.server, os
class Say(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Say).serve_forever()
"""


def zipped(code=CODE):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code)
    return buffer.getvalue()


@pytest.fixture
def lambda_(boto):
    return Checked(boto)


@pytest.fixture
def made(hearth, lambda_):
    names = []

    def make(**more):
        name = f"access-{uuid.uuid4().hex[:8]}"
        names.append(name)
        wanted = {"FunctionName": name, "Role": ROLE, "Runtime": "python3.11", "Handler": "app.handler", "Timeout": 10, "Code": {"ZipFile": zipped()}}
        return name, lambda_.create_function(**wanted | more)

    yield make
    for name in names:
        hearth.api.remove(name)


def test_a_functions_policy_is_kept_as_aws_writes_it(lambda_, made):
    name, function = made(Publish=True)
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert refused(lambda_.get_policy, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    added = lambda_.add_permission(
        FunctionName=name, StatementId="bucket", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com", SourceArn="arn:aws:s3:::photos", SourceAccount="123456789012"
    )
    expected = {
        "Sid": "bucket", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "lambda:InvokeFunction", "Resource": arn,
        "Condition": {"StringEquals": {"AWS:SourceAccount": "123456789012"}, "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::photos"}},
    }  # fmt: skip
    assert json.loads(added["Statement"]) == expected
    first = lambda_.get_policy(FunctionName=name)
    assert json.loads(first["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [expected]}
    again = refused(lambda_.add_permission, FunctionName=name, StatementId="bucket", Action="lambda:InvokeFunction", Principal="*")
    assert again[:2] == ("ResourceConflictException", 409) and "(bucket) provided already exists" in again[2]

    lambda_.add_permission(FunctionName=name, StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE", RevisionId=first["RevisionId"])
    lambda_.add_permission(FunctionName=name, StatementId="account", Action="lambda:*", Principal="210987654321")
    statements = json.loads(lambda_.get_policy(FunctionName=name)["Policy"])["Statement"]
    assert [one["Principal"] for one in statements[1:]] == ["*", {"AWS": "arn:aws:iam::210987654321:root"}]
    assert statements[1]["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}
    stale = refused(lambda_.add_permission, FunctionName=name, StatementId="late", Action="lambda:*", Principal="*", RevisionId=first["RevisionId"])
    assert stale[:2] == ("PreconditionFailedException", 412)

    # A version's is another one.
    lambda_.add_permission(FunctionName=name, Qualifier="1", StatementId="bucket", Action="lambda:InvokeFunction", Principal="*")
    assert json.loads(lambda_.get_policy(FunctionName=f"{name}:1")["Policy"])["Statement"][0]["Resource"] == f"{arn}:1"
    assert refused(lambda_.add_permission, FunctionName=name, Qualifier="$LATEST", StatementId="x", Action="lambda:*", Principal="*")[:2] == ("InvalidParameterValueException", 400)
    assert refused(lambda_.get_policy, FunctionName=f"{name}:7")[:2] == ("ResourceNotFoundException", 404)

    for sid in ("bucket", "all", "account"):
        lambda_.remove_permission(FunctionName=name, StatementId=sid)
    assert refused(lambda_.remove_permission, FunctionName=name, StatementId="all")[:2] == ("ResourceNotFoundException", 404)
    assert refused(lambda_.get_policy, FunctionName=name)[:2] == ("ResourceNotFoundException", 404)
    long = refused_by_length(lambda_, name)
    assert long[:2] == ("PolicyLengthExceededException", 400)


def refused_by_length(lambda_, name):
    for n in range(200):
        try:
            lambda_.add_permission(FunctionName=name, StatementId=f"{n}-" + "x" * 90, Action="lambda:InvokeFunction", Principal="*", SourceArn="arn:aws:s3:::" + "b" * 60)
        except lambda_.client.exceptions.PolicyLengthExceededException:
            break
    return refused(lambda_.add_permission, FunctionName=name, StatementId="y" * 100, Action="lambda:InvokeFunction", Principal="*", SourceArn="arn:aws:s3:::" + "b" * 60)


def test_a_policy_goes_with_what_it_is_of(hearth, lambda_, made):
    name, _ = made(Publish=True)
    lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for qualifier in ({}, {"Qualifier": "1"}, {"Qualifier": "live"}):
        lambda_.add_permission(FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="*", **qualifier)
    lambda_.delete_alias(FunctionName=name, Name="live")
    lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert refused(lambda_.get_policy, FunctionName=name, Qualifier="live")[1] == 404
    lambda_.get_policy(FunctionName=name, Qualifier="1")
    lambda_.client.delete_function(FunctionName=name)
    lambda_.create_function(FunctionName=name, Role=ROLE, Runtime="python3.11", Handler="app.handler", Code={"ZipFile": zipped()})
    assert refused(lambda_.get_policy, FunctionName=name)[1] == 404


def test_a_layers_policy(lambda_):
    name = f"policy-{uuid.uuid4().hex[:8]}"
    version = lambda_.publish_layer_version(LayerName=name, Content={"ZipFile": zipped()})
    of = {"LayerName": name, "VersionNumber": version["Version"]}
    assert refused(lambda_.get_layer_version_policy, **of)[:2] == ("ResourceNotFoundException", 404)
    added = lambda_.add_layer_version_permission(**of, StatementId="all", Action="lambda:GetLayerVersion", Principal="*", OrganizationId="o-0123456789")
    statement = json.loads(added["Statement"])
    assert statement["Resource"] == version["LayerVersionArn"] and statement["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-0123456789"}}
    assert lambda_.get_layer_version_policy(**of)["RevisionId"] == added["RevisionId"]
    lambda_.remove_layer_version_permission(**of, StatementId="all")
    assert refused(lambda_.get_layer_version_policy, **of)[:2] == ("ResourceNotFoundException", 404)
    lambda_.delete_layer_version(**of)


def ask(hearth, method, path, body=b"", keys=None, tamper=None, **headers):
    """A request for a URL, signed as AWS's tools sign for function URLs, if `keys` are given."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    from harness.web import request

    url = f"http://127.0.0.1:{hearth.ingress_port}{path}"
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if keys:
        signed = AWSRequest(method, url, data=body, headers=headers)
        SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), "lambda", "us-east-1").add_auth(signed)
        headers = dict(signed.headers)
    return request(hearth, method, path, [*headers.items()], tamper or body or None)


def test_a_url_that_wants_signatures(hearth, lambda_, made, keys):
    name, _ = made()
    config = lambda_.create_function_url_config(FunctionName=name, AuthType="AWS_IAM")
    lambda_.publish_version(FunctionName=name)
    assert config["AuthType"] == "AWS_IAM" == lambda_.get_function_url_config(FunctionName=name)["AuthType"]
    for path in (f"/fn/{name}/", f"/fn/{name}:1/", f"/fn/{name}:$LATEST/"):
        stranger = ask(hearth, "GET", path)
        assert (stranger.status, stranger.json()) == (403, {"Message": "Forbidden"})
    known = ask(hearth, "POST", f"/fn/{name}/a%20b?x=1&y=2", b'{"a":1}', keys, content_type="application/json")
    assert known.status == 200, known.body
    event = known.json()["event"]
    assert (event["rawPath"], event["body"], event["requestContext"]["accountId"]) == ("/a%20b", '{"a":1}', "000000000000")
    assert ask(hearth, "GET", f"/fn/{name}:1/", keys=keys).json()["version"] == "1"
    other = ask(hearth, "POST", f"/fn/{name}/", b'{"a":1}', keys, tamper=b'{"a":2}')
    assert other.status == 403 and list(other.json()) == ["Message"]
    wrong = ask(hearth, "GET", f"/fn/{name}/", keys=keys | {"AWS_SECRET_ACCESS_KEY": "x" * 40})
    assert wrong.status == 403 and "signature" in wrong.json()["Message"]

    assert lambda_.update_function_url_config(FunctionName=name, AuthType="NONE")["AuthType"] == "NONE"
    assert ask(hearth, "GET", f"/fn/{name}/").json()["event"]["requestContext"]["accountId"] == "anonymous"


def test_a_web_functions_url_wants_signatures_too(hearth, lambda_, tmp_path, keys):
    (tmp_path / "app.py").write_text(SERVER)
    name = f"access-{uuid.uuid4().hex[:8]}"
    hearth.cli.ok("deploy", tmp_path, "--name", name, "--runtime", "python3.11", "--web", "--timeout", "20s")
    try:
        lambda_.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")
        assert ask(hearth, "POST", f"/fn/{name}/", b"x").status == 403
        answer = ask(hearth, "POST", f"/fn/{name}/", b"said", keys)
        assert (answer.status, answer.body) == (200, b"said")
    finally:
        hearth.api.remove(name)


def test_what_browsers_are_told_at_a_url(hearth, lambda_, made):
    name, _ = made()
    cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET", "PUT"], "AllowHeaders": ["x-a"], "ExposeHeaders": ["x-b"], "AllowCredentials": True, "MaxAge": 600}
    made_url = lambda_.create_function_url_config(FunctionName=name, AuthType="NONE", Cors=cors)
    assert made_url["Cors"] == cors == lambda_.get_function_url_config(FunctionName=name)["Cors"]
    question = ask(hearth, "OPTIONS", f"/fn/{name}/", origin="https://a.example", access_control_request_method="PUT")
    told = {header: question.header(f"access-control-{header}") for header in ("allow-origin", "allow-methods", "allow-headers", "allow-credentials", "max-age")}
    assert question.status == 200 and question.body == b""
    assert told == {"allow-origin": "https://a.example", "allow-methods": "GET,PUT", "allow-headers": "x-a", "allow-credentials": "true", "max-age": "600"}
    answer = ask(hearth, "GET", f"/fn/{name}/", origin="https://a.example")
    assert (answer.status, answer.header("access-control-allow-origin"), answer.header("access-control-expose-headers")) == (200, "https://a.example", "x-b")
    assert ask(hearth, "GET", f"/fn/{name}/", origin="https://b.example").header("access-control-allow-origin") is None

    # A question needs no signature, and a refusal may be read.
    lambda_.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")
    assert lambda_.get_function_url_config(FunctionName=name)["Cors"] == cors, "what is not said stays"
    assert ask(hearth, "OPTIONS", f"/fn/{name}/", origin="https://a.example", access_control_request_method="GET").status == 200
    refusal = ask(hearth, "GET", f"/fn/{name}/", origin="https://a.example")
    assert (refusal.status, refusal.header("access-control-allow-origin")) == (403, "https://a.example")
    lambda_.update_function_url_config(FunctionName=name, Cors={})
    assert "Cors" not in lambda_.get_function_url_config(FunctionName=name)
    for wrong in ({"AllowOrigins": ["a.example"]}, {"AllowOrigins": ["*"], "AllowCredentials": True}, {"AllowMethods": ["GET"]}):
        assert refused(lambda_.update_function_url_config, FunctionName=name, Cors=wrong)[:2] == ("InvalidParameterValueException", 400)
    lambda_.delete_function_url_config(FunctionName=name)
    assert lambda_.create_function_url_config(FunctionName=name, AuthType="NONE")["AuthType"] == "NONE"
    assert "Cors" not in lambda_.get_function_url_config(FunctionName=name)


@pytest.mark.filterwarnings("ignore")
def test_the_invoke_of_2014_is_answered_when_the_event_is_kept(hearth, lambda_, made):
    name, _ = made()
    answer = lambda_.client.invoke_async(FunctionName=name, InvokeArgs=b'{"told": "once"}')
    assert answer["Status"] == 202
    from harness.wait import until

    def ran():
        records = [one for one in hearth.api.get(f"/api/v1/functions/{name}/invocations")["invocations"] if one["outcome"]["status"] == "ok"]
        return len(records) == 1

    until("one run", ran, within=10)
    assert refused(lambda_.client.invoke_async, FunctionName="nobody", InvokeArgs=b"{}")[:2] == ("ResourceNotFoundException", 404)
    assert refused(lambda_.client.invoke_async, FunctionName=name, InvokeArgs=b"no json")[:2] == ("InvalidRequestContentException", 400)


def test_provisioned_concurrency_is_of_instances_that_live(hearth, lambda_, made):
    from harness.wait import until

    name, _ = made(Publish=True)
    lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    none = refused(lambda_.get_provisioned_concurrency_config, FunctionName=name, Qualifier="1")
    assert none[:2] == ("ProvisionedConcurrencyConfigNotFoundException", 404)
    for qualifier in ("$LATEST",):
        code = refused(lambda_.put_provisioned_concurrency_config, FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=1)
        assert code[:2] == ("InvalidParameterValueException", 400)
    put = lambda_.put_provisioned_concurrency_config(FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=2)
    assert put["RequestedProvisionedConcurrentExecutions"] == 2 and put["Status"] in ("IN_PROGRESS", "READY")

    def instances(version):
        return [one for one in hearth.api.get("/api/v1/instances")["instances"] if one["function"] == name and str(one["version"]) == version]

    def ready():
        config = lambda_.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
        return (config["Status"], config["AvailableProvisionedConcurrentExecutions"]) == ("READY", 2)

    until("two instances", ready, within=20)
    assert len(instances("1")) == 2
    # The call finds one of them.
    answer = lambda_.client.invoke(FunctionName=name, Qualifier="live")
    assert json.load(answer["Payload"])["version"] == "1"
    assert len(instances("1")) == 2
    listed = lambda_.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert [one["FunctionArn"].split(":")[-1] for one in listed] == ["live"]
    taken = refused(lambda_.put_provisioned_concurrency_config, FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1)
    assert taken[:2] == ("InvalidParameterValueException", 400) and "already Provisioned" in taken[2]

    # The alias moves on: the next version's instances are the ones that are kept.
    lambda_.update_function_code(FunctionName=name, ZipFile=zipped(CODE + "# two\n"), Publish=True)
    lambda_.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    until("the next version's", ready, within=20)
    assert len(instances("2")) == 2
    lambda_.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    assert refused(lambda_.get_provisioned_concurrency_config, FunctionName=name, Qualifier="live")[1] == 404
    many = refused(lambda_.put_provisioned_concurrency_config, FunctionName=name, Qualifier="2", ProvisionedConcurrentExecutions=5000)
    assert many[:2] == ("InvalidParameterValueException", 400)
