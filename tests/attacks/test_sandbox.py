"""The attacker on each isolation: every attack, seen from outside."""

import json
import re
import socket
import threading
import time

import pytest

from attacks import cases
from attacks.cases import ATTACKS, DRIVERS
from attacks.watch import unharmed
from harness.door import Door, credentials
from harness.wait import until


@pytest.fixture(scope="module")
def deploy(attacked, attacker):
    """Deploys the attacker for an isolation, a memory and a timeout, once each: an instance for each call."""
    made = {}

    def one(driver, memory, timeout, **more):
        key = (driver, memory, timeout, tuple(more.items()))
        if key not in made:
            name = f"attacker-{len(made)}"
            options = {"idle": "0s", **more}
            attacked.hearth.cli.deploy(attacker, name, "provided.al2023", "bootstrap", isolation=driver, memory=memory, timeout=timeout, **options)
            made[key] = name
        return made[key]

    return one


def parameters():
    for attack in ATTACKS:
        for driver in DRIVERS:
            yield pytest.param(attack.on(driver), driver, id=f"{attack.case}-{driver}")


def event(attacked, case, **more):
    hearth, canaries = attacked.hearth, attacked.canaries
    said = {"case": case, "control": hearth.port, "ingress": hearth.ingress_port, "listener": canaries.port}
    said |= {"canary": canaries.file, "path": canaries.path, "abstract": canaries.abstract, "host": own_address(), **more}
    # As the attacker reads it: without spaces, and nothing but texts.
    return json.dumps({key: str(value) for key, value in said.items()}, separators=(",", ":")).encode()


def own_address():
    """An address of this machine's that is not loopback; where there is none, one of nobody's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
            return one.getsockname()[0]
        except OSError:
            return "192.0.2.1"


def call(attacked, name, case, **more):
    with Door(attacked.hearth, credentials(attacked.hearth)) as door:
        return door.invoke(name, body=event(attacked, case, **more))


def verdict(answer, allows=()):
    """(letter, what was found) of an answer, as cases.py has them."""
    assert answer.status == 200, f"{answer.status} {answer.body!r}"
    found = answer.json()
    if answer.function_error:
        return "K", found
    through = [one for one in found["through"] if one not in allows]
    assert not through, f"{len(through)} of {found['tried']} went through: {through}"
    return ("D" if found["tried"] else "C"), found


def judge(attack, answer):
    letter, found = verdict(answer, attack.allows)
    if letter == "K":
        assert "K" in attack.means, f"ended with {found}"
        text = f"{found.get('errorType')}: {found.get('errorMessage')}"
        assert re.search(attack.error, text), f"ended with {text}, expected {attack.error}"
    else:
        assert attack.means != "K", f"should have been ended, and answers {found}"
        for name, most in attack.bounds.items():
            assert name in found["seen"], f"says nothing of {name}: {found}"
            assert found["seen"][name] <= most, f"{found['seen'][name]} {name}, more than {most}"
        # That nothing went through says something of what was tried only.
        assert found["tried"] or attack.bounds, "tried nothing"
        letter = "C" if attack.bounds else "D"
    return letter, found


@pytest.mark.parametrize("attack, driver", list(parameters()))
def test_attack(attack, driver, attacked, deploy, works_here, request):
    works_here(driver)
    if not request.config.getoption("--all-attacks") and driver != "namespace" and not attack.everywhere:
        pytest.skip("the long suite only: make attacks")
    name = deploy(driver, attack.memory, attack.timeout)
    with unharmed(attacked, f"{attack.case} on {driver}") as told:
        started = time.monotonic()
        answer = call(attacked, name, attack.case)
        took = time.monotonic() - started
        letter, found = judge(attack, answer)
        if attack.error == cases.TIMED_OUT:
            # Its start, its time, and at most a second for its end; the machine is shared.
            assert took < float(attack.timeout[:-1]) + 4, f"ended after {took:.1f} s"
        told.append(f"{letter} {json.dumps(found.get('seen') or found.get('tried') or found.get('errorType'))}")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_daemon_is_frozen_between_calls_and_dead_with_its_sandbox(driver, attacked, deploy, works_here):
    works_here(driver)
    name = deploy(driver, "128MB", "20s", idle="30s")
    with unharmed(attacked, f"daemon on {driver}") as told:
        assert verdict(call(attacked, name, "daemon"))[0] == "C"
        # Long enough for a daemon that runs to get far: it counts up to a thousand a second.
        until("three seconds to pass", lambda start=time.monotonic(): time.monotonic() - start > 3, within=5)
        counted = verdict(call(attacked, name, "daemon", again="yes"))[1]["seen"]["count"]
        told.append(f"it ran for some {counted} ms of 3000")
        assert counted < 1500, f"it went on: {counted}"
        attacked.hearth.api.remove(name)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_runtime_api_is_not_fooled(driver, attacked, deploy, works_here):
    works_here(driver)
    name = deploy(driver, "128MB", "20s", idle="60s")
    with unharmed(attacked, f"runtime-api on {driver}"):
        answer = call(attacked, name, "runtime-api")
        # Its child's answer, once; or why that was not the first.
        assert answer.json() == {"case": "runtime-api", "by": "a child"}, answer.body
        found = verdict(call(attacked, name, "runtime-api-after"))[1]
        assert found["tried"] == 2
        attacked.hearth.api.remove(name)


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_one_holds_a_neighbour_of_the_same_isolation_still_has(driver, attacked, deploy, works_here, attacker):
    works_here(driver)
    holder = deploy(driver, "128MB", "20s", idle="1s")
    with unharmed(attacked, f"holds on {driver}"):
        held = threading.Thread(target=call, args=(attacked, holder, "holds"), kwargs={"seconds": 3})
        held.start()
        try:
            until("the holder to hold", lambda: attacked.hearth.api.instances(holder), within=10)
            until("a second to pass", lambda start=time.monotonic(): time.monotonic() - start > 1, within=5)
            name = deploy(driver, "128MB", "20s")
            # docs/attacks.md: all containers are one user of the host's, and share what the kernel counts for each.
            shared = ["a timer: EAGAIN", "handing over descriptors: ETOOMANYREFS", "an inotify instance: EMFILE"]
            verdict(call(attacked, name, "has-left"), allows=shared if driver == "docker" else ())
        finally:
            held.join(30)
        attacked.hearth.api.remove(holder)
