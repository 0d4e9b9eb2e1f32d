"""Floods of HTTP/2 frames on the listener of functions: the connection ends or stands still, memory stays flat, and nobody
else notices."""

import select
import socket
import struct
import time

import pytest

from attacks.watch import unharmed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
# How long one attack goes on where nobody ends it.
SECONDS = 5.0
# How long the server may take none of a frame, or say nothing.
PATIENCE = 0.5


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def text(value):
    """A string of HPACK's, as it is; short ones only."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, out = len(value) - 127, [127]
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes([*out, rest]) + value


# GET (or POST) http://localhost/fn/absent
GET = b"\x82\x86\x01" + text(b"localhost") + b"\x04" + text(b"/fn/absent")
POST = b"\x83" + GET[1:]


def rapid_resets():
    """CVE-2023-44487."""
    for stream in range(1, 400_000, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, GET) + frame(RESET, 0, stream, struct.pack("!I", 8))


def made_you_reset():
    """CVE-2025-8671: errors of a stream, for which the server itself resets it."""
    for stream in range(1, 400_000, 2):
        yield frame(HEADERS, END_HEADERS, stream, POST) + frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", 0x7FFFFFFF))


def endless_continuation():
    """CVE-2024-27316 and its kin: a head that never ends."""
    yield frame(HEADERS, END_STREAM, 1, GET)
    for _ in range(50_000):
        yield frame(CONTINUATION, 0, 1, (b"\x00" + text(b"x") + text(b"y" * 100)) * 100)


def empty_continuation():
    yield frame(HEADERS, END_STREAM, 1, GET)
    for _ in range(2_000_000 // 100):
        yield frame(CONTINUATION, 0, 1) * 100


def packed_heads():
    """One long header, named again and again by a byte each: 16 kB that become 60 MB, for each of many requests."""
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, GET + b"\x40" + text(b"x") + text(b"y" * 3800))
    for stream in range(3, 4000, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, GET + b"\xbe" * 16_000)


def settings():
    for _ in range(5000):
        yield frame(SETTINGS, 0, 0) * 100


def pings():
    for _ in range(5000):
        yield frame(PING, 0, 0, b"12345678") * 100


def empty_data():
    yield frame(HEADERS, END_HEADERS, 1, POST)
    for _ in range(5000):
        yield frame(DATA, 0, 1) * 100


def too_many_streams():
    for stream in range(1, 100_000, 2):
        yield frame(HEADERS, END_HEADERS, stream, POST)


# What has to be ended by the server; of the others it is enough that they cost nothing.
ENDS = [rapid_resets, made_you_reset, endless_continuation, empty_continuation]
COSTS_NOTHING = [packed_heads, settings, pings, empty_data, too_many_streams]


class Connection:
    """One connection, and what came back over it: the kinds of frames, and how it ended if it did."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.buffer, self.kinds, self.end = b"", [], None

    def send(self, frames):
        try:
            self.socket.sendall(frames)
        except ConnectionError:
            self.read()
            self.end = self.end or "closed"

    def read(self, wait=False):
        """Takes what is there; with `wait`, at least something, within the time of the socket."""
        try:
            while select.select([self.socket], [], [], PATIENCE if wait else 0)[0]:
                wait = False
                got = self.socket.recv(1 << 20)
                if not got:
                    self.end = self.end or "closed"
                    return
                self.buffer += got
                self._parse()
        except ConnectionError:
            self.end = self.end or "reset"

    def _parse(self):
        while len(self.buffer) >= 9:
            length, kind = int.from_bytes(self.buffer[:3], "big"), self.buffer[3]
            if len(self.buffer) < 9 + length:
                return
            payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
            self.kinds.append(kind)
            if kind == GOAWAY:
                self.end = f"GOAWAY, error {int.from_bytes(payload[4:8], 'big')}"


def attack(port, frames, reads):
    """(how the server ended it, frames sent). Whoever attacks does not read what it is answered, unless `reads`."""
    sent, until = 0, time.monotonic() + SECONDS
    one = Connection(port)
    with one.socket:
        one.send(PREFACE + frame(SETTINGS, 0, 0))
        for some in frames:
            try:
                one.send(some)
            except TimeoutError:
                # It is not taken any more: half a frame was sent, nothing can follow.
                break
            sent += 1
            if reads and sent % 50 == 0:
                one.read()
            if one.end or time.monotonic() > until:
                break
        if reads and not one.end:
            one.read(wait=True)
        return one.end, sent


def test_a_plain_client_is_served(attacked):
    """That the frames here are HTTP/2: otherwise all that follows would say nothing."""
    one = Connection(attacked.hearth.ingress_port)
    with one.socket:
        one.send(PREFACE + frame(SETTINGS, 0, 0))
        for stream in range(1, 200, 2):
            one.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, GET))
            until = time.monotonic() + 5
            while one.kinds.count(HEADERS) <= stream // 2 and time.monotonic() < until and not one.end:
                one.read(wait=True)
        assert (one.end, one.kinds.count(HEADERS)) == (None, 100), (one.end, one.kinds[-5:])


@pytest.mark.parametrize("frames", ENDS, ids=lambda one: one.__name__)
def test_a_connection_that_floods_is_ended(frames, attacked):
    with unharmed(attacked, f"http2 {frames.__name__}") as told:
        ended, sent = attack(attacked.hearth.ingress_port, frames(), reads=True)
        told.append(f"{ended} after {sent} of them")
        assert ended, f"took {sent} and goes on"


@pytest.mark.parametrize("frames", COSTS_NOTHING, ids=lambda one: one.__name__)
def test_a_flood_of_frames_costs_no_memory(frames, attacked):
    with unharmed(attacked, f"http2 {frames.__name__}") as told:
        ended, sent = attack(attacked.hearth.ingress_port, frames(), reads=False)
        told.append(f"{sent} of them were taken; {ended or 'goes on'}")
