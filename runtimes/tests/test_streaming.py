"""Answers in pieces: Node's `awslambda.streamifyResponse`, Python's generators."""

import json
from dataclasses import replace

import pytest

from runtimes import BY_NAME


WITH_HEAD = "application/vnd.awslambda.http-integration-response"

NODE = """
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');
const once = (s, what) => new Promise((resolve) => s.once(what, resolve));
const s = (handler, options) => awslambda.streamifyResponse(handler, options);

exports.pieces = s(async (event, out) => { out.write('one'); out.write(Buffer.from('two')); out.end('gr\\u00fc\\u00dfe'); });
exports.head = s(async (event, out) => {
  out = awslambda.HttpResponseStream.from(out, { statusCode: 201, headers: { 'x-a': '1' } });
  out.write('body');
  out.end();
});
exports.bare_head = s(async (event, out) => {
  awslambda.HttpResponseStream.from(out, { statusCode: 304 }).end();
});
exports.typed = s(async (event, out) => { out.setContentType('text/plain'); out.end('x'); });
exports.nothing = s(async (event, out) => { out.end(); });
exports.objects = s(async (event, out) => { out.write({ a: 1 }); out.end(); });
exports.piped = s(async (event, out) => { await pipeline(Readable.from(['a', 'b', 'c']), out); });
exports.unawaited = s(async (event, out) => { Readable.from(['a', 'b', 'c']).pipe(out); });
exports.late_type = s(async (event, out) => { out.write('x'); out.setContentType('text/plain'); });
exports.fails = s(async () => { throw new RangeError('too far'); });
exports.fails_within = s(async (event, out) => { out.write('x'); await null; throw new RangeError('too far'); });
exports.never_ends = s(async (event, out) => { out.write('x'); });
exports.not_async = s((event, out) => { out.end(); });
exports.event = s(async (event, out, context) => { out.end(JSON.stringify([event, context.awsRequestId])); });
exports.long = s(async (event, out) => {
  for (let n = 0; n < 64; n++) if (!out.write(Buffer.alloc(1 << 20, 7))) await once(out, 'drain');
  out.end();
});
exports.plain = async () => 'plain';
exports.marked = async () => exports.long[Symbol.for('aws.lambda.runtime.handler.streaming')];
"""

PYTHON = """
def pieces(event, context):
    yield "one"
    yield bytearray(b"two")
    yield "gr\\u00fc\\u00dfe"

def head(event, context):
    yield {"statusCode": 201, "headers": {"x-a": "1"}}
    yield "body"

def bare_head(event, context):
    yield {"statusCode": 304}

def nothing(event, context):
    return
    yield

def fails(event, context):
    raise ValueError("too far")
    yield

def fails_within(event, context):
    yield "x"
    raise ValueError("too far")

def wrong(event, context):
    yield "x"
    yield 5

async def asynchronous(event, context):
    yield "a"
    yield "b"

def returned(event, context):
    return (piece for piece in ("a", "b"))

def event(event, context):
    import json
    yield json.dumps([event, context.aws_request_id])

def long(event, context):
    for _ in range(64):
        yield bytes(1 << 20)

def plain(event, context):
    return "plain"
"""


@pytest.fixture(params=["node", "python"])
def language(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["", "stem"])
def start(language, request, spawn, folder):
    runtime = replace(BY_NAME[language], stem=request.param)
    root = folder({"stream.cjs": NODE} if language == "node" else {"stream.py": PYTHON})

    def ready(handler):
        return spawn(runtime).ready(f"stream.{handler}", task_root=root)

    return ready


def said(answer):
    head, found, body = answer.payload.partition(bytes(8))
    assert found and answer.content_type == WITH_HEAD
    return json.loads(head), body


