"""Functions over HTTP: AWS's payload format 2.0, in and out."""

import base64
import json

import pytest

from harness.functions import write
from harness.web import request

# Answers with the event it got, or with what the path asks for.
MIRROR = """
import base64
import json

def handler(event, context):
    path = event["rawPath"]
    if path == "/plain":
        return "just text"
    if path == "/object":
        return {"any": "object", "without": ["a", "status"]}
    if path == "/list":
        return [1, 2, 3]
    if path == "/null":
        return None
    if path == "/teapot":
        return {"statusCode": 418, "headers": {"x-made-by": "tests", "content-type": "text/plain"},
                "cookies": ["a=1; Path=/", "b=2; HttpOnly"], "body": "short and stout"}
    if path == "/bytes":
        return {"statusCode": 200, "headers": {"content-type": "image/png"}, "isBase64Encoded": True,
                "body": base64.b64encode(bytes(range(256))).decode()}
    if path == "/empty":
        return {"statusCode": 204}
    if path == "/raises":
        raise ValueError("the secret of the handler")
    if path == "/exits":
        raise SystemExit(1)
    if path == "/nonsense":
        return {"statusCode": "not a number", "body": "x"}
    if path == "/bad-base64":
        return {"statusCode": 200, "isBase64Encoded": True, "body": "%%%"}
    if path == "/split":
        return {"statusCode": 200, "headers": {"x-split": "a\\r\\nx-injected: yes"}, "body": "x"}
    if path == "/hop-by-hop":
        return {"statusCode": 200, "headers": {"connection": "upgrade", "transfer-encoding": "chunked",
                "content-length": "9999", "x-fine": "yes"}, "body": "x"}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
"""


@pytest.fixture(scope="module")
def mirror(hearth, tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("f") / "f", MIRROR)
    hearth.cli.deploy(folder, "mirror", "python3.11", "app.handler", flags=["--url"])

    def ask(path, method="GET", headers=(), body=None):
        return request(hearth, method, f"/fn/mirror{path}", headers, body)

    yield ask
    hearth.api.remove("mirror")


def test_the_event_is_payload_format_2(mirror):
    event = mirror("/a/b%20c?x=1&y=%C3%BC", headers=[("X-Custom", "Value"), ("User-Agent", "tests")]).json()
    assert event["version"] == "2.0"
    assert event["routeKey"] == "$default"
    assert event["rawPath"] == "/a/b%20c" or event["rawPath"] == "/a/b c"
    assert event["rawQueryString"] == "x=1&y=%C3%BC"
    assert event["queryStringParameters"] == {"x": "1", "y": "ü"}
    assert event["headers"]["x-custom"] == "Value"
    assert event["isBase64Encoded"] is False
    http = event["requestContext"]["http"]
    assert (http["method"], http["protocol"], http["sourceIp"]) == ("GET", "HTTP/1.1", "127.0.0.1")
    assert http["userAgent"] == "tests"
    for field in ("accountId", "apiId", "domainName", "requestId", "stage", "time", "timeEpoch"):
        assert field in event["requestContext"], field


def test_the_root_of_a_function_is_a_slash(mirror):
    assert mirror("/").json()["rawPath"] == "/"
    assert mirror("").json()["rawPath"] == "/"


def test_headers_that_come_twice_are_joined(mirror):
    event = mirror("/", headers=[("X-Many", "one"), ("X-Many", "two")]).json()
    assert event["headers"]["x-many"].replace(", ", ",") == "one,two"


def test_query_values_that_come_twice_are_joined(mirror):
    event = mirror("/?a=1&a=2&b=&c").json()
    assert event["queryStringParameters"] == {"a": "1,2", "b": "", "c": ""}
    assert event["rawQueryString"] == "a=1&a=2&b=&c"


