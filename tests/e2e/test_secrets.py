"""Secrets: set, delivered, changed while functions run, and to be found nowhere on the disk."""

import json
import os

import pytest

from harness.functions import write
from harness.wait import until

# Says what it was given, and whether it could tell others.
READER = """
import os, pathlib

SEEN = os.environ.get("API_KEY")

def handler(event, context):
    files = {}
    for path in sorted(pathlib.Path("/run/secrets").rglob("*")) if os.path.isdir("/run/secrets") else []:
        if path.is_file():
            files[str(path)] = [path.read_bytes().decode("latin1"), oct(path.stat().st_mode & 0o777)]
    return {"env": os.environ.get("API_KEY"), "at_init": SEEN, "files": files, "pid": os.getpid()}
"""
READER_NODE = """
import fs from 'node:fs';

const seen = process.env.API_KEY;
export const handler = async () => {
  const path = '/run/secrets/db/password';
  const files = {[path]: [fs.readFileSync(path, 'latin1'), '0o' + (fs.statSync(path).mode & 0o777).toString(8)]};
  return { env: process.env.API_KEY, at_init: seen, files };
};
"""
TOML = """
[env]
API_KEY = { secret = "photo-api-key" }
[secrets]
"db/password" = "db-password"
"""
FIRST, SECOND, BINARY = "first-value-7c1f", "second-value-9e2d", "p\0\xff\nq"


def found_in(folder, needle):
    needle = needle.encode() if isinstance(needle, str) else needle
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def revision(hearth, name):
    return next(one["revision"] for one in hearth.api.functions() if one["name"] == name)


def invoke(hearth, name):
    return json.loads(hearth.cli.ok("invoke", name, "--payload", "{}").stdout)


def put(hearth, name, value):
    hearth.cli.ok("secret", "set", name, input=value)


@pytest.fixture
def secrets(hearth, tmp_path):
    put(hearth, "photo-api-key", FIRST + "\n")
    file = tmp_path / "password"
    file.write_bytes(BINARY.encode("latin1"))
    hearth.cli.ok("secret", "set", "db-password", "--from-file", file)
    yield
    for name in ("photo-api-key", "db-password"):
        hearth.cli.run("secret", "rm", name, "--force")


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
@pytest.mark.parametrize("runtime", ["python3.11", "nodejs20.x"])
def test_a_function_is_given_its_secrets_and_sees_a_change_without_a_redeploy(
    hearth, function, secrets, need_driver, need_runtime, isolation, runtime
):
    need_driver(isolation)
    need_runtime(runtime)
    code = READER if runtime.startswith("python") else READER_NODE
    name = function(code, runtime, toml=TOML, isolation=isolation, timeout="10s")
    files = {"/run/secrets/db/password": [BINARY, "0o400"]}
    for _ in range(2):
        answer = invoke(hearth, name)
        assert (answer["env"], answer["at_init"], answer["files"]) == (FIRST, FIRST, files)
    before = revision(hearth, name)
    put(hearth, "photo-api-key", SECOND)
    answer = invoke(hearth, name)
    assert (answer["env"], answer["at_init"], answer["files"]) == (SECOND, SECOND, files)
    assert revision(hearth, name) == before


def test_stems_take_secrets_too(new_hearth, tmp_path):
    hearth = new_hearth().start()
    put(hearth, "photo-api-key", FIRST)
    put(hearth, "db-password", SECOND)
    hearth.cli.deploy(write(tmp_path / "f", READER, toml=TOML), "f", "python3.11", "app.handler")
    until("a stem", lambda: hearth.api.stems(), within=20)
    assert invoke(hearth, "f")["files"]["/run/secrets/db/password"][0] == SECOND
    [record] = hearth.api.invocations("f")
    assert record["stem"], record


def test_no_value_is_on_the_disk_or_in_what_is_printed(new_hearth, tmp_path):
    hearth = new_hearth(environment={"RUST_LOG": "trace"}).start()
    put(hearth, "photo-api-key", FIRST)
    put(hearth, "db-password", FIRST)
    hearth.cli.deploy(write(tmp_path / "f", READER, toml=TOML), "f", "python3.11", "app.handler")
    assert invoke(hearth, "f")["env"] == FIRST
    printed = [hearth.cli.ok(*command).text for command in (
        ("secret", "list"), ("secret", "list", "--json"), ("env", "f"), ("list", "--json"), ("logs", "f"),
        ("secret", "rotate-key"), ("ps", "--json"),
    )]  # fmt: skip
    put(hearth, "photo-api-key", SECOND)
    assert invoke(hearth, "f")["env"] == SECOND
    assert found_in(hearth.base, FIRST) == [] and found_in(hearth.base, SECOND) == []
    hearth.stop()
    assert found_in(hearth.base, FIRST) == [] and found_in(hearth.base, SECOND) == []
    assert not any(FIRST in text for text in printed)
    key = hearth.data / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600
    hearth.start()
    assert invoke(hearth, "f")["env"] == SECOND


def test_a_missing_secret_is_named_at_the_deploy_and_in_calls(hearth, function, tmp_path):
    package = write(tmp_path / "m", READER, toml='[env]\nAPI_KEY = { secret = "gone" }\n')
    refused = hearth.cli.refused("deploy", package, "--name", "missing")
    assert "no secret named gone" in refused.text and "hearth secret set gone" in refused.text
    put(hearth, "gone", FIRST)
    name = function(READER, toml='[env]\nAPI_KEY = { secret = "gone" }\n')
    assert invoke(hearth, name)["env"] == FIRST
    refused = hearth.cli.refused("secret", "rm", "gone")
    assert f"used by {name}" in refused.text and "--force" in refused.text
    hearth.cli.ok("secret", "rm", "gone", "--force")
    failed = hearth.cli.refused("invoke", name, "--payload", "{}")
    assert "refers to the secret gone" in failed.text and FIRST not in failed.text
    put(hearth, "gone", SECOND)
    assert invoke(hearth, name)["env"] == SECOND
    hearth.api.remove(name)
    hearth.cli.ok("secret", "rm", "gone")


def test_the_operator_may_keep_the_key_elsewhere(new_hearth, tmp_path):
    hearth = new_hearth()
    key = hearth.base / "key"
    key.write_text("ab" * 32 + "\n")
    key.chmod(0o600)
    hearth.environment["HEARTH_SECRET_KEY_FILE"] = str(key)
    with pytest.raises(AssertionError, match="cannot be read by the server, user id 61500"):
        hearth.start()
    os.chown(key, 61500, 61500)
    hearth.start()
    put(hearth, "photo-api-key", FIRST)
    refused = hearth.cli.refused("secret", "rotate-key")
    assert "put a new one on a line above it" in refused.text
    assert not (hearth.data / "secret.key").exists()
