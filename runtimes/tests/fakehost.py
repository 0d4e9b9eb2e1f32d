"""A fake host: starts a bootstrap over socketpairs with the real descriptor layout and drives it.

Nothing here waits without a bound, and nothing sleeps: `pump` moves bytes in every direction until what is
waited for has happened, or fails the test after PATIENCE seconds.
"""

import fcntl
import json
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field

import wirelib

PATIENCE = 20.0
ARN = "arn:aws:lambda:us-east-1:000000000000:function:thumbs"
FUNCTION = {
    "name": "thumbs", "version": "$LATEST", "arn": ARN, "memory_mb": 128, "timeout_ms": 3000,
    "log_group": "/aws/lambda/thumbs", "log_stream": "2026/11/22/[$LATEST]0123",
}  # fmt: skip


@dataclass
class Answer:
    kind: str
    payload: bytes
    logs: list = field(default_factory=list)  # LOG frames that came before the answer, decoded
    output: str = ""  # what came through the log pipe before the answer
    frames: list = field(default_factory=list)  # kinds of the frames of the answer
    content_type: str | None = None  # of a STREAM

    @property
    def json(self):
        return json.loads(self.payload)

    @property
    def messages(self):
        return [log["message"] for log in self.logs]


class Gone(Exception):
    """The guest ended instead of answering."""


