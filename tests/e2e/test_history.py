"""Live configuration, history, the way back, and canaries."""

import time

import pytest

from harness.functions import write
from harness.load import Load
from harness.wait import until
from e2e.test_versions import deploy

NAME = "told"

BROKEN = """
def handler(event, context):
    raise RuntimeError("the new code is broken")
"""


@pytest.fixture
def told(hearth, tmp_path):
    deploy(hearth, tmp_path, 1, name=NAME)
    yield NAME
    hearth.api.remove(NAME)


def history(hearth):
    return hearth.cli.ok("history", NAME, "--json").json()


def revision(hearth):
    return hearth.api.get(f"/api/v1/functions/{NAME}")["revision"]


def code(hearth):
    return hearth.cli.ok("invoke", NAME).json()["code"]


def test_a_change_of_settings_needs_no_code_and_a_bad_one_changes_nothing(hearth, told):
    before = hearth.api.get(f"/api/v1/functions/{NAME}")
    after = hearth.cli.ok("config", NAME, "memory=192MB", "scale.max=7", "env.STAGE=a", "timeout=9s", "--json").json()
    assert (after["memory"], after["scale"]["max"], after["timeout"], after["env"]) == ("192MB", 7, "9s", {"STAGE": "a"})
    assert (after["revision"], after["code"]) == (before["revision"] + 1, before["code"])
    assert hearth.cli.ok("invoke", NAME).json()["stage"] == "a"
    for bad, why in [("memory=1MB", "memory"), ("memroy=1GB", "did you mean"), ("scale.min=99", "scale.min"),
                     ("env.AWS_REGION=x", "AWS_REGION"), ("secrets.key=not-there", "not-there")]:
        assert why in hearth.cli.refused("config", NAME, "timeout=5s", bad).stderr
    now = hearth.api.get(f"/api/v1/functions/{NAME}")
    assert {**now, "keeping": 0} == {**after, "keeping": 0}, "a bad change is refused whole"
    assert "changed meanwhile" in hearth.cli.refused("config", NAME, "timeout=5s", "--if-revision", "1000").stderr
    hearth.cli.ok("config", NAME, "--unset", "env.STAGE")
    assert hearth.cli.ok("invoke", NAME).json()["stage"] is None


def test_the_new_instances_are_ready_before_the_old_ones_go(hearth, told):
    hearth.cli.ok("config", NAME, "scale.min=1")
    until("the kept instance", lambda: hearth.api.instances(NAME), within=20)
    for stage in range(5):
        hearth.cli.ok("config", NAME, f"env.STAGE={stage}")
        answer = hearth.cli.ok("invoke", NAME, "--json").json()
        assert answer["payload"]["stage"] == str(stage)
        assert hearth.api.record(NAME, answer["request_id"])["cold"] is False, "the first call waits for no start"


def test_what_was_done_and_by_whom_is_told(hearth, told, tmp_path):
    hearth.cli.ok("config", NAME, "memory=192MB")
    deploy(hearth, tmp_path, 2, name=NAME)
    hearth.cli.ok("publish", NAME)
    rows = history(hearth)
    assert [row["what"] for row in rows[:3]] == ["published", "deployed", "configured"]
    assert {row["by"] for row in rows} == {"admin token"}
    assert rows[2]["changes"] == [{"key": "memory", "from": "128MB", "to": "192MB"}]
    assert [change["key"] for change in rows[1]["changes"]] == ["code.sha256"]
    now = revision(hearth)
    diff = hearth.cli.ok("diff", NAME, now - 2, now, "--json").json()
    assert [change["key"] for change in diff["changes"]] == ["code.sha256", "memory"]
    assert "memory: 128MB -> 192MB" in hearth.cli.ok("diff", NAME, now - 2).stdout
    assert "revision 100000" in hearth.cli.refused("diff", NAME, "100000").stderr


def test_the_way_back_is_a_new_revision_that_is_the_old_one(hearth, told, tmp_path):
    first = revision(hearth)
    deploy(hearth, tmp_path, 2, name=NAME)
    hearth.cli.ok("config", NAME, "memory=192MB")
    hearth.cli.ok("rollback", NAME)
    assert (code(hearth), hearth.api.get(f"/api/v1/functions/{NAME}")["memory"]) == (2, "128MB")
    hearth.cli.ok("rollback", NAME, "--to", first)
    assert (code(hearth), revision(hearth)) == (1, first + 4)
    number = hearth.cli.ok("publish", NAME, "--json").json()["version"]
    deploy(hearth, tmp_path, 3, name=NAME)
    hearth.cli.ok("rollback", NAME, "--to", f"v{number}")
    assert code(hearth) == 1
    assert history(hearth)[0]["what"] == "rolled-back"
    diff = hearth.cli.ok("diff", NAME, first, "--json").json()
    assert diff["changes"] == []


def begin(hearth, files, *flags):
    return hearth.cli.deploy(files, NAME, "python3.11", "app.handler", flags=("--canary", *flags))


def test_a_canary_gets_its_share_and_then_all(hearth, told, tmp_path):
    stable = revision(hearth)
    begin(hearth, write(tmp_path / "two", (tmp_path / f"{NAME}-1/app.py").read_text().replace('"code": 1', '"code": 2')),
          "25%", "--canary-for", "5s")
    answers = [code(hearth) for _ in range(12)]
    assert (answers.count(1), answers.count(2)) == (9, 3)
    shown = hearth.cli.ok("canary", NAME, "--json").json()
    assert (shown["stable"], shown["revision"], shown["weight"]) == (stable, stable + 1, 0.25)
    assert hearth.api.get(f"/api/v1/functions/{NAME}")["canary"]["weight"] == 0.25
    assert "(25% canary)" in hearth.cli.ok("list").stdout
    assert "canary" in hearth.cli.refused("config", NAME, "memory=192MB").stderr
    until("the promotion", lambda: history(hearth)[0]["what"] == "canary-promoted", within=20)
    assert history(hearth)[0]["by"] == "Hearth"
    assert {code(hearth) for _ in range(6)} == {2}
    assert "no canary" in hearth.cli.refused("canary", NAME).stderr


def test_a_canary_that_fails_is_rolled_back(hearth, told, tmp_path):
    begin(hearth, write(tmp_path / "broken", BROKEN), "50%", "--canary-for", "10m", "--min-calls", "10")
    with Load(hearth, NAME, {}, clients=2) as load:
        until("the way back", lambda: history(hearth)[0]["what"] == "canary-rolled-back", within=30)
    assert load.failures and load.answers
    row = history(hearth)[0]
    assert "calls failed" in row["text"] and row["by"] == "Hearth"
    assert {code(hearth) for _ in range(6)} == {1}


def test_a_canary_goes_on_after_a_crash(new_hearth, tmp_path):
    hearth = new_hearth().start()
    deploy(hearth, tmp_path, 1, name=NAME)
    begin(hearth, write(tmp_path / "broken", BROKEN), "50%", "--canary-for", "10m", "--min-calls", "1000")
    results = [hearth.cli.run("invoke", NAME).code for _ in range(6)]
    assert sorted(results) == [0, 0, 0, 3, 3, 3]
    time.sleep(1.5)  # records are on disk within a second
    hearth.kill_both()
    hearth.start()
    shown = hearth.cli.ok("canary", NAME, "--json").json()
    assert (shown["calls"], shown["errors"]) == (3, 3)
    results = [hearth.cli.run("invoke", NAME).code for _ in range(6)]
    assert sorted(results) == [0, 0, 0, 3, 3, 3]
    hearth.cli.ok("rollback", NAME)
    assert {code(hearth) for _ in range(4)} == {1}
