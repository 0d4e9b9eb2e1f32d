"""What every runtime promises, one suite for all: the wire, the phases of a life, AWS's contract.

The handlers are in functions/<runtime>/, with the same names everywhere; where AWS's runtimes differ in
words, the words are in functions/<runtime>/expected.json.
"""

import json
import re

import pytest

import wirelib
from fakehost import ARN, Gone, invoke_frame

# --- start and end --------------------------------------------------------------------------------------


def test_hello_names_the_version_and_the_runtime(runtime, host):
    assert host.hello() == b"\x01\x00" + wirelib.str16(runtime.hello())


def test_ready_and_then_an_answer(host):
    host.ready("app.echo")
    answer = host.invoke({"a": 1})
    assert answer.kind == "RESPONSE" and answer.json == {"a": 1}


def test_hanging_up_ends_an_idle_guest(host):
    assert host.ready("app.echo").finish() == 0


def test_hanging_up_ends_a_guest_that_has_served(host):
    host.ready("app.echo").invoke(1)
    assert host.finish() == 0


def test_hanging_up_before_init_ends_the_guest(host):
    host.hello()
    assert host.finish() == 0


def test_the_invoke_stream_alone_says_that_it_is_over(host):
    host.ready("app.echo").invoke_stream.shut()
    assert host.wait_exit() == 0


@pytest.mark.parametrize("streams", ["0", "2", "x"])
def test_refuses_any_number_of_invoke_streams_but_one(runtime, spawn, streams):
    host = spawn(runtime, env={"HEARTH_INVOKE_STREAMS": streams})
    assert host.wait_exit() == 1
    assert re.match(r"hearth: the \w+ runtime serves one invoke stream, but HEARTH_INVOKE_STREAMS is", host.all_output())


def test_one_invoke_stream_may_be_said_aloud(runtime, spawn):
    host = spawn(runtime, env={"HEARTH_INVOKE_STREAMS": "1"})
    assert host.ready("app.echo").invoke(1).json == 1


# --- payloads -------------------------------------------------------------------------------------------

EVENTS = [
    None, True, 0, -1.5, 1e300, 2**53, "", "text", "grüße 🌍 \u2028", "\u0000\"\\\n", [], {}, [[], {}, [None]],
    {"": {"": ""}}, {"schlüssel": ["wert", {"tief": [1, 2, {"x": None}]}]}, list(range(1000)),
]  # fmt: skip


@pytest.mark.parametrize("events", [EVENTS], ids=["all"])
def test_events_come_back_as_they_went(host, events):
    host.ready("app.echo")
    for event in events:
        assert host.invoke(event).json == event


def test_space_around_an_event_does_not_matter(host):
    host.ready("app.echo").send_invoke(b' \r\n\t{"a": [1 ,2]} \n')
    assert host.answer().json == {"a": [1, 2]}


def test_nothing_is_null(host):
    assert host.ready("app.nothing").invoke({}).payload == b"null"


def test_an_instance_keeps_its_state(host):
    host.ready("app.count")
    assert [host.invoke().json for _ in range(3)] == [1, 2, 3]


def test_an_async_handler_is_awaited(host):
    host.ready("app.later")
    assert [host.invoke(n).json for n in range(3)] == [{"later": n} for n in range(3)]


def test_a_payload_may_come_in_pieces(host):
    host.ready("app.echo")
    pieces = [b'{"k', b"", b'ey":', b'"v"}']
    host.send_invoke(pieces[0], last=False)
    for piece in pieces[1:]:
        host.invoke_stream.send(wirelib.frame("DATA", piece))
    host.invoke_stream.send(wirelib.frame("END"))
    assert host.answer().json == {"key": "v"}
    assert host.invoke(2).json == 2


def test_a_payload_may_follow_entirely(host):
    host.ready("app.echo").send_invoke(b"", last=False)
    host.invoke_stream.send(wirelib.frame("DATA", b"[1]") + wirelib.frame("END"))
    assert host.answer().json == [1]


