"""Coroutine handlers: one event loop per process, kept between invocations.

Tasks that a handler leaves behind go on during the next invocation, as the frozen instance on AWS.
"""

import asyncio

_loop = None


def run(awaitable):
    global _loop
    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    try:
        return _loop.run_until_complete(_wrap(awaitable))
    except asyncio.CancelledError as e:  # not an Exception: it would end the process, not the call
        raise Cancelled("the handler was cancelled") from e


async def _wrap(awaitable):
    return await awaitable


class Cancelled(Exception):
    pass


Cancelled.__name__ = Cancelled.__qualname__ = "CancelledError"
