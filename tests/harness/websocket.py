"""A WebSocket client, as small as a test needs it."""

import base64
import hashlib
import os
import socket

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Chatter:
    """In the chat of `webserver.SERVER`."""

    def __init__(self, hearth, name):
        self.socket = socket.create_connection(("127.0.0.1", hearth.ingress_port), timeout=20)
        if hearth.tls:
            self.socket = hearth.tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /fn/{name}/chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        status = self.file.readline()
        assert status.startswith(b"HTTP/1.1 101"), status
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(self.file.readline, b"\r\n"))
        wanted = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
        assert headers["sec-websocket-accept"] == wanted.lower()
        assert headers["upgrade"] == "websocket" and "x-amzn-requestid" in headers

    def say(self, text, kind=1):
        data, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.socket.sendall(bytes([0x80 | kind, 0x80 | len(data)]) + mask + masked)

    def hear(self):
        first, size = self.file.read(2)
        return first & 15, self.file.read(size).decode()

    def close(self):
        self.say("", 8)
        assert self.hear()[0] == 8
        assert self.file.read() == b""
        self.socket.close()
