"""The guest's file system: an initramfs of two archives, one that seldom changes and one that always does."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

PYTHON = "/usr/bin/python3.11"
LIBRARY = "/usr/lib/python3.11"
NODE = "/usr/bin/node"
# Of Python's library, what no test needs.
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc_data", "distutils"}
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
    "os-release": 'ID=hearth-guest\nPRETTY_NAME="Hearth\'s test guest"\n',
}


def build(cache, busybox, hearth, unit_tests, repository, init):
    """Writes the image and returns its path."""
    for program in filter(None, [hearth, unit_tests, Path(PYTHON)]):
        if not os.access(program, os.X_OK):
            raise SystemExit(f"there is no {program}: build it first (make build), or install python3.11")
    base = _base(cache, busybox)
    changing = Archive()
    changing.file("init", init.read_bytes(), 0o755)
    for name, program in [("hearth", hearth), ("unit-tests", unit_tests)]:
        if program:
            changing.program(f"hearth/{name}", program)
    if hearth:
        for folder in ("tests/conformance", "tests/harness"):
            changing.tree(f"hearth/{folder}", repository / folder)
    path = cache / "initrd"
    with open(path, "wb") as out, open(base, "rb") as first:
        shutil.copyfileobj(first, out)
        changing.write(out)
    return path


def _base(cache, busybox):
    """What comes from this machine: made anew when its Python, its Node or this file changes."""
    inputs = [Path(__file__).read_bytes(), busybox.read_bytes()]
    for program in filter(os.path.exists, (PYTHON, NODE)):
        inputs.append(repr((program, os.stat(program).st_size, os.stat(program).st_mtime_ns)).encode())
    path = cache / f"base-{hashlib.sha256(b''.join(inputs)).hexdigest()[:12]}.cpio"
    if path.exists():
        return path
    for old in cache.glob("base-*"):
        old.unlink()
    archive = Archive()
    for folder in ("dev", "proc", "sys", "run", "tmp", "root", "new", "var", "var/tmp", "usr/local/bin", "usr/sbin"):
        archive.folder(folder)
    for name in ("bin", "lib", "lib64", "sbin"):
        archive.link(name, f"usr/{name}")
    archive.file("usr/bin/busybox", busybox.read_bytes(), 0o755)
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        archive.link(f"usr/bin/{applet}", "busybox")
    for name, text in ETC.items():
        archive.file(f"etc/{name}", text.encode())
    archive.program(PYTHON[1:], PYTHON)
    archive.link("usr/bin/python3", "python3.11")
    archive.tree(LIBRARY[1:], LIBRARY, LEFT_OUT, libraries=True)
    if os.path.exists(NODE):
        archive.program(NODE[1:], os.path.realpath(NODE))
    else:
        print("no Node in the guest: this machine has none in /usr/bin", file=sys.stderr)
    part = path.with_suffix(".part")
    with open(part, "wb") as out:
        archive.write(out)
    part.rename(path)
    return path


class Archive:
    """A cpio archive of the kind the kernel unpacks (newc), everything owned by root."""

    def __init__(self):
        self.entries = {}

    def folder(self, name):
        parent = os.path.dirname(name)
        if name and name not in self.entries:
            self.folder(parent)
            self.entries[name] = (stat.S_IFDIR | 0o755, b"")

    def _add(self, name, mode, data):
        self.folder(os.path.dirname(name))
        self.entries.setdefault(name, (mode, data))

    def file(self, name, data, mode=0o644):
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def program(self, name, path):
        """A program, with the libraries it is linked to."""
        self.file(name, Path(path).read_bytes(), 0o755)
        self._libraries(path)

    def _libraries(self, path):
        said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", said):
            # The guest has all of them where the loader looks first; /lib is a link to /usr/lib.
            target = re.sub(r"^/(usr/)?", "usr/", library)
            self.file(target, Path(library).read_bytes(), 0o755)

    def tree(self, name, path, left_out=(), libraries=False):
        for at, folders, files in os.walk(path):
            folders[:] = sorted(set(folders) - set(left_out))
            below = os.path.normpath(os.path.join(name, os.path.relpath(at, path)))
            self.folder(below)
            for file in sorted(files):
                source = os.path.join(at, file)
                if os.path.islink(source) and not os.path.exists(source):
                    continue
                mode = 0o755 if os.access(source, os.X_OK) else 0o644
                self.file(os.path.join(below, file), Path(source).read_bytes(), mode)
                if libraries and file.endswith(".so"):
                    self._libraries(source)

    def write(self, out):
        entries = list(self.entries.items()) + [("TRAILER!!!", (0, b""))]
        written = 0
        for inode, (name, (mode, data)) in enumerate(entries, 1):
            path = name.encode() + b"\0"
            links = 2 if stat.S_ISDIR(mode) else 1
            # inode, mode, uid, gid, links, time, size, device and special device (two numbers each), name, checksum
            fields = [inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(path), 0]
            head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
            written += out.write(head + b"\0" * (-len(head) % 4))
            written += out.write(data)
            written += out.write(b"\0" * (-len(data) % 4))
        # The next archive begins at a block's start.
        out.write(b"\0" * (-written % 512))
