"""Events in the background, and what became of them."""

import threading
import time

from .door import Door, credentials
from .wait import until

EVENT = {"x-amz-invocation-type": "Event"}


class Sender:
    """Sends numbered events until stopped, some `rate` a second from four clients, and remembers which were answered
    with 202. What else came is in `others`."""

    def __init__(self, hearth, function, rate=200, clients=4):
        self._hearth, self._function, self._keys = hearth, function, credentials(hearth)
        self._pause = clients / rate
        self._stop, self._lock, self._next = threading.Event(), threading.Lock(), 0
        self.kept, self.others = {}, []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        door, due = None, time.monotonic()
        while not self._stop.is_set():
            with self._lock:
                self._next += 1
                n = self._next
            try:
                door = door or Door(self._hearth, self._keys)
                answer = door.invoke(self._function, {"n": n}, headers=EVENT)
                if answer.status == 202:
                    self.kept[n] = answer.request_id
                else:
                    self.others.append((time.monotonic(), answer.status, answer.body))
            except Exception:  # the server is dead at the moment, as it should be
                if door:
                    door.close()
                door = None
                time.sleep(0.02)
            # Paced by the clock: an answer that took long is made up for, but not a dead server.
            due = max(due + self._pause, time.monotonic() - self._pause)
            time.sleep(max(0, due - time.monotonic()))
        if door:
            door.close()


def counts(hearth, function):
    found = hearth.api.get("/api/v1/queue")["functions"]
    one = next((one for one in found if one["function"] == function), None)
    if one is not None:
        parts = sum(one[key] for key in ("waiting", "done", "failed", "dead", "purged"))
        assert one["enqueued"] == parts, one
    return one


def settled(hearth, function, within=120):
    def over():
        one = counts(hearth, function)
        return one if one and one["waiting"] == 0 else None

    return until(f"{function}'s events to be settled", over, within=within, every=0.1)


def words(hearth, function, first):
    """The words of each log line that begins with `first`, in order."""
    path = f"/api/v1/functions/{function}/logs?limit=1000&after="
    cursor, found = 0, []
    while True:
        page = hearth.api.get(path + str(cursor))
        lines = [line["message"].split() for line in page["lines"]]
        found += [line for line in lines if line[:1] == [first]]
        if page["cursor"] == cursor:
            return found
        cursor = page["cursor"]
