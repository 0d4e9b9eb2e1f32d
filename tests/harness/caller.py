"""Calls one after the other, from a process of its own: nothing that the tests do meanwhile takes its interpreter from it.

    with Caller(hearth, "echo", tmp_path / "times") as caller: …; caller.times  # [(when it began, seconds)]
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

PAUSE = 0.002


class Caller:
    def __init__(self, hearth, function, path):
        self._path = Path(path)
        self._path.touch()
        self._command = [sys.executable, __file__, str(hearth.port), function, str(self._path)]
        self._environment = {**os.environ, "HEARTH_TOKEN": hearth.token}
        self._process = None

    def __enter__(self):
        self._process = subprocess.Popen(self._command, env=self._environment)
        return self

    def __exit__(self, *_):
        died = self._process.poll()
        self._process.terminate()
        self._process.wait(30)
        assert died is None, f"a call failed: the caller ended with {died}"

    @property
    def times(self):
        assert self._process.poll() is None, "a call failed: the caller ended"
        whole = self._path.read_text().rpartition("\n")[0]
        return [tuple(float(number) for number in line.split()) for line in whole.splitlines()]


def main(port, function, path):
    head = f"POST /2015-03-31/functions/{function}/invocations HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    head += f"authorization: Bearer {os.environ['HEARTH_TOKEN']}\r\ncontent-length: 1\r\n\r\n1"
    request = head.encode()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as door, open(path, "w", buffering=1) as out:
        while True:
            begun = time.monotonic()
            door.sendall(request)
            answer = door.recv(65536)
            while b"\r\n\r\n" not in answer:
                more = door.recv(65536)
                assert more, "the connection ended"
                answer += more
            took = time.monotonic() - begun
            # One digit is the whole answer of a function that gives back what it is given.
            assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n1"), answer
            out.write(f"{begun} {took}\n")
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
