"""What stands outside of a sandbox while it attacks, and sees what came of it.

Nothing here asks the attacker. A neighbour is called all the time, and may see no error; whatever the attacker could
reach on this machine notes who reached it; the server's memory is looked at; and what is left afterwards is looked
for through the kernel (harness/leaks.py).
"""

import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from harness import proc
from harness.door import Door, credentials
from harness.listen import Listener
from harness.wait import until

SOURCES = Path(__file__).parent / "attacker"

# A neighbour's slowest call; its p99 is reported beside that of before, but a machine of two cores that runs attacks is no
# place to measure it.
SLOWEST = 5.0


def build(into):
    """The attacker, a static program. Skips where there is no compiler."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc here to build the attacker with")
    program = into / "bootstrap"
    command = ["gcc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-O1", "-static", "-o", program]
    ran = subprocess.run([*command, *sorted(SOURCES.glob("*.c")), "-lrt"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return program


class Neighbour:
    """A function that is called twenty times a second."""

    def __init__(self, hearth, name):
        self._hearth, self._name, self._stop = hearth, name, threading.Event()
        self.took, self.failures = [], []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        until("fifty calls of the neighbour", lambda: len(self.took) >= 50, within=30)
        self.baseline = self.p99(self.took)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)

    def _run(self):
        door, number = Door(self._hearth, credentials(self._hearth)), 0
        while not self._stop.wait(0.05):
            number += 1
            started = time.monotonic()
            try:
                answer = door.invoke(self._name, {"n": number})
                if answer.status != 200 or answer.function_error or answer.json() != {"n": number}:
                    self.failures.append(f"{answer.status} {answer.function_error} {answer.body[:300]!r}")
            except Exception as error:  # whatever a client may meet
                self.failures.append(repr(error))
                door = Door(self._hearth, credentials(self._hearth))
            self.took.append(time.monotonic() - started)
        door.close()

    @staticmethod
    def p99(times):
        return sorted(times)[len(times) * 99 // 100] if times else 0.0


class Canaries:
    """What a function must not reach: files, a socket in the file system and one without, a port on every address."""

    def __init__(self, hearth):
        self.reached = []
        self.folder = hearth.base / "canaries"
        self.folder.mkdir()
        self.file = self.folder / "file"
        self.file.write_text("canary")
        for path in (self.folder, self.file):
            path.chmod(0o777)
        self.path, self.abstract = self.folder / "socket", f"hearth-canary-{hearth.tag}"
        local, nameless = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        local.bind(str(self.path))
        self.path.chmod(0o777)
        nameless.bind("\0" + self.abstract)
        both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = both.getsockname()[1]
        self._listeners = []
        for one in (local, nameless, both):
            one.listen(64)
            self._listeners.append(Listener(one, partial(self._came, one.getsockname())))
        # A process that a function could guess the number of, for the same user as any sandbox cannot be.
        self.process = subprocess.Popen(["sleep", "86400"])
        self.programs = {path: digest(path) for path in [Path(hearth.binary), *programs_of(hearth)]}
        self.host_name = socket.gethostname()

    def _came(self, here, peer):
        self.reached.append(f"{here!r} was reached by {peer!r}")

    def assert_untouched(self):
        assert not self.reached, self.reached
        assert self.file.read_text() == "canary" and sorted(os.listdir(self.folder)) == ["file", "socket"]
        assert self.process.poll() is None, "a process of the host's was ended"
        assert socket.gethostname() == self.host_name

    def assert_programs_untouched(self):
        changed = [str(path) for path, before in self.programs.items() if digest(path) != before]
        assert not changed, f"changed: {changed}"

    def close(self):
        for one in self._listeners:
            one.close()
        self.process.kill()
        self.process.wait(10)


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def programs_of(hearth):
    """What Hearth has put into its folder to be run in sandboxes."""
    return [path for path in hearth.data.rglob("*") if path.is_file() and os.access(path, os.X_OK) and "packages" not in path.parts]


class Growth:
    """The most that the server has grown by while this runs."""

    def __init__(self, pid):
        self._pid, self._over = pid, threading.Event()
        self.before, self.most = resident(pid), 0

    def __enter__(self):
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self):
        while not self._over.wait(0.05):
            self.most = max(self.most, resident(self._pid) - self.before)

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(10)
        self.most = max(self.most, resident(self._pid) - self.before)


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(status.read().split("VmRSS:")[1].split()[0]) * 1024


def alive(hearth, server):
    """That both of Hearth's processes are those of before."""
    assert hearth.running, hearth.output_tail()
    assert proc.read(server) is not None, f"the server died\n{hearth.output_tail()}"
