"""Every conformance case × runtime × driver, as a boto3 client sees it."""

import json

import pytest
from botocore.exceptions import ClientError

from conformance import java_cases, programs, snapshots, suite
from harness import aws
from harness.wait import until


def invoke(client, function, body):
    try:
        answer = client.invoke(FunctionName=function, Payload=body.encode(), LogType="Tail")
    except ClientError as error:
        meta = error.response["ResponseMetadata"]
        return suite.Seen(
            status=meta["HTTPStatusCode"],
            request_id=meta.get("RequestId") or "-",
            client_error=error.response["Error"]["Code"],
            message=error.response["Error"]["Message"],
        )
    return suite.Seen(
        status=answer["StatusCode"],
        request_id=answer["ResponseMetadata"]["RequestId"],
        payload=answer["Payload"].read().decode(),
        function_error=answer.get("FunctionError"),
        version=answer.get("ExecutedVersion"),
        tail=aws.log_tail(answer),
    )


def parameters():
    for case in suite.load():
        for driver in suite.DRIVERS:
            marks = [pytest.mark.limits] if case.get("limits") else []
            yield pytest.param(case.on(driver), driver, id=f"{case.id}-{driver}", marks=marks)


@pytest.mark.parametrize("case, driver", list(parameters()))
def test_case(case, driver, hearth, boto, oracle, doctor, need_driver, need_runtime, tmp_path, update_snapshots):
    need_driver(driver)
    need_runtime(case.runtime)
    if case.program and (reason := programs.missing(case.language)):
        pytest.skip(reason)
    if case.language == "java" and not any(one["name"] == case.runtime for one in doctor["runtimes"]):
        pytest.skip(f"{case.runtime} is not on this machine")
    if case.language == "java" and java_cases.missing():
        pytest.skip(f"the Java cases cannot be compiled here: {java_cases.missing()}")
    holds(case, driver, hearth, boto, oracle, tmp_path, update_snapshots)


def holds(case, driver, hearth, boto, oracle, tmp_path, update_snapshots=False):
    """Deploys the case, calls it, and asserts what it expects."""
    package = suite.stage(case, tmp_path / "package")
    hearth.cli.ok(*suite.deploy_arguments(case, package, driver, oracle.places))
    try:
        seen = check(case, case["expect"], suite.event(case, oracle.places), hearth, boto)
        if case.get("oracle"):
            oracle.check()
        if "then" in case.raw:
            then = {"payload": "works", **case["then"]}
            wanted = {key: value for key, value in then.items() if key != "event"}
            if suite.ERROR_KEYS & wanted.keys():
                wanted.pop("payload")
            body = json.dumps(then.get("event", "works"))
            check(case, wanted, body, hearth, boto)
        if case.get("snapshot", True):
            snapshots.compare(seen, case, update_snapshots)
    finally:
        hearth.api.remove(case.function)


def check(case, expected, body, hearth, boto):
    seen = invoke(boto, case.function, body)

    def lines(count):
        """The function's lines; they may be written a moment after the answer."""

        def enough():
            got = hearth.cli.logs(case.function, "--since", "10m")
            return len([line for line in got if line.get("request_id") == seen.request_id]) >= count and got

        return until(f"{count} log lines of {seen.request_id}", enough, within=5, every=0.1)

    suite.check(
        without_default(expected),
        seen,
        case,
        api_record=lambda: hearth.api.record(case.function, seen.request_id),
        lines=lines,
    )
    return seen


def without_default(expected):
    """Whatever else a case expects, `subset` and friends replace the default `payload` of [then]."""
    others = {"payload_json", "payload_bytes", "subset", "regex"} & expected.keys()
    return {key: value for key, value in expected.items() if not (key == "payload" and others)}
