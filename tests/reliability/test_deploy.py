"""Row 8: the server is killed at each system call that a deploy makes, under 100 calls a second.

HEARTH_RELIABILITY_STEP says each how many-th of those calls is tried (5 by default; 1: each).
"""

import os
from collections import Counter

import pytest

from harness import proc
from harness.functions import write
from harness.load import Load
from harness.strace import Inject, open_files
from harness.wait import until

STEP = int(os.environ.get("HEARTH_RELIABILITY_STEP", "5"))
# What the package is made of, and the sync of each file; then the transaction in which the function comes to use it.
PACKAGE = "mkdir mkdirat rename renameat renameat2 unlink unlinkat rmdir fchmod fchmodat fsync fdatasync".split()
CATALOGUE = "write pwrite64 fsync fdatasync".split()
MAIN = """
import part
VERSION = "{version}"
def handler(event, context):
    return [VERSION, part.VERSION]
"""
PART = 'VERSION = "{version}"\n'


def code(folder, version):
    files = {"app.py": MAIN.format(version=version), "part.py": PART.format(version=version)}
    # Files that make it longer.
    files |= {f"more{n}/data.txt": f"{version} {n}" for n in range(3)}
    return write(folder, files)


@pytest.mark.parametrize("part", ["package", "catalogue"])
def test_killed_at_any_moment_of_a_deploy_it_is_the_old_or_the_new(new_hearth, tmp_path, part):
    if os.geteuid() != 0:
        pytest.skip("only root may put faults into the server")
    hearth = new_hearth().start()
    folder = tmp_path / "whole"
    calls = PACKAGE if part == "package" else CATALOGUE

    def paths(pid):
        return [] if part == "package" else open_files(pid, "/catalogue.db-wal")

    hearth.cli.deploy(code(folder, "v0"), "whole", "python3.11", "app.handler", max=4)
    # Which there are: a deploy that nobody kills.
    with Inject(hearth.server_pid(), calls, "delay_exit=0", paths=paths(hearth.server_pid())) as inject:
        hearth.cli.deploy(code(folder, "v1"), "whole", "python3.11", "app.handler", max=4)
    # strace counts each call of each thread by itself.
    seen = Counter(tuple(line.split("(")[0].split()) for line in inject.seen() if "<..." not in line)
    most = Counter()
    for (_, call), count in seen.items():
        most[call] = max(most[call], count)
    moments = [(call, number) for call, count in sorted(most.items()) for number in range(1, count + 1)]
    current, kills, answers = "v1", 0, 0
    for place, (call, number) in list(enumerate(moments))[::STEP]:
        wanted, old = f"k{place}", hearth.server_pid()
        moment = f"{call} {number}"
        with Load(hearth, "whole", {}, clients=2) as load:
            until("load", lambda: load.answers, within=20)
            with Inject(old, [call], f"signal=KILL:when={number}", paths=paths(old)):
                ran = hearth.cli.run(
                    *("deploy", code(folder, wanted), "--name", "whole", "--runtime", "python3.11"),
                    *("--handler", "app.handler", "--max", "4", "--json"),
                )
            if proc.is_dead(old):
                kills += 1
                hearth.wait_server_replaced(old)
            seen = len(load.answers)
            until("calls to be answered again", lambda: len(load.answers) >= seen + 5, within=20)
        answers += len(load.answers)
        half = [answer for answer in load.answers if answer[0] != answer[1]]
        strange = [answer for answer in load.answers if answer[0] not in (current, wanted)]
        assert not half and not strange, f"at {moment}: half {half[:3]}, neither of both {strange[:3]}"
        current = load.answers[-1][0]
        # Who was told that it is deployed, has it.
        assert ran.code != 0 or current == wanted, f"at {moment}: deployed {wanted}, but {current} answers"
        # At once, but for a package that is being removed at this moment, as nothing uses it any more.
        until(f"nothing half made to be left after {moment}", lambda: whole(hearth.data), within=5)
    tried = len(moments[::STEP])
    assert kills >= tried * 3 // 4, f"only {kills} of {tried} deploys were killed: nothing is shown of the others"
    print(
        f"row 8: killed in the {part} at {kills} of its {len(moments)} calls ({dict(most)}), {answers} answers, "
        "each wholly old or new, nothing left at the next start"
    )


def whole(data):
    """Nothing half made, and beside each package its code and the sum of it."""
    kept, codes = os.listdir(data / "packages"), os.listdir(data / "code")
    assert not os.listdir(data / "tmp") and sorted(kept) == sorted(f"{one}.{of}" for one in codes for of in ("tree", "zip")), (
        os.listdir(data / "tmp"), kept, codes,
    )
    return True
