"""Routes that functions declare: which answers, and what stands before the function."""

import hashlib
import hmac
import json
import threading
import time

import pytest

from harness.web import request

EVENT = """
import json

def handler(event, context):
    return {"statusCode": 200, "headers": {"access-control-allow-origin": "*"}, "body": json.dumps(event)}
"""
SLOW = """
import time

def handler(event, context):
    time.sleep(2)
    return "late"
"""


# A server that reads paths as loosely as servers are known to: it decodes before it splits, cuts at ";", and folds case.
LOOSE = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from posixpath import normpath
from urllib.parse import unquote

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = unquote(self.path.split("?")[0]).replace("\\\\", "/").split("/")
        path = "/" + normpath("/".join(part.split(";")[0] for part in parts)).strip("/").lower()
        body = b"treasure" if path == "/admin" else b"nothing"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def routed(function):
    """Deploys a function with these routes; gives its name."""
    return lambda *routes, code=EVENT: function(code, flags=[part for route in routes for part in ("--route", route)])


def test_the_best_route_answers_with_its_parameters(hearth, routed):
    routed("GET /best/{id}", "/best/{proxy+}", "GET /best/me", "GET own.test/{proxy+}")

    def asked(path, method="GET", headers=()):
        event = request(hearth, method, path, headers).json()
        assert event["requestContext"]["routeKey"] == event["routeKey"]
        return event["routeKey"], event.get("pathParameters")

    assert asked("/best/me") == ("GET /best/me", None)
    assert asked("/best/a%20b?x=1") == ("GET /best/{id}", {"id": "a b"})
    assert asked("/best/me", "POST") == ("ANY /best/{proxy+}", {"proxy": "me"})
    assert asked("/best/a/b") == ("ANY /best/{proxy+}", {"proxy": "a/b"})
    assert asked("/best/me", headers=[("Host", "own.test")]) == ("GET /{proxy+}", {"proxy": "best/me"})
    assert request(hearth, "GET", "/best/../x").status == 400
    assert request(hearth, "GET", "/nobody").status == 404
    routes = hearth.cli.ok("routes", "--json").json()
    assert "GET own.test/{proxy+}" in [one["route"] for one in routes]


def test_a_route_of_another_function_is_refused_by_name(hearth, routed, tmp_path):
    name = routed("GET /taken/{id}")
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "app.py").write_text(EVENT)
    refused = hearth.cli.refused("deploy", folder, "--name", "other", "--route", "GET /taken/{name}")
    assert name in refused.text and "GET /taken/{id}" in refused.text and "GET /taken/{name}" in refused.text
    hearth.api.remove(name)
    hearth.cli.ok("deploy", folder, "--name", "other", "--route", "GET /taken/{name}")
    hearth.api.remove("other")


def test_a_change_of_routes_is_live_and_drops_nothing(hearth, function):
    name = function(EVENT, flags=["--route", "/live/old", "--route", "/live/always"])
    ended, seen = threading.Event(), []

    def call():
        while not ended.is_set():
            seen.append(request(hearth, "GET", "/live/always").status)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for turn in range(8):
            now, before = f"/live/{turn}", "/live/old" if turn == 0 else f"/live/{turn - 1}"
            routes = [{"route": now}, {"route": "/live/always"}]
            status, _, body = hearth.api.call("PATCH", f"/api/v1/functions/{name}", {"http": routes})
            assert status == 200, body
            assert request(hearth, "GET", now).status == 200
            assert request(hearth, "GET", before).status == 404
    finally:
        ended.set()
        for caller in callers:
            caller.join(60)
    assert len(seen) >= 8 and set(seen) == {200}


def test_a_browsers_question_starts_nothing(hearth, routed):
    name = routed("PUT /cors cors=https://a.example")
    ask = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")]
    answer = request(hearth, "OPTIONS", "/cors", ask)
    assert (answer.status, answer.header("access-control-allow-origin")) == (204, "https://a.example")
    answer = request(hearth, "OPTIONS", "/cors", [("Origin", "https://b.example"), *ask[1:]])
    assert (answer.status, answer.header("access-control-allow-origin")) == (204, None)
    assert hearth.api.instances(name) == []
    answer = request(hearth, "PUT", "/cors", ask[:1])
    assert answer.all("access-control-allow-origin") == ["https://a.example"]


def test_api_keys_let_in_where_they_are_valid(hearth, routed):
    name = routed("/key auth=api-key")
    made = hearth.cli.ok("key", "create", "e2e-good", "--function", name, "--json").json()["key"]
    other = hearth.cli.ok("key", "create", "e2e-other", "--route", "GET /elsewhere", "--json").json()["key"]
    try:
        ask = lambda *headers: request(hearth, "GET", "/key", headers)
        assert ask().status == 401
        assert ask(("x-api-key", made[:-1] + "x")).status == 401
        assert ask(("x-api-key", other)).status == 403
        answer = ask(("x-api-key", made))
        assert answer.status == 200 and made not in answer.body.decode()
        # Its own URL would let everybody in.
        assert request(hearth, "GET", f"/fn/{name}/").status == 404
        assert made not in json.dumps(hearth.cli.ok("key", "list", "--json").json())
    finally:
        hearth.cli.ok("key", "rm", "e2e-good")
        hearth.cli.ok("key", "rm", "e2e-other")
    assert ask(("x-api-key", made)).status == 401


