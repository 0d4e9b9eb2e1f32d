"""What only Java can tell apart: the shapes of handlers, types, what ends the virtual machine."""

import json

import pytest


@pytest.fixture
def called(java, spawn):
    """called(handler, event) gives the answer's JSON."""

    def call(handler, *events):
        host = spawn(java).ready(handler)
        return [host.invoke(event).json for event in events]

    return call


@pytest.mark.parametrize(
    "method, event, answer",
    [
        ("sum", [1, 2, 3], 6),
        ("greet", "Ada", "thumbs greets Ada"),
        ("nothingGiven", {"any": 1}, 1),
        ("nothing", {"any": 1}, None),
        ("half", 3, 1.5),
        ("half", "3", 1.5),
        ("bytes", "AAEC", "AAEC"),
        ("date", 1700000000000, 1700000000000),
        ("date", "2023-11-14T22:13:20Z", 1700000000000),
        ("colours", {"GREEN": 2}, {"GREEN": 2}),
        ("points", [{"x": 1, "y": 2, "name": "a"}, {}], [{"x": 1, "y": 2.0, "name": "a"}, {"x": 0, "y": 0.0, "name": None}]),
        ("overloaded", "x", "long"),
    ],
)
def test_a_method_takes_what_its_types_say(called, method, event, answer):
    assert called(f"app.Plain::{method}", event) == [answer]


def test_beans_go_both_ways_with_their_type_parameters(called):
    record = {"value": [{"x": 1, "y": 0.5, "name": None}], "url": "u", "isBase64Encoded": True, "colour": "RED"}
    given = {**record, "unknown": [1]}
    (answer,) = called("app.Plain::records", {"Records": [{**given, "url": None, "URL": "u"}]})
    assert answer == {"records": [record]}


def test_a_stream_handler_gets_and_gives_bytes(java, spawn):
    host = spawn(java).ready("app.Plain::stream")
    host.send_invoke(b"no json")
    assert host.answer().payload == b"<no json>"
    host = spawn(java).ready("app.Plain$Stream")
    host.send_invoke(b"\x00\xff")
    assert host.answer().payload == b"\x00\xff"


@pytest.mark.parametrize(
    "handler, kind, message",
    [
        ("app.Plain::absent", "java.lang.NoSuchMethodException", "No public method named absent with appropriate method signature found on class app.Plain"),
        ("app.Plain::secret", "java.lang.NoSuchMethodException", "No public method named secret with appropriate"),
        ("app.Plain", "Runtime.InvalidHandler", "Class does not implement an appropriate handler interface: app.Plain"),
        ("app.Plain::", "Runtime.InvalidHandler", "Invalid handler: `app.Plain::'"),
        ("app.Plain$Point::x", "java.lang.NoSuchMethodException", "Class app.Plain$Point has no public zero-argument constructor"),
    ],
)
def test_a_handler_that_is_none_is_said_in_words(java, spawn, handler, kind, message):
    error = spawn(java).init_error(handler)
    assert error["errorType"] == kind and error["errorMessage"].startswith(message)


def test_an_event_of_another_type_fails_the_call_with_the_member_s_name(java, spawn):
    host = spawn(java).ready("app.Plain::points")
    answer = host.invoke([{"x": "many"}])
    assert answer.kind == "ERROR"
    assert answer.json["errorMessage"] == 'An error occurred during JSON parsing: expected a int, found "many"'
    host = spawn(java).ready("app.Plain::sum")
    assert "expected a java.util.List, found an object" in host.invoke({}).json["errorMessage"]


def test_an_error_has_its_causes_and_no_frame_of_the_runtime(java, spawn):
    answer = spawn(java).ready("app.Plain::causes").invoke("x")
    error = answer.json
    assert (error["errorType"], error["errorMessage"]) == ("java.lang.IllegalStateException", "outer")
    assert error["cause"]["errorMessage"] == "inner"
    assert len(error["stackTrace"]) == 1 and error["stackTrace"][0].startswith("app.Plain.causes(Plain.java:")


@pytest.mark.parametrize("method, kind", [("overflows", "java.lang.StackOverflowError"), ("fills", "java.lang.OutOfMemoryError")])
def test_an_error_of_the_virtual_machine_is_answered_and_ends_it(java, spawn, method, kind):
    host = spawn(java).ready(f"app.Plain::{method}")
    answer = host.invoke({})
    assert answer.kind == "ERROR" and answer.json["errorType"] == kind
    assert host.wait_exit() == 1


def test_numbers_keep_what_they_are(java, spawn):
    host = spawn(java).ready("app.echo")
    text = b'[1,-7,2147483648,9223372036854775808,0.1,1e400,-0.0,"\\ud800"]'
    host.send_invoke(text)
    answer = host.answer()
    assert answer.payload == b'[1,-7,2147483648,9223372036854775808,0.1,1E+400,-0.0,"\\ud800"]'
    assert json.loads(answer.payload) == json.loads(text)


def test_nesting_without_an_end_is_refused(java, spawn):
    host = spawn(java).ready("app.echo")
    host.send_invoke(b"[" * 100_000)
    answer = host.answer()
    assert answer.kind == "ERROR" and "nested deeper than 1000" in answer.json["errorMessage"]
    assert host.invoke(1).json == 1
