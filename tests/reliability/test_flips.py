"""Row 20, but for the pages of databases, which have no checksums: bytes that the disk keeps wrong.

HEARTH_RELIABILITY_FLIPS says how many (6); HEARTH_RELIABILITY_SEED repeats them.

Each byte is changed in a copy of the same data directory, of a Hearth that was killed with events in its queue. What comes
of it: every call is answered rightly or refused with a fault that says why, and events are there or their loss is told.
"""

import hashlib
import json
import os
import random
import re
import subprocess
from collections import Counter

import pytest

from harness.door import Door, credentials
from harness.events import EVENT
from harness.functions import write
from harness.wait import until

FLIPS = int(os.environ.get("HEARTH_RELIABILITY_FLIPS", "6"))
# A short run repeats what is known; a long one looks for more.
SEED = int(os.environ.get("HEARTH_RELIABILITY_SEED") or (random.SystemRandom().randrange(1 << 32) if FLIPS > 100 else 7))
# Says what it is and what its data are: other code, or other data, is another answer.
TELLS = """
import hashlib, pathlib
DATA = hashlib.sha256(pathlib.Path("/var/task/data.bin").read_bytes()).hexdigest()
def handler(event, context):
    return {"is": NAME, "data": DATA, "n": event["n"]}
"""
# Runs for long enough that there are others waiting.
WAITS = "import time\ndef handler(event, context):\n    time.sleep(0.05)\n"
FUNCTIONS, EVENTS = 4, 60
# Words of Hearth's own log for what it found.
TOLD = re.compile(r"damaged|is not whole|checksum|malformed|another program's database|written by a newer|not a database")
FAULTS = re.compile(rb"HEARTH-P00[58]")
ARGUMENTS = ["--stems", "0", "--fork-servers", "off"]


def data_of(n):
    return random.Random(n).randbytes(40_000)


def expected(n):
    return {"is": f"f{n}", "data": hashlib.sha256(data_of(n)).hexdigest(), "n": n}


@pytest.fixture(scope="module")
def killed(binary, up_environment, tmp_path_factory):
    """The data directory of a Hearth that was killed, and its keys."""
    from harness.hearth import Hearth

    folder = tmp_path_factory.mktemp("killed")
    with Hearth(binary, environment=up_environment, arguments=ARGUMENTS) as hearth:
        for n in range(FUNCTIONS):
            files = {"app.py": f'NAME = "f{n}"' + TELLS, "data.bin": data_of(n)}
            hearth.cli.deploy(write(folder / f"f{n}", files), f"f{n}", "python3.11", "app.handler", max=1)
            hearth.cli.ok("publish", f"f{n}")
        hearth.cli.deploy(write(folder / "waits", WAITS), "waits", "python3.11", "app.handler", max=1)
        keys = credentials(hearth)
        with Door(hearth, keys) as door:
            for n in range(FUNCTIONS):
                assert door.invoke(f"f{n}", {"n": n}).json() == expected(n)
            for n in range(EVENTS):
                assert door.invoke("waits", {"n": n}, headers=EVENT).status == 202
        hearth.kill_both()
        hearth.wait_all_gone()
        subprocess.run(["cp", "-a", hearth.data, folder / "data"], check=True)
        # It takes away what the killed one left on the host.
        hearth.start()
    return folder / "data", keys


