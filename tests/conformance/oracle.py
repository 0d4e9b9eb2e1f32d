"""The oracle outside: things on the host that a sandbox must not reach, and a look at them afterwards."""

import os
import socket
import tempfile
import uuid
from pathlib import Path

from harness.listen import Listener

from .suite import Places


class Oracle:
    """A listener that counts who connects, and a world-readable canary file."""

    def __init__(self, hearth):
        self.secret = uuid.uuid4().hex
        self.canary = Path(tempfile.mkdtemp(prefix="ht-canary-"))
        self.canary.chmod(0o755)
        (self.canary / "canary").write_text(self.secret)
        (self.canary / "canary").chmod(0o644)
        listener = socket.create_server(("0.0.0.0", 0))
        self.port = listener.getsockname()[1]
        self.visitors = []
        self._listener = Listener(listener, self.visitors.append)
        self.places = Places(
            {
                "$LISTENER_PORT": self.port,
                "$CONTROL_PORT": hearth.port,
                "$INGRESS_PORT": hearth.ingress_port,
                "$HOST_ADDRESS": _own_address(),
                "$DATA_DIR": str(hearth.data),
                "$CANARY_FILE": str(self.canary / "canary"),
                "$TAG": hearth.tag,
            }
        )

    def check(self):
        assert self.works(), "the oracle's own listener does not answer: its silence would prove nothing"
        assert not self.visitors, f"a sandbox reached the host's listener: {self.visitors}"
        assert (self.canary / "canary").read_text() == self.secret, "a sandbox changed the canary"

    def works(self):
        """Connects from the host: shows that the listener would have noticed."""
        before = len(self.visitors)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.recv(1)  # returns when the listener has counted and closed
        seen = len(self.visitors) == before + 1
        del self.visitors[before:]
        return seen

    def close(self):
        self._listener.close()
        os.unlink(self.canary / "canary")
        os.rmdir(self.canary)


def _own_address():
    """An address of this host that is not loopback, or loopback when it has no other."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return probe.getsockname()[0]
    except OSError:
        return "127.0.0.1"
    finally:
        probe.close()