class Host:
    def __init__(self, runtime, env=None):
        self.runtime = runtime
        self.status = None
        self.logs = []
        self._start(env or {})

    # --- the process ----------------------------------------------------------------------------------

    def _start(self, env):
        control, guest_control = socket.socketpair()
        invoke, guest_invoke = socket.socketpair()
        output, guest_output = os.pipe()
        # Out of the way of 0..4, which the guest's ends become.
        high = [fcntl.fcntl(f, fcntl.F_DUPFD_CLOEXEC, 100) for f in (guest_output, guest_control, guest_invoke)]
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, high[i], fd) for i, fd in ((0, 1), (0, 2), (1, 3), (2, 4))]
        env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **env}
        if self.runtime.stem:
            env["HEARTH_STEM"] = "1"
        self.pid = os.posix_spawn(self.runtime.argv[0], self.runtime.argv, env, file_actions=actions)
        self.pidfd = os.pidfd_open(self.pid)
        for fd in (*high, guest_output):
            os.close(fd)
        guest_control.close(), guest_invoke.close()
        self.control, self.invoke_stream = _End(control), _End(invoke)
        self.output = _End(os.fdopen(output, "rb", 0))
        self.ends = [self.control, self.invoke_stream, self.output]

    def wait_exit(self):
        """The exit status; negative for a signal."""
        self.pump(lambda: self._reap())
        return self.status

    def _reap(self):
        if self.status is None and select.select([self.pidfd], [], [], 0)[0]:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status is not None

    def kill(self):
        """For the end of every test, however it went."""
        if self.status is None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        for end in self.ends:
            end.close()

    # --- bytes ----------------------------------------------------------------------------------------

    def pump(self, done):
        """Moves bytes until done() is true. The guest's exit is seen as an event, too."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            readable = [end for end in self.ends if not end.eof]
            writable = [end for end in self.ends if end.pending]
            left = deadline - time.monotonic()
            watch = readable + ([self.pidfd] if self.status is None else [])
            ready, can_write, _ = select.select(watch, writable, [], max(left, 0))
            if not ready and not can_write:
                raise TimeoutError("nothing happened for %s s; so far: %s" % (PATIENCE, self.seen()))
            for end in can_write:
                end.push()
            for end in ready:
                end.pull() if end is not self.pidfd else self._reap()

    def seen(self):
        return {"status": self.status, "output": self.output.text(), "logs": self.logs}

    def next_frame(self, end):
        """The next frame of a stream; LOG frames are kept aside. Gone at the end of file."""
        found = []

        def step():
            while True:
                frame = wirelib.take_frame(end.got)
                if frame is None:
                    break
                if frame[0] == "LOG":
                    self.logs.append(wirelib.decode_log(frame[1]))
                else:
                    found.append(frame)
                    return True
            return end.eof

        self.pump(step)
        if not found:
            raise Gone(self.seen())
        return found[0]

    # --- the protocol ---------------------------------------------------------------------------------

    def hello(self):
        kind, body = self.next_frame(self.control)
        assert kind == "HELLO", kind
        return body

    def init(self, handler, task_root=None, env=None, **function):
        """Sends INIT; the kind and body of what comes back."""
        root = str(task_root or self.runtime.functions)
        about = {**FUNCTION, **function}
        self.control.send(
            wirelib.init({"handler": handler, "task_root": root, "env": env or {}, "function": about})
        )
        return self.next_frame(self.control)

    def ready(self, handler, **options):
        """HELLO, INIT, READY; for tests that are about what follows."""
        self.hello()
        kind, body = self.init(handler, **options)
        assert kind == "READY", (kind, body, self.seen())
        return self

    def init_error(self, handler, **options):
        self.hello()
        kind, body = self.init(handler, **options)
        assert kind == "INIT_ERROR", (kind, body)
        return json.loads(body)

    def send_invoke(self, payload, **fields):
        self.invoke_stream.send(invoke_frame(payload, **fields))

    def answer(self):
        """What the guest answers, with all logs and output of the invocation."""
        kind, body = self.next_frame(self.invoke_stream)
        frames, content_type = [kind], None
        if kind == "STREAM":
            size = int.from_bytes(body[:2], "little")
            content_type, body = body[2 : 2 + size].decode(), b"\0" + body[2 + size :]
        if kind in ("RESPONSE", "STREAM"):
            began, last, body = kind, body[0], body[1:]
            pieces = [body]
            while not last and frames[-1] not in ("END", "ERROR"):
                kind, piece = self.next_frame(self.invoke_stream)
                frames.append(kind)
                pieces.append(piece)
            if frames[-1] == "ERROR":
                kind, body = "ERROR", pieces[-1]
            else:
                kind, body = began, b"".join(pieces)
        self.drain()
        logs, self.logs = self.logs, []
        return Answer(kind, body, logs, self.output.take_text(), frames, content_type)

    def drain(self):
        """Takes in what was sent before the answer: it is in the pipe and in the socket already."""
        for end in (self.control, self.output):
            while not end.eof and select.select([end], [], [], 0)[0]:
                end.pull()
        while True:
            frame = wirelib.take_frame(self.control.got)
            if frame is None:
                return
            assert frame[0] == "LOG", frame
            self.logs.append(wirelib.decode_log(frame[1]))

    def invoke(self, event=None, **fields):
        self.send_invoke(json.dumps(event).encode(), **fields)
        return self.answer()

    def hang_up(self):
        """The host closes both streams, as it does to end an instance."""
        self.invoke_stream.shut()
        self.control.shut()

    def finish(self):
        self.hang_up()
        return self.wait_exit()

    def all_output(self):
        """Everything from the log pipe, to its end."""
        self.pump(lambda: self.output.eof)
        return self.output.take_text()


def invoke_frame(payload, **fields):
    about = {
        "deadline_ms": int(time.time() * 1000) + 3000, "request_id": "req-1", "trace_id": "Root=1-1",
        "function_arn": ARN, "client_context": "", "cognito_identity": "", "last": True,
        "payload_hex": payload.hex(), **fields,
    }  # fmt: skip
    return wirelib.encode("INVOKE", about)


class _End:
    """The host's end of a socket or pipe, with what was read and what is still to be written."""

    def __init__(self, file):
        self.file = file
        self.fd = file.fileno()
        os.set_blocking(self.fd, False)
        self.got = bytearray()
        self.pending = bytearray()
        self.eof = False

    def fileno(self):
        return self.fd

    def send(self, data):
        self.pending += data

    def push(self):
        try:
            sent = os.write(self.fd, memoryview(self.pending)[: 1 << 20])
            del self.pending[:sent]
        except (BrokenPipeError, ConnectionResetError):
            self.pending.clear()

    def pull(self):
        try:
            data = os.read(self.fd, 1 << 20)
        except ConnectionResetError:
            data = b""
        self.got += data
        self.eof = not data

    def shut(self):
        self.file.shutdown(socket.SHUT_WR)

    def text(self):
        return self.got.decode("utf-8", "replace")

    def take_text(self):
        text = self.text()
        self.got.clear()
        return text

    def close(self):
        self.file.close()
