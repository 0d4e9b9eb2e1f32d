"""Variables that an alias has of its own: who sees them, who does not, and that the function's maximum holds over all."""

import itertools
import json
import threading

import pytest

from harness.functions import write
from harness.wait import until

SEES = """
import os, time, uuid

BORN = str(uuid.uuid4())

def handler(event, context):
    began = time.monotonic()
    time.sleep((event or {}).get("sleep", 0))
    return {"stage": os.environ.get("STAGE"), "key": os.environ.get("KEY"), "born": BORN,
            "version": context.function_version, "from": began, "to": time.monotonic()}
"""


@pytest.fixture
def sees(hearth, tmp_path):
    """Version 1 with STAGE=base."""
    files = write(tmp_path / "sees", SEES)
    hearth.cli.deploy(files, "sees", "python3.11", "app.handler", env={"STAGE": "base"})
    hearth.cli.ok("publish", "sees")
    yield hearth.api.get("/api/v1/functions/sees/versions")["versions"][-1]["version"]
    hearth.api.remove("sees")


def ask(hearth, name, **event):
    return hearth.cli.ok("invoke", name, json.dumps(event), "--json").json()["payload"]


def test_each_alias_sees_its_own_and_shares_no_instance(hearth, boto, sees):
    first = str(sees)
    shown = hearth.cli.ok("alias", "set", "sees", "live", first, "--env", "STAGE=live", "--env", "KEY=k1").stdout
    assert "with its own KEY, STAGE" in shown
    hearth.cli.ok("alias", "set", "sees", "beta", first, "--env", "STAGE=beta")
    hearth.cli.ok("alias", "set", "sees", "plain", first)
    answers = {name: [ask(hearth, name) for _ in range(3)] for name in
               ("sees:live", "sees:beta", "sees:plain", f"sees:{first}", "sees")}
    assert [answers[name][0]["stage"] for name in answers] == ["live", "beta", "base", "base", "base"]
    assert [answers[name][0]["key"] for name in answers] == ["k1", None, None, None, None]
    born = {name: {answer["born"] for answer in many} for name, many in answers.items()}
    assert born["sees:plain"] == born[f"sees:{first}"], "an alias without variables of its own is the version"
    assert all(len(many) == 1 for many in born.values())
    assert len(set.union(*born.values())) == 4, "each of the others has instances of its own"

    # Changed: only that alias' calls see it, and nothing else starts anew.
    hearth.cli.ok("alias", "set", "sees", "live", "--env", "STAGE=now", "--unset", "KEY")
    live = ask(hearth, "sees:live")
    assert (live["stage"], live["key"]) == ("now", None) and live["born"] not in set.union(*born.values())
    assert {ask(hearth, "sees:beta")["born"]} == born["sees:beta"]
    alias = hearth.api.get("/api/v1/functions/sees/aliases/live")
    assert (alias["env"], alias["version"]) == ({"STAGE": "now"}, first)
    # The history says what, and who reads AWS's API sees nothing of it; its writes leave it as it is.
    entry = hearth.cli.ok("history", "sees", "--json").json()[0]
    assert {(one["key"], one.get("from"), one.get("to")) for one in entry["changes"]} == \
        {("env.STAGE", "live", "now"), ("env.KEY", "k1", None)}
    assert not any("nv" in key for key in boto.get_alias(FunctionName="sees", Name="live"))
    boto.update_alias(FunctionName="sees", Name="live", Description="by AWS's API")
    assert ask(hearth, "sees:live")["stage"] == "now"
    assert boto.get_function_configuration(FunctionName="sees", Qualifier="live")["Environment"]["Variables"] == \
        {"STAGE": "base"}


def test_an_alias_of_latest_and_a_secret(hearth, sees):
    hearth.cli.ok("secret", "set", "sees-key", input="s3cret")
    hearth.cli.ok("alias", "set", "sees", "head", "$LATEST", "--secret", "KEY=sees-key")
    assert ask(hearth, "sees:head")["key"] == "s3cret" and ask(hearth, "sees")["key"] is None
    assert "used by sees" in hearth.cli.refused("secret", "rm", "sees-key").stderr
    hearth.cli.ok("secret", "set", "sees-key", input="other")
    assert ask(hearth, "sees:head")["key"] == "other"
    hearth.cli.ok("config", "sees", "env.STAGE=deployed")
    now = ask(hearth, "sees:head")
    assert (now["stage"], now["key"], now["version"]) == ("deployed", "other", "$LATEST")
    # What does not go together is refused on either side.
    hearth.cli.ok("alias", "set", "sees", "head", "--unset", "KEY", "--env", "BIG=" + "x" * 3000)
    error = hearth.cli.refused("config", "sees", "env.MORE=" + "y" * 2000).stderr
    assert "alias head" in error and "4096" in error
    assert "AWS_REGION" in hearth.cli.refused("alias", "set", "sees", "head", "--env", "AWS_REGION=x").stderr
    assert "expected a VERSION" in hearth.cli.refused("alias", "set", "sees", "head").stderr
    hearth.cli.ok("alias", "rm", "sees", "head")
    hearth.cli.ok("secret", "rm", "sees-key")


def test_the_maximum_holds_over_all_aliases(hearth, sees):
    hearth.cli.ok("config", "sees", "scale.max=2")
    hearth.cli.ok("publish", "sees")
    newest = str(hearth.api.get("/api/v1/functions/sees/versions")["versions"][-1]["version"])
    for stage in ("a", "b", "c"):
        hearth.cli.ok("alias", "set", "sees", stage, newest, "--env", f"STAGE={stage}")
    names = ["sees:a", "sees:b", "sees:c", f"sees:{newest}"]
    answers, failed = [], []

    def call(name):
        for _ in range(4):
            try:
                answers.append((name, ask(hearth, name, sleep=0.15)))
            except Exception as error:
                failed.append((name, error))

    threads = [threading.Thread(target=call, args=(name,)) for name in names * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Nobody starves, though whoever has instances must give them up for others, and nobody exceeds.
    assert not failed and len(answers) == 32
    assert {(name, answer["stage"]) for name, answer in answers} == \
        {("sees:a", "a"), ("sees:b", "b"), ("sees:c", "c"), (f"sees:{newest}", "base")}
    steps = sorted(step for _, answer in answers for step in ((answer["from"], 1), (answer["to"], -1)))
    running = list(itertools.accumulate(step for _, step in steps))
    assert max(running) == 2, f"{max(running)} calls ran at once"
    assert until("the rest to go", lambda: ask(hearth, "sees:a")["stage"] == "a")
