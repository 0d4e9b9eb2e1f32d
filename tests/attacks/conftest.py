"""A Hearth to be attacked, with everything around it that sees it."""

import os

import pytest

from attacks import oracle
from harness import leaks
from harness.doctor import driver_state
from harness.functions import ECHO, write
from harness.hearth import Hearth


class Attacked:
    def __init__(self, hearth, neighbour, canaries):
        self.hearth, self.neighbour, self.canaries = hearth, neighbour, canaries
        self.server = hearth.server_pid()
        # A line for each attack.
        self.report = []


@pytest.fixture(scope="module")
def attacked(binary, up_environment, tmp_path_factory):
    before = leaks.take()
    # Sandboxes that are made in advance would come and go while it is looked for what was left.
    hearth = Hearth(binary, arguments=["--stems", "0", "--fork-servers", "off"], environment=up_environment)
    try:
        hearth.start()
        folder = write(tmp_path_factory.mktemp("neighbour"), ECHO)
        hearth.cli.deploy(folder, "neighbour", "python3.11", "app.handler", flags=["--min", "1"])
        canaries = oracle.Canaries(hearth)
        with oracle.Neighbour(hearth, "neighbour") as neighbour:
            one = Attacked(hearth, neighbour, canaries)
            yield one
        canaries.assert_untouched()
        canaries.assert_programs_untouched()
        canaries.close()
        hearth.stop()
        leaks.assert_clean(before, folders=[hearth.temporary])
    finally:
        if hearth.running:
            hearth.abandon()
        hearth.discard()


@pytest.fixture(scope="module")
def attacker(tmp_path_factory):
    """A package with the attacker in it."""
    folder = tmp_path_factory.mktemp("attacker")
    os.chmod(oracle.build(folder), 0o755)
    return folder


@pytest.fixture(scope="module")
def works_here(attacked):
    report = attacked.hearth.cli.run("doctor", "--json").json()

    def need(name):
        works, reason = driver_state(report, name)
        if not works:
            pytest.skip(f"isolation {name} does not work here, says hearth doctor: {reason}")

    return need
