"""Hearth's own API, with the standard library only."""

import json
from urllib.parse import quote

from .wait import until


class Api:
    def __init__(self, hearth):
        self._hearth = hearth

    def call(self, method, path, body=None, token=None):
        """(status, headers, parsed body or text)."""
        connection = self._hearth.connection(self._hearth.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {token or self._hearth.token}"}
            if body is not None:
                headers["Content-Type"] = "application/json"
                body = json.dumps(body)
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            try:
                return answer.status, answer.headers, json.loads(text)
            except ValueError:
                return answer.status, answer.headers, text
        finally:
            connection.close()

    def get(self, path):
        status, _, body = self.call("GET", path)
        assert status == 200, f"GET {path} answered {status}: {body}"
        return body

    def functions(self):
        return rows(self.get("/api/v1/functions"))

    def instances(self, function=None):
        found = self.get("/api/v1/instances")["instances"]
        return [one for one in found if function in (None, one["function"])]

    def stems(self, isolation="namespace"):
        """How many sandboxes of that isolation are ready to become instances."""
        return sum(one["ready"] for one in self.get("/api/v1/instances")["stems"] if one["isolation"] == isolation)

    def sandboxes(self):
        """How many there are: instances, and stems that are ready or start."""
        found = self.get("/api/v1/instances")
        return len(found["instances"]) + sum(one["ready"] + one["starting"] for one in found["stems"])

    def invocations(self, function, limit=100):
        return rows(self.get(f"/api/v1/functions/{quote(function)}/invocations?limit={limit}"))

    def record(self, function, request_id):
        """The record of one invocation; records may be written a moment after the answer."""

        def find():
            return next((one for one in self.invocations(function) if one["request_id"] == request_id), None)

        return until(f"a record of {function}'s invocation {request_id}", find, within=5)

    def remove(self, function):
        status, _, body = self.call("DELETE", f"/api/v1/functions/{quote(function)}")
        assert status in (200, 202, 204, 404), f"could not remove {function}: {status} {body}"


def rows(body):
    """A list, or the one list inside an envelope such as {"functions": […], "next": …}."""
    if isinstance(body, list):
        return body
    lists = [value for value in body.values() if isinstance(value, list)]
    assert len(lists) == 1, f"expected one list in {list(body)}"
    return lists[0]
