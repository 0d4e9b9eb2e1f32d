"""Half load for long: everything that Hearth's own processes hold stays level.

SOAK_MINUTES says how long (a quarter of a minute; `make soak`: 60), SOAK_RATE how many calls a second each of three
functions gets (10; `make soak`: 150, which with the clients keeps two cores half busy). Beside them there are events, a schedule each minute, and a deploy each minute.
"""

import os
import threading
import time

from harness.events import Sender
from harness.functions import ECHO, ECHO_NODE, write
from harness.load import Load
from harness.offered import offer
from harness.soak import Samples, growth, leak
from harness.wait import until
from harness.web import request
from harness.webserver import SERVER

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.25"))
RATE = float(os.environ.get("SOAK_RATE", "10"))
SECONDS = MINUTES * 60
# So short a run is still filling its caches: it shows that all of it works.
LONG = MINUTES >= 5
EVERY = min(10, SECONDS / 20)
# Sandboxes at most: three functions of two instances, one of one, the web function's eight; and as many that stand ready.
MOST = 30
WEB = 'web = true\ncommand = ["python3", "server.py"]\nmemory = "256MB"\n[scale]\nmax = 8\n'


class Again:
    """Does something every so often in the background; what it raises is kept."""

    def __init__(self, seconds, do):
        self._seconds, self._do, self._over = seconds, do, threading.Event()
        self.done, self.failed = 0, []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(120)

    def _run(self):
        while not self._over.wait(self._seconds):
            try:
                self._do(self.done)
                self.done += 1
            except Exception as error:
                self.failed.append(repr(error))


def test_under_half_load_for_long_everything_stays_level(new_hearth, tmp_path):
    hearth = new_hearth().start()
    for name, code, runtime in (("py", ECHO, "python3.11"), ("node", ECHO_NODE, "nodejs20.x"), ("events", ECHO, "python3.11")):
        flags = ["--schedule", "rate(1 minute)"] if name == "events" else []
        folder = write(tmp_path / name, code, runtime)
        hearth.cli.deploy(folder, name, runtime, "app.handler", max=2, flags=flags)
    hearth.cli.ok("deploy", write(tmp_path / "web", {"server.py": SERVER, "hearth.toml": WEB}), "--name", "web")
    hearth.cli.deploy(write(tmp_path / "changes", ECHO), "changes", "python3.11", "app.handler", max=1)

    def deploy(n):
        write(tmp_path / "changes", f"# {n}\n" + ECHO)
        hearth.cli.deploy(tmp_path / "changes", "changes", "python3.11", "app.handler", max=1)
        assert hearth.cli.run("invoke", "changes", "{}").code == 0
        if n % 5 == 4:
            hearth.cli.ok("logs", "py", "--json")

    def web(n):
        answer = request(hearth, "GET", "/fn/web/")
        assert answer.status == 200, answer.status

    offered, samples = {}, Samples(hearth)
    calls = threading.Thread(target=lambda: offered.update(offer(hearth, SECONDS, py=(RATE, {"n": 1}), node=(RATE, {"n": 1}))))
    with Again(min(60, SECONDS / 5), deploy) as deploys, Again(1 / RATE, web) as pages, Sender(hearth, "events", rate=RATE) as sent:
        calls.start()
        samples.every(EVERY, time.monotonic() + SECONDS)
        calls.join(60)
    whole = samples.whole()
    kinds = {name for name, _, _ in whole}
    print(f"\nsoak: {MINUTES:g} minutes, {samples.taken} samples; {sum(one.sent for one in offered.values())} calls, {pages.done} "
          f"pages, {len(sent.kept)} events, {deploys.done} deploys, {min(samples.sandboxes)} to {max(samples.sandboxes)} sandboxes")
    grown = []
    for name, what, values in sorted(whole, key=str):
        line = f"{name} {what}: {values[0]} at first, {values[len(values) // 2]} half way, {values[-1]} at last, floor {growth(values, samples.sandboxes):+d}"
        print(f"  {line}")
        if leak(what, values, samples.sandboxes):
            grown.append(line)
    for one in offered.values():
        assert set(one.statuses) == {200} and not one.broken, (one.function, one.statuses, one.broken[:3])
        assert one.statuses[200] == int(RATE * SECONDS)
    assert deploys.done >= 2 and not deploys.failed, deploys.failed[:2]
    assert pages.done and not pages.failed, pages.failed[:2]
    assert sent.kept and not sent.others, sent.others[:2]
    until("the last events to run", lambda: all(one["waiting"] == 0 for one in hearth.api.get("/api/v1/queue")["functions"]), within=30)
    assert {"server", "spawner"} <= kinds and samples.taken >= 4, (kinds, samples.taken)
    assert max(samples.sandboxes) <= MOST, f"{max(samples.sandboxes)} sandboxes"
    assert not (LONG and grown), "it grows:\n  " + "\n  ".join(grown)
