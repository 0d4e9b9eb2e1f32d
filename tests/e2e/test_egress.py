"""What functions reach over the network, looked at from inside, against listeners in other network namespaces."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import proc, world
from harness.doctor import driver_state
from harness.functions import write
from harness.hearth import Hearth
from harness.wait import until
from harness.world import BEYOND, HERE, HERE_PORT, INTERNET, LAN, METADATA, OTHER, PRIVATE, SHARED, World

ISOLATIONS = ["namespace", "docker", "gvisor"]

# Tries many at once; `listen`: is there for others meanwhile, and tells how many came.
PROBE = """
import socket, threading, time

def tcp(host, port, timeout):
    with socket.create_connection((host, port), timeout=timeout) as one:
        one.recv(64)

def udp(host, port, timeout):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(timeout)
        one.connect((host, port))
        one.send(b"who am I?")
        one.recv(64)

def handler(event, context):
    reached, slow, lock = [], [], threading.Lock()
    def attempt(kind, host, port):
        begun = time.monotonic()
        try:
            {"tcp": tcp, "udp": udp}[kind](host, port, event.get("timeout", 4))
            with lock:
                reached.append([kind, host, port])
        except OSError:
            if time.monotonic() - begun > event.get("timeout", 4) - 0.1:
                slow.append([kind, host, port])
    threads = [threading.Thread(target=attempt, args=one) for one in event.get("try", [])]
    for thread in threads:
        thread.start()
    came = 0
    if "listen" in event:
        listener = socket.create_server(("0.0.0.0", event["listen"]))
        listener.settimeout(0.1)
        until = time.monotonic() + event["seconds"]
        while time.monotonic() < until:
            try:
                listener.accept()[0].close()
                came += 1
            except OSError:
                pass
    for thread in threads:
        thread.join()
    names = {}
    for name in event.get("names", []):
        try:
            names[name] = socket.gethostbyname(name)
        except OSError as error:
            names[name] = None
    return {"reached": sorted(reached), "slow": sorted(slow), "names": names, "came": came}
