"""HTTP to the ingress, with nothing added or merged on the way."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection


@dataclass
class Reply:
    status: int
    headers: list  # pairs, lower-case names, in order
    body: bytes

    def header(self, name):
        found = self.all(name)
        return found[0] if found else None

    def all(self, name):
        return [value for key, value in self.headers if key == name.lower()]

    def json(self):
        return json.loads(self.body)


def request(hearth, method, path, headers=(), body=None):
    """`headers` are pairs, so that a name can come more than once."""
    connection = HTTPConnection("127.0.0.1", hearth.ingress_port, timeout=60)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True, skip_host=any(n.lower() == "host" for n, _ in headers))
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        pairs = [(name.lower(), value) for name, value in answer.getheaders()]
        return Reply(answer.status, pairs, answer.read())
    finally:
        connection.close()
