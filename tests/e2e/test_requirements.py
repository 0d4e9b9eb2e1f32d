"""What `requirements.txt` asks for: installed by `hearth deploy`, and compiled, so that no cold start has to."""

import subprocess
import zipfile

import pytest

from harness.door import Door
from harness.functions import write

LOOKS = """
import importlib.util, sys
import dep
def handler(event, context):
    with open(dep.__file__, "rb") as source:
        hash = importlib.util.source_hash(source.read())
    try:
        with open(dep.__cached__, "rb") as compiled:
            found = compiled.read(16)
    except OSError:
        found = b""
    return {"whose": dep.whose(), "from": dep.whose.__code__.co_filename, "magic": found[:4] == importlib.util.MAGIC_NUMBER,
            "checked": found[4:8] == bytes([3, 0, 0, 0]), "fits": found[8:16] == hash}
"""
SOURCE = "def whose():\n    return {!r}\n"


@pytest.fixture(scope="module", autouse=True)
def pip():
    """The interpreter of the runtime, as `hearth deploy` looks for it."""
    for program in ("/usr/bin/python3.11", "python3.11"):
        try:
            if subprocess.run([program, "-m", "pip", "--version"], capture_output=True, timeout=60).returncode == 0:
                return
        except OSError:
            pass
    pytest.skip("there is no pip for python3.11 here: apt-get install python3-pip")


@pytest.fixture
def folder(tmp_path):
    folder = write(tmp_path / "looks", {"app.py": LOOKS, "requirements.txt": "./dep-1.0-py3-none-any.whl\n"})
    with zipfile.ZipFile(folder / "dep-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("dep/__init__.py", SOURCE.format("the package's"))
        wheel.writestr("dep/broken.py", "print 'of another time'\n")
        wheel.writestr("dep-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: dep\nVersion: 1.0\n")
        wheel.writestr("dep-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("dep-1.0.dist-info/RECORD", "")
    (folder / ".hearthignore").write_text("*.whl\n")
    return folder


def test_what_is_installed_is_compiled_and_bears_its_sources_hash(hearth, folder):
    first = hearth.cli.deploy(folder, "looks", "python3.11", "app.handler").json()
    with Door(hearth) as door:
        found = door.invoke("looks", {}).json()
    assert found == {"whose": "the package's", "from": "/var/task/dep/__init__.py", "magic": True, "checked": True, "fits": True}
    # Installed again, for the line names a file: the same comes of it.
    assert hearth.cli.deploy(folder, "looks", "python3.11", "app.handler").json()["code"] == first["code"]


def test_a_module_of_ones_own_comes_before_what_was_installed_and_compiled(hearth, folder):
    write(folder, {"dep/__init__.py": SOURCE.format("one's own")})
    hearth.cli.deploy(folder, "own", "python3.11", "app.handler")
    with Door(hearth) as door:
        found = door.invoke("own", {}).json()
    assert (found["whose"], found["fits"]) == ("one's own", False), found
