"""The docker isolation as a person meets it: refused with the reason where there is no engine, limits and listing where
there is one."""

import pytest

from harness.doctor import driver_state
from harness.functions import ECHO, write

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def test_without_an_engine_docker_is_refused_with_the_reason_and_what_to_do(new_hearth, tmp_path):
    hearth = new_hearth(environment=NO_ENGINE).start()
    works, reason = driver_state(hearth.cli.run("doctor", "--json").json(), "docker")
    assert not works and "/nonexistent/docker.sock does not exist" in reason
    assert "apt install docker.io" in hearth.cli.run("doctor").stdout

    package = write(tmp_path / "f", ECHO, "python3.11")
    arguments = ["deploy", package, "--name", "f", "--runtime", "python3.11", "--handler", "app.handler"]
    refused = hearth.cli.refused(*arguments, "--isolation", "docker")
    assert "the docker isolation does not work here" in refused.text and "/nonexistent/docker.sock" in refused.text
    # Nothing else is touched by it.
    hearth.cli.deploy(package, "f", "python3.11", "app.handler")
    assert hearth.cli.ok("invoke", "f", "--payload", "1").stdout.strip() == "1"


def test_where_docker_stops_working_calls_say_so_and_run_nowhere_else(new_hearth, tmp_path, need_driver):
    need_driver("docker")
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "f", ECHO, "python3.11"), "f", "python3.11", "app.handler", isolation="docker")
    hearth.stop()
    hearth.environment.update(NO_ENGINE)
    hearth.start()
    refused = hearth.cli.refused("invoke", "f", "--payload", "1")
    assert "the docker isolation does not work here" in refused.text and "/nonexistent/docker.sock" in refused.text
    assert hearth.api.instances("f") == []


@pytest.fixture
def on_docker(function, need_driver):
    need_driver("docker")
    return lambda code, **options: function(code, isolation="docker", **options)


def test_ps_and_the_record_tell_the_isolation_and_what_was_used(on_docker, hearth):
    name = on_docker("def handler(event, context): return len(bytearray(40_000_000))")
    assert hearth.cli.ok("invoke", name, "--payload", "1").stdout.strip() == "40000000"
    [instance] = hearth.api.instances(name)
    assert instance["isolation"] == "docker"
    assert instance["memory_peak"] > 40_000_000, instance
