"""The conformance suite's own reading and comparing."""

import json

import pytest

from conformance import snapshots, suite
from harness.doctor import driver_state
from harness.door import sign

SEEN = dict(status=200, request_id="0000-1111", version="$LATEST")


@pytest.fixture(scope="module")
def cases():
    return suite.load()


def test_every_case_has_a_title_and_a_name_of_its_own(cases):
    assert len({case.id for case in cases}) == len(cases)
    assert len({case.function for case in cases}) == len(cases)
    assert all(case["title"] and len(case.function) <= 64 for case in cases)


def test_a_package_holds_one_form_of_the_code_only(cases, tmp_path):
    for case in cases:
        package = suite.stage(case, tmp_path / case.id)
        mains = [path.name for path in package.rglob("app.*")]
        # Java's is compiled into the package; a program of its own has no other form.
        expected = [] if case.program else ["app.class"] if case.language == "java" else [case.main.name]
        assert mains == expected, case.id
        assert not (package / "case.toml").exists()


def test_a_misspelt_expectation_is_refused(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "app.py").write_text("")
    (tmp_path / "one" / "case.toml").write_text('title = "x"\nlanguages = ["python"]\n[expect]\npayloda = 1\n')
    with pytest.raises(suite.BadCase, match="payloda"):
        suite.load(tmp_path)


def test_events_of_a_given_size_are_exactly_that(cases):
    sized = [case for case in cases if "event_bytes" in case.raw]
    assert sized
    assert all(len(suite.event(case, suite.Places()).encode()) == case["event_bytes"] for case in sized)


@pytest.mark.parametrize(
    "expected, seen",
    [
        ({"payload": {"a": 1}}, {"payload": '{"a": 2}'}),
        ({"payload": 1}, {"payload": "1", "function_error": "Unhandled"}),
        ({"error_type": "ValueError"}, {"payload": '{"errorType": "ValueError"}'}),
        ({"error_message": "id <id>"}, {"payload": '{"errorMessage": "id other"}', "function_error": "Unhandled"}),
        ({"subset": {"n": {"$max": 3}}}, {"payload": '{"n": 4}'}),
        ({"subset": {"flag": True}}, {"payload": '{"flag": 1}'}),
        ({"regex": "half"}, {"payload": '"whole"'}),
        ({"payload": 1, "tail": ["printed"]}, {"payload": "1", "tail": "nothing"}),
        ({"client_error": "TooMany"}, {"payload": "1"}),
        ({"payload": 1}, {"payload": "not json"}),
        ({"payload": 1}, {"payload": "1", "version": "1"}),
    ],
)
def test_a_difference_is_an_error(expected, seen, cases):
    with pytest.raises(AssertionError):
        suite.check(expected, suite.Seen(**{**SEEN, **seen}), cases[0])


def test_request_ids_are_filled_into_expectations(cases):
    payload = json.dumps({"errorType": "T", "errorMessage": "RequestId: 0000-1111 Error"})
    seen = suite.Seen(**SEEN, payload=payload, function_error="Unhandled")
    suite.check({"error_type": "T", "error_message": "RequestId: <id> Error"}, seen, cases[0])


def test_snapshots_keep_the_function_and_hide_the_runtime(cases):
    payload = {
        "errorMessage": "RequestId: 0000-1111 x",
        "stackTrace": ['  File "/var/task/app.py", line 3, in handler\n', '  File "/opt/x/bootstrap.py", line 9, in y\n'],
        "trace": ["Error: x", "    at f (file:///var/task/app.mjs:3:9)", "    at node:internal/z:1:2", "    at /opt/b.cjs:1:2"],
    }
    seen = suite.Seen(**SEEN, payload=json.dumps(payload), function_error="Unhandled")
    assert snapshots.normalise(seen, cases[0])["Payload"] == {
        "errorMessage": "RequestId: <id> x",
        "stackTrace": ['  File "/var/task/app.py", line 3, in handler\n', "<runtime frames>"],
        "trace": ["Error: x", "    at f (file:///var/task/app.mjs:3:9)", "<runtime frames>"],
    }


@pytest.mark.parametrize(
    "report",
    [
        {"drivers": [{"name": "namespace", "works": False, "reason": "no user namespaces"}]},
        {"isolation": {"namespace": {"available": False, "detail": "no user namespaces"}}},
        [{"isolation": "namespace", "status": "missing", "reason": "no user namespaces"}],
    ],
)
def test_the_doctors_word_is_found_in_any_sensible_shape(report):
    assert driver_state(report, "namespace") == (False, "no user namespaces")


def test_a_driver_that_the_doctor_does_not_know_is_a_failure_and_no_skip():
    with pytest.raises(AssertionError, match="firecracker"):
        driver_state({"drivers": [{"name": "namespace", "works": True}]}, "firecracker")


def test_our_signatures_are_boto3s(cases):
    from datetime import datetime, timezone

    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
    path = "/2015-03-31/functions/name%3A1/invocations"
    request = AWSRequest("POST", "http://127.0.0.1:7070" + path, data=b"{}", headers={"host": "127.0.0.1:7070"})
    SigV4Auth(Credentials("AKID", "secret"), "lambda", "eu-west-1").add_auth(request)
    stamp = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    ours = sign("POST", path, {"host": "127.0.0.1:7070"}, b"{}", keys, now=stamp)
    assert ours["authorization"] == request.headers["Authorization"]
