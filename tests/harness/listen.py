"""A thread that accepts whoever connects, hangs up, and ends before its socket is closed.

One that still waits when its socket is closed waits on a number, and may go on with the next socket that is given it.
"""

import socket
import threading


class Listener:
    def __init__(self, bound, came):
        """`bound` listens already; `came` is called with each peer's address."""
        self._socket, self._came = bound, came
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            self._came(peer)
            connection.close()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        assert not self._thread.is_alive(), "a listener did not end"
        self._socket.close()
