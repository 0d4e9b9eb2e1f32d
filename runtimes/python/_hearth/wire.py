"""The guest's end of `wire` (docs/wire.md): frames in and out of a blocking stream socket.

It refuses, with ProtocolError, whatever the golden vectors in crates/wire/vectors/invalid.json list.
Only built-in modules are imported, since every start waits for this file: `posix` instead of `os` and
`socket`, and `int.from_bytes` instead of `struct`.
"""

from posix import read, readv, write, writev
from sys import builtin_module_names

VERSION = 1
MAX_BODY = 16 << 20
MAX_LOG = 1 << 20
LAST = 1  # flag bit: the payload is complete in this frame

HELLO, INIT, READY, INIT_ERROR, LOG = 0x01, 0x02, 0x03, 0x04, 0x05
INVOKE, DATA, END, RESPONSE, ERROR, STREAM = 0x10, 0x11, 0x12, 0x13, 0x14, 0x16

# One read takes a whole small invocation; below malloc's mmap threshold, so the buffer costs nothing.
CHUNK = 64 << 10
# Payloads that do not fit into one frame go out in pieces of this size.
PIECE = 8 << 20

_uint = int.from_bytes


class ProtocolError(Exception):
    """The host sent what `wire` does not allow. Nobody can answer that: the process ends."""


class Invoke:
    """One decoded INVOKE frame. `payload` is bytes or a memoryview; `last` says it is all of it."""

    __slots__ = (
        "deadline_ms",
        "request_id",
        "trace_id",
        "function_arn",
        "client_context",
        "cognito_identity",
        "last",
        "payload",
    )


def decode_invoke(body):
    """Straight on, without a function for each text: every call waits for this."""
    call = Invoke()
    try:
        call.deadline_ms = _uint(body[:8], "little")
        end = 10 + body[8] + (body[9] << 8)
        call.request_id = str(body[10:end], "utf-8")
        at, end = end + 2, end + 2 + body[end] + (body[end + 1] << 8)
        call.trace_id = str(body[at:end], "utf-8")
        at, end = end + 2, end + 2 + body[end] + (body[end + 1] << 8)
        call.function_arn = str(body[at:end], "utf-8")
        at, end = end + 4, end + 4 + _uint(body[end : end + 4], "little")
        call.client_context = str(body[at:end], "utf-8") if end > at else ""
        at, end = end + 4, end + 4 + _uint(body[end : end + 4], "little")
        call.cognito_identity = str(body[at:end], "utf-8") if end > at else ""
        flags = body[end]
    except IndexError:  # whatever was cut short before, the flags are not there
        raise ProtocolError("INVOKE ends before its flags") from None
    except UnicodeDecodeError as e:
        raise ProtocolError("a string is not UTF-8: %s" % e) from None
    if flags & ~LAST:
        raise ProtocolError("INVOKE has unknown flags 0x%02x" % flags)
    call.last = flags == LAST
    call.payload = body[end + 1 :]
    return call


def _str16(text):
    data = text.encode("utf-8", "replace")
    return len(data).to_bytes(2, "little") + data


def frame(kind, body=b""):
    return len(body).to_bytes(4, "little") + bytes((kind,)) + body


def hello(runtime):
    return frame(HELLO, VERSION.to_bytes(2, "little") + _str16(runtime))


def log(time_us, level, request_id, message):
    head = time_us.to_bytes(8, "little") + bytes((level,)) + _str16(request_id)
    data = message.encode("utf-8", "replace")
    if len(data) > MAX_LOG - len(head):  # cut between two characters
        data = data[: MAX_LOG - len(head)].decode("utf-8", "ignore").encode("utf-8")
    return frame(LOG, head + data)


def stream(content_type, payload=b""):
    return frame(STREAM, _str16(content_type) + payload)


def response(flags, payload):
    return frame(RESPONSE, bytes((flags,)) + payload)


