"""Thousands of clients that send their request a byte at a time: all are shown out in time, and who is quick is served
meanwhile."""

import resource
import select
import socket
import time
from http.client import HTTPConnection

import pytest

from attacks.watch import MIB, unharmed

# When a head must have come whole (crates/gateway/src/limits.rs), and what a busy machine may be late.
WITHIN, LATE = 10, 8
# Connections at once; more wait in the kernel's queue, and who is quick behind them. Each costs the server some 17 kB.
CONNECTIONS, EACH = 8192, 24 * 1024


@pytest.mark.parametrize("listener", ["functions", "api"])
def test_slow_heads_are_shown_out_and_quick_clients_served(listener, attacked, request):
    wanted = 10_000 if request.config.getoption("--all-attacks") else 2_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(wanted, hard - 1_000)
    if listener == "api":
        # The neighbour is called over this one.
        count = min(count, CONNECTIONS // 2)
    if count < 500:
        pytest.skip(f"this process may have only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hearth = attacked.hearth
    port = hearth.ingress_port if listener == "functions" else hearth.port
    clients, poll = {}, select.poll()
    with unharmed(attacked, f"{count} slow clients of {listener}", growth=max(32 * MIB, EACH * min(count, CONNECTIONS))) as told:
        try:
            started = time.monotonic()
            for _ in range(count):
                one = socket.create_connection(("127.0.0.1", port), timeout=20)
                one.setblocking(False)
                one.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                clients[one.fileno()] = one
                poll.register(one, select.POLLIN | select.POLLHUP)
            opened = time.monotonic()
            slowest, beat = 0.0, opened
            while clients and time.monotonic() < opened + WITHIN + LATE:
                for descriptor, _ in poll.poll(100):
                    try:
                        over = clients[descriptor].recv(65536) == b""
                    except BlockingIOError:
                        over = False
                    except ConnectionError:
                        over = True
                    if over:
                        poll.unregister(descriptor)
                        clients.pop(descriptor).close()
                if time.monotonic() > beat + 1:
                    beat = time.monotonic()
                    for one in list(clients.values()):
                        try:
                            one.send(b"x")
                        except (BlockingIOError, ConnectionError):
                            pass
                    if count < CONNECTIONS:
                        slowest = max(slowest, quick(hearth.ingress_port))
            took = time.monotonic() - opened
            told.append(f"opened in {opened - started:.1f} s, all gone after {took:.1f} s; a quick one waited {slowest * 1e3:.0f} ms at most")
            assert not clients, f"{len(clients)} of {count} are still there after {took:.0f} s"
            assert slowest < 5, f"a quick client waited {slowest:.1f} s"
        finally:
            for one in clients.values():
                one.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def quick(port):
    started = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/fn/absent")
    assert connection.getresponse().status == 404
    connection.close()
    return time.monotonic() - started