def test_nobody_gets_around_a_routes_auth_by_another_path(hearth, tmp_path):
    (tmp_path / "app.py").write_text(LOOSE)
    hearth.cli.deploy(tmp_path, "loose", flags=["--web", "--route", "loose.test/admin auth=api-key", "--route", "loose.test/{proxy+}"])
    key = hearth.cli.ok("key", "create", "e2e-loose", "--json").json()["key"]
    ask = lambda path, *headers: request(hearth, "GET", path, [("Host", "loose.test"), *headers])
    try:
        assert ask("/admin", ("x-api-key", key)).body == b"treasure"
        assert ask("/page").body == b"nothing"
        forms = """/admin /admin/ /admin?x /%61dmin /Admin /ADMIN/ /%41dmin //admin /./admin /x/../admin /x/%2e%2e/admin /x%2f..%2fadmin
            /%2fadmin /admin%2f /x/..%2fadmin /admin;a /admin;a=b/ /admin%3ba /;/admin /x;/../admin /\\admin /%5cadmin /x%5c..%5cadmin
            /admin%00 http://loose.test/admin http://loose.test//admin /fn/loose/admin /fn/loose/ /FN/../admin""".split()
        for form in forms:
            answer = ask(form)
            assert answer.status in (400, 401, 404) or answer.body == b"nothing", form
            assert b"treasure" not in answer.body, form
        assert request(hearth, "GET", "/admin", [("Host", "loose.fn.localhost")]).status == 404
        # Where no route asks who calls, nothing is refused, and the server does read these so.
        hearth.cli.deploy(tmp_path, "open", flags=["--web", "--route", "open.test/{proxy+}"])
        for form in ("/ADMIN/", "/%2fadmin", "/admin;a", "/admin%3ba", "/x%2f..%2fadmin"):
            assert request(hearth, "GET", form, [("Host", "open.test")]).body == b"treasure", form
    finally:
        hearth.cli.ok("key", "rm", "e2e-loose")
        for name in ("loose", "open"):
            hearth.api.remove(name)


def test_signatures_of_github_and_stripe_are_verified(hearth, routed):
    hearth.cli.ok("secret", "set", "e2e-hook", input="the key of the hook")
    name = routed("POST /github auth=github:e2e-hook max-body=1KB", "POST /stripe auth=stripe:e2e-hook")
    try:
        sign = lambda text: hmac.new(b"the key of the hook", text, hashlib.sha256).hexdigest()
        body = json.dumps({"action": "opened"}).encode()
        github = lambda signature, sent=body: request(hearth, "POST", "/github", [("X-Hub-Signature-256", signature)], sent).status
        assert github("sha256=" + sign(body)) == 200
        assert github("sha256=" + sign(body), body + b" ") == 401
        assert github("sha256=" + "0" * 64) == 401
        assert github("sha256=" + sign(b"x" * 2000), b"x" * 2000) == 413
        assert request(hearth, "POST", "/github", (), body).status == 401

        def stripe(at, signed=None):
            code = sign(f"{signed or at}.".encode() + body)
            return request(hearth, "POST", "/stripe", [("Stripe-Signature", f"t={at},v1={code},v0=x")], body).status

        now = int(time.time())
        assert stripe(now) == 200
        assert stripe(now, signed=now - 5) == 401
        assert stripe(now - 400) == 401, "a replay"
        # The secret is in no answer, and is not removed while a route needs it.
        assert "the key of the hook" not in json.dumps(hearth.api.get("/api/v1/routes"))
        assert name in hearth.cli.refused("secret", "rm", "e2e-hook").text
        # A change holds at once.
        hearth.cli.ok("secret", "set", "e2e-hook", input="another")
        assert github("sha256=" + sign(body)) == 401
    finally:
        hearth.api.remove(name)
        hearth.cli.ok("secret", "rm", "e2e-hook")


def test_a_rate_a_body_and_a_time_are_bounded(hearth, routed):
    routed("/rate rate=3/h", "/rate/body max-body=10")
    assert [request(hearth, "GET", "/rate").status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert 1 <= int(request(hearth, "GET", "/rate").header("retry-after")) <= 1200
    assert request(hearth, "POST", "/rate/body", (), b"x" * 10).status == 200
    assert request(hearth, "POST", "/rate/body", (), b"x" * 11).status == 413
    routed("/rate/late timeout=200ms", code=SLOW)
    assert request(hearth, "GET", "/rate/late").status == 504


def test_a_proxy_that_is_trusted_says_who_calls(new_hearth, tmp_path):
    hearth = new_hearth(arguments=["--trusted-proxy", "127.0.0.0/8"]).start()
    (tmp_path / "app.py").write_text(EVENT)
    hearth.cli.deploy(tmp_path, "f", flags=["--route", "/a rate=1/h"])
    ask = lambda client: request(hearth, "GET", "/a", [("X-Forwarded-For", client)])
    answer = ask("9.9.9.9")
    assert (answer.status, answer.json()["requestContext"]["http"]["sourceIp"]) == (200, "9.9.9.9")
    assert ask("9.9.9.9").status == 429
    assert ask("9.9.9.8").status == 200
