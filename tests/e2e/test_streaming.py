"""Answers as the function writes them: `InvokeWithResponseStream` by boto3, function URLs, published runtime clients."""

import http.client
import json
import threading
import time

import pytest
from botocore.exceptions import ClientError

from conformance import clients
from harness import aws, memory, web
from harness.wait import until

NODE = """
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const once = (stream, what) => new Promise((resolve) => stream.once(what, resolve));

export const handler = awslambda.streamifyResponse(async (event, out, context) => {
  const asked = event.rawPath ? Object.fromEntries(new URLSearchParams(event.rawQueryString)) : event;
  console.log('asked', JSON.stringify(asked));
  if (asked.fail === 'first') throw new RangeError('before anything');
  if (asked.head) {
    out = awslambda.HttpResponseStream.from(out, {
      statusCode: 201, headers: { 'content-type': 'text/html', 'x-own': '1' }, cookies: ['a=1'],
    });
  }
  for (let n = 0; n < Number(asked.pieces ?? 0); n++) {
    out.write(`piece ${n}\\n`);
    await wait(Number(asked.pause ?? 0));
  }
  if (asked.fail === 'within') throw new RangeError('amid the answer');
  if (asked.die) process.exit(3);
  for (let n = 0; n < Number(asked.megabytes ?? 0); n++) {
    if (!out.write(Buffer.alloc(1 << 20, 120))) await once(out, 'drain');
  }
  if (asked.hang) await wait(60000);
  out.end();
});
"""

PYTHON = """
import time

def handler(event, context):
    if event.get("rawPath"):
        yield {"statusCode": 202, "headers": {"content-type": "text/event-stream"}}
    for n in range(event.get("pieces", 3)):
        yield f"piece {n}\\n"
        time.sleep(event.get("pause", 0))
    for _ in range(event.get("megabytes", 0)):
        yield bytes(1 << 20)
    if event.get("fail"):
        raise ValueError("amid the answer")
"""


def stream(client, name, event, **more):
    """Pieces with the second at which each came, and how it ended."""
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event), **more)
    assert answer["StatusCode"] == 200
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    assert answer["ExecutedVersion"] == "$LATEST"
    pieces, complete, begun = [], None, time.monotonic()
    for message in answer["EventStream"]:
        assert complete is None, "nothing comes after the end"
        if "PayloadChunk" in message:
            pieces.append((time.monotonic() - begun, message["PayloadChunk"]["Payload"]))
        else:
            complete = message["InvokeComplete"]
    return pieces, complete, answer["ResponseMetadata"]["RequestId"]


def text(pieces):
    return b"".join(payload for _, payload in pieces).decode()


@pytest.fixture(scope="module")
def streaming(hearth, tmp_path_factory):
    from harness.functions import write

    folder = write(tmp_path_factory.mktemp("f") / "f", NODE, "nodejs20.x", 'invoke-mode = "stream"\n')
    hearth.cli.deploy(folder, "streaming", "nodejs20.x", "app.handler", timeout="20s", memory="256MB")
    yield "streaming"
    hearth.api.remove("streaming")


def test_pieces_come_while_the_function_writes(boto, hearth, streaming):
    pieces, complete, request = stream(boto, streaming, {"pieces": 4, "pause": 250}, LogType="Tail")
    assert text(pieces) == "piece 0\npiece 1\npiece 2\npiece 3\n"
    assert pieces[-1][0] - pieces[0][0] > 0.5, "they were not kept for the end"
    assert set(complete) == {"LogResult"}
    assert "asked" in aws.log_tail(complete) and "REPORT RequestId" in aws.log_tail(complete)
    record = hearth.api.record(streaming, request)
    assert (record["outcome"]["status"], record["response_bytes"]) == ("ok", 32)


