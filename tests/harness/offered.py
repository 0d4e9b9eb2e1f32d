"""Load that comes whether it is answered or not: so many calls a second, each on its time, by raw HTTP with the token."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Offered:
    """What became of the calls to one function. `times`: seconds from when a call was due to its answer, by status."""

    function: str
    sent: int = 0
    broken: list = field(default_factory=list)
    times: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def statuses(self):
        return Counter({status: len(times) for status, times in self.times.items()})

    def quantile(self, status, share):
        times = sorted(self.times.get(status, []))
        return times[min(len(times) - 1, int(share * len(times)))] if times else None


class _Client:
    """Kept-alive connections, opened as they are needed."""

    def __init__(self, hearth, function, event):
        body = json.dumps(event).encode()
        head = f"POST /2015-03-31/functions/{function}/invocations HTTP/1.1\r\nhost: 127.0.0.1:{hearth.port}\r\n"
        head += f"authorization: Bearer {hearth.token}\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request, self._port, self._idle = head.encode() + body, hearth.port, []

    async def call(self):
        """(status, headers)."""
        while self._idle and self._idle[-1][0].at_eof():
            # The server ended it: nobody had used it for long.
            self._idle.pop()[1].close()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        await reader.readexactly(int(headers["content-length"]))
        self._idle.append((reader, writer))
        return int(head[0].split()[1]), headers

    def close(self):
        for _, writer in self._idle:
            writer.close()


async def _offer(hearth, one, event, rate, seconds, within):
    client = _Client(hearth, one.function, event)
    begun, tasks = time.monotonic(), set()

    async def call(due):
        try:
            status, headers = await asyncio.wait_for(client.call(), within)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            one.broken.append(repr(error))
            return
        one.times.setdefault(status, []).append(time.monotonic() - due)
        one.headers.setdefault(status, headers)

    for n in range(int(rate * seconds)):
        due = begun + n / rate
        if (early := due - time.monotonic()) > 0:
            await asyncio.sleep(early)
        one.sent += 1
        tasks.add(task := asyncio.create_task(call(due)))
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    one.seconds = time.monotonic() - begun
    client.close()


def offer(hearth, seconds, within=30, **rates):
    """Calls each function `f=(rate, event)` at its rate for that long; the last answers are waited for."""

    async def all_of_them():
        found = {name.replace("_", "-"): Offered(name.replace("_", "-")) for name in rates}
        each = zip(found.values(), rates.values(), strict=True)
        await asyncio.gather(*(_offer(hearth, one, event, rate, seconds, within) for one, (rate, event) in each))
        return found

    return asyncio.run(all_of_them())
