"""Deploys: no call fails while one happens; a crash in the middle leaves the old or the new version."""

import random
import time

from harness.functions import write
from harness.load import Load
from harness.wait import until

FILES = 60

# Reads every file of its package: a package of mixed versions cannot answer with one number.
WHOLE = """
import os
from pathlib import Path

PARTS = {path.read_text() for path in Path("/var/task/parts").iterdir()}
COUNT = len(list(Path("/var/task/parts").iterdir()))

def handler(event, context):
    return {"versions": sorted(PARTS | {VERSION}), "files": COUNT, "env": os.environ["VERSION"]}

VERSION = "%d"
"""


def package(folder, version):
    parts = {f"parts/{number}": str(version) for number in range(FILES)}
    return write(folder / f"v{version}", {"app.py": WHOLE % version, **parts})


def deploy(hearth, folder, version):
    return hearth.cli.deploy(folder, "whole", "python3.11", "app.handler", env={"VERSION": version}, max=4)


def is_whole(answer):
    return answer["files"] == FILES and answer["versions"] == [answer["env"]]


def test_a_redeploy_under_load_fails_no_call(hearth, tmp_path):
    deploy(hearth, package(tmp_path, 0), 0)
    try:
        with Load(hearth, "whole", {}, clients=6) as load:
            until("the first answers", lambda: load.answers, within=10)
            for version in range(1, 6):
                deploy(hearth, package(tmp_path, version), version)

                def arrived(version=version):
                    return load.answers[-1]["env"] == str(version)

                until(f"version {version} to answer", arrived, within=10)
        assert not load.failures, load.summary()
        mixed = [answer for answer in load.answers if not is_whole(answer)]
        assert not mixed, f"half a version answered: {mixed[0]}"
        assert {answer["env"] for answer in load.answers} == {str(version) for version in range(6)}
    finally:
        hearth.api.remove("whole")


def test_a_redeploy_of_the_same_code_with_another_environment_is_seen(hearth, tmp_path):
    folder = package(tmp_path, 7)
    deploy(hearth, folder, 7)
    try:
        hearth.cli.ok("env", "whole", "VERSION=8")
        until("the new environment", lambda: hearth.cli.ok("invoke", "whole").json()["env"] == "8", within=5)
    finally:
        hearth.api.remove("whole")


def test_a_crash_in_the_middle_of_a_deploy_leaves_the_old_or_the_new_version(new_hearth, tmp_path):
    hearth = new_hearth().start()
    deploy(hearth, package(tmp_path, 0), 0)
    current, moments = 0, random.Random(5)
    for version in range(1, 7):
        folder = package(tmp_path, version)
        arguments = ["--name", "whole", "--runtime", "python3.11", "--handler", "app.handler"]
        deploying = hearth.cli.start("deploy", folder, *arguments, "--env", f"VERSION={version}", "--json")
        time.sleep(moments.uniform(0, 0.12))  # the moment of the crash, not a wait for anything
        hearth.kill_both()
        deploying.wait(20)
        done = deploying.returncode == 0
        hearth.start()
        answer = hearth.cli.ok("invoke", "whole").json()
        assert is_whole(answer), f"half a version answered: {answer}"
        assert int(answer["env"]) in (current, version), f"neither {current} nor {version}: {answer}"
        assert not done or int(answer["env"]) == version, "a deploy that was reported as done is gone"
        current = int(answer["env"])
