"""`hearth invoke --trace` and the record: where each microsecond of a call went."""

import pytest

from harness.functions import write
from harness.wait import until

CODE = """
import time
time.sleep(0.05)
def handler(event, context):
    time.sleep(0.03)
    return "done"
"""
SET_UP = ["user", "root", "mounts", "pivot", "network", "limits", "privileges", "descriptors", "seccomp"]


def check(stages, until_us=None):
    """One after the other from the beginning on, the parts of each filling it."""
    at = 0
    for stage in stages:
        assert stage["start_us"] == at, stages
        inner = at
        for part in stage["parts"]:
            assert part["start_us"] == inner, stage
            inner += part["took_us"]
        at += stage["took_us"]
        assert not stage["parts"] or inner == at, stage
    assert until_us in (None, at), (until_us, stages)
    return {stage["name"]: stage for stage in stages}


def unexplained(stage):
    return sum(part["took_us"] for part in stage["parts"] if part["name"] == "other")


def deploy(hearth, tmp_path):
    folder = write(tmp_path / "f", CODE, "python3.11")
    hearth.cli.deploy(folder, "f", "python3.11", "app.handler", isolation="namespace")


def traced(hearth):
    answer = hearth.cli.ok("invoke", "f", "--trace", "--json").json()
    assert answer["payload"] == "done"
    record = hearth.api.record("f", answer["request_id"])
    return answer["trace"], record


@pytest.mark.parametrize("stems", ["0", "8"])
def test_a_cold_start_and_a_warm_one_explain_all_their_time(new_hearth, need_driver, tmp_path, stems):
    need_driver("namespace")
    hearth = new_hearth(environment={"HEARTH_STEMS": stems}).start()
    deploy(hearth, tmp_path)
    if stems == "8":
        until("a stem", lambda: hearth.api.stems("namespace"), within=30)
    trace, record = traced(hearth)
    assert (record["cold"], record["stem"]) == (True, stems == "8")
    kept = check(record["stages"])
    shown = check(trace["stages"], trace["total_us"])
    assert shown.keys() == kept.keys() | {"request", "response"}
    assert [kept[name]["took_us"] for name in kept] == [shown[name]["took_us"] for name in kept]
    total = record["stages"][-1]["start_us"] + record["stages"][-1]["took_us"]
    known = record["queued_us"] + record["handler_us"]
    assert known <= total <= known + 20_000, record
    assert total <= trace["total_us"]
    assert kept["init"]["took_us"] >= 50_000 and kept["handler"]["took_us"] >= 30_000
    assert [part for part in kept["init"]["parts"] if part["name"] == "load"][0]["took_us"] >= 50_000
    if stems == "8":
        assert "adopt" in kept and not {"sandbox", "runtime"} & kept.keys()
    else:
        assert {"sandbox", "set-up", "runtime"} <= kept.keys()
        made = {part["name"] for part in kept["sandbox"]["parts"]}
        assert {"ask", "streams", "cgroup", "clone", "ids"} <= made, kept["sandbox"]
        # A step that takes no microsecond is not shown.
        steps = [part["name"] for part in kept["set-up"]["parts"]]
        assert steps == [name for name in SET_UP if name in steps] and "mounts" in steps, kept["set-up"]
        assert unexplained(kept["sandbox"]) + unexplained(kept["set-up"]) < 2_000, record

    trace, record = traced(hearth)
    assert not record["cold"]
    assert list(check(record["stages"])) in (["wait", "handler"], ["handler"])
    assert "handler" in check(trace["stages"], trace["total_us"])


def test_the_waterfall_is_on_stderr_and_the_answer_alone_on_stdout(new_hearth, need_driver, tmp_path):
    need_driver("namespace")
    hearth = new_hearth(environment={"HEARTH_STEMS": "0"}).start()
    deploy(hearth, tmp_path)
    ran = hearth.cli.ok("invoke", "f", "--trace")
    assert ran.stdout.strip() in ('"done"', b'"done"')
    drawn = ran.stderr if isinstance(ran.stderr, str) else ran.stderr.decode()
    lines = drawn.splitlines()
    assert lines[0].startswith("cold start") and "\x1b" not in drawn
    names = [line.split()[0] for line in lines[1:]]
    assert names[0] == "request" and names[-1] == "total"
    order = ["request", "sandbox", "clone", "set-up", "mounts", "runtime", "init", "load", "handler", "response", "total"]
    assert [name for name in names if name in order] == order, drawn
    assert all(len(line) <= 100 for line in lines), drawn
