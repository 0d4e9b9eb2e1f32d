"""The upstream behind nginx: one process that serves the measured handler over HTTP on a Unix socket, with one epoll and
as little else as Python can do. `upstream.py SOCKET HANDLER_FOLDER`; it ends when its standard input does.
"""

import json
import select
import socket
import sys

sys.path.insert(0, sys.argv[2])
from app import handler  # noqa: E402

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1024)
listener.setblocking(False)
poll = select.epoll()
poll.register(listener, select.EPOLLIN)
poll.register(sys.stdin, select.EPOLLIN)
streams, rests = {}, {}


def answer(head):
    method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    event = {"version": "2.0", "rawPath": path, "headers": headers, "requestContext": {"http": {"method": method}}}
    result = handler(event, None)
    # What a platform must do to a handler's answer: it is JSON by contract.
    result = json.loads(json.dumps(result))
    body = result["body"].encode()
    return b"HTTP/1.1 %d OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s" % (
        result["statusCode"],
        len(body),
        body,
    )


while True:
    for number, _ in poll.poll():
        if number == sys.stdin.fileno():
            sys.exit()
        if number == listener.fileno():
            stream, _ = listener.accept()
            streams[stream.fileno()], rests[stream.fileno()] = stream, b""
            poll.register(stream, select.EPOLLIN)
            continue
        data = streams[number].recv(65536)
        if not data:
            poll.unregister(number)
            streams.pop(number).close()
            del rests[number]
            continue
        rest = rests[number] + data
        while True:
            head, end, after = rest.partition(b"\r\n\r\n")
            if not end:
                break
            streams[number].sendall(answer(head))
            rest = after
        rests[number] = rest
