"""Functions that bring AWS's own client of the Runtime API run as they are."""

import json

import pytest

from conformance import clients
from harness import aws

FAILED = {"python": "AsAsked", "node": "AsAsked", "java": "java.lang.IllegalArgumentException", "shell": "AsAsked"}


@pytest.fixture(params=clients.NAMES)
def client(request, hearth, need_driver, tmp_path):
    """A function with that client, deployed."""
    need_driver("namespace")
    if reason := clients.missing(request.param):
        pytest.skip(reason)
    name = f"client-{request.param}"
    package = clients.package(request.param, tmp_path / "package")
    flags = ["--isolation", "namespace", "--memory", "512MB", "--timeout", "20s", "--json"]
    hearth.cli.ok("deploy", package, "--name", name, "--runtime", "provided.al2023", "--handler", clients.HANDLERS[request.param], *flags)
    yield request.param, name
    hearth.api.remove(name)


def test_a_published_client_runs_a_function_unmodified(client, hearth, boto):
    language, name = client

    def call(event):
        answer = boto.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        return answer, json.load(answer["Payload"])

    for n in (1, 2):
        answer, seen = call({"n": n, "text": "grüße 🌍"})
        assert "FunctionError" not in answer, (seen, aws.log_tail(answer))
        assert seen["event"] == {"n": n, "text": "grüße 🌍"}
        assert seen["id"] == answer["ResponseMetadata"]["RequestId"]
        assert (seen["name"], seen["calls"]) == (name, n), "one instance serves both"
        assert seen["arn"].endswith(f":function:{name}")
        assert 0 < seen["left"] <= 20_000
        assert f"mark {n}" in aws.log_tail(answer)
    answer, error = call({"fail": True})
    assert answer["FunctionError"] == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == (FAILED[language], "as asked")
    answer, seen = call({"n": 4, "text": "x" * 2_000_000})
    assert seen["event"]["text"] == "x" * 2_000_000 and seen["calls"] == 4, "it lives on"
