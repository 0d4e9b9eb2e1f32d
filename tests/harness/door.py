"""The AWS door without boto3: raw HTTP with a Signature Version 4 of our own.

For load (boto3 costs more than the server does), for guests without pip, and to send what boto3
would never send. One `Door` is one kept-alive connection: give each thread its own.
"""

import hashlib
import hmac
import json
import shlex
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime, timezone
from http.client import HTTPConnection
from urllib.parse import quote


def credentials(hearth):
    """What `hearth aws-env` prints, as a dictionary."""
    found = {}
    for line in hearth.cli.ok("aws-env").stdout.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "export":
            name, _, value = words[1].partition("=")
            found[name] = value
    return found


@dataclass
class Answer:
    status: int
    headers: object
    body: bytes

    @property
    def request_id(self):
        return self.headers.get("x-amzn-requestid")

    @property
    def function_error(self):
        return self.headers.get("x-amz-function-error")

    @property
    def log(self):
        return b64decode(self.headers.get("x-amz-log-result") or "").decode(errors="replace")

    @property
    def version(self):
        return self.headers.get("x-amz-executed-version")

    def json(self):
        return json.loads(self.body)


class Door:
    def __init__(self, hearth, keys=None):
        self._host = f"127.0.0.1:{hearth.port}"
        self._keys = keys or credentials(hearth)
        self._connection = HTTPConnection("127.0.0.1", hearth.port, timeout=120)

    def invoke(self, name, event=None, body=None, headers=None, now=None):
        """One RequestResponse invocation; `body` overrides the event's JSON."""
        if body is None:
            body = json.dumps(event).encode()
        path = f"/2015-03-31/functions/{quote(name)}/invocations"
        wanted = {"host": self._host, "content-type": "application/json", **(headers or {})}
        signed = sign("POST", path, wanted, body, self._keys, now=now)
        self._connection.request("POST", path, body=body, headers=signed)
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def close(self):
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def sign(method, path, headers, body, keys, now=None, service="lambda"):
    """The headers with X-Amz-Date and Authorization added, every one of them signed."""
    stamp = (now or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
    headers = {name.lower(): value.strip() for name, value in headers.items()} | {"x-amz-date": stamp}
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [
            method,
            quote(path),  # already quoted once: AWS quotes twice everywhere but in S3
            "",
            "".join(f"{name}:{headers[name]}\n" for name in sorted(headers)),
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{stamp[:8]}/{keys['AWS_REGION']}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + keys["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys['AWS_ACCESS_KEY_ID']}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers
