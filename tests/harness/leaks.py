"""The leak check: what of Hearth is on the host now that was not before.

    before = leaks.take()
    …
    leaks.assert_clean(before)

Seven kinds are looked at, each through the kernel (containers through Docker) and never through Hearth:
processes, mounts of the host's mount namespace, cgroup directories, network namespaces, files, containers,
and processes that nobody of Hearth owns any more (`orphans`). A process counts as Hearth's when it carries a harness tag in its
environment, sits in a cgroup named after Hearth, is a runsc with its folder in Hearth's, or lives in other namespaces or
under another root than the tests do. What belongs to a running Hearth, container engine or machine that the tests did not start
is not looked at: it has an owner, so it is no leak.
"""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from . import docker, proc
from .wait import until

TAG = "HEARTH_TEST_TAG"
NAME = "hearth"
# The tags of the Hearths that this run of the tests started.
OWN = set()
# Its file server and its sandboxes repeat the arguments of the first.
RUNSC = re.compile(rf"runsc.* --root[= ]\S*/{NAME}-")
# What Docker names the cgroups of containers, by its cgroup driver.
CONTAINER_GROUP = re.compile(r"(docker-)?[0-9a-f]{64}(\.scope)?")


@dataclass(frozen=True)
class Snapshot:
    processes: dict = field(default_factory=dict)
    mounts: dict = field(default_factory=dict)
    cgroups: frozenset = frozenset()
    netns: dict = field(default_factory=dict)
    files: frozenset = frozenset()
    containers: dict = field(default_factory=dict)


def take(folders=()):
    """The host as it is now. `folders` are temporary folders of which every entry counts."""
    return Snapshot(sandboxed(), _mounts(), _cgroups(), _network_namespaces(), _files(folders), docker.ours())


def difference(before, after):
    """One line for each thing that is in `after` and was not in `before`, sorted by kind."""
    found = [f"process: {what}" for key, what in after.processes.items() if key not in before.processes]
    found += [f"mount: {what}" for key, what in after.mounts.items() if key not in before.mounts]
    found += [f"cgroup: {path}" for path in sorted(after.cgroups - before.cgroups)]
    found += [f"network namespace: {key}, {what}" for key, what in after.netns.items() if key not in before.netns]
    found += [f"file: {path}" for path in sorted(after.files - before.files)]
    found += [f"container: {what}" for key, what in after.containers.items() if key not in before.containers]
    return found


def assert_clean(before, folders=(), within=2.0):
    """Two seconds later nothing is left; otherwise the message names each thing that is.

    Containers whose processes are gone, and their control groups, have ten: containerd's shim takes its time to bury
    a container of many processes, and until then Docker says that it runs. That is not up to Hearth.
    """

    def clean(but=lambda _: False):
        found = [what for what in difference(before, take(folders)) if not but(what)]
        assert not found, "left behind:\n  " + "\n  ".join(found)
        return True

    until("a host without leftovers", lambda: clean(but=_engines), within=within, every=0.1)
    until("a container engine without leftovers", clean, within=10.0, every=0.1)


def _engines(what):
    """Whether that is an engine's to remove, in the words of `difference`."""
    kind, _, rest = what.partition(": ")
    return kind == "container" or (kind == "cgroup" and CONTAINER_GROUP.fullmatch(os.path.basename(rest)) is not None)


def orphans(before, owner):
    """Hearth's processes that are not below the pid `owner`: what a dead spawner left running."""
    table = proc.everyone()
    owned = {process.identity for process in proc.descendants(owner, table)}
    if owner in table:
        owned.add(table[owner].identity)
    return [what for key, what in sandboxed().items() if key not in before.processes and key not in owned]


def sandboxed():
    """identity → description of each process that is Hearth's (see the module's header)."""
    me = os.getpid()
    mine, my_cgroups = proc.namespaces(me), proc.cgroups(me)
    found = {}
    table = proc.everyone()
    others = _others(table)
    for process in table.values():
        if process.pid == me or process.pid in others:
            continue
        if process.state == "Z" and process.parent == 1:
            continue  # dead, holding nothing, and the machine's init takes its time to notice
        reason = _suspicion(process, mine, my_cgroups)
        if reason:
            found[process.identity] = f"{process} [{reason}]"
    return found


