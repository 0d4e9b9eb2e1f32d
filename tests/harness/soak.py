"""What grows: samples of a Hearth's processes over time, and whether they are level."""

import time
from dataclasses import dataclass, field

from . import leaks, proc

# By how much the floor of the last quarter may lie above that of the third one. Of memory also a share: caches breathe.
ALLOWED = {"kib": 2048, "descriptors": 4, "threads": 2, "cgroups": 2}
SHARE = 0.02


@dataclass
class Samples:
    """`series`: (who, what) → [value]. Those count who lived all the time. `sandboxes`: how many there were at each sample."""

    hearth: object
    sandboxes: list = field(default_factory=list)
    series: dict = field(default_factory=dict)
    taken: int = 0
    names: dict = field(default_factory=dict)

    def take(self):
        spawner = self.hearth.process.pid
        server = self.hearth.server_pid()
        table = proc.everyone()
        below = [one for one in proc.descendants(spawner, table) if one.state != "Z"]
        for one in [table[spawner], *below]:
            try:
                kib, threads = _status(one.pid)
            except (OSError, ValueError, IndexError):
                continue  # went meanwhile
            what = "server" if one.pid == server else "spawner" if one.pid == spawner else _kind(one.command)
            self.names[one.identity] = what
            for name, value in (("kib", kib), ("descriptors", len(proc.descriptors(one.pid))), ("threads", threads)):
                self._add((one.identity, name), value)
        self._add(("host", "cgroups"), len(leaks.take().cgroups))
        self.sandboxes.append(self.hearth.api.sandboxes())
        self.taken += 1

    def _add(self, key, value):
        self.series.setdefault(key, []).append(value)

    def every(self, seconds, until):
        """Takes one every so often until that time (`time.monotonic`)."""
        while (now := time.monotonic()) < until:
            self.take()
            time.sleep(max(0.0, min(now + seconds, until) - time.monotonic()))

    def whole(self):
        """(name, what, values) of each series that has all samples."""
        found = []
        for (who, what), values in self.series.items():
            if len(values) == self.taken:
                found.append((self.names.get(who, who), what, values))
        return found


def _status(pid):
    with open(f"/proc/{pid}/status") as status:
        text = status.read()
    return int(text.split("VmRSS:")[1].split()[0]), int(text.split("Threads:")[1].split()[0])


def _kind(command):
    words = command.split()
    for word in words:
        for kind in ("docker-host", "fork", "bootstrap"):
            if kind in word:
                return kind
    return words[0].rsplit("/", 1)[-1] if words else "?"


def growth(values, sandboxes):
    """From the floor of the third quarter to the floor of the last one. What comes and goes leaves the floor where it is.

    Each sandbox has descriptors, threads and control groups, and how many there are changes with what is called: floors
    are compared where as many were there, at the number that both quarters saw most of. Where no number was there in
    both, the floors are compared as they are.
    """
    quarter = len(values) // 4
    before, after = (_by_count(values[a:b], sandboxes[a:b]) for a, b in ((-2 * quarter, -quarter), (-quarter, None)))
    both = before.keys() & after.keys()
    if not both:
        return min(values[-quarter:]) - min(values[-2 * quarter : -quarter])
    count = max(both, key=lambda count: min(len(before[count]), len(after[count])))
    return min(after[count]) - min(before[count])


def _by_count(values, sandboxes):
    """The values for each number of sandboxes."""
    found = {}
    for value, count in zip(values, sandboxes, strict=True):
        found.setdefault(count, []).append(value)
    return found


def leak(what, values, sandboxes):
    """Whether it grew by more than it may."""
    allowed = ALLOWED[what]
    if what == "kib":
        allowed = max(allowed, SHARE * min(values))
    return growth(values, sandboxes) > allowed
