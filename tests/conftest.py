"""Fixtures and options that every test folder shares."""

import os
from pathlib import Path

import pytest

from harness import aws, leaks
from harness.doctor import driver_state
from harness.door import credentials
from harness.hearth import Hearth

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--hearth", default=str(REPOSITORY / "target/release/hearth"), help="the binary under test")
    parser.addoption("--gvisor-through", help="what makes gVisor's sandboxes, as `hearth up` takes it: docker=RUNTIME")
    parser.addoption("--all-attacks", action="store_true", help="on docker and gVisor too, also attacks that hardly differ there")
    parser.addoption("--update-snapshots", action="store_true", help="rewrite conformance/snapshots")


@pytest.fixture(scope="session")
def binary(request):
    path = Path(request.config.getoption("--hearth")).resolve()
    if not os.access(path, os.X_OK):
        pytest.exit(f"no Hearth at {path}: build it (make build) or say --hearth PATH", returncode=3)
    return path


@pytest.fixture(scope="session")
def up_environment(request):
    """What every `hearth up` is told on top of its own."""
    through = request.config.getoption("--gvisor-through")
    return {"HEARTH_GVISOR_THROUGH": through} if through else {}


@pytest.fixture(scope="session")
def hearth(binary, up_environment):
    """The one Hearth that most tests share. When it has drained, nothing of it may be left."""
    before = leaks.take()
    shared = Hearth(binary, environment=up_environment)
    try:
        shared.start()
        # It makes stems when it likes: not what a test with a Hearth of its own has left.
        leaks.OWN.discard(shared.tag)
        yield shared
        leaks.OWN.add(shared.tag)
        shared.stop()
        leaks.assert_clean(before, folders=[shared.temporary])
    finally:
        if shared.running:
            shared.abandon()
        shared.discard()


@pytest.fixture
def new_hearth(binary, up_environment):
    """Makes Hearths of the test's own; each must end without leftovers."""
    before = leaks.take()
    made = []

    def make(environment=None, **options):
        one = Hearth(binary, environment={**up_environment, **(environment or {})}, **options)
        made.append(one)
        return one

    try:
        yield make
        for one in made:
            if one.running:
                one.stop()
        leaks.assert_clean(before, folders=[one.temporary for one in made])
    finally:
        for one in made:
            if one.running:
                one.abandon()
            one.discard()


@pytest.fixture(scope="session")
def boto(hearth):
    return aws.client(hearth)


@pytest.fixture(scope="session")
def keys(hearth):
    return credentials(hearth)


@pytest.fixture(scope="session")
def doctor(hearth):
    # A doctor that finds something missing may say so by its exit status too.
    return hearth.cli.run("doctor", "--json").json()


@pytest.fixture(scope="session")
def need_driver(doctor):
    def need(name):
        works, reason = driver_state(doctor, name)
        if not works:
            pytest.skip(f"isolation {name} does not work here, says hearth doctor: {reason}")

    return need


@pytest.fixture(scope="session")
def need_runtime(doctor):
    def need(name):
        try:
            works, reason = driver_state(doctor, name)
        except AssertionError:
            return  # a doctor that says nothing of runtimes: then the deploy must say it
        if not works:
            pytest.skip(f"runtime {name} does not work here, says hearth doctor: {reason}")

    return need


@pytest.fixture(scope="session")
def update_snapshots(request):
    return request.config.getoption("--update-snapshots")


@pytest.fixture
def function(hearth, tmp_path, request):
    """Deploys small functions on the shared Hearth and removes them afterwards: `function(code, …) -> name`."""
    from harness.functions import write

    deployed = []

    def deploy(code, runtime="python3.11", toml=None, on=None, name=None, **options):
        # tmp_path's own name is unique and says which test it was.
        made = name or f"t-{abs(hash(request.node.nodeid)) % 10**8}-{len(deployed)}"
        folder = write(tmp_path / f"{made}-{len(deployed)}", code, runtime, toml)
        (on or hearth).cli.deploy(folder, made, runtime, "app.handler", **options)
        deployed.append((on or hearth, made))
        return made

    yield deploy
    for where, name in deployed:
        if where.running:
            where.api.remove(name)
