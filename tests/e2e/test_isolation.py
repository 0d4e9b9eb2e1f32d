"""Choosing isolations: shares of the calls, automatic choice, refusals."""

from collections import Counter

import pytest

from harness.doctor import driver_state
from harness.functions import ECHO, write
from harness.wait import until

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture
def package(tmp_path):
    return write(tmp_path / "f", ECHO, "python3.11")


def test_two_isolations_share_the_calls_as_they_are_told_to(hearth, function, need_driver):
    need_driver("gvisor")
    name = function(ECHO, isolation="namespace=75,gvisor=25")
    shown = hearth.api.get(f"/api/v1/functions/{name}")
    assert shown["isolation"] == {"namespace": 75, "gvisor": 25}
    for number in range(100):
        assert hearth.cli.ok("invoke", name, "--payload", str(number)).stdout.strip() == str(number)

    def counted():
        ran = Counter(record["isolation"] for record in hearth.api.invocations(name, limit=200))
        return ran if sum(ran.values()) == 100 else None

    assert until("a record of every call", counted, within=10) == {"namespace": 75, "gvisor": 25}


def test_hearth_toml_says_the_same(hearth, function, need_driver):
    need_driver("gvisor")
    name = function(ECHO, toml="isolation = { namespace = 90, gvisor = 10 }\nat-least = \"docker\"\n")
    shown = hearth.api.get(f"/api/v1/functions/{name}")
    assert (shown["isolation"], shown["at_least"]) == ({"namespace": 90, "gvisor": 10}, "docker")


def test_auto_is_the_cheapest_that_meets_the_floor(hearth, function, need_driver):
    need_driver("gvisor")
    for flags, expected in [({}, "namespace"), ({"at-least": "gvisor"}, "gvisor")]:
        name = function(ECHO, isolation="auto", **flags)
        hearth.cli.ok("invoke", name, "--payload", "1")
        until("its record", lambda: hearth.api.invocations(name), within=5)
        assert [one["isolation"] for one in hearth.api.invocations(name)] == [expected]


def test_a_floor_is_never_gone_below(hearth, package):
    refused = hearth.cli.refused("deploy", package, "--name", "f", "--isolation", "namespace", "--at-least", "gvisor")
    assert "isolation namespace is weaker than at_least = gvisor" in refused.text
    refused = hearth.cli.refused("deploy", package, "--name", "f", "--isolation", "namespace=50,docker=40")
    assert "sum up to 90" in refused.text


NO_RUNSC = {"HEARTH_RUNSC": "/nonexistent/runsc", "HEARTH_GVISOR_THROUGH": "runsc"}


def test_where_nothing_strong_enough_works_it_says_why(new_hearth, package):
    hearth = new_hearth(environment={**NO_ENGINE, **NO_RUNSC}).start()
    works, reason = driver_state(hearth.cli.run("doctor", "--json").json(), "gvisor")
    assert not works and "runsc" in reason
    assert hearth.cli.run("doctor", "--isolation", "gvisor").code == 1
    assert hearth.cli.run("doctor", "--isolation", "namespace").code == 0
    arguments = ["deploy", package, "--name", "f", "--runtime", "python3.11", "--handler", "app.handler"]
    refused = hearth.cli.refused(*arguments, "--isolation", "auto", "--at-least", "gvisor")
    assert "the gvisor isolation does not work here" in refused.text and "runsc" in refused.text
    refused = hearth.cli.refused(*arguments, "--isolation", "namespace=50,gvisor=50")
    assert "the gvisor isolation does not work here" in refused.text


def test_where_gvisor_stops_working_calls_say_so_and_run_nowhere_else(new_hearth, package, need_driver):
    need_driver("gvisor")
    hearth = new_hearth().start()
    hearth.cli.deploy(package, "f", "python3.11", "app.handler", isolation="gvisor")
    assert hearth.cli.ok("invoke", "f", "--payload", "1").stdout.strip() == "1"
    hearth.stop()
    hearth.environment.update(NO_RUNSC)
    hearth.start()
    refused = hearth.cli.refused("invoke", "f", "--payload", "1")
    assert "the gvisor isolation does not work here" in refused.text and "/nonexistent/runsc" in refused.text
    assert hearth.api.instances("f") == []


def test_doctor_looks_at_the_machine(hearth):
    report = hearth.cli.run("doctor", "--json").json()
    subjects = {finding["subject"] for finding in report["machine"]}
    assert {"kernel", "processor", "disk"} <= subjects
    assert "machine" in hearth.cli.run("doctor").stdout