def _others(table):
    """pids of what somebody else runs on this host: other Hearths, container engines, and all below them."""
    found = set()
    for process in table.values():
        program = os.path.basename(process.command.split(" ")[0])
        engine = program in ("dockerd", "containerd") or program.startswith("containerd-shim")
        up = NAME in program and " up" in process.command
        if engine or (up and not proc.environment_value(process.pid, TAG) in OWN):
            found.add(process.pid)
            found |= {below.pid for below in proc.descendants(process.pid, table)}
    return found


def _others_names():
    """What other running Hearths call themselves on the host: after their data directory, as Hearth does."""
    table = proc.everyone()
    names = set()
    for pid in _others(table) & set(table):
        words = table[pid].command.split(" ")
        folders = [b for a, b in zip(words, words[1:]) if a == "--data-dir"]
        for entry in proc.environment(pid).split(b"\0"):
            if entry.startswith(b"HEARTH_DATA_DIR="):
                folders.append(os.fsdecode(entry.split(b"=", 1)[1]))
        for folder in folders:
            names.add(f"{NAME}-{hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:8]}")
    return names


def _suspicion(process, mine, my_cgroups):
    if f"{TAG}=".encode() in proc.environment(process.pid):
        return "carries the tag"
    if RUNSC.search(process.command):
        return "a runsc of Hearth's"
    groups = proc.cgroups(process.pid)
    if NAME in groups and groups != my_cgroups:
        return "in a cgroup of Hearth"
    for kind, inode in proc.namespaces(process.pid).items():
        if inode is not None and inode != mine[kind]:
            return f"in another {kind} namespace"
    root = proc.link(f"/proc/{process.pid}/root")
    if root not in (None, "/"):
        return f"rooted at {root}"
    return None


def _mounts():
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        fields, kind = left.split(), right.split()
        if fields[4].startswith(("/var/lib/docker/", "/run/docker/")):
            continue  # a container engine's own
        # Not the mount id: a remount by somebody else must not look like a leak.
        found[(fields[3], fields[4], kind[0], kind[1])] = f"{fields[4]} ({kind[0]}, root {fields[3]}, from {kind[1]})"
    return found


def cgroup_roots():
    """The mount point of every cgroup hierarchy, v1 and v2."""
    roots = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        if right.split()[0] in ("cgroup", "cgroup2"):
            roots.append(left.split()[4])
    return sorted(set(roots))


def _cgroups():
    found = set()
    for root in cgroup_roots():
        for folder, below, _ in os.walk(root):
            for name in below:
                path = os.path.join(folder, name)
                if NAME in path[len(root) :] or CONTAINER_GROUP.fullmatch(name):
                    found.add(path)
    others = _others_names()
    return frozenset(path for path in found if not any(name in path for name in others))


def _network_namespaces():
    found = {}
    table = proc.everyone()
    others = _others(table)
    for process in table.values():
        if process.pid in others:
            continue
        inode = proc.link(f"/proc/{process.pid}/ns/net")
        if inode:
            found.setdefault(inode, f"of {process}")
        for target in proc.descriptors(process.pid):
            if target.startswith("net:["):
                found.setdefault(target, f"held open by {process}")
    return found


def _files(folders):
    found = set()
    for parent in {"/run", "/var/tmp", "/dev/shm", "/tmp", tempfile.gettempdir()}:
        found |= {os.path.join(parent, name) for name in _entries(parent) if NAME in name.lower()}
    for path in [path for path in found if path.startswith("/run/")]:
        found |= _below(path)
    found |= {os.path.join("/run/netns", name) for name in _entries("/run/netns")}
    for folder in folders:
        found |= _below(folder)
    others = _others_names()
    return frozenset(path for path in found if not any(name in path for name in others))


def _below(folder):
    return {os.path.join(at, name) for at, folders, files in os.walk(folder) for name in folders + files}


def _entries(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []
