"""Packages that must not be unpacked: refused with a reason, and nothing of them stays on disk."""

import os
import stat
import time
import zipfile

import pytest

from harness import archives, proc
from harness.archives import archive, special, symlink
from harness.wait import until

LINK = symlink("link", "/tmp")

REFUSED = {
    "parent-folder": lambda: archive([("../escaped-hearth-canary", b"x")]),
    "parent-folder-deep": lambda: archive([("a/b/../../../escaped-hearth-canary", b"x")]),
    "parent-folder-backslash": lambda: archive([("..\\escaped-hearth-canary", b"x")]),
    "absolute": lambda: archive([("/tmp/escaped-hearth-canary", b"x")]),
    "drive-letter": lambda: archive([("C:\\escaped-hearth-canary", b"x")]),
    "nul-in-name": lambda: archive([("nulZname", b"x")]).replace(b"nulZname", b"nul\0name"),
    "symlink-outside": lambda: archive([symlink("outside", "/etc/passwd")]),
    "symlink-parent": lambda: archive([symlink("outside", "../../../etc")]),
    "symlink-then-file": lambda: archive([LINK, ("link/escaped-hearth-canary", b"x")]),
    "file-then-symlink-of-one-name": lambda: archive([("link", b"x"), LINK]),
    "symlink-then-folder": lambda: archive([LINK, ("link/", b"")]),
    "duplicate": lambda: archive([("twice", b"1"), ("twice", b"2")]),
    "case-collision": lambda: archive([("Module.py", b"1"), ("module.py", b"2")]),
    "file-is-also-folder": lambda: archive([("a", b"1"), ("a/b", b"2")]),
    "character-device": lambda: archive([special("device", stat.S_IFCHR)]),
    "block-device": lambda: archive([special("device", stat.S_IFBLK)]),
    "fifo": lambda: archive([special("fifo", stat.S_IFIFO)]),
    "socket": lambda: archive([special("socket", stat.S_IFSOCK)]),
    "long-name": lambda: archive([("x" * 10_000, b"x")]),
    "deep-folders": lambda: archive([("d/" * 5000 + "x", b"x")]),
    "bomb": lambda: archives.bomb(300),
    "lying-bomb": lambda: archives.lying_bomb(300),
    "overlapping-bomb": lambda: archives.overlapping(100),
    "too-many-entries": lambda: archives.many_entries(20_500),
    "truncated": archives.truncated,
    "corrupt": archives.corrupt,
    "not-a-zip": lambda: b"PK but nothing of the kind",
    "empty": lambda: b"",
}

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")


@pytest.mark.parametrize("name", list(REFUSED))
def test_package_is_refused(name, hearth, tmp_path):
    path = tmp_path / f"{name}.zip"
    path.write_bytes(REFUSED[name]())
    server = hearth.server_pid()
    disk, peak, started = hearth.disk(), proc.memory_peak(server), time.monotonic()

    ran = hearth.cli.refused("deploy", path, "--name", "evil", "--runtime", "python3.11", "--handler", "app.handler")

    took = time.monotonic() - started
    assert took < 5, f"refused after {took:.1f} s"
    assert "HEARTH-P" not in ran.text, f"the code blames the platform: {ran.text}"
    assert "evil" not in [one["name"] for one in hearth.api.functions()]
    assert hearth.server_pid() == server, "the server was replaced"
    grown = proc.memory_peak(server) - peak
    assert grown <= 64 * 1024 * 1024, f"the server's memory grew by {grown >> 20} MiB"

    def nothing_new():
        extra = set(hearth.disk()) - set(disk)
        assert not extra, f"left in the data folder: {sorted(extra)[:5]}"
        return True

    until("the refused package to be gone from disk", nothing_new, within=2)
    assert not list(hearth.base.rglob("escaped-hearth-canary"))
    assert not os.path.exists("/tmp/escaped-hearth-canary")


def test_a_refused_redeploy_leaves_the_function_as_it_was(hearth, tmp_path):
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    good.write_bytes(archive([]))
    bad.write_bytes(archive([("../escaped-hearth-canary", b"x")]))
    arguments = ["--name", "steady", "--runtime", "python3.11", "--handler", "app.handler"]
    hearth.cli.ok("deploy", good, *arguments)
    try:
        hearth.cli.refused("deploy", bad, *arguments)
        assert hearth.cli.ok("invoke", "steady").json() == "deployed"
    finally:
        hearth.api.remove("steady")


HARMLESS = {
    "folders, empty files and an executable": [
        ("folder/", b""),
        ("folder/empty", b""),
        (archives.entry("folder/run.sh", stat.S_IFREG | 0o755), b"#!/bin/sh\necho ran\n"),
    ],
    "a name in unicode": [("föö/bär 🦀.txt", b"x")],
    "names with two dots that lead nowhere": [("a..b/..c", b"x")],
    "200 MB that pack well": [("zeros", bytes(200 * 1024 * 1024))],
}


@pytest.mark.parametrize("what", list(HARMLESS))
def test_an_unusual_but_harmless_package_is_taken(hearth, tmp_path, what):
    path = tmp_path / "odd.zip"
    path.write_bytes(archive(HARMLESS[what]))
    hearth.cli.deploy(path, "odd", "python3.11", "app.handler")
    try:
        assert hearth.cli.ok("invoke", "odd").json() == "deployed"
    finally:
        hearth.api.remove("odd")


def test_a_removed_functions_code_leaves_the_disk(hearth, tmp_path):
    path = tmp_path / "big.zip"
    path.write_bytes(archive([("noise", bytes(3_000_000))], zipfile.ZIP_STORED))
    before = sum(hearth.disk().values())
    hearth.cli.deploy(path, "big", "python3.11", "app.handler")
    assert sum(hearth.disk().values()) - before >= 2_900_000, "the package is not in the data folder"
    hearth.api.remove("big")
    until("the code to be gone", lambda: sum(hearth.disk().values()) - before < 1_000_000, within=10)
