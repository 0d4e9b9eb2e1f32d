"""Row 2: the power goes. The file system is shut down as it is, with nothing written that was not synced.

HEARTH_RELIABILITY_ROUNDS says how often, on each file system (2 by default).
"""

import fcntl
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import time

import pytest

from harness.events import Sender, settled
from harness.functions import write
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_RELIABILITY_ROUNDS", "2"))
SEED = int(os.environ.get("HEARTH_CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
# _IOR('X', 125, __u32), which is XFS's and ext4's; without flushing the journal.
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
MARKS = """
def handler(event, context):
    print("mark", event["n"])
"""


class Disk:
    """A file system of its own in a file."""

    def __init__(self, folder, kind):
        self.image, self.at, self.kind = folder / "disk", folder / "mounted", kind
        self.at.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(512 << 20)
        made = subprocess.run([*MAKE[kind], str(self.image)], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr

    def mount(self):
        ran = subprocess.run(
            ["mount", "-t", self.kind, "-o", "loop", str(self.image), str(self.at)], capture_output=True, text=True
        )
        if ran.returncode != 0:
            pytest.skip(f"no {self.kind} in a file here: {ran.stderr.strip()}")
        self.at.chmod(0o755)

    def cut(self):
        folder = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def unmount(self):
        def gone():
            subprocess.run(["umount", str(self.at)], capture_output=True)
            return not os.path.ismount(self.at) and not self.loops()

        until("the file system to be unmounted", gone, within=60, every=0.1)

    def loops(self):
        """The image's loop devices: one is there as long as anybody has it mounted."""
        return subprocess.run(["losetup", "-j", str(self.image)], capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_was_answered_is_there_after_the_power_went(new_hearth, tmp_path, kind):
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    if shutil.which(MAKE[kind][0]) is None:
        pytest.skip(f"{MAKE[kind][0]} is not installed")
    hearth = new_hearth()
    disk = Disk(hearth.base, kind)
    disk.mount()
    hearth.data = disk.at / "data"
    moments, kept, deployed = random.Random(SEED), 0, 0
    code = tmp_path / "marks"
    try:
        hearth.start()
        hearth.cli.deploy(write(code, MARKS), "marks", "python3.11", "app.handler", max=4)
        for number in range(ROUNDS):
            with Sender(hearth, "marks") as sender:
                until("events to be taken", lambda: len(sender.kept) >= 20, within=30)
                # A deploy too, of another size each time: it was answered, so it is there.
                hearth.cli.deploy(
                    write(code, MARKS), "marks", "python3.11", "app.handler", max=4, description=f"round {number}"
                )
                time.sleep(moments.uniform(0, 0.4))  # the moment, not a wait for anything
                # No answer comes after the power went; one that comes while ext4 is shut down may follow a sync that ext4
                # says went well, because its journal had just given the transaction up (jbd2_complete_transaction).
                kept += len(sender.kept)
                disk.cut()
                hearth.kill_both()
                hearth.wait_all_gone(within=5)
            disk.unmount()
            disk.mount()
            with sqlite3.connect(f"file:{hearth.data}/queue.db?mode=ro", uri=True) as queue:
                assert queue.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            queue.close()
            hearth.start()
            deployed += hearth.api.functions()[0]["description"] == f"round {number}"
            one = settled(hearth, "marks")
            assert (one["failed"], one["dead"], one["purged"]) == (0, 0, 0), f"seed {SEED}, round {number}: {one}"
            # None is gone: each that was answered is among those that have run to their end.
            assert one["done"] == one["enqueued"] >= kept, f"seed {SEED}, round {number}: {one}, {kept} answered"
            assert deployed == number + 1, f"seed {SEED}, round {number}: an answered deploy is not there"
        hearth.stop()
    finally:
        if hearth.running:
            hearth.abandon()
        disk.unmount()
    print(f"row 2: {ROUNDS} power cuts on {kind}, {kept} events and {deployed} deploys answered, 0 lost, integrity ok")
