"""Programs that bring their own way of asking for events, and commands that are run for each. Programs of AWS's own
libraries are in ../conformance, on each driver."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# AWS's own example of a runtime, in a shell.
SHELL = r"""#!/bin/sh
set -u
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  head=$(mktemp)
  event=$(curl -sS -D "$head" "$api/invocation/next")
  id=$(grep -i lambda-runtime-aws-request-id "$head" | tr -d '[:space:]' | cut -d: -f2)
  echo "seen $id" >&2
  case "$event" in
    *fails*) curl -sS -X POST "$api/invocation/$id/error" -d '{"errorType":"Odd","errorMessage":"as asked"}' >/dev/null ;;
    *text*) curl -sS -X POST "$api/invocation/$id/error" -H "Lambda-Runtime-Function-Error-Type: Plain" -d 'no json' >/dev/null ;;
    *dies*) exit 7 ;;
    *) curl -sS -X POST "$api/invocation/$id/response" -d "{\"event\":$event,\"handler\":\"$_HANDLER\",\"name\":\"$AWS_LAMBDA_FUNCTION_NAME\"}" >/dev/null ;;
  esac
done
"""

DRIVERS = ["namespace", "docker", "gvisor"]


@pytest.fixture
def deploy(hearth, tmp_path):
    """Makes a package of `{path: text}`, all of it executable, and deploys it."""
    made = []

    def one(name, files, *flags, toml=""):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for path, content in files.items():
            (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
            (folder / path).chmod(0o755)
        if toml:
            (folder / "hearth.toml").write_text(toml)
        ran = hearth.cli.run("deploy", folder, "--name", name, "--json", *flags)
        if ran.code == 0:
            made.append(name)
        return ran

    yield one
    for name in made:
        hearth.api.remove(name)


def call(hearth, name, event):
    return hearth.cli.run("invoke", name, event)


def test_a_shell_script_is_a_runtime(hearth, deploy):
    name = "shell"
    ran = deploy(name, {"bootstrap": SHELL}, "--timeout", "20s")
    assert ran.code == 0, ran
    function = ran.json()
    assert (function["runtime"], function["handler"]) == ("provided.al2023", "bootstrap")
    ran = call(hearth, name, '{"n":1}')
    assert ran.json() == {"event": {"n": 1}, "handler": "bootstrap", "name": name}, ran
    failed = call(hearth, name, '"fails"')
    assert failed.code != 0 and "Odd: as asked" in failed.text, failed
    failed = call(hearth, name, '"text"')
    assert "Plain" in failed.text and "no json" in failed.text, failed
    assert call(hearth, name, "2").json()["event"] == 2
    failed = call(hearth, name, '"dies"')
    assert "exit status 7" in failed.text, failed
    assert call(hearth, name, "3").json()["event"] == 3, "it was replaced"
    assert [line for line in hearth.cli.logs(name, "--since", "10m") if line["message"].startswith("seen ")]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_command_is_run_for_each_event(hearth, deploy, need_driver, driver):
    need_driver(driver)
    script = """#!/bin/sh
event=$(cat)
echo "to the log: $event" >&2
case "$event" in
  *json*) echo '{"it": "is"}' ;;
  *nothing*) ;;
  *fails*) echo "the disk is full" >&2; exit 3 ;;
  *sleeps*) sleep 60 ;;
  *leaves*) sleep 60 & echo left ;;
  *) echo "$$ got $event in $AWS_LAMBDA_FUNCTION_NAME for $GREETING" ;;