class Stream:
    """One end of a connected stream socket that carries frames. Not for two threads at once."""

    __slots__ = ("fd", "allowed", "rest")

    def __init__(self, fd, allowed):
        self.fd = fd
        self.allowed = allowed  # kinds that the host may send here
        self.rest = b""  # read, but not yet asked for

    def read_frame(self):
        """The next (kind, body); (None, b"") at an end of file between frames."""
        data = self.rest or self._read()
        while 0 < len(data) < 5:
            data += self._read() or self._torn()
        if not data:
            return None, b""
        size = _uint(data[:4], "little")
        kind = data[4]
        if kind not in self.allowed:
            raise ProtocolError("frame kind 0x%02x is not for here" % kind)
        if size > MAX_BODY:
            raise ProtocolError("a frame of %d bytes is too long" % size)
        end = 5 + size
        if len(data) == end:  # nearly always: a small frame, and the host waits for its answer
            self.rest = b""
            return kind, data[5:]
        if len(data) > end:
            self.rest = data[end:]
            return kind, data[5:end]
        self.rest = b""
        return kind, self._fill(data, size)

    def _fill(self, data, size):
        """Reads the rest of a frame right into its place. The view's buffer outlives the frame."""
        body = memoryview(bytearray(size))
        have = len(data) - 5
        body[:have] = data[5:]
        while have < size:
            got = readv(self.fd, [body[have:]])
            if not got:
                self._torn()
            have += got
        return body

    def _read(self):
        try:
            return read(self.fd, CHUNK)
        except ConnectionResetError:  # the host went away without reading all we wrote
            return b""

    def _torn(self):
        raise ProtocolError("end of file inside a frame")

    def write(self, data):
        self.write_parts([data])

    def write_parts(self, parts):
        """One gathering write without copying; goes on where the socket's buffer cut it off."""
        sent = writev(self.fd, parts)
        left = sum(map(len, parts)) - sent
        while left:
            while sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            parts[0] = memoryview(parts[0])[sent:]
            sent = writev(self.fd, parts)
            left -= sent


class InvokeStream(Stream):
    """The stream that carries invocations, one at a time."""

    __slots__ = ("wait",)

    def __init__(self, fd):
        Stream.__init__(self, fd, (INVOKE, DATA, END))
        self.wait = None  # returns when there is something to read

    def expect_more(self):
        """After the first answer: from here on calls are waited for in `poll`.

        Who sleeps in `read` is also woken when the host takes an answer, in vain. It takes a module, which no cold start
        shall wait for. Where that is not built in, or the function has put something else in its place, nothing changes.
        """
        if "select" not in builtin_module_names:
            return
        import select

        make = getattr(select, "poll", None)
        if type(make) is type(len):
            waiting = make()
            waiting.register(self.fd, select.POLLIN)
            self.wait = waiting.poll

    def _read(self):
        if self.wait is not None:
            self.wait()
        return Stream._read(self)

    def next_call(self):
        """The next invocation with its whole payload; None at the end of file."""
        kind, body = self.read_frame()
        if kind is None:
            return None
        if kind != INVOKE:
            raise ProtocolError("frame kind 0x%02x without an INVOKE" % kind)
        call = decode_invoke(body)
        if not call.last:
            call.payload = self._gather(call.payload)
        return call

    def _gather(self, first):
        pieces = [first]
        while True:
            kind, body = self.read_frame()
            if kind == DATA:
                pieces.append(body)
            elif kind == END:
                if body:
                    raise ProtocolError("END has a body")
                return b"".join(pieces)
            elif kind is None:
                self._torn()
            else:
                raise ProtocolError("an INVOKE inside the payload of another")

    def respond(self, payload):
        size = len(payload)
        if size < CHUNK:  # copied, which costs less than to gather
            data = (size + 1).to_bytes(4, "little") + b"\x13\x01" + payload
            sent = write(self.fd, data)
            if sent < len(data):
                self.write(data[sent:])
            return
        if size < MAX_BODY:
            self.write_parts([(size + 1).to_bytes(4, "little") + b"\x13\x01", payload])
            return
        self.write(response(0, b""))
        self.data(payload)
        self.finish()

    def begin(self, content_type):
        """The beginning of an answer in pieces."""
        self.write(stream(content_type))

    def data(self, payload):
        view = memoryview(payload).cast("B")
        for at in range(0, len(view), PIECE):
            piece = view[at : at + PIECE]
            self.write_parts([len(piece).to_bytes(4, "little") + b"\x11", piece])

    def finish(self):
        self.write(frame(END))

    def fail(self, error):
        self.write(frame(ERROR, error))
