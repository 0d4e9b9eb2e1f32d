"""Load on functions: many clients at once, every answer kept."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from .door import Door, credentials


def storm(hearth, calls, clients):
    """Makes `calls` [(function, event)] from `clients` kept-alive connections; answers in the same order."""
    keys = credentials(hearth)
    local = threading.local()
    doors = []

    def one(call):
        if not hasattr(local, "door"):
            local.door = Door(hearth, keys)
            doors.append(local.door)
        return local.door.invoke(*call)

    try:
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(one, calls))
    finally:
        for door in doors:
            door.close()


class Load:
    """Calls in the background until stopped: `with Load(hearth, "f", {...}) as load: …; load.answers`.

    What a client sees is sorted into `answers` (status 200, no function error) and `failures`; a
    connection that breaks is a failure too, and the next call opens another one.
    """

    def __init__(self, hearth, function, event, clients=4):
        self._hearth, self._function, self._event, self._clients = hearth, function, event, clients
        self._keys = credentials(hearth)
        self._stop = threading.Event()
        self._threads = []
        self.answers, self.failures = [], []

    def __enter__(self):
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self._clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        door = None
        while not self._stop.is_set():
            try:
                door = door or Door(self._hearth, self._keys)
                answer = door.invoke(self._function, self._event)
            except Exception as error:  # whatever the client may meet
                self.failures.append(repr(error))
                if door:
                    door.close()
                door = None
                # A server that is down must not be asked in a tight loop.
                time.sleep(0.02)
                continue
            if answer.status == 200 and not answer.function_error:
                self.answers.append(answer.json())
            else:
                self.failures.append(f"{answer.status} {answer.function_error} {answer.body[:300]!r}")

    def summary(self):
        return f"{len(self.answers)} answers, failures: {Counter(self.failures).most_common(5)}"