def test_an_ordinary_invoke_gets_the_whole(boto, streaming):
    answer = boto.invoke(FunctionName=streaming, Payload=b'{"pieces": 2}')
    assert answer["Payload"].read() == b"piece 0\npiece 1\n"
    answer = boto.invoke(FunctionName=streaming, Payload=b'{"megabytes": 7}')
    assert answer["FunctionError"] == "Unhandled"
    assert json.load(answer["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_function_that_does_not_stream_answers_in_one_piece(boto, function):
    name = function("def handler(event, context):\n    return 1 / 0 if event.get('fail') else {'a': 1}\n")
    pieces, complete, _ = stream(boto, name, {})
    assert (json.loads(text(pieces)), complete) == ({"a": 1}, {})
    pieces, complete, _ = stream(boto, name, {"fail": True})
    assert (pieces, complete["ErrorCode"]) == ([], "Unhandled")
    assert json.loads(complete["ErrorDetails"])["errorType"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    "event, kind, before",
    [
        ({"fail": "first"}, "RangeError", ""),
        ({"pieces": 1, "fail": "within"}, "RangeError", "piece 0\n"),
        ({"pieces": 1, "pause": 50, "die": True}, "Runtime.ExitError", "piece 0\n"),
    ],
    ids=["before", "within", "dies"],
)
def test_a_failure_is_told_at_the_end(boto, streaming, event, kind, before):
    pieces, complete, _ = stream(boto, streaming, event)
    assert (text(pieces), complete["ErrorCode"]) == (before, "Unhandled")
    assert json.loads(complete["ErrorDetails"])["errorType"] == kind
    assert text(stream(boto, streaming, {"pieces": 1})[0]) == "piece 0\n", "the next call works"


def test_the_time_limit_holds_within_a_stream(boto, function):
    name = function(NODE, runtime="nodejs20.x", timeout="1s")
    pieces, complete, _ = stream(boto, name, {"pieces": 1, "hang": True})
    assert text(pieces) == "piece 0\n"
    assert "Task timed out after 1.00 seconds" in complete["ErrorDetails"]


def test_what_cannot_be_streamed_is_refused(boto, hearth, streaming):
    def error(**more):
        with pytest.raises(ClientError) as caught:
            boto.invoke_with_response_stream(**{"FunctionName": streaming, "Payload": b"{}", **more})
        return caught.value.response["Error"]["Code"]

    assert error(FunctionName="nobody-home") == "ResourceNotFoundException"
    assert error(Payload=b"{") == "InvalidRequestContentException"
    stranger = aws.client(hearth, AWS_SECRET_ACCESS_KEY="wrong")
    with pytest.raises(ClientError) as caught:
        stranger.invoke_with_response_stream(FunctionName=streaming, Payload=b"{}")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_long_answer_takes_no_memory_of_the_server_and_waits_for_its_reader(boto, hearth, streaming):
    with memory.Watch(hearth) as watch:
        pieces, complete, _ = stream(boto, streaming, {"megabytes": 100})
        assert sum(len(payload) for _, payload in pieces) == 100 << 20 and complete == {}
        # A reader that stops: the function waits, not the server's memory.
        answer = boto.invoke_with_response_stream(FunctionName=streaming, Payload=b'{"megabytes": 100}')
        messages = iter(answer["EventStream"])
        next(messages)
        time.sleep(1)
        answer["EventStream"].close()
    watch.assert_below(48 << 20)


def test_a_client_that_goes_away_ends_neither_function_nor_server(boto, hearth, streaming):
    answer = boto.invoke_with_response_stream(FunctionName=streaming, Payload=b'{"pieces": 3, "pause": 200, "megabytes": 20}')
    next(iter(answer["EventStream"]))
    answer["EventStream"].close()
    request = answer["ResponseMetadata"]["RequestId"]

    def over():
        return [one for one in hearth.api.invocations(streaming, limit=20) if one["request_id"] == request]

    [record] = until("the function to end", over, within=15)
    assert (record["outcome"]["status"], record["response_bytes"]) == ("ok", (20 << 20) + 24)
    assert text(stream(boto, streaming, {"pieces": 1})[0]) == "piece 0\n"


def test_more_than_200_mb_is_cut_off(boto, streaming):
    pieces, complete, _ = stream(boto, streaming, {"megabytes": 201})
    assert 199 << 20 <= sum(len(payload) for _, payload in pieces) <= 200 << 20
    assert json.loads(complete["ErrorDetails"])["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_url_streams_what_the_function_says(hearth, streaming):
    reply = web.request(hearth, "GET", f"/fn/{streaming}/?head=1&pieces=2")
    assert (reply.status, reply.body) == (201, b"piece 0\npiece 1\n")
    assert (reply.header("content-type"), reply.header("x-own")) == ("text/html", "1")
    assert reply.all("set-cookie") == ["a=1"]
    reply = web.request(hearth, "GET", f"/fn/{streaming}/?pieces=1")
    assert (reply.status, reply.header("content-type")) == (200, "application/octet-stream")
    assert reply.body == b"piece 0\n"
    assert web.request(hearth, "GET", f"/fn/{streaming}/?fail=first").status == 502


def test_a_url_gives_each_piece_when_it_is_written(hearth, streaming):
    connection = http.client.HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=20)
    connection.request("GET", f"/fn/{streaming}/?head=1&pieces=3&pause=400")
    answer, begun = connection.getresponse(), time.monotonic()
    assert answer.readline() == b"piece 0\n"
    assert time.monotonic() - begun < 0.35
    assert answer.readline() == b"piece 1\n"
    connection.close()


def test_a_url_breaks_off_where_the_function_does(hearth, streaming):
    connection = http.client.HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=20)
    connection.request("GET", f"/fn/{streaming}/?pieces=1&pause=100&fail=within")
    answer = connection.getresponse()
    assert answer.status == 200
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()
    connection.close()


def test_a_python_generator_streams(boto, hearth, function):
    name = function(PYTHON, toml='invoke-mode = "stream"\n')
    pieces, complete, _ = stream(boto, name, {"pieces": 3, "pause": 0.2, "megabytes": 8})
    assert text(pieces[:3]) == "piece 0\npiece 1\npiece 2\n" and pieces[2][0] - pieces[0][0] > 0.3
    assert complete == {} and sum(len(payload) for _, payload in pieces) == (8 << 20) + 24
    _, complete, _ = stream(boto, name, {"fail": True})
    assert json.loads(complete["ErrorDetails"])["errorType"] == "ValueError"
    reply = web.request(hearth, "GET", f"/fn/{name}/")
    assert (reply.status, reply.header("content-type")) == (202, "text/event-stream")
    assert reply.body == b"piece 0\npiece 1\npiece 2\n"


def test_the_mode_of_a_url_is_awss(boto, function):
    name = function(NODE, runtime="nodejs20.x")
    assert boto.get_function_url_config(FunctionName=name)["InvokeMode"] == "BUFFERED"
    changed = boto.update_function_url_config(FunctionName=name, InvokeMode="RESPONSE_STREAM")
    assert changed["InvokeMode"] == "RESPONSE_STREAM"
    assert boto.get_function_url_config(FunctionName=name)["InvokeMode"] == "RESPONSE_STREAM"
    boto.delete_function_url_config(FunctionName=name)
    made = boto.create_function_url_config(FunctionName=name, AuthType="NONE")
    assert made["InvokeMode"] == "BUFFERED"


def test_many_streams_at_once(hearth, streaming):
    seen = []

    def one(number):
        client = aws.client(hearth)
        pieces, complete, _ = stream(client, streaming, {"pieces": 5, "pause": 20, "megabytes": 2})
        seen.append((len(b"".join(p for _, p in pieces)), complete))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert seen == [((2 << 20) + 40, {})] * 6


def test_awss_own_node_client_streams(boto, hearth, need_driver, tmp_path):
    """Over the Runtime API, with its trailers."""
    need_driver("namespace")
    if reason := clients.missing("node"):
        pytest.skip(reason)
    package = clients.package("node", tmp_path / "package")
    (package / "app.cjs").write_text(NODE.replace("export const handler =", "exports.handle ="))
    name = "client-node-streams"
    flags = ["--memory", "512MB", "--timeout", "20s", "--isolation", "namespace", "--json"]
    hearth.cli.ok("deploy", package, "--name", name, "--runtime", "provided.al2023", "--handler", "app.handle", *flags)
    try:
        pieces, complete, _ = stream(boto, name, {"pieces": 3, "pause": 200, "megabytes": 10})
        assert text(pieces[:3]) == "piece 0\npiece 1\npiece 2\n" and pieces[2][0] - pieces[0][0] > 0.3
        assert complete == {} and sum(len(payload) for _, payload in pieces) == (10 << 20) + 24
        pieces, complete, _ = stream(boto, name, {"pieces": 1, "fail": "within"})
        assert text(pieces) == "piece 0\n"
        assert json.loads(complete["ErrorDetails"])["errorType"] == "RangeError"
        assert json.loads(complete["ErrorDetails"])["errorMessage"] == "amid the answer"
        pieces, complete, _ = stream(boto, name, {"pieces": 1, "pause": 100, "die": True})
        assert text(pieces) == "piece 0\n"
        assert json.loads(complete["ErrorDetails"])["errorType"] == "Runtime.ExitError"
        assert text(stream(boto, name, {"pieces": 1})[0]) == "piece 0\n"
    finally:
        hearth.api.remove(name)
