"""gVisor as a runtime of Docker's: what the doctor says in each state, that nothing weaker ever takes its place, and a
choice of the conformance cases. All of them run with `tests/conformance -k gvisor --gvisor-through docker`.

The engine's runtimes are set up as .ci/run does it; a test whose runtime is not there is skipped."""

import pytest

from conformance import suite
from conformance.oracle import Oracle
from conformance.test_cases import holds
from harness import aws, docker, leaks
from harness.doctor import driver_state
from harness.functions import ECHO, write
from harness.hearth import Hearth

# One or two of each kind: streams, limits, ends, the wall, packages. The others differ only in what runs inside.
CASES = ["echo", "payload-6mb-both-ways", "log-lines", "inherited-descriptors", "out-of-memory", "fork-bomb", "timeout-busy",
         "exit-3", "not-privileged", "no-network", "devices", "host-files-invisible", "set-user-id-programs", "tmp-size",
         "cpu-limit", "warm-state"]


def need_runtime_of_docker(name):
    if name not in docker.runtimes():
        pytest.skip(f"Docker has no runtime {name} here: .ci/run shows how it is set up")


def state(hearth):
    return driver_state(hearth.cli.run("doctor", "--json").json(), "gvisor")


@pytest.fixture
def through(new_hearth):
    """A Hearth whose gVisor is this runtime of Docker's."""

    def start(runtime):
        return new_hearth(environment={"HEARTH_GVISOR_THROUGH": f"docker={runtime}"}).start()

    return start


@pytest.fixture(scope="class")
def walled(binary):
    """One for all cases, gone before other tests look for leftovers."""
    need_runtime_of_docker("runsc-hearth")
    before = leaks.take()
    with Hearth(binary, environment={"HEARTH_GVISOR_THROUGH": "docker"}) as hearth:
        works, reason = state(hearth)
        if not works:
            pytest.skip(f"isolation gvisor (through Docker) does not work here, says hearth doctor: {reason}")
        yield hearth
    leaks.assert_clean(before, folders=[hearth.temporary])


@pytest.fixture(scope="class")
def watching(walled):
    oracle = Oracle(walled)
    yield oracle
    oracle.check()
    oracle.close()


def cases():
    chosen = [case for case in suite.load() if case.name in CASES and case.language == "python"]
    return [pytest.param(case.on("gvisor"), id=case.id) for case in chosen]


class TestSandboxes:
    @pytest.mark.parametrize("case", cases())
    def test_case(self, case, walled, watching, tmp_path):
        holds(case, "gvisor", walled, aws.client(walled), watching, tmp_path)

    def test_they_are_containers_of_the_runtime_that_was_found(self, walled, tmp_path):
        code = "def handler(event, context): return open('/proc/version').read()"
        folder = write(tmp_path / "f", code, "python3.11")
        walled.cli.deploy(folder, "f", "python3.11", "app.handler", isolation="gvisor")
        version = walled.cli.ok("invoke", "f", "--payload", "1").json()
        assert "(" not in version and version != open("/proc/version").read(), "Linux says who built it, gVisor does not"
        [instance] = walled.api.instances("f")
        assert instance["isolation"] == "gvisor" and instance["memory_peak"] > 0
        container = docker.of_instance(instance["instance"])
        assert docker.ask("GET", f"/containers/{container}/json")["HostConfig"]["Runtime"] == "runsc-hearth"


def refuses(hearth, tmp_path, reason):
    """A deploy that asks for it is refused with the reason; one that does not is no business of it."""
    package = write(tmp_path / "f", ECHO, "python3.11")
    arguments = ["deploy", package, "--name", "f", "--runtime", "python3.11", "--handler", "app.handler"]
    for asked in (["--isolation", "gvisor"], ["--isolation", "auto", "--at-least", "gvisor"]):
        refused = hearth.cli.refused(*arguments, *asked)
        assert "the gvisor isolation does not work here" in refused.text and reason in refused.text
    hearth.cli.deploy(package, "f", "python3.11", "app.handler")
    assert hearth.cli.ok("invoke", "f", "--payload", "1").stdout.strip() == "1"


def test_without_such_a_runtime_it_says_what_to_put_into_dockers_settings(through, tmp_path):
    need_runtime_of_docker("runc")
    hearth = through("nowhere")
    works, reason = state(hearth)
    assert not works and "Docker has no runtime `nowhere`" in reason
    assert '"runtimeArgs":["--host-uds=open","--network=none"]' in hearth.cli.run("doctor").stdout
    refuses(hearth, tmp_path, "Docker has no runtime `nowhere`")


def test_a_runtime_whose_sandboxes_may_not_call_is_refused_with_the_flag(through, tmp_path):
    need_runtime_of_docker("runsc")
    hearth = through("runsc")
    works, reason = state(hearth)
    assert not works and "--host-uds=open is not among its runtimeArgs" in reason
    told = hearth.cli.run("doctor").stdout
    assert '"runsc-hearth":{"path":"/usr/bin/runsc","runtimeArgs":["--host-uds=open","--network=none"]}' in told
    refuses(hearth, tmp_path, "--host-uds=open")


def test_what_is_not_runsc_is_refused(through, tmp_path):
    need_runtime_of_docker("runc")
    hearth = through("runc")
    works, reason = state(hearth)
    assert not works and "that is not runsc" in reason
    refuses(hearth, tmp_path, "that is not runsc")


def test_one_that_only_says_that_it_is_runsc_is_found_out(through, tmp_path):
    need_runtime_of_docker("runsc-impostor")
    hearth = through("runsc-impostor")
    works, reason = state(hearth)
    assert not works and "ran it on the host's kernel" in reason
    refuses(hearth, tmp_path, "ran it on the host's kernel")


def test_without_an_engine_it_says_so(new_hearth, tmp_path):
    environment = {"HEARTH_GVISOR_THROUGH": "docker", "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    hearth = new_hearth(environment=environment).start()
    works, reason = state(hearth)
    assert not works and "/nonexistent/docker.sock does not exist" in reason
    refuses(hearth, tmp_path, "/nonexistent/docker.sock")


def test_a_choice_that_means_nothing_is_refused(new_hearth):
    for environment, expected in [
        ({"HEARTH_GVISOR_THROUGH": "podman"}, "expected runsc, docker, or docker=RUNTIME"),
        ({"HEARTH_GVISOR_THROUGH": "docker", "HEARTH_RUNSC": "/usr/bin/runsc"}, "Docker's settings name it"),
    ]:
        with pytest.raises(AssertionError, match=expected):
            new_hearth(environment=environment).start()
