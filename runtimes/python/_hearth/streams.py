"""Answers in pieces: what a handler yields is sent as it comes.

A dict that comes first is the head of an HTTP answer: `statusCode`, `headers`, `cookies`. Everything else is bytes, or
text, which becomes UTF-8. Writing waits while the caller does not read.
"""

from . import payload

GENERATOR = type((lambda: (yield))())


async def _nothing():
    yield


ASYNC_GENERATOR = type(_nothing())

WITH_HEAD = "application/vnd.awslambda.http-integration-response"
END_OF_HEAD = bytes(8)


def is_stream(result):
    return isinstance(result, (GENERATOR, ASYNC_GENERATOR))


def send(calls, result):
    """Sends all of it but its end."""
    if isinstance(result, ASYNC_GENERATOR):
        from .aio import run

        return run(_send_async(calls, result))
    sender = Sender(calls)
    try:
        for item in result:
            sender.take(item)
    finally:
        result.close()
    sender.begin()


async def _send_async(calls, result):
    sender = Sender(calls)
    try:
        async for item in result:
            sender.take(item)
    finally:
        await result.aclose()
    sender.begin()


class Sender:
    def __init__(self, calls):
        self.calls = calls
        self.begun = False

    def begin(self, content_type=""):
        if not self.begun:
            self.begun = True
            self.calls.begin(content_type)

    def take(self, item):
        if isinstance(item, dict) and not self.begun:
            head = payload.dumps(item)
            self.begin(WITH_HEAD)
            return self.calls.data(head + END_OF_HEAD)
        if isinstance(item, str):
            item = item.encode("utf-8")
        elif not isinstance(item, (bytes, bytearray, memoryview)):
            raise TypeError(
                "a streamed answer is made of bytes and texts, and may begin with one dict: got %s" % type(item).__name__
            )
        self.begin()
        self.calls.data(item)