esac
"""
    name = f"command-{driver}"
    toml = 'command = ["sh", "run.sh"]\ntimeout = "3s"\n[env]\nGREETING = "you"\n'
    ran = deploy(name, {"run.sh": script}, "--isolation", driver, toml=toml)
    assert ran.code == 0, ran
    assert ran.json()["runtime"] == "provided.al2023"
    first, second = (call(hearth, name, "1").json() for _ in range(2))
    assert first.endswith(f"got 1 in {name} for you"), first
    assert first != second, "a process for each"
    assert call(hearth, name, '"json"').json() == {"it": "is"}
    assert call(hearth, name, '"nothing"').json() is None
    assert call(hearth, name, '"leaves"').json() == "left", "what it left running is not waited for"
    failed = call(hearth, name, '"fails"')
    assert failed.code == 3 and "Command.Failed: the disk is full" in failed.text, failed
    failed = call(hearth, name, '"sleeps"')
    assert "Task timed out after 3.00 seconds" in failed.text, failed
    assert call(hearth, name, "2").json().endswith(f"got 2 in {name} for you")
    lines = [line["message"] for line in hearth.cli.logs(name, "--since", "10m")]
    assert "to the log: 1" in lines and "the disk is full" in lines, lines


C = """
#include <stdio.h>
int main(void) { char event[100]; if (!fgets(event, 100, stdin)) return 1; printf("{\\"c\\": %s}", event); return 0; }
"""


def compiled(tmp_path, *flags):
    if not shutil.which("gcc"):
        pytest.skip("no gcc here")
    source, program = tmp_path / "main.c", tmp_path / "program"
    source.write_text(C)
    subprocess.run(["gcc", "-O1", *flags, "-o", program, source], check=True)
    return program.read_bytes()


@pytest.mark.parametrize("flags", [["-static"], []], ids=["static", "dynamic"])
def test_a_compiled_program_runs_linked_either_way(hearth, deploy, tmp_path, flags):
    ran = deploy("compiled", {"main": compiled(tmp_path, *flags)}, "--command", "./main")
    assert ran.code == 0, ran
    assert call(hearth, "compiled", "[1]").json() == {"c": [1]}


def patched(program, at, value):
    return program[:at] + value + program[at + len(value) :]


def test_what_could_not_be_started_is_refused_at_the_deploy(hearth, deploy, tmp_path):
    program = compiled(tmp_path)
    loader = b"/lib64/ld-linux-x86-64.so.2"
    assert loader in program
    cases = [
        ({"bootstrap": patched(program, 18, b"\xb7\x00")}, [], "is built for aarch64, and this machine is x86_64"),
        ({"bootstrap": program.replace(loader, b"/lib64/ld-musl-x86_64.so.1\0")}, [], "needs the loader /lib64/ld-musl-x86_64.so.1"),
        ({"bootstrap": "#!/usr/bin/ruby9\n"}, [], "needs the interpreter /usr/bin/ruby9"),
        ({"bootstrap": "echo hello\n"}, [], "neither an ELF executable nor a script"),
        ({"other": SHELL}, ["--runtime", "provided.al2023"], "no file bootstrap"),
        ({"other": SHELL}, ["--command", "./another"], "./another is not in the package"),
        ({"other": SHELL}, ["--command", "rubyx main.rb"], "rubyx is neither in the package nor in"),
    ]
    for files, flags, said in cases:
        ran = deploy("refused", files, *flags)
        assert ran.code != 0 and said in ran.text, ran


def test_a_program_that_may_not_be_executed_is_refused(hearth, tmp_path):
    (tmp_path / "bootstrap").write_text(SHELL)
    (tmp_path / "bootstrap").chmod(0o644)
    ran = hearth.cli.run("deploy", tmp_path, "--name", "refused")
    assert ran.code != 0 and "chmod +x bootstrap" in ran.text, ran


def test_a_single_program_is_a_package(hearth, tmp_path):
    program = tmp_path / "my-runtime"
    program.write_text(SHELL)
    program.chmod(0o755)
    ran = hearth.cli.run("deploy", program, "--json", "--timeout", "20s")
    assert ran.code == 0 and ran.json()["name"] == "my-runtime", ran
    try:
        assert call(hearth, "my-runtime", "5").json()["event"] == 5
    finally:
        hearth.api.remove("my-runtime")
