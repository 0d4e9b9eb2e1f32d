"""`hearth dev` as a person runs it: its output read as it comes, each wait for an event and bounded."""

import json
import signal
import subprocess
import threading

from .wait import until

WITHIN = 30.0


class Dev:
    def __init__(self, command, environment, cwd):
        self.events = []
        self.process = subprocess.Popen(
            [*command, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment,
        )
        self.errors = ""
        self._readers = [threading.Thread(target=reads, daemon=True) for reads in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors += line

    def of(self, kind, since=0):
        return [event for event in self.events[since:] if event["event"] == kind]

    def mark(self):
        """Where the output is now: what is waited for comes after it."""
        return len(self.events)

    def wait(self, kind, since=0, within=WITHIN, where=lambda event: True):
        def there():
            found = [event for event in self.of(kind, since) if where(event)]
            if not found and self.process.poll() is not None:
                raise RuntimeError(f"hearth dev ended with {self.process.returncode}: {self.errors}")
            assert found, f"{self.events[since:]}\n{self.errors}"
            return found[0]

        return until(f"the event {kind}", there, within=within)

    def end(self, how=signal.SIGINT, within=WITHIN):
        self.process.send_signal(how)
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join(5)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
