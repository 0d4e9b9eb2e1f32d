"""`hearth compare`: every working isolation measured, paid in the prices that were set; and live calls beside it."""

import signal
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from harness.functions import ECHO
from harness.wait import until

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["--cold", "2", "--warm", "10", "--seconds", "1", "--clients", "2"]
HARDWARE = ["--lifetime", "5y", "--watts", "0", "--kwh", "0.30", "--currency", "EUR"]

# Fails when it is told to.
MOODY = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("the moon is full")
    return event
"""


@pytest.fixture
def prices(hearth):
    """Sets prices, and the reference ones afterwards."""

    def put(body):
        status, _, answer = hearth.api.call("PUT", "/api/v1/prices", body)
        assert status == 200, answer
        return answer

    yield put
    put({"cloud": {"preset": "aws-lambda-x86"}})


@contextmanager
def comparing(hearth, function, **plan):
    """A comparison that runs meanwhile."""
    status, _, begun = hearth.api.call("POST", f"/api/v1/functions/{quote(function)}/comparisons", plan)
    assert status == 202, begun
    path = f"/api/v1/comparisons/{begun['id']}"
    try:
        yield path
    finally:
        hearth.api.call("DELETE", path)


def columns(comparison):
    return {one["isolation"]: one for one in comparison["isolations"]}


def cost(column, prices):
    return next(one for one in column["costs"] if one["prices"] == prices)


def test_every_working_isolation_has_figures_and_the_others_say_why(hearth, doctor):
    hearth.cli.ok("deploy", REPOSITORY / "examples/hello-python", "--name", "hello-compared", "--json")
    try:
        done = hearth.cli.ok("compare", "hello-compared", *SMALL, "--event", '{"name": "Ada"}', "--json").json()
        assert done["state"] == "done"
        found, works = columns(done), {one["isolation"]: one["works"] for one in doctor["isolations"]}
        assert any(works.values())
        for isolation, column in found.items():
            if not works.get(isolation):
                assert column["figures"] is None and "does not work here" in column["reason"]
                continue
            assert column["reason"] is None, column
            figures = column["figures"]
            assert figures["errors"] == 0
            assert figures["cold"]["count"] == 2 and figures["warm"]["count"] == 10
            assert 0 < figures["warm"]["p50_us"] <= figures["warm"]["p99_us"] < figures["cold"]["p99_us"]
            assert figures["throughput"] > 1
            assert figures["memory"] is None or 1_000_000 < figures["memory"] <= 128 * 1024 * 1024
            assert figures["stem"] or any("stem was ready" in note for note in column["notes"])
        assert done["machine"]["cores"] >= 1 and done["machine"]["kernel"].startswith("Linux")

        # It is kept, and a person can read it.
        shown = hearth.cli.ok("compare", "hello-compared", "--last").stdout
        for row in ("cold start p50", "warm call p99", "memory of an instance", "machine:"):
            assert row in shown, shown
        assert max(len(line) for line in shown.split("\n\n")[1].splitlines()) <= 100, shown
        again = hearth.cli.ok("compare", "hello-compared", "--last", "--json").json()
        assert again["id"] == done["id"] and columns(again).keys() == found.keys()
    finally:
        hearth.api.remove("hello-compared")


def test_costs_follow_the_prices_that_are_set(hearth, function, prices):
    name = function(ECHO)
    hearth.cli.ok("invoke", name, "--payload", "1")
    hearth.cli.ok("prices", "hardware", "--price", "600", *HARDWARE)
    hearth.cli.ok("prices", "cloud", "--gb-second", "1", "--request", "0.5", "--currency", "CHF")
    hearth.cli.ok("compare", name, *SMALL, "--isolation", "namespace", "--json")

    def last():
        return columns(hearth.cli.ok("compare", name, "--last", "--json").json())["namespace"]

    first = last()
    before, cloud = cost(first, "hardware"), cost(first, "cloud")
    assert before["currency"] == "EUR" and before["per_million"] > 0 and before["per_month"] > 0
    assert cloud["currency"] == "CHF" and cloud["parts"]["requests"] == pytest.approx(500_000)
    # 128 MB for so many whole milliseconds.
    billed = first["figures"]["billed_us"] / 1e6
    assert cloud["parts"]["memory"] == pytest.approx(1e6 * billed * 0.125)

    # The same measurement in other prices: no electricity, so twice the price is twice the cost.
    hearth.cli.ok("prices", "hardware", "--price", "1200", *HARDWARE)
    for part in ("cpu", "memory"):
        assert cost(last(), "hardware")["parts"][part] == pytest.approx(2 * before["parts"][part])
    hearth.cli.ok("prices", "rm", "cloud")
    assert [one["prices"] for one in last()["costs"]] == ["hardware"]
    refused = hearth.cli.refused("prices", "hardware", "--price", "-1", *HARDWARE)
    assert "price" in refused.text
    assert "aws-lambda-arm" in hearth.cli.refused("prices", "preset", "azure").text


def test_one_comparison_at_a_time(hearth, function):
    name = function(ECHO)
    with comparing(hearth, name, cold=100, isolations=["namespace"]) as path:
        refused = hearth.cli.refused("compare", name, *SMALL)
        assert "HEARTH-C007" in refused.text and "runs already" in refused.text
        status, _, answer = hearth.api.call("POST", f"/api/v1/functions/{name}/comparisons", {})
        assert status == 409, answer
        assert hearth.api.get(path)["state"] == "running"
    assert hearth.api.get(path)["state"] == "cancelled"
    assert hearth.api.get(f"/api/v1/functions/{name}/comparisons") == {"comparisons": []}


def test_ctrl_c_ends_a_comparison(hearth, function):
    name = function(ECHO)
    running = hearth.cli.start("compare", name, "--cold", "200", "--isolation", "namespace")
    assert running.stdout.readline().strip() in ("one call on each", "cold starts")
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 1
    assert "cancelled" in running.stdout.read()
    # Another one may begin.
    hearth.cli.ok("compare", name, *SMALL, "--isolation", "namespace", "--json")


def test_live_figures_are_of_real_calls_only(hearth, function):
    name = function(ECHO)
    hearth.cli.ok("compare", name, *SMALL, "--isolation", "namespace", "--json")
    nothing = hearth.cli.ok("compare", name, "--live", "--json").json()
    assert nothing["calls"]["calls"] == 0 and nothing["isolations"] == []
    for number in range(3):
        hearth.cli.ok("invoke", name, "--payload", str(number))

    def live():
        figures = hearth.cli.ok("compare", name, "--live", "--since", "1h", "--json").json()
        return figures if figures["calls"]["calls"] == 3 else None

    figures = until("three live calls", live, within=5)
    (namespace,) = figures["isolations"]
    assert namespace["isolation"] == "namespace" and namespace["figures"]["calls"] == 3
    kinds = [namespace["figures"][kind] for kind in ("cold", "stem", "warm")]
    assert sum(kind["count"] for kind in kinds if kind) == 3
    assert figures["calls"]["rate"] == pytest.approx(3 / 3600, rel=0.01)
    assert "live calls" in hearth.cli.ok("compare", name, "--live").stdout


def test_a_function_that_fails_is_told_and_not_measured(hearth, function):
    name = function(MOODY)
    ran = hearth.cli.run("compare", name, *SMALL, "--event", '{"fail": true}')
    assert ran.code == 3, ran
    assert "the moon is full" in ran.stderr and "ValueError" in ran.stderr and not ran.stdout, ran
    failed = hearth.cli.run("compare", name, *SMALL, "--event", '{"fail": true}', "--json")
    assert failed.code == 3
    error = failed.json()["error"]
    assert error["code"] == "HEARTH-F008" and error["answer"]["errorMessage"] == "the moon is full"
    nothing = hearth.cli.refused("compare", name, "--last")
    assert "was not compared yet" in nothing.text


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--cold", "1000"], "cold: expected 1 to 200"),
        (["--event", "{"], "not JSON"),
        (["--isolation", "chroot"], "namespace"),
        (["--live", "--cold", "1"], "cannot be used with"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(hearth, function, arguments, named):
    refused = hearth.cli.refused("compare", function(ECHO), *arguments)
    assert refused.code == 2 and named in refused.text, refused


def test_an_unknown_function_is_named(hearth):
    assert "no function named nobody" in hearth.cli.refused("compare", "nobody").text
