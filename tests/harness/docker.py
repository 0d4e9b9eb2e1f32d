"""What the Docker Engine of this machine, if there is one, has of Hearth's: asked over its socket, standard library only."""

import json
import os
import socket
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote

# As Hearth and Docker's own tools find it.
SOCKET = os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"
LABELS = ("hearth.sandbox", "hearth.installation")


class _Connection(HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(SOCKET)


def ask(method, path, body=None):
    """The answer's JSON; None where no engine answers."""
    connection = _Connection("docker")
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 400, f"{method} {path}: {answer.status} {text.decode(errors='replace')}"
        return json.loads(text or b"null")
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def runtimes():
    """The names of the engine's runtimes."""
    return set((ask("GET", "/info") or {}).get("Runtimes") or {})


def of_instance(instance):
    """The id of the container that an instance is in."""
    filters = quote(json.dumps({"label": [f"hearth.sandbox={instance}"]}))
    [container] = ask("GET", f"/containers/json?all=1&filters={filters}")
    return container["Id"]


def ours():
    """id → description of each container, network and volume that carries a label of Hearth's, running or not."""
    found = {}
    for label in LABELS:
        filters = quote(json.dumps({"label": [label]}))
        for one in ask("GET", f"/containers/json?all=1&filters={filters}") or []:
            found[one["Id"]] = f"{one['Names']} ({one['State']}) {one['Id'][:12]}"
        for one in ask("GET", f"/networks?filters={filters}") or []:
            found[one["Id"]] = f"network {one['Name']}"
        for one in (ask("GET", f"/volumes?filters={filters}") or {}).get("Volumes") or []:
            found[one["Name"]] = f"volume {one['Name']}"
    return found
