"""A small world for functions that have a network: the machine that Hearth runs on, and everything beyond it, each in a
network namespace of the test's own, so that nothing of this machine's real network is touched or reached.

    with World() as world:      the test's thread is on that machine now, as is all that it starts
        …

    machine (203.0.113.1, 192.168.77.1) ── beyond (internet, LAN, metadata and others, all of them listening)

Whoever connects beyond is told the address that he comes from, over TCP and UDP. Needs root.
"""

import ctypes
import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from .wait import until

CLONE_NEWNET = 0x40000000

INTERNET = "203.0.113.10"
OTHER = "198.51.100.7"
LAN = "192.168.77.10"
PRIVATE = "10.9.9.9"
SHARED = "100.64.0.10"
METADATA = "169.254.169.254"
BEYOND = [INTERNET, OTHER, LAN, PRIVATE, SHARED, METADATA]
PORTS = [80, 5432]

# This machine, as others would write it.
HERE = ["203.0.113.1", "192.168.77.1"]
# Where something of this machine's listens, on all its addresses.
HERE_PORT = 9999

libc = ctypes.CDLL(None, use_errno=True)

# Runs beyond: listens on every address, and answers any question about a name with INTERNET.
SERVE = """
import socket, struct, threading
def tcp(port):
    listener = socket.create_server(("0.0.0.0", port), backlog=64)
    while True:
        one, peer = listener.accept()
        one.sendall(peer[0].encode())
        one.close()
def udp(port):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: answers come from the address that was asked
    one.bind(("0.0.0.0", port))
    while True:
        data, info, _, peer = one.recvmsg(2048, 256)
        answer = peer[0].encode() if port != 53 else name(data)
        one.sendmsg([answer], [(socket.IPPROTO_IP, 8, struct.pack("=I", 0) + info[0][2][4:8] + bytes(4))], 0, peer)
def name(query):
    end = query.index(b"\\0", 12) + 5
    kind = struct.unpack("!H", query[end - 4 : end - 2])[0]
    found = kind == 1
    head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(found), 0, 0)
    record = b"\\xc0\\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("203.0.113.10")
    return head + query[12:end] + (record if found else b"")
for port in (80, 5432):
    threading.Thread(target=tcp, args=(port,), daemon=True).start()
for port in (80, 53):
    threading.Thread(target=udp, args=(port,), daemon=True).start()
print("listening", flush=True)
threading.Event().wait()
"""


def possible():
    """Why there can be no such world here; None where there can."""
    if os.geteuid() != 0:
        return "it takes root to make network namespaces"
    made = subprocess.run(
        ["unshare", "-n", "ip", "link", "add", "w0", "type", "veth", "peer", "name", "w1"], capture_output=True, text=True
    )
    return None if made.returncode == 0 else f"this machine makes no devices: {made.stderr.strip()}"


def resolver():
    """Whom this machine asks about names."""
    for line in Path("/etc/resolv.conf").read_text().splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and "." in words[1]:
            return words[1]
    return None


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


class World:
    def __enter__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.beyond = self.listener = None
        try:
            self._enter()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _enter(self):
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        ip("link", "set", "lo", "up")
        self.beyond = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert self.beyond.stdout.readline() == "listening\n"
        ip("link", "add", "w0", "type", "veth", "peer", "name", "w1", "netns", self.beyond.pid)
        for address in HERE:
            ip("address", "add", f"{address}/24", "dev", "w0")
        ip("link", "set", "w0", "up")
        ip("route", "add", "default", "via", INTERNET)
        ip("route", "add", f"{METADATA}/32", "dev", "w0")
        there = ["nsenter", "-t", str(self.beyond.pid), "-n", "ip"]
        ours = [f"{INTERNET}/24", f"{LAN}/24", *(f"{one}/32" for one in (OTHER, PRIVATE, SHARED, METADATA))]
        if resolver() and not resolver().startswith("127."):
            ours.append(f"{resolver()}/32")
        for address in ours:
            subprocess.run([*there, "address", "add", address, "dev", "w1"], check=True)
        subprocess.run([*there, "link", "set", "w1", "up"], check=True)
        self.listener = socket.create_server(("0.0.0.0", HERE_PORT), backlog=64)
        # From the machine itself everything is there: what a function does not reach is not the world's fault.
        for address in BEYOND:
            for port in PORTS:
                until(f"{address}:{port} to listen", lambda to=(address, port): reaches(*to), within=5)
        for address in ["127.0.0.1", *HERE]:
            assert reaches(address, HERE_PORT)

    def __exit__(self, *_):
        if self.listener:
            self.listener.close()
        if self.beyond:
            self.beyond.kill()
            self.beyond.wait(10)
            self.beyond.stdout.close()
        if libc.setns(self.home, CLONE_NEWNET) != 0:
            os.abort()  # everything that follows would run in the wrong place
        os.close(self.home)


def reaches(address, port):
    try:
        socket.create_connection((address, port), timeout=2).close()
        return True
    except OSError:
        return False


def left(hearth):
    """What a Hearth has on this machine's network: devices and tables of rules."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(hearth.data))).hexdigest()[:8]
    links = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True, text=True).stdout)
    rules = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    return sorted(
        [one["ifname"] for one in links if one["ifname"].startswith(f"hrt-{name}")]
        + [line for line in rules.splitlines() if f"hearth-{name}" in line]
    )
