"""Two debuggers, as small as can be: the Debug Adapter Protocol for Python, the inspector's for Node."""

import base64
import json
import os
import socket
from http.client import HTTPConnection


class Adapter:
    """What an editor says to debugpy."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.stream = self.socket.makefile("rwb")
        self.number = 0

    def send(self, command, **arguments):
        self.number += 1
        body = json.dumps({"seq": self.number, "type": "request", "command": command, "arguments": arguments}).encode()
        self.stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.stream.flush()
        return self.number

    def read(self):
        length = None
        while (line := self.stream.readline().strip()) or length is None:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            elif not line and length is None:
                raise EOFError("debugpy closed the connection")
        return json.loads(self.stream.read(length))

    def wait(self, wanted):
        while True:
            message = self.read()
            if message["type"] == "response" and not message["success"]:
                raise AssertionError(message)
            if wanted(message):
                return message

    def ask(self, command, **arguments):
        number = self.send(command, **arguments)
        return self.wait(lambda one: one["type"] == "response" and one["request_seq"] == number).get("body")

    def event(self, name):
        return self.wait(lambda one: one["type"] == "event" and one["event"] == name).get("body")

    def close(self):
        self.socket.close()


class Inspector:
    """What Chrome says to Node."""

    def __init__(self, port):
        http = HTTPConnection("127.0.0.1", port, timeout=60)
        http.request("GET", "/json/list")
        (target,) = json.loads(http.getresponse().read())
        http.close()
        path = "/" + target["webSocketDebuggerUrl"].split("/", 3)[3]
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.stream = self.socket.makefile("rwb")
        key = base64.b64encode(os.urandom(16)).decode()
        head = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket"]
        head += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
        self.stream.write("\r\n".join(head).encode())
        self.stream.flush()
        assert b" 101 " in self.stream.readline()
        while self.stream.readline().strip():
            pass
        self.number = 0
        self.events = []

    def send(self, method, **parameters):
        self.number += 1
        body = json.dumps({"id": self.number, "method": method, "params": parameters}).encode()
        # Masked with zeros, which leaves it as it is.
        length = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
        self.stream.write(b"\x81" + length + b"\0\0\0\0" + body)
        self.stream.flush()
        return self.number

    def read(self):
        text = b""
        while True:
            first, length = self.stream.read(2)
            if length >= 126:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
            text += self.stream.read(length)
            if first & 0x80:
                return json.loads(text)

    def ask(self, method, **parameters):
        number = self.send(method, **parameters)
        while True:
            message = self.read()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def event(self, method):
        while True:
            for place, message in enumerate(self.events):
                if message.get("method") == method:
                    return self.events.pop(place)["params"]
            self.events.append(self.read())

    def close(self):
        self.socket.close()
