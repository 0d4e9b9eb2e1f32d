"""Each operation that docs/lambda-api.md says is refused or answered as where nothing is configured: by boto3, what comes back."""

import re
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from harness import aws
from harness.checked import Checked

TABLE = (Path(__file__).parents[2] / "docs" / "lambda-api.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| ([^|]+?) *\|", TABLE, re.M)
REFUSED = [name for name, what in ROWS if what.startswith("refused")]
NOTHING = [name for name, what in ROWS if what.startswith("answered as where nothing")]
ARN = "arn:aws:lambda:us-east-1:123456789012"
# What the model wants in a form of its own.
KNOWN = {
    "FunctionName": "there",
    "Qualifier": "1",
    "ResourceArn": f"{ARN}:function:there",
    "CodeSigningConfigArn": f"{ARN}:code-signing-config:csc-0123456789abcdef0",
    "DurableExecutionArn": f"{ARN}:function:there:1/durable-execution/name/id",
    "CapacityProviderOperatorRoleArn": "arn:aws:iam::123456789012:role/operator",
    "SigningProfileVersionArns": ["arn:aws:signer:us-east-1:123456789012:/signing-profiles/profile/0123456789"],
    "SubnetIds": ["subnet-0123456789abcdef0"],
    "SecurityGroupIds": ["sg-0123456789abcdef0"],
}


def least(shape, name=""):
    """The least that the model takes for it."""
    if name in KNOWN:
        return KNOWN[name]
    if shape.type_name == "structure":
        return {one: least(shape.members[one], one) for one in shape.required_members}
    if shape.type_name == "list":
        return [least(shape.member)] * max(shape.metadata.get("min", 0), 0)
    if shape.type_name == "map":
        return {}
    if shape.type_name in ("integer", "long"):
        return max(shape.metadata.get("min", 1), 1)
    if shape.type_name == "boolean":
        return True
    if shape.type_name == "timestamp":
        return 0
    if shape.type_name == "blob":
        return b"x"
    return shape.enum[0] if getattr(shape, "enum", None) else "x" * max(shape.metadata.get("min", 1), 1)


@pytest.fixture(scope="module")
def there(hearth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    (folder / "app.py").write_text("def handler(event, context):\n    return event\n")
    hearth.cli.deploy(folder, "there", "python3.11", "app.handler")
    yield Checked(aws.client(hearth))
    hearth.cli.ok("rm", "there")


def ask(client, operation):
    shape = client.client.meta.service_model.operation_model(operation).input_shape
    return getattr(client, xform_name(operation))(**(least(shape) if shape else {}))


def test_the_table_has_both():
    assert len(REFUSED) >= 20 and len(NOTHING) >= 5, ROWS


@pytest.mark.parametrize("operation", REFUSED)
def test_what_is_not_there_says_so(there, operation):
    with pytest.raises(ClientError) as refused:
        ask(there, operation)
    error = refused.value.response
    assert error["Error"]["Code"] == "NotImplementedException", error
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 501 and operation in error["Error"]["Message"], error


@pytest.mark.parametrize("operation", NOTHING)
def test_where_nothing_is_configured_the_answer_is_awss(there, operation):
    try:
        ask(there, operation)
    except ClientError as error:
        # AWS has no list of what uses a configuration that is not there.
        assert error.response["Error"]["Code"] == "ResourceNotFoundException", error.response
