"""The conformance cases without pytest and boto3: for a small guest that has only Python.

    python3 -m conformance --hearth PATH [--limits] [--case TEXT]… [--timeout-factor N]      (from tests/)

Same cases, same checks, through the same AWS door; no snapshots. Exit status 1 when a case fails.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conformance import java_cases, suite  # noqa: E402
from conformance.oracle import Oracle  # noqa: E402
from harness import leaks  # noqa: E402
from harness.doctor import driver_state  # noqa: E402
from harness.door import Door  # noqa: E402
from harness.hearth import Hearth  # noqa: E402
from harness.wait import until  # noqa: E402


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hearth", default="target/release/hearth")
    options.add_argument("--limits", action="store_true", help="only the cases that hold to a limit")
    options.add_argument("--case", action="append", default=[], help="only cases whose id holds this text")
    options.add_argument("--timeout-factor", type=float, default=1.0, help="for slow (emulated) machines")
    given = options.parse_args()
    cases = [
        case
        for case in suite.load()
        # A guest has nothing to build programs with.
        if not case.program
        and (case.get("limits") or not given.limits)
        and (not given.case or any(text in case.id for text in given.case))
        and (case.language != "java" or not java_cases.missing())
    ]
    before = leaks.take()
    ran = failed = 0
    with Hearth(given.hearth) as hearth:
        oracle = Oracle(hearth)
        for driver in suite.DRIVERS:
            works, reason = driver_state(hearth.cli.run("doctor", "--json").json(), driver)
            if not works:
                print(f"SKIPPED every case on {driver}: {reason}")
                continue
            for case in cases:
                ran += 1
                failed += not run(case.on(driver), driver, hearth, oracle, given.timeout_factor)
        oracle.close()
    leaks.assert_clean(before)
    print(f"{ran - failed} of {ran} cases passed, nothing left behind")
    return 1 if failed or not ran else 0


def run(case, driver, hearth, oracle, factor):
    started = time.monotonic()
    folder = tempfile.mkdtemp(prefix="ht-case-")
    try:
        package = suite.stage(case, Path(folder) / "package")
        scale_timeout(case, factor)
        hearth.cli.ok(*suite.deploy_arguments(case, package, driver, oracle.places), timeout=120 * factor)
        once(case, case["expect"], suite.event(case, oracle.places), hearth)
        if case.get("oracle"):
            oracle.check()
        if "then" in case.raw:
            then = dict(case["then"])
            body = suite.json.dumps(then.pop("event", "works"))
            if not then.keys() - {"cold"}:
                then["payload"] = "works"
            once(case, then, body, hearth)
        print(f"ok      {case.id}-{driver} ({time.monotonic() - started:.1f} s)", flush=True)
        return True
    except Exception:
        print(f"FAILED  {case.id}-{driver}\n{traceback.format_exc()}", flush=True)
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        hearth.api.remove(case.function)


def once(case, expected, body, hearth):
    with Door(hearth) as door:
        answer = door.invoke(case.function, body=body.encode(), headers={"x-amz-log-type": "Tail"})
    seen = suite.Seen(
        status=answer.status,
        request_id=answer.request_id or "-",
        payload=answer.body.decode(),
        function_error=answer.function_error,
        version=answer.version,
        tail=answer.log,
        client_error=answer.headers.get("x-amzn-errortype", "?").split(":")[0] if answer.status >= 400 else None,
        message=answer.body.decode() if answer.status >= 400 else "",
    )

    def lines(count):
        def enough():
            got = hearth.cli.logs(case.function, "--since", "10m")
            return len([line for line in got if line.get("request_id") == seen.request_id]) >= count and got

        return until(f"{count} log lines of {seen.request_id}", enough, within=10, every=0.2)

    suite.check(expected, seen, case, lambda: hearth.api.record(case.function, seen.request_id), lines)


def scale_timeout(case, factor):
    """An emulated processor needs longer for the same work; a case about the timeout itself keeps it."""
    timeout = case.get("timeout", "5s")
    if factor != 1.0 and "timed out" not in str(case["expect"]):
        case.raw["timeout"] = f"{int(float(re.match(r'[0-9.]+', timeout)[0]) * factor)}s"


if __name__ == "__main__":
    sys.exit(main())
