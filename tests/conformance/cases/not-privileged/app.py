import os

FIELDS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")


def handler(event, context):
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":", 1) for line in file)
    found = {name: status.get(name, "not shown").strip() for name in FIELDS}
    return {**found, "root": 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid())}
