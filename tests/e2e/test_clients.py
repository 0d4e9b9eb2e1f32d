"""Clients of AWS's as people have them: a script by the `aws` command, and the SDK for JavaScript. Only the environment says
where they go."""

import io
import json
import os
import shutil
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import pytest

CLIENTS = Path(__file__).resolve().parent.parent / "clients"
CODE = """
def handler(event, context):
    print("seven" if event.get("n") == 7 else "other")
    return {"code": %d}
"""


@pytest.fixture
def told(hearth, keys, tmp_path):
    """What `hearth aws-env` says, and nothing else of AWS; and two packages."""
    zips = []
    for number in (1, 2):
        path = tmp_path / f"{number}.zip"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("app.py", CODE % number)
        path.write_bytes(packed.getvalue())
        zips.append(str(path))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    # Version 1 of the command, the one on PyPI, has an address of its own for SQS, whatever AWS_ENDPOINT_URL says.
    command = tmp_path / "bin/aws"
    command.parent.mkdir()
    real = Path(sys.executable).parent / "aws"
    command.write_text(
        f'#!/bin/sh\n[ "$1" != sqs ] || set -- --endpoint-url "$AWS_ENDPOINT_URL" "$@"\nexec {real} "$@"\n'
    )
    command.chmod(0o755)
    path = f"{command.parent}:{plain['PATH']}"
    environment = {**plain, **keys, "HOME": str(tmp_path), "AWS_PAGER": "", "PATH": path}
    return environment, zips, f"life-{uuid.uuid4().hex[:8]}"


def test_a_script_for_aws_runs_unchanged(told):
    environment, zips, name = told
    ran = subprocess.run([CLIENTS / "life.sh", name, *zips], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = {}
    for line in ran.stdout.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    assert said["account"] == ["000000000000"]
    assert [json.loads(one) for one in said["first"] + said["moved"]] == [{"code": 1}, {"code": 2}]
    assert sorted(json.loads(one)["code"] for one in said["shared"]) == [1, 1, 2, 2]
    record = json.loads(said["record"][0])
    assert record["requestContext"]["condition"] == "Success"
    assert (record["requestPayload"], record["responsePayload"]) == ({"n": 7}, {"code": 2})
    assert said["schedule"] == ["rate(1 minute)"]
    assert int(said["lines"][0]) >= 1 and said["gone"] == ["yes"]


def test_the_sdk_for_javascript_lives_a_functions_life(told):
    environment, zips, name = told
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = CLIENTS / "javascript"
    install = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(install, cwd=folder, check=True, timeout=300)
    ran = subprocess.run(
        ["node", "life.mjs", name, *zips], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    seen = json.loads(ran.stdout)
    assert seen == {
        "made": seen["made"],
        "first": {"body": {"code": 1}, "version": "$LATEST", "error": None},
        "second": {"body": {"code": 2}, "version": "$LATEST", "error": None},
        "alias": {"body": {"code": 1}, "version": "1", "error": None},
        "event": 202,
        "memory": 256,
        "streamed": json.dumps({"code": 2}),
        "complete": None,
        "listed": True,
        "message": "hello",
        "gone": True,
    }
    assert seen["made"] in ("Pending", "Active")
