"""Every example deploys and answers as its cases say."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from conformance import programs
from harness.door import Door
from harness.web import request

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def examples():
    return sorted(path.parent for path in EXAMPLES.glob("*/hearth.toml"))


def reader():
    """examples/cases.py, which is no package of ours."""
    import sys

    spec = importlib.util.spec_from_file_location("example_cases", EXAMPLES / "cases.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_there_are_examples():
    assert examples(), "no folder of examples/ has a hearth.toml"


@pytest.mark.parametrize("folder", examples(), ids=lambda path: path.name)
def test_example(folder, hearth, keys, tmp_path):
    cases = reader()
    todo = cases.load_cases(folder)
    assert todo, f"{folder.name} has no cases"
    name = f"example-{folder.name}"
    # Installs what the folder asks for: with pip and npm, so it may take a while.
    hearth.cli.ok("deploy", compiled(folder, tmp_path), "--name", name, timeout=300)
    try:
        wrong = []
        for case in todo:
            wrong += [f"{case.name}: {line}" for line in case.differences(ask(hearth, keys, name, case, cases))]
        assert not wrong, "\n".join(wrong)
    finally:
        hearth.api.remove(name)


def compiled(folder, tmp_path):
    """The folder; of one that has to be built, a copy with its program."""
    language = programs.language_of(folder)
    if language is None:
        return folder
    copy = shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("target", "bootstrap"))
    if reason := programs.build(language, copy):
        pytest.skip(reason)
    shutil.copy(programs.place(language) / folder.name, copy / "bootstrap")
    return copy


def ask(hearth, keys, name, case, cases):
    if case.kind == "http":
        wanted = case.request
        reply = request(hearth, wanted.method, f"/fn/{name}{wanted.path}", list(wanted.headers.items()), wanted.body)
        return cases.Response(reply.status, reply.headers, reply.body)
    with Door(hearth, keys) as door:
        answer = door.invoke(name, case.event)
    assert answer.status == 200, f"{case.name}: {answer.status} {answer.body}"
    assert bool(answer.function_error) == case.fails, f"{case.name}: {answer.body.decode()}"
    return json.loads(answer.body)