def places(data):
    """Every file that holds what nobody may lose, by kind, so that small kinds are hit too."""
    kinds = {}
    for path in sorted(data.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.stat().st_size == 0:
            continue
        top = path.relative_to(data).parts[0]
        if top.endswith(".db-wal") or top in ("packages", "code"):
            kinds.setdefault(top + path.suffix, []).append(path)
    return kinds


def flip(path, at, mask):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def outcome(hearth, keys):
    """How it went: `detected`, `mended` or `harmless`. Whatever is wrong and was not told, is an error."""
    try:
        hearth.start()
    except AssertionError as error:
        # It ended by itself, at once, and said why.
        assert "ended with status" in str(error) and TOLD.search(hearth.output()), error
        assert "panicked" not in hearth.output(), hearth.output_tail()
        return "refused to start"
    seen = "harmless"
    with Door(hearth, keys) as door:
        for n in range(FUNCTIONS):
            for name in (f"f{n}", f"f{n}:1"):
                answer = door.invoke(name, {"n": n})
                if answer.status == 200 and not answer.function_error:
                    assert answer.json() == expected(n), "a wrong answer"
                else:
                    assert FAULTS.search(json.dumps(dict(answer.headers)).encode() + answer.body), answer
                    seen = "a fault"

    def settled():
        status, _, body = hearth.api.call("GET", "/api/v1/queue")
        if status != 200:
            return body
        one = next((one for one in body["functions"] if one["function"] == "waits"), None)
        return one if one is None or one["waiting"] == 0 or TOLD.search(hearth.output()) else False

    found = until("the queue to be worked off", settled, within=60) if not TOLD.search(hearth.output()) else None
    told = TOLD.search(hearth.output())
    if not told:
        assert found and found["enqueued"] == found["done"] == EVENTS, f"events are gone, and nothing was said: {found}"
    assert "panicked" not in hearth.output(), hearth.output_tail()
    hearth.stop(within=60)
    if told and seen == "harmless":
        seen = "mended" if "unpacked again" in hearth.output() else "told in the log"
    return seen


def test_a_byte_that_changed_is_found_or_harmless(killed, new_hearth):
    data, keys = killed
    dice = random.Random(SEED)
    seen, by_kind = Counter(), Counter()
    for number in range(FLIPS):
        hearth = new_hearth(arguments=ARGUMENTS)
        subprocess.run(["cp", "-a", data, hearth.data], check=True)
        kinds = places(hearth.data)
        kind = dice.choice(sorted(kinds))
        path = dice.choice(kinds[kind])
        at, mask = dice.randrange(path.stat().st_size), dice.randrange(1, 256)
        flip(path, at, mask)
        what = f"flip {number} of seed {SEED}: byte {at} of {path.relative_to(hearth.data)} xor {mask:#04x}"
        try:
            how = outcome(hearth, keys)
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}\n{hearth.output_tail()}") from error
        seen[how] += 1
        by_kind[kind, how] += 1
        hearth.discard()
    parts = ", ".join(f"{count} {how}" for how, count in seen.most_common())
    print(f"row 20: {FLIPS} bytes changed, seed {SEED}: 0 wrong answers, 0 events lost unsaid; {parts}")
    for (kind, how), count in sorted(by_kind.items()):
        print(f"  {kind}: {count} {how}")


def test_code_that_is_damaged_is_mended_or_never_run(new_hearth, tmp_path):
    hearth = new_hearth(arguments=ARGUMENTS).start()
    files = write(tmp_path / "f", {"app.py": 'NAME = "f0"' + TELLS, "data.bin": data_of(0)})

    def damage(*what):
        for folder in what:
            for path in (hearth.data / folder).rglob("*.bin" if folder == "code" else "*.zip"):
                flip(path, path.stat().st_size // 2, 1)

    hearth.cli.deploy(files, "f", "python3.11", "app.handler")
    damage("code")
    with Door(hearth) as door:
        assert door.invoke("f", {"n": 0}).json() == expected(0), "mended before it ran"
        assert "unpacked again" in hearth.output()
        hearth.stop()
        damage("code", "packages")
        hearth.start()
    with Door(hearth) as door:
        answer = door.invoke("f", {"n": 0})
        assert answer.status == 500 and b"damaged" in answer.body, answer
        assert "HEARTH-P008" in json.dumps(dict(answer.headers)) + answer.body.decode(), answer
        hearth.cli.deploy(files, "f", "python3.11", "app.handler")
        assert door.invoke("f", {"n": 0}).json() == expected(0), "the same files, deployed again"
    assert hearth.cli.ok("explain", "HEARTH-P008").stdout.startswith("# HEARTH-P008")


def test_logs_that_are_damaged_begin_anew(new_hearth, tmp_path):
    """Calls do not wait for them."""
    hearth = new_hearth(arguments=ARGUMENTS).start()
    files = write(tmp_path / "f", {"app.py": 'NAME = "f0"' + TELLS, "data.bin": data_of(0)})
    hearth.cli.deploy(files, "f", "python3.11", "app.handler")
    hearth.stop()
    telemetry = hearth.data / "telemetry.db"
    telemetry.write_bytes(b"\0" * telemetry.stat().st_size)
    hearth.start()
    with Door(hearth) as door:
        assert door.invoke("f", {"n": 0}).json() == expected(0)
    assert (hearth.data / "telemetry.db.damaged").exists() and "set aside" in hearth.output()