def test_pieces_go_out_as_they_are_written(start):
    host = start("pieces")
    for _ in range(2):
        answer = host.invoke({})
        assert (answer.kind, answer.payload.decode()) == ("STREAM", "onetwogrüße")
        assert answer.frames[0] == "STREAM" and answer.frames[-1] == "END" and answer.frames.count("DATA") == 3
    assert host.finish() == 0


def test_a_head_comes_before_the_body(start):
    assert said(start("head").invoke({})) == ({"statusCode": 201, "headers": {"x-a": "1"}}, b"body")
    assert said(start("bare_head").invoke({})) == ({"statusCode": 304}, b"")


def test_nothing_is_an_answer_too(start):
    answer = start("nothing").invoke({})
    assert (answer.kind, answer.payload) == ("STREAM", b"")


def test_the_event_and_the_context_come_as_ever(start):
    assert start("event").invoke({"a": 1}, request_id="r-1").json == [{"a": 1}, "r-1"]
    assert start("plain").invoke({}).json == "plain"


def test_an_error_before_the_first_piece_is_an_error_as_ever(start, language):
    host = start("fails")
    answer = host.invoke({})
    assert (answer.frames, answer.json["errorMessage"]) == (["ERROR"], "too far")
    assert answer.json["errorType"] == ("RangeError" if language == "node" else "ValueError")
    assert host.invoke({}).kind == "ERROR", "it serves on"


def test_an_error_after_it_breaks_the_answer_off(start):
    host = start("fails_within")
    for _ in range(2):
        answer = host.invoke({})
        assert answer.frames[0] == "STREAM" and answer.frames[-1] == "ERROR"
        assert answer.json["errorMessage"] == "too far"


def test_a_host_that_does_not_read_holds_the_function_back(start):
    host = start("long")
    host.send_invoke(b"{}")
    assert host.next_frame(host.invoke_stream)[0] == "STREAM"
    with open(f"/proc/{host.pid}/statm") as file:
        assert int(file.read().split()[1]) * 4096 < 200 << 20
    total, kind = 0, ""
    while kind != "END":
        kind, body = host.next_frame(host.invoke_stream)
        total += len(body)
    assert total == 64 << 20


@pytest.mark.parametrize("handler, payload", [("typed", b"x"), ("objects", b'{"a":1}'), ("piped", b"abc"), ("unawaited", b"abc")])
def test_nodes_stream_is_a_writable(node, spawn, folder, handler, payload):
    answer = spawn(node).ready(f"stream.{handler}", task_root=folder({"stream.cjs": NODE})).invoke({})
    assert (answer.kind, answer.payload) == ("STREAM", payload)
    assert answer.content_type == ("text/plain" if handler == "typed" else "application/octet-stream")


@pytest.mark.parametrize(
    "handler, said",
    [
        ("late_type", "Cannot set content-type, too late."),
        ("never_ends", "Response stream is not finished."),
        ("not_async", "Streaming does not support non-async handlers."),
    ],
)
def test_what_node_cannot_stream_is_an_error(node, spawn, folder, handler, said):
    answer = spawn(node).ready(f"stream.{handler}", task_root=folder({"stream.cjs": NODE})).invoke({})
    assert answer.kind == "ERROR" and answer.json["errorMessage"] == said


def test_nodes_mark_is_awss(node, spawn, folder):
    assert spawn(node).ready("stream.marked", task_root=folder({"stream.cjs": NODE})).invoke({}).json == "response"


@pytest.mark.parametrize("handler", ["asynchronous", "returned"])
def test_every_generator_of_pythons_streams(python, spawn, folder, handler):
    answer = spawn(python).ready(f"stream.{handler}", task_root=folder({"stream.py": PYTHON})).invoke({})
    assert (answer.kind, answer.payload) == ("STREAM", b"ab")


def test_what_is_no_piece_is_named(python, spawn, folder):
    answer = spawn(python).ready("stream.wrong", task_root=folder({"stream.py": PYTHON})).invoke({})
    assert "made of bytes and texts, and may begin with one dict: got int" in answer.json["errorMessage"]