"""

# All there is, and how it is written: TCP and UDP beyond, this machine in all its forms, IPv6.
EVERYTHING = (
    [["tcp", address, port] for address in BEYOND for port in (80, 5432)]
    + [["udp", address, 80] for address in BEYOND]
    + [["tcp", address, HERE_PORT] for address in [*HERE, "127.0.0.1", "0.0.0.0", "169.254.100.53"]]
    + [["tcp", "10.201.0.1", HERE_PORT], ["tcp", "10.201.0.2", HERE_PORT]]
    + [["tcp", "fd00:ec2::254", 80], ["tcp", "::1", HERE_PORT], ["tcp", "::ffff:169.254.169.254", 80]]
    + [["tcp", "2852039166", 80], ["udp", "203.0.113.255", 80], ["udp", "224.0.0.1", 80]]
)


def both(*addresses):
    return [["tcp", address, port] for address in addresses for port in (80, 5432)] + [["udp", address, 80] for address in addresses]


REACHED = {
    "none": [],
    "internet": both(INTERNET, OTHER),
    "lan": both(INTERNET, OTHER, LAN, PRIVATE, SHARED),
    f"{LAN}:5432,{OTHER}": [["tcp", LAN, 5432], *both(OTHER)],
    # Wider than what nobody reaches.
    "0.0.0.0/0:80": [one for one in both(INTERNET, OTHER, LAN, PRIVATE, SHARED) if one[2] == 80],
}


@pytest.fixture(scope="module")
def outside(binary):
    why_not = world.possible()
    if why_not:
        pytest.skip(f"no network namespaces for this test: {why_not}")
    with World() as made:
        yield made


@pytest.fixture(scope="module")
def networked(outside, binary):
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    with Hearth(binary) as hearth:
        yield hearth
    assert world.left(hearth) == []
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


@pytest.fixture
def probe(networked, tmp_path):
    folder = write(tmp_path / "probe", PROBE)

    def deploy(isolation, egress, name=None):
        works, why = driver_state(networked.cli.run("doctor", "--json").json(), isolation)
        if not works:
            pytest.skip(f"isolation {isolation} does not work here, says hearth doctor: {why}")
        name = name or f"probe-{isolation}"
        flags = ["--egress", egress, "--isolation", isolation, "--timeout", "30s"]
        networked.cli.deploy(folder, name, "python3.11", "app.handler", flags=flags)
        return name

    return deploy


def invoke(hearth, name, event):
    return hearth.cli.ok("invoke", name, json.dumps(event)).json()


@pytest.mark.parametrize("egress", REACHED)
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_function_reaches_what_it_may_and_nothing_else(networked, probe, isolation, egress):
    name = probe(isolation, egress)
    told = invoke(networked, name, {"try": EVERYTHING, "names": ["names.example"]})
    assert told["reached"] == sorted(REACHED[egress])
    # Names are for those who may reach what they mean.
    assert told["names"] == {"names.example": INTERNET if egress in ("internet", "lan") else None}
    # What is refused is refused at once: nobody waits for nothing. Sent to everybody, UDP has nobody to refuse it.
    assert [one for one in told["slow"] if one[1] not in ("203.0.113.255", "224.0.0.1")] == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_sandboxes_do_not_reach_one_another(networked, probe, isolation):
    listening, trying = probe(isolation, "lan", f"listening-{isolation}"), probe("namespace", "lan", "trying")
    told = {}
    others = [["tcp", f"10.201.16.{last}", 7777] for last in range(1, 200)]
    listener = threading.Thread(target=lambda: told.update(invoke(networked, listening, {
        "listen": 7777, "seconds": 8, "try": [["tcp", "127.0.0.1", 7777]]})))
    listener.start()
    time.sleep(3)
    tried = invoke(networked, trying, {"try": others, "timeout": 2})
    listener.join(30)
    assert tried["reached"] == []
    assert told["came"] <= 1, "its own connection, if it came in time, and no other"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_instance_of_before_keeps_its_rules_and_a_new_revision_has_its_own(networked, probe, isolation):
    event = {"try": both(INTERNET, LAN)}
    name = probe(isolation, "internet", f"changing-{isolation}")
    assert invoke(networked, name, event)["reached"] == sorted(both(INTERNET))
    networked.cli.ok("deploy", probe_folder(networked, name), "--name", name, "--egress", f"{LAN}:80")
    assert invoke(networked, name, event)["reached"] == sorted([["tcp", LAN, 80], ["udp", LAN, 80]])


def probe_folder(hearth, name):
    return write(hearth.base / f"again-{name}", PROBE)


def test_a_sandbox_that_lies_about_its_address_is_not_heard(outside, binary, tmp_path):
    with Hearth(binary) as hearth:
        hearth.cli.deploy(write(tmp_path / "f", PROBE), "f", "python3.11", "app.handler", flags=["--egress", "internet"])
        assert invoke(hearth, "f", {"try": both(INTERNET)})["reached"]
        inside = spaces_of(hearth)
        assert inside
        for pid in inside:
            there = ["nsenter", "-t", str(pid), "-n"]
            hears = [*there, sys.executable, "-c", HEARS, INTERNET]
            assert run([*hears, "0.0.0.0"]) == 0
            # Another's address, and one of the world's, with all the privilege that the function does not have.
            for false in ("10.201.77.77", "203.0.113.99"):
                subprocess.run([*there, "ip", "address", "add", f"{false}/32", "dev", "eth0"], check=True)
                assert run([*hears, false]) != 0, false
            assert run([*hears, "0.0.0.0"]) == 0


# Whether an address answers one that it is asked from.
HEARS = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(1)
    one.bind((sys.argv[2], 0))
    one.connect((sys.argv[1], 80))
    one.send(b"who am I?")
    one.recv(64)
"""


def spaces_of(hearth):
    """Processes of sandboxes that have a device, one for each network namespace."""
    found = {}
    for one in proc.descendants(hearth.process.pid):
        devices = Path(f"/proc/{one.pid}/net/dev")
        if devices.exists() and "eth0:" in devices.read_text() and "uplink:" not in devices.read_text():
            found[proc.link(f"/proc/{one.pid}/ns/net")] = one.pid
    return list(found.values())


def run(command):
    return subprocess.run(command, capture_output=True).returncode


