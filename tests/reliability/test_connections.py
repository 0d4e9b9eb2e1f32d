"""Row 24: connections that do nothing, and heads that come slowly. HEARTH_RELIABILITY_CONNECTIONS says how many (2,000)."""

import os
import resource
import socket
import time

import pytest

from harness.door import Door
from harness.functions import ECHO, write
from harness.memory import resident

COUNT = int(os.environ.get("HEARTH_RELIABILITY_CONNECTIONS", "2000"))
# Of the bar's 10,000.
IDLE, SLOW = 160 << 20, 320 << 20


@pytest.fixture
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = COUNT + 500
    if hard != resource.RLIM_INFINITY and hard < need:
        pytest.skip(f"a process may have {hard} descriptors here, {need} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind, limit", [("idle", IDLE), ("slow", SLOW)])
def test_many_connections_cost_little_and_hold_nobody_up(new_hearth, tmp_path, descriptors, kind, limit):
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "echo", ECHO), "echo", "python3.11", "app.handler", max=2)
    with Door(hearth) as door:
        assert door.invoke("echo", 1).json() == 1
        before = resident(hearth)
        open_ones = []
        try:
            for port in (hearth.port, hearth.ingress_port):
                for n in range(COUNT // 2):
                    one = socket.create_connection(("127.0.0.1", port), timeout=10)
                    if kind == "slow":
                        one.sendall(b"GET /fn/echo/ HTTP/1.1\r\nhost: x\r\nx-slow: " + b"a" * (n % 500))
                    open_ones.append(one)
            times = []
            for n in range(100):
                begun = time.monotonic()
                with Door(hearth, door._keys) as other:
                    assert other.invoke("echo", n).json() == n
                times.append(time.monotonic() - begun)
            grew = resident(hearth) - before
        finally:
            for one in open_ones:
                one.close()
        assert grew <= limit * COUNT / 10_000 + (8 << 20), f"the server grew by {grew / 2**20:.1f} MiB"
        assert door.invoke("echo", 2).json() == 2
    print(
        f"row 24: {COUNT} {kind} connections: the server grew by {grew / 2**20:.1f} MiB; a call over a new one takes "
        f"{sorted(times)[98] * 1e3:.1f} ms (p99)"
    )