@pytest.mark.parametrize("step", [1, 3, 4, 5, 6, 7])
def test_frames_may_be_cut_anywhere(host, step):
    host.ready("app.echo")
    data = invoke_frame(b'{"a":', last=False) + wirelib.frame("DATA", b'"grun"') + wirelib.frame("DATA", b"}")
    data += wirelib.frame("END")
    for at in range(0, len(data), step):
        host.invoke_stream.send(data[at : at + step])
        host.pump(lambda: not host.invoke_stream.pending)  # one write, and so at least one read, per piece
    assert host.answer().json == {"a": "grun"}


def test_init_may_be_cut_anywhere(host):
    host.hello()
    init = {"handler": "app.echo", "task_root": str(host.runtime.functions), "env": {}, "function": {}, "new": [1]}
    data = wirelib.init(init)
    for at in range(0, len(data), 2):
        host.control.send(data[at : at + 2])
        host.pump(lambda: not host.control.pending)
    assert host.next_frame(host.control)[0] == "READY"


@pytest.mark.parametrize("size", [65_530, 65_536, 200_000, 1 << 20, 6 << 20])
def test_large_payloads_go_both_ways(host, size):
    event = "grüße " * (size // 7)
    host.ready("app.echo")
    for _ in range(2):
        answer = host.invoke(event)
        assert answer.json == event and answer.frames == ["RESPONSE"]


def test_a_large_payload_in_many_pieces(host):
    host.ready("app.echo").send_invoke(b'"', last=False)
    for _ in range(100):
        host.invoke_stream.send(wirelib.frame("DATA", b"z" * 60_000))
    host.invoke_stream.send(wirelib.frame("DATA", b'"') + wirelib.frame("END"))
    assert host.answer().json == "z" * 6_000_000


def test_an_answer_beyond_one_frame_is_split(host):
    size = 17 << 20
    host.ready("app.big")
    answer = host.invoke(size)
    assert answer.json == "x" * size
    assert answer.frames[0] == "RESPONSE" and answer.frames[-1] == "END" and "DATA" in answer.frames
    assert host.invoke(1).json == "x"


def test_an_answer_just_as_long_as_a_frame_can_be(host):
    host.ready("app.big")
    for size in (16 << 20) - 4, (16 << 20) - 3, (16 << 20) - 2:  # two bytes are quotes, one is the flags
        answer = host.invoke(size)
        assert answer.json == "x" * size


# --- context and surroundings -----------------------------------------------------------------------------


def test_the_context_is_awss(host):
    host.ready("app.about", memory_mb=256)
    about = host.invoke({}, request_id="req-42", function_arn=ARN + ":live").json
    assert 0 < about.pop("remaining") <= 3000
    assert about == {
        "function_name": "thumbs",
        "function_version": "$LATEST",
        "invoked_function_arn": ARN + ":live",
        "memory_limit": "256",
        "request_id": "req-42",
        "log_group": "/aws/lambda/thumbs",
        "log_stream": "2026/11/22/[$LATEST]0123",
    }


def test_client_context_and_identity(runtime, host):
    client = {"client": {"app_title": "tïtle"}, "custom": {"k": [1]}, "env": {"locale": "de"}}
    identity = {"cognitoIdentityId": "id-1", "cognitoIdentityPoolId": "pool-1"}
    host.ready("app.client")
    answer = host.invoke({}, client_context=json.dumps(client), cognito_identity=json.dumps(identity))
    assert answer.json == {
        "title": "tïtle",
        "custom": runtime.expected.get("client_custom", {"k": [1]}),
        "env": {"locale": "de"},
        "identity": "id-1",
        "pool": "pool-1",
    }


def test_client_context_that_is_not_json_fails_the_call(host):
    host.ready("app.echo")
    answer = host.invoke({}, client_context="{")
    assert answer.kind == "ERROR" and "lient" in answer.json["errorMessage"]
    assert host.invoke(1).json == 1


def test_the_environment_is_there_before_the_code(host):
    env = {"SEEN": "grüße = 🌍", "EMPTY": "", "TZ": "Asia/Tokyo"}
    host.ready("app.surroundings", env=env)
    seen = host.invoke(["SEEN", "EMPTY", "PATH", "ABSENT"]).json
    assert seen["seen_at_load"] == env["SEEN"]
    assert seen["env"] == {"SEEN": env["SEEN"], "EMPTY": "", "PATH": "/usr/bin:/bin", "ABSENT": None}
    assert "SEEN=" + env["SEEN"] in seen["child"] and "EMPTY=" in seen["child"]
    assert seen["cwd"] == str(host.runtime.functions)
    assert seen["hour"] == 9


def test_the_trace_id_is_that_of_the_invocation(host):
    host.ready("app.surroundings")
    for trace in ("Root=1-1", "Root=1-2", "", "Root=1-3"):
        seen = host.invoke(["_X_AMZN_TRACE_ID"], trace_id=trace).json
        assert seen["env"]["_X_AMZN_TRACE_ID"] == (trace or None)
        lines = [line for line in seen["child"] if line.startswith("_X_AMZN_TRACE_ID=")]
        assert lines == (["_X_AMZN_TRACE_ID=" + trace] if trace else [])


def test_programs_that_the_function_starts_do_not_inherit_the_streams(host):
    seen = host.ready("app.descriptors").invoke().json
    assert len(seen["streams"]) == 2
    for stream in seen["streams"]:
        assert stream.startswith("socket:") and stream not in seen["child"]


# --- errors -----------------------------------------------------------------------------------------------


def handlers_of_init_errors():
    return ["absent.handler", "needs_missing.handler", "bad_syntax.handler", "app.nope", "app", "raises.handler"]


@pytest.mark.parametrize("handler", handlers_of_init_errors())
def test_init_errors_are_awss(runtime, host, handler):
    kind, message = runtime.expected["init_errors"][handler]
    error = host.init_error(handler)
    assert error["errorType"] == kind
    assert error["errorMessage"].startswith(message)
    assert host.wait_exit() == 1
    host.drain()
    assert any(log["level"] == 5 and message.split("\n")[0] in log["message"] for log in host.logs)


def test_an_error_at_load_shows_where_in_the_function(runtime, host):
    trace = "\n".join(host.init_error("raises.handler")[runtime.expected["trace_key"]])
    assert all(word in trace for word in runtime.expected["init_trace"])


@pytest.mark.parametrize("handler", ["fails", "later_fails", "unserialisable"])
def test_errors_of_a_handler_are_awss(runtime, host, handler):
    kind, message = runtime.expected["invoke_errors"][handler]
    host.ready("app." + handler)
    for _ in range(2):  # and the instance goes on
        answer = host.invoke("x")
        assert answer.kind == "ERROR"
        assert (answer.json["errorType"], answer.json["errorMessage"]) == (kind, message)


def test_an_error_is_logged_with_its_trace(runtime, host):
    answer = host.ready("app.fails").invoke("x")
    (log,) = answer.logs
    assert log["level"] == 5 and log["request_id"] == "req-1"
    assert runtime.expected["error_log"] in log["message"]
    assert "app." in log["message"]


def test_an_event_that_is_not_json_fails_the_call(runtime, host):
    kind, message = runtime.expected["bad_event"]
    host.ready("app.echo")
    for payload in (b'{"a":', b"", b"\xff", b"{} x", b"nul"):
        host.send_invoke(payload)
        answer = host.answer()
        assert answer.kind == "ERROR" and answer.json["errorType"] == kind, payload
        if payload == b'{"a":':
            assert answer.json["errorMessage"].startswith(message[:-18])
    assert host.invoke(1).json == 1


# --- output and logs ----------------------------------------------------------------------------------------


def test_printed_text_is_out_before_the_answer(host):
    host.ready("app.prints")
    for n in (1, 2):
        lines = host.invoke(n).output.replace("module is being loaded\n", "")
        assert sorted(re.findall(r"to std\w+ \d|no newline", lines)) == ["no newline", f"to stderr {n}", f"to stdout {n}"]


def test_text_printed_at_load_is_out_before_ready(host):
    host.ready("app.echo").drain()
    assert host.output.take_text() == "module is being loaded\n"


def test_log_lines_are_frames_in_awss_format(runtime, host):
    expected = runtime.expected
    host.ready("app.logs")
    for request in ("req-7", "req-8"):
        answer = host.invoke("hällo", request_id=request)
        assert [log["level"] for log in answer.logs] == [level for _, level in expected["log_levels"]]
        for log, (name, _), word in zip(answer.logs, expected["log_levels"], expected["log_words"], strict=True):
            line = expected["log_line"].format(level=name, id=request, message=f"at {word}: hällo")
            assert re.fullmatch(line, log["message"]), log
            assert log["request_id"] == request and log["time_us"] > 1_700_000_000_000_000


def test_log_lines_are_json_where_the_function_says_so(runtime, host):
    host.ready("app.logs", env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    answer = host.invoke("hällo")
    for log, (name, level), word in zip(answer.logs, runtime.expected["log_levels"], runtime.expected["log_words"]):
        line = json.loads(log["message"])
        assert log["level"] == level and line["level"] == name
        assert line["message"] == f"at {word}: hällo"
        assert line[runtime.expected.get("request_id_field", "requestId")] == "req-1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", line["timestamp"])


def test_json_log_lines_carry_the_error(runtime, host):
    if runtime.name == "java":
        pytest.skip("AWS's LambdaLogger takes no exception")
    host.ready("app.log_exception", env={"AWS_LAMBDA_LOG_FORMAT": "json"})
    (log,) = host.invoke().logs
    line = json.loads(log["message"])
    expected = runtime.expected["exception_fields"]
    assert {key: line[key] for key in expected} == expected
    assert any("app." in entry for entry in line["stackTrace"])


def test_a_failed_call_is_a_json_log_line_too(runtime, host):
    host.ready("app.fails", env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    (log,) = host.invoke("x").logs
    line = json.loads(log["message"])
    assert line["level"] == "ERROR" and "grüße: x" in json.dumps(line, ensure_ascii=False)


def test_logs_below_the_level_are_not_sent(runtime, host):
    host.ready("app.log_size", env={"AWS_LAMBDA_LOG_LEVEL": "CRITICAL" if runtime.name == "python" else "FATAL"})
    assert host.invoke(3).logs == []


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_a_large_log_line_waits_for_a_slow_reader(host, size):
    answer = host.ready("app.log_size").invoke(size)
    assert answer.kind == "RESPONSE"
    (log,) = answer.logs
    assert log["message"].endswith("y" * size)


def test_a_log_line_beyond_a_frame_is_cut(host):
    (log,) = host.ready("app.log_size").invoke(2 << 20).logs
    assert 1_000_000 < len(log["message"]) <= (1 << 20)


# --- processes that end -------------------------------------------------------------------------------------


def test_exit_in_a_handler_is_no_answer(host):
    host.ready("app.exits").send_invoke(b"7")
    with pytest.raises(Gone):
        host.answer()
    assert host.wait_exit() == 7
    host.drain()
    assert "last words\n" in host.all_output()
    assert "last log" in host.logs[-1]["message"]


def test_exit_at_load_is_no_init_error(host):
    host.hello()
    with pytest.raises(Gone):
        host.init("exits_at_load.handler")
    assert host.wait_exit() == 3
    assert host.all_output() == "last words\n"


def test_a_crash_is_no_answer(runtime, host):
    host.ready("app.crashes").send_invoke(b"null")
    with pytest.raises(Gone):
        host.answer()
    assert host.wait_exit() == runtime.expected["abort"]
    assert "last words\n" in host.all_output()


def test_a_folder_leads_to_a_handler(runtime, host):
    if runtime.name == "java":
        pytest.skip("a handler is a class, and a class is found by its package")
    assert host.ready("pkg/inner.handler").invoke().json == "inner"