def test_forwarding_that_was_off_is_for_functions_only_and_off_again_at_the_end(outside, binary, tmp_path):
    setting = Path("/proc/sys/net/ipv4/ip_forward")
    before = setting.read_text()
    setting.write_text("0")
    try:
        with Hearth(binary) as hearth:
            assert world.left(hearth) == [] and setting.read_text() == "0\n"
    finally:
        setting.write_text(before)


def test_what_a_killed_hearth_left_the_next_takes_away(outside, binary, tmp_path):
    # Without stems, nobody wants a network before the function is called.
    with Hearth(binary, environment={"HEARTH_STEMS": "0"}) as hearth:
        hearth.cli.deploy(write(tmp_path / "f", PROBE), "f", "python3.11", "app.handler", flags=["--egress", "internet"])
        assert invoke(hearth, "f", {"try": both(INTERNET)})["reached"]
        assert len(world.left(hearth)) == 2
        hearth.kill_both()
        hearth.wait_all_gone()
        # The device goes with the namespace of the router, by itself.
        until("the device to go", lambda: len(world.left(hearth)) == 1, within=5)
        hearth.start()
        assert world.left(hearth) == []
        assert invoke(hearth, "f", {"try": both(INTERNET)})["reached"] == sorted(both(INTERNET))
    assert world.left(hearth) == []


def test_a_forked_instance_and_one_made_of_a_stem_have_their_network_too(outside, binary, tmp_path):
    with Hearth(binary, arguments=["--fork-servers", "on"]) as hearth:
        for name in ("first", "second", "third"):
            folder = write(tmp_path / name, PROBE)
            flags = ["--egress", "internet", "--timeout", "30s"]
            hearth.cli.deploy(folder, name, "python3.11", "app.handler", flags=flags)
            assert invoke(hearth, name, {"try": EVERYTHING})["reached"] == sorted(REACHED["internet"])
            until("a stem", lambda: hearth.api.stems() > 0, within=10)


def test_a_resolver_that_listens_on_loopback_only_is_asked_all_the_same(outside, binary, tmp_path):
    told = tmp_path / "resolv.conf"
    told.write_text("nameserver 127.0.0.54\n")

    def elsewhere():
        world.libc.unshare(0x20000)  # CLONE_NEWNS
        world.libc.mount(b"none", b"/", None, 1 << 14 | 1 << 18, None)  # MS_REC | MS_PRIVATE
        if world.libc.mount(str(told).encode(), b"/etc/resolv.conf", None, 1 << 12, None) != 0:  # MS_BIND
            raise OSError("bind resolv.conf")

    resolver = subprocess.Popen([sys.executable, "-c", world.SERVE], stdout=subprocess.PIPE, text=True)
    try:
        assert resolver.stdout.readline() == "listening\n"
        with Hearth(binary, before_exec=elsewhere) as hearth:
            hearth.cli.deploy(write(tmp_path / "f", PROBE), "f", "python3.11", "app.handler", flags=["--egress", "lan"])
            found = invoke(hearth, "f", {"names": ["names.example"], "try": [["udp", HERE[0], 80], ["tcp", HERE[1], 80]]})
            assert found["names"] == {"names.example": INTERNET} and found["reached"] == []
    finally:
        resolver.kill()
        resolver.wait(10)


def test_what_cannot_be_is_refused_with_what_was_expected(networked, probe, tmp_path):
    folder = write(tmp_path / "f", PROBE)
    for egress, expected in [
        ("world", "expected none, internet, lan, or a list"),
        ("127.0.0.1:80", "loopback"),
        (METADATA, "link-local"),
        ("api.example.com:443", "is a name"),
    ]:
        said = networked.cli.refused("deploy", folder, "--name", "f", "--egress", egress).text
        assert expected in said, said


def test_without_root_a_network_is_refused_with_the_reason(outside, binary, tmp_path):
    with Hearth(binary, uid=12345) as hearth:
        folder = write(hearth.base / "f", PROBE)
        said = hearth.cli.refused(
            "deploy", folder, "--name", "f", "--runtime", "python3.11", "--handler", "app.handler", "--egress", "internet"
        ).text
        assert "ordinary user" in said and "egress = internet" in said, said
    assert world.left(hearth) == []
