"""Reading /proc: who runs, whose child it is, which namespaces and cgroups it is in.

Refuses nothing and raises nothing when a process goes away in the middle: it is then simply not there.
"""

import os
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = ("mnt", "pid", "net", "user", "uts", "ipc", "cgroup")


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    started: int  # clock ticks since boot: with the pid, an identity that is never used twice
    state: str
    command: str

    @property
    def identity(self):
        return (self.pid, self.started)

    def __str__(self):
        return f"pid {self.pid} (parent {self.parent}, {self.state}): {self.command}"


def read(pid):
    """The process, or None when there is none (any more)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (OSError, ValueError):
        return None
    name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
    return Process(int(pid), int(rest[1]), int(rest[19]), rest[0], command or f"[{name}]")


def everyone():
    found = (read(name) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process}


def descendants(pid, table=None):
    """Every process below `pid`, itself not included."""
    table = table or everyone()
    children = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found, stack = [], [pid]
    while stack:
        below = children.get(stack.pop(), [])
        found += below
        stack += [process.pid for process in below]
    return found


def link(path):
    try:
        return os.readlink(path)
    except OSError:
        return None


def namespaces(pid):
    return {kind: link(f"/proc/{pid}/ns/{kind}") for kind in NAMESPACES}


def cgroups(pid):
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    except OSError:
        return ""


def environment(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def descriptors(pid):
    """What the process holds open: the targets of its descriptor links."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []
    return [target for target in (link(f"/proc/{pid}/fd/{name}") for name in names) if target]


def listening_inode(port):
    """The socket inode that listens on 127.0.0.1:`port`, or None."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
            return fields[9]
    return None


def memory_peak(pid):
    """VmHWM in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def environment_value(pid, name):
    """What a variable is in a process's environment, or None."""
    start = name.encode() + b"="
    for entry in environment(pid).split(b"\0"):
        if entry.startswith(start):
            return entry[len(start) :].decode(errors="replace")
    return None


def is_dead(pid):
    """Gone, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True
