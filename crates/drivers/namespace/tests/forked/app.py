"""What an instance can find out about itself: the same, whether its interpreter was forked or run."""

import os
import sys


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return type(error).__name__


def mounts():
    lines = []
    for line in read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        about, kind = fields[3:6], fields[fields.index("-") + 1 :]
        lines.append([about, [field for field in kind if not field.startswith("/")]])
    return lines


def facts(event, context):
    import gc
    import resource
    import signal

    wanted = "Umask Uid Gid Groups NSpid NSsid NSpgid Threads SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters CoreDumping Kthread SigQ"
    status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines() if ":" in line)
    init = dict(line.split(":", 1) for line in read("/proc/1/status").splitlines() if ":" in line)
    return {
        "status": {name: status.get(name) for name in wanted.split()},
        # Which signals it ignores is the spawner's affair, or the interpreter's: none but its parent's kill ends it.
        "init": {name: init.get(name) for name in wanted.split() if name not in ("SigIgn", "SigCgt")},
        "maps": [read("/proc/self/" + name) for name in ("uid_map", "gid_map", "setgroups", "oom_score_adj", "limits")],
        "limits": [resource.getrlimit(n) for n in range(16)],
        "cmdline": read("/proc/self/cmdline"),
        "init cmdline": read("/proc/1/cmdline").strip("\0"),
        "init closed": [read("/proc/1/" + name) for name in ("environ", "maps", "mem")] + [os.path.exists("/proc/1/cwd/etc")],
        "environ": read("/proc/self/environ"),
        "env": dict(os.environ),
        "bytes env": sorted(map(repr, os.environb.items())),
        "child env": sorted(os.popen("env | grep -v ^_=").read().splitlines()),
        "process": [os.getpid(), os.getppid(), os.getsid(0), os.getpgid(0), os.getcwd(), os.getgroups(), os.getpriority(0, 0)],
        "comm": read("/proc/self/comm"),
        "fds": {fd: read_link("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if int(fd) < 64},
        "inheritable": [os.get_inheritable(fd) for fd in range(5)],
        "owner": os.stat("/proc/self/environ").st_uid,
        "exe": os.readlink("/proc/self/exe"),
        "mounts": mounts(),
        "processes": sorted(name for name in os.listdir("/proc") if name.isdigit() and name in "12"),
        "network": read("/proc/net/dev").splitlines()[2].split(":")[0].strip(),
        "python": [sys.argv, sys.flags, sys.path, sys.executable, sys.dont_write_bytecode, sys.getrecursionlimit()],
        "streams": [[s.encoding, s.errors, s.line_buffering, s.seekable(), s.fileno(), s.mode] for s in (sys.stdin, sys.stdout, sys.stderr)],
        "signals": [str(signal.getsignal(n)) for n in (2, 13, 15, 17)],
        "gc": [gc.isenabled(), gc.get_threshold()],
        "main": [sys.modules["__main__"].__file__, __name__, __file__],
        "sys": [read("/proc/sys/user/" + name) for name in ("max_user_namespaces", "max_inotify_instances", "max_inotify_watches")],
        "autogroup": read("/proc/self/timerslack_ns"),
    }


def read_link(path):
    try:
        return os.readlink(path).split(":")[0]
    except OSError as error:
        return type(error).__name__


def forked(event, context):
    return "ctypes" in sys.modules


def namespaces(event, context):
    return {name: os.readlink("/proc/self/ns/" + name) for name in os.listdir("/proc/self/ns")}


def chances(event, context):
    import random
    import secrets
    import ssl
    import tempfile
    import uuid

    return {
        "random": random.random(),
        "bits": random.getrandbits(64),
        "fresh": random.Random().random(),
        "uuid4": str(uuid.uuid4()),
        "uuid1": str(uuid.uuid1()),
        "secrets": secrets.token_hex(8),
        "urandom": os.urandom(8).hex(),
        "ssl": ssl.RAND_bytes(8).hex(),
        "temporary": tempfile.mktemp(),
    }


def own(event, context):
    import colorsys
    import email
    import http.client
    import random

    return [m.__file__ for m in (random, colorsys, email, http.client)]


def libraries(event, context):
    """Of the package's folder, and of the `lib` in it: which the loader finds by their bare names."""
    import ctypes

    found = []
    for name in ("libhearth_one.so", "libhearth_two.so"):
        try:
            found.append(ctypes.CDLL(name) is not None)
        except OSError as error:
            found.append(str(error))
    return found


def cancelled(event, context):
    import asyncio
    import html
    import secrets

    async def late():
        await asyncio.wait_for(asyncio.sleep(10), 0.01)

    try:
        asyncio.run(late())
    except BaseException as error:
        name = type(error).__name__
    return [name, *(m.__file__.partition("/python3.")[2].partition("/")[2] for m in (html, secrets))]
