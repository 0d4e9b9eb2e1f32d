"""Row 19: a disk that is full. Calls go on, events are refused at once, logs are what is lost, and room helps at once."""

import os
import subprocess
import time

import pytest

from harness.door import Door
from harness.events import EVENT, settled
from harness.functions import write
from harness.wait import until

SIZE = 640 << 20
CODE = """
def handler(event, context):
    print("x" * event.get("log", 0))
    return event["n"]
"""


@pytest.fixture
def disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    image, at = tmp_path / "disk.img", tmp_path / "disk"
    with open(image, "wb") as file:
        file.truncate(SIZE)
    at.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        at.chmod(0o755)
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def fill(disk):
    """Leaves no room, not even a little."""
    for size in (1 << 20, 4096):
        with open(disk / "ballast", "ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass


def test_calls_go_on_where_the_disk_is_full(new_hearth, disk, tmp_path):
    hearth = new_hearth()
    hearth.data = disk / "data"
    hearth.start()
    hearth.cli.deploy(write(tmp_path / "f", CODE), "f", "python3.11", "app.handler", max=4)
    spare = write(tmp_path / "spare", {"app.py": CODE, "big.bin": os.urandom(24 << 20)})
    hearth.cli.deploy(spare, "spare", "python3.11", "app.handler")
    with Door(hearth) as door:
        assert door.invoke("f", {"n": 0}).json() == 0
        assert door.invoke("f", {"n": 0}, headers=EVENT).status == 202
        settled(hearth, "f")
        fill(disk)

        def refused():
            answer = door.invoke("f", {"n": 1}, headers=EVENT)
            fill(disk)
            return answer if answer.status != 202 else None

        # What the database has of room in its files is used up first.
        first = until("an event to be refused", refused, within=60, every=0)
        assert first.status in (500, 503, 507), first
        slowest = 0.0
        for n in range(200):
            answer = door.invoke("f", {"n": n, "log": 2000})
            assert (answer.status, answer.function_error) == (200, None), answer
            assert answer.json() == n
            begun = time.monotonic()
            answer = door.invoke("f", {"n": n}, headers=EVENT)
            slowest = max(slowest, time.monotonic() - begun)
            assert answer.status in (500, 503, 507), answer
        assert b"disk" in answer.body.lower() or b"space" in answer.body.lower(), answer.body
        # A deploy is refused whole, and what was there stays.
        more = write(tmp_path / "more", {"app.py": CODE, "big.bin": os.urandom(8 << 20)})
        deploy = hearth.cli.run("deploy", str(more), "--name", "more", "--runtime", "python3.11", "--handler", "app.handler")
        assert deploy.code != 0
        assert "more" not in [one["name"] for one in hearth.api.functions()]
        # Who cleans up needs no room for it.
        fill(disk)
        hearth.api.remove("spare")
        assert "spare" not in [one["name"] for one in hearth.api.functions()]
        os.unlink(disk / "ballast")
        begun = time.monotonic()
        until("events to be taken again", lambda: door.invoke("f", {"n": 2}, headers=EVENT).status == 202, within=20)
        recovered = time.monotonic() - begun
    one = settled(hearth, "f")
    assert (one["failed"], one["dead"], one["purged"]) == (0, 0, 0), one
    assert recovered <= 5, f"events are taken again only after {recovered:.1f} s"
    print(f"row 19: 200 of 200 calls answered, slowest refusal {slowest * 1e3:.0f} ms, well again after {recovered:.1f} s")
    hearth.stop()
