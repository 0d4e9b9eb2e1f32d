"""`hearth install`: a unit that systemd understands, with walls that Hearth can live within."""

import json
import re
import shutil
import subprocess

import pytest

from harness.functions import write


def installed(binary, root, *flags):
    command = [str(binary), "install", "--root", str(root), *flags]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture
def root(binary, tmp_path):
    root = tmp_path / "machine"
    installed(binary, root, "--listen", "127.0.0.1:7171")
    return root


def unit_of(root):
    return root / "etc/systemd/system/hearth.service"


def setting(text, name):
    return re.search(f"^{name}=(.*)$", text, re.M)[1]


def test_a_dry_run_prints_all_and_does_nothing(binary, tmp_path):
    root = tmp_path / "machine"
    shown = installed(binary, root, "--dry-run", "--data-dir", "/srv/hearth")
    assert not root.exists()
    for word in ("write ", "hearth.service", "HEARTH_DATA_DIR=/srv/hearth", "NoNewPrivileges=yes", "CapabilityBoundingSet="):
        assert word in shown
    steps = json.loads(installed(binary, root, "--dry-run", "--json"))
    assert steps["dry_run"] is True and [step["do"] for step in steps["steps"]] == ["copy", "write", "write", "keep"]
    for flags in (["--data-dir", "relative"], ["--data-dir", "/"], ["--listen", "127.0.0.1:8080"]):
        ran = subprocess.run([str(binary), "install", "--dry-run", *flags], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 2 and ran.stderr


def test_what_is_installed_is_whole_and_goes_again(binary, root):
    program, settings = root / "usr/local/bin/hearth", root / "etc/hearth/hearth.env"
    assert program.stat().st_mode & 0o777 == 0o755 and settings.stat().st_mode & 0o777 == 0o600
    assert subprocess.run([program, "--version"], capture_output=True, text=True).stdout.startswith("hearth ")
    assert "HEARTH_LISTEN=127.0.0.1:7171" in settings.read_text()
    # A second time, by what was installed: settings of the operator's stay.
    settings.write_text("HEARTH_DATA_DIR=/srv/other\n")
    shown = installed(program, root)
    assert "is this program" in shown and settings.read_text() == "HEARTH_DATA_DIR=/srv/other\n"
    removed = subprocess.run([str(binary), "uninstall", "--root", root], capture_output=True, text=True)
    assert removed.returncode == 0 and "--purge" in removed.stdout
    assert settings.exists() and not program.exists() and not unit_of(root).exists()
    assert subprocess.run([str(binary), "uninstall", "--root", root, "--purge"], capture_output=True).returncode == 0
    assert not settings.parent.exists()


def test_systemd_understands_the_unit(root, tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here: apt-get install systemd")
    # Its program and settings are where it says, on the machine that it is for.
    unit = tmp_path / "hearth.service"
    text = unit_of(root).read_text()
    unit.write_text(text.replace("/usr/local/bin/hearth", str(root / "usr/local/bin/hearth")).replace(
        "/etc/hearth/hearth.env", str(root / "etc/hearth/hearth.env")))
    verified = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert verified.returncode == 0 and "hearth.service:" not in verified.stderr, verified.stderr
    scored = subprocess.run([analyze, "security", "--offline=true", unit], capture_output=True, text=True, timeout=60)
    score = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", scored.stdout)[1])
    print(f"exposure level {score}")
    # Without any walls it is 9.6.
    assert score <= 7.0, scored.stdout


def test_hearth_lives_within_the_units_walls(root, new_hearth, tmp_path):
    """The same bounds, set by setpriv: functions of all kinds of sandboxes that work here still run."""
    text = unit_of(root).read_text()
    kept = ",".join("+" + name.removeprefix("CAP_").lower() for name in setting(text, "CapabilityBoundingSet").split())
    assert setting(text, "NoNewPrivileges") == "yes"
    hearth = new_hearth()
    bound = ["setpriv", "--no-new-privs", "--bounding-set", "-all," + kept]
    as_user = hearth.as_user
    hearth.as_user = lambda command: bound + as_user(command)
    hearth.start()
    hearth.as_user = as_user
    findings = {one["isolation"]: one["works"] for one in hearth.api.get("/api/v1/doctor")["isolations"]}
    assert findings["namespace"]
    files = write(tmp_path / "says", "def handler(event, context):\n    return open('/proc/self/status').read()\n")
    for isolation in (name for name, works in findings.items() if works):
        hearth.cli.deploy(files, f"says-{isolation}", "python3.11", "app.handler", isolation=isolation, egress="internet", timeout="30s")
        status = json.loads(hearth.cli.ok("invoke", f"says-{isolation}", "{}").stdout)
        assert "CapEff:\t0000000000000000" in status, isolation
