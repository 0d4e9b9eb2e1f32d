"""Stems: cold calls find a sandbox whose runtime is up, and cannot tell the difference."""

import shutil
import subprocess

import pytest

from harness.functions import write
from harness.wait import until

DRIVERS = ["namespace", "docker", "gvisor"]

# The C library looks up folders when the interpreter starts, which in a stem is before there is a package.
NATIVE = """
import ctypes
def handler(event, context):
    return ctypes.CDLL("libanswer.so").answer()
"""

PLACE = """
import os, sys
def handler(event, context):
    return {"cwd": os.getcwd(), "files": sorted(os.listdir(".")), "stem": [name for name in os.environ if "STEM" in name]}
"""


@pytest.fixture(params=DRIVERS)
def driver(request, need_driver):
    need_driver(request.param)
    return request.param


def call(hearth, name, stem, driver):
    """A cold call, which must find a stem or must not."""
    if stem:
        until(f"a stem on {driver}", lambda: hearth.api.stems(driver), within=30)
    answer = hearth.cli.ok("invoke", name, "--payload", "1", "--json").json()
    record = hearth.api.record(name, answer["request_id"])
    assert (record["cold"], record["stem"], record["isolation"]) == (True, stem, driver), record
    return answer["payload"]


@pytest.fixture
def native(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("no C compiler here")
    folder = write(tmp_path / "native", NATIVE, "python3.11")
    (folder / "lib").mkdir()
    (tmp_path / "answer.c").write_text("int answer(void) { return 42; }")
    library = folder / "lib" / "libanswer.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "answer.c"], check=True, timeout=60)
    return folder


def test_a_library_of_the_package_is_found_in_an_instance_made_of_a_stem(new_hearth, native, driver):
    hearth = new_hearth().start()
    hearth.cli.deploy(native, "n", "python3.11", "app.handler", isolation=driver)
    assert call(hearth, "n", True, driver) == 42


def test_an_instance_made_of_a_stem_is_where_any_other_is(new_hearth, tmp_path, driver):
    folder = write(tmp_path / "f", PLACE, "python3.11")
    seen = []
    for stems in ("8", "0"):
        hearth = new_hearth(environment={"HEARTH_STEMS": stems}).start()
        hearth.cli.deploy(folder, "f", "python3.11", "app.handler", isolation=driver)
        seen.append(call(hearth, "f", stems == "8", driver))
        hearth.stop()
    assert seen[0] == seen[1] == {"cwd": "/var/task", "files": ["app.py"], "stem": []}


def test_stems_of_functions_that_are_gone_go_too(new_hearth, tmp_path, driver):
    hearth = new_hearth().start()
    folder = write(tmp_path / "f", PLACE, "python3.11")
    hearth.cli.deploy(folder, "f", "python3.11", "app.handler", isolation=driver)
    until("a stem", lambda: hearth.api.stems(driver), within=30)
    assert "ready for cold starts" in hearth.cli.ok("ps").text
    hearth.cli.ok("rm", "f", "--yes")
    until("no stem", lambda: not hearth.api.stems(driver), within=10)
