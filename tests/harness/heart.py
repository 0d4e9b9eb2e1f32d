"""A heart that beats from outside: a request to /healthz every 10 ms from a process of its own, and how long each took.

With `Heart(port) as heart: …; heart.since(begun)`. It is a process, so that what else the tests do does not slow it.
"""

import subprocess
import sys
import threading
import time

BEAT = 0.010
PROGRAM = """
import socket, sys, time
host, port, beat = "127.0.0.1", int(sys.argv[1]), float(sys.argv[2])
one = socket.create_connection((host, port), timeout=30)
one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
ask = f"GET /healthz HTTP/1.1\\r\\nhost: {host}:{port}\\r\\n\\r\\n".encode()
due = time.monotonic()
while True:
    begun = time.monotonic()
    one.sendall(ask)
    answer = b""
    while b"\\r\\n\\r\\n" not in answer:
        more = one.recv(65536)
        if not more:
            sys.exit("the connection ended")
        answer += more
    assert answer.startswith(b"HTTP/1.1 200"), answer
    head, body = answer.split(b"\\r\\n\\r\\n", 1)
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length")), 0)
    while len(body) < length:
        body += one.recv(65536)
    print(f"{begun:.6f} {time.monotonic() - begun:.6f}", flush=True)
    due = max(due + beat, time.monotonic())
    time.sleep(max(0, due - time.monotonic()))
"""


class Heart:
    def __init__(self, port):
        self._port, self.beats = port, []

    def __enter__(self):
        command = [sys.executable, "-c", PROGRAM, str(self._port), str(BEAT)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._thread.join(10)
        self._process.wait()

    def _read(self):
        for line in self._process.stdout:
            begun, took = line.split()
            self.beats.append((float(begun), float(took)))

    def during(self, do):
        """Seconds of each beat while `do` ran."""
        begun = time.monotonic()
        do()
        ended = time.monotonic()
        deadline = ended + 30
        # Those that were under way at its end belong to it.
        while not self.beats or self.beats[-1][0] < ended:
            assert self._process.poll() is None, f"the heart stopped: {self._process.stderr.read()}"
            assert time.monotonic() < deadline, "no beat for 30 s"
            time.sleep(BEAT)
        return [took for at, took in self.beats if begun <= at <= ended]
