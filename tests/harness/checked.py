"""boto3, with every answer held against the service model inside botocore."""

import json
from datetime import datetime

import pytest
from botocore.exceptions import ClientError

TYPES = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "double": (int, float),
    "timestamp": datetime,
    "blob": object,
}


def conforms(shape, value, path="answer"):
    """No member that is not in the model, none missing that must be there, each of its type, each enum's value one of them."""
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members) - {"ResponseMetadata"}
        assert not unknown, f"{path}: {unknown} are not in the model"
        missing = set(shape.required_members) - set(value)
        assert not missing, f"{path}: {missing} must be there"
        for name, one in value.items():
            if name != "ResponseMetadata":
                conforms(shape.members[name], one, f"{path}.{name}")
    elif shape.type_name == "list":
        for place, one in enumerate(value):
            conforms(shape.member, one, f"{path}[{place}]")
    elif shape.type_name == "map":
        for name, one in value.items():
            conforms(shape.value, one, f"{path}.{name}")
    elif shape.type_name == "string" and shape.name.lower().endswith("policydocumenttype") and isinstance(value, dict):
        pass  # botocore has read IAM's percent-encoded JSON already
    else:
        assert isinstance(value, TYPES[shape.type_name]), f"{path}: {value!r} is no {shape.type_name}"
        if getattr(shape, "enum", None):
            assert value in shape.enum, f"{path}: {value!r} is none of {shape.enum}"


class Checked:
    """A client whose answers are checked. What the parser would drop unseen is looked for in the raw JSON, where it is JSON."""

    def __init__(self, client):
        self.client = client
        self.raw = {}
        client.meta.events.register("before-parse." + client.meta.service_model.service_id.hyphenize(), self._see)

    def _see(self, operation_model, response_dict, **_):
        body = response_dict["body"]
        if isinstance(body, bytes) and body.startswith(b"{"):
            self.raw[operation_model.name] = body

    def __getattr__(self, name):
        call = getattr(self.client, name)
        operation = self.client.meta.method_to_api_mapping.get(name)
        if operation is None:
            return call
        model = self.client.meta.service_model.operation_model(operation)

        def checked(**arguments):
            self.raw.pop(operation, None)
            answer = call(**arguments)
            expected = model.http.get("responseCode", 200)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == expected
            if model.output_shape:
                conforms(model.output_shape, answer)
                raw = json.loads(self.raw.get(operation, b"{}"))
                members = model.output_shape.members
                named = {shape.serialization.get("name", member) for member, shape in members.items()}
                unknown = set(raw) - named
                assert not unknown, f"{operation} answers {unknown}, which the model does not have"
            return answer

        return checked


def refused(call, **arguments):
    """Code, status and message of the error."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]
