"""Faults in a running process, by strace: an error, or its end, at the n-th of some system calls."""

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from . import proc
from .wait import until


class Inject:
    """`with Inject(pid, ["fsync"], "error=EIO:when=3", paths=[…]):` until the block ends. Counted for each thread."""

    def __init__(self, pid, calls, what, paths=()):
        if shutil.which("strace") is None:
            pytest.skip("strace is not installed")
        names = ",".join("?" + name for name in calls)
        handle, name = tempfile.mkstemp(prefix="strace-")
        os.close(handle)
        self._output = Path(name)
        self._command = ["strace", "-f", "-qq", "-p", str(pid), "-o", str(self._output)]
        self._command += ["-e", f"trace={names}", "-e", f"inject={names}:{what}", "-e", "signal=none"]
        for path in paths:
            self._command += ["-P", str(path)]
        self._pid = pid

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)

        def attached():
            code = self._process.poll()
            assert code is None, f"strace ended with {code}: {self._process.stderr.read()}"
            tasks = Path(f"/proc/{self._pid}/task").iterdir()
            return all(re.search(r"^TracerPid:\t[1-9]", (task / "status").read_text(), re.M) for task in tasks)

        until("strace to hold every thread", attached, within=10)
        threading.Thread(target=self._let_go, daemon=True).start()
        return self

    def _let_go(self):
        """A killed process with threads is not gone before its tracer is, and strace may wait for ever."""
        while self._process.poll() is None:
            if proc.is_dead(self._pid):
                time.sleep(0.05)  # for strace to write its last line
                self._process.kill()
                return
            time.sleep(0.005)

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process.stderr.close()
        self._lines = self._output.read_text().splitlines()
        self._output.unlink()

    def injected(self):
        """The calls that were hit."""
        return [line for line in self.seen() if "(INJECTED)" in line]

    def seen(self):
        """A line for each call; known when the block has ended."""
        return self._lines


def open_files(pid, ends):
    """The paths of a process's open files that end so, as the kernel has them."""
    folder = f"/proc/{pid}/fd"
    found = set()
    for one in os.listdir(folder):
        try:
            path = os.readlink(f"{folder}/{one}")
        except OSError:
            continue  # closed meanwhile
        if path.endswith(ends):
            found.add(path)
    return sorted(found)