def test_cookies_come_as_a_list(mirror):
    event = mirror("/", headers=[("Cookie", "a=1; b=2")]).json()
    assert event["cookies"] == ["a=1", "b=2"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_text_body_arrives_as_text(mirror, method):
    event = mirror("/", method, [("Content-Type", "application/json")], '{"ü": 1}'.encode()).json()
    assert (event["requestContext"]["http"]["method"], event["body"]) == (method, '{"ü": 1}')
    assert event["isBase64Encoded"] is False


def test_a_binary_body_arrives_in_base64(mirror):
    body = bytes(range(256))
    event = mirror("/", "POST", [("Content-Type", "application/octet-stream")], body).json()
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == body


def test_a_body_over_the_limit_is_refused(mirror):
    assert mirror("/", "POST", [("Content-Type", "text/plain")], b"x" * 7_000_000).status == 413


def test_status_headers_and_cookies_go_out(mirror):
    reply = mirror("/teapot")
    assert (reply.status, reply.body) == (418, b"short and stout")
    assert reply.header("x-made-by") == "tests"
    assert reply.header("content-type") == "text/plain"
    assert reply.all("set-cookie") == ["a=1; Path=/", "b=2; HttpOnly"]


def test_a_base64_body_goes_out_as_bytes(mirror):
    reply = mirror("/bytes")
    assert reply.body == bytes(range(256))
    assert reply.header("content-type") == "image/png"


def test_a_response_without_a_body_is_empty(mirror):
    reply = mirror("/empty")
    assert (reply.status, reply.body) == (204, b"")


def test_head_has_no_body(mirror):
    assert mirror("/teapot", "HEAD").body == b""


@pytest.mark.parametrize(
    "path, body",
    [
        ("/plain", "just text"),  # JSON as it is, as AWS documents
        ("/object", {"any": "object", "without": ["a", "status"]}),
        ("/list", [1, 2, 3]),
    ],
)
def test_a_result_without_a_status_is_the_body_of_a_200(mirror, path, body):
    reply = mirror(path)
    assert reply.status == 200
    assert reply.header("content-type") == "application/json"
    assert reply.json() == body


def test_null_is_a_200(mirror):
    assert mirror("/null").status == 200


@pytest.mark.parametrize("path", ["/raises", "/exits", "/nonsense", "/bad-base64"])
def test_a_failing_handler_is_a_502_that_tells_no_secrets(mirror, path):
    reply = mirror(path)
    assert reply.status == 502
    assert b"secret of the handler" not in reply.body and b"Traceback" not in reply.body


def test_a_header_with_a_line_break_injects_nothing(mirror):
    reply = mirror("/split")
    assert reply.header("x-injected") is None


def test_hop_by_hop_headers_of_a_function_are_not_the_connections(mirror):
    reply = mirror("/hop-by-hop")
    assert (reply.status, reply.body) == (200, b"x")
    assert reply.header("x-fine") == "yes" and reply.header("connection") != "upgrade"


def test_an_unknown_function_is_a_404(hearth):
    assert request(hearth, "GET", "/fn/nobody-home/").status == 404


def test_a_function_without_a_url_is_a_404_like_one_that_is_not_there(hearth, function):
    name = function(MIRROR, toml="url = false\n")
    there, absent = (request(hearth, "GET", f"/fn/{who}/") for who in (name, "nobody-home"))
    assert there.status == absent.status == 404
    assert there.body.replace(name.encode(), b"NAME") == absent.body.replace(b"nobody-home", b"NAME")


@pytest.mark.parametrize("path", ["/", "/api/v1/functions", "/2015-03-31/functions/mirror/invocations", "/healthz", "/metrics"])
def test_the_ingress_has_functions_only(hearth, path):
    headers = [("Authorization", f"Bearer {hearth.token}")]
    assert request(hearth, "GET", path, headers).status == 404


def test_the_control_listener_has_no_functions(hearth, mirror):
    assert hearth.probe("/fn/mirror/plain") in (401, 404)


def test_a_function_answers_by_its_host_name(hearth, mirror):
    reply = request(hearth, "GET", "/plain", [("Host", f"mirror.fn.localhost:{hearth.ingress_port}")])
    assert reply.json() == "just text"


def test_concurrent_requests_keep_their_answers(hearth, mirror):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda n: json.loads(mirror(f"/{n}").body)["rawPath"], range(64)))
    assert bodies == [f"/{n}" for n in range(64)]
