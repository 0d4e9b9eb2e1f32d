"""Mounts: folders of the host's in functions, as the operator allows them, on every isolation."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import leaks
from harness.functions import write
from harness.hearth import Hearth

OWNER, GROUP = 4001, 4002

# Does what it is asked to at a path, and says what came of it.
HAND = """
import os

def handler(event, context):
    what, path = event["do"], event["path"]
    try:
        if what == "list":
            return sorted(os.listdir(path))
        if what == "read":
            return open(path).read()
        if what == "stat":
            about = os.stat(path)
            return [about.st_uid == os.getuid(), oct(about.st_mode & 0o7777)]
        if what == "write":
            with open(path, "w") as file:
                file.write(event["text"])
            return "written"
        if what == "link":
            os.symlink(event["text"], path)
            return "linked"
        if what == "run":
            return os.spawnv(os.P_WAIT, path, [path])
        if what == "mkdir":
            os.mkdir(path)
            return "made"
    except OSError as error:
        return error.strerror
"""


def toml(*mounts):
    return "".join(
        f'[[mount]]\nhost = "{host}"\npath = "{path}"\nread-only = {str(read_only).lower()}\n'
        for host, path, read_only in mounts
    )


@pytest.fixture(scope="module")
def share():
    """Folders of somebody's, outside of any Hearth's."""
    if os.geteuid() != 0:
        pytest.skip("files of other users take root to make")
    base = Path(tempfile.mkdtemp(prefix="ht-share-", dir="/srv"))
    base.chmod(0o755)
    for name in ("photos/may", "backup", "roots", "secret"):
        (base / name).mkdir(parents=True)
    (base / "photos/a.txt").write_text("a picture")
    (base / "photos/private.txt").write_text("for its owner")
    (base / "secret/key").write_text("nobody's business")
    (base / "roots/shadow").write_text("for root")
    (base / "roots/shadow").chmod(0o600)
    (base / "photos/out").symlink_to("../secret")
    for path in [*base.glob("photos/**/*"), base / "photos", base / "backup"]:
        os.lchown(path, OWNER, GROUP)
    (base / "photos/private.txt").chmod(0o600)
    program = base / "photos/program"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    yield base
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def hearth_with(share, binary, up_environment):
    """A Hearth that allows them, shared by this file's tests."""
    allow = [f"{share}/photos:ro", f"{share}/backup", f"{share}/roots"]
    with Hearth(binary, environment=up_environment, arguments=[f"--allow-mount={one}" for one in allow]) as one:
        # It makes stems when it likes: not what a test with a Hearth of its own has left.
        leaks.OWN.discard(one.tag)
        yield one
        leaks.OWN.add(one.tag)


@pytest.fixture
def deployed(hearth_with, share, tmp_path, need_driver):
    def deploy(isolation, *mounts, name="hand"):
        need_driver(isolation)
        folder = write(tmp_path / name, HAND, toml=toml(*mounts))
        hearth_with.cli.deploy(folder, name, "python3.11", "app.handler", isolation=isolation, timeout="10s")

        def ask(do, path, text=""):
            event = json.dumps({"do": do, "path": path, "text": text})
            return json.loads(hearth_with.cli.ok("invoke", name, "--payload", event).stdout)

        return ask

    yield deploy
    hearth_with.api.remove("hand")


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_a_folder_is_read_and_not_changed(deployed, share, isolation):
    ask = deployed(isolation, (share / "photos", "/mnt/photos", True))
    assert ask("list", "/mnt") == ["photos"]
    assert ask("read", "/mnt/photos/a.txt") == "a picture"
    # What is its owner's, the function reads as that.
    assert ask("read", "/mnt/photos/private.txt") == "for its owner"
    assert ask("write", "/mnt/photos/b.txt", "x") == "Read-only file system"
    assert ask("write", "/mnt/photos/a.txt", "x") == "Read-only file system"
    assert (share / "photos/a.txt").read_text() == "a picture"
    # A link in it leads to where it would inside, which is nowhere.
    assert ask("read", "/mnt/photos/out/key") == "No such file or directory"
    assert ask("mkdir", "/mnt/other") in ("Read-only file system", "Permission denied")
    assert ask("run", "/mnt/photos/program") == 127, "what is mounted is not run"


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_what_a_function_writes_belongs_to_the_folders_owner(deployed, share, isolation):
    ask = deployed(isolation, (share / "backup", "/mnt/backup", False), (share / "photos", "/mnt/in", True))
    file = f"/mnt/backup/{isolation}.txt"
    assert ask("list", "/mnt") == ["backup", "in"]
    assert ask("write", file, "kept") == "written"
    assert ask("read", file) == "kept"
    mine, _ = ask("stat", file)
    assert mine, "a function's own file is its own"
    assert ask("mkdir", f"/mnt/backup/{isolation}") == "made"
    assert ask("write", "/mnt/in/b.txt", "x") == "Read-only file system"
    for made in (share / f"backup/{isolation}.txt", share / f"backup/{isolation}"):
        assert (made.stat().st_uid, made.stat().st_gid) == (OWNER, GROUP)
    assert (share / f"backup/{isolation}.txt").read_text() == "kept"


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_what_is_roots_is_read_as_by_anybody(deployed, share, isolation):
    ask = deployed(isolation, (share / "roots", "/mnt/roots", True))
    assert ask("list", "/mnt/roots") == ["shadow"]
    assert ask("read", "/mnt/roots/shadow") == "Permission denied"


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_to_write_where_root_owns_is_refused_by_the_spawner(hearth_with, deployed, share, isolation):
    deployed(isolation, (share / "roots", "/mnt/roots", False))
    failed = hearth_with.cli.refused("invoke", "hand", "--payload", "{}")
    assert "belongs to root" in failed.text and "chown" in failed.text


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_a_link_that_a_function_made_leads_no_other_function_out(hearth_with, deployed, share, isolation):
    ask = deployed(isolation, (share / "backup", "/mnt/backup", False))
    assert ask("link", f"/mnt/backup/{isolation}-out", str(share / "secret")) == "linked"
    deployed(isolation, (share / f"backup/{isolation}-out", "/mnt/x", True))
    failed = hearth_with.cli.refused("invoke", "hand", "--payload", "{}")
    assert "a link is on the way" in failed.text


def test_what_is_not_allowed_is_refused_at_the_deploy(hearth_with, share, tmp_path):
    for mount, said in [
        (("/etc", "/mnt/x", True), "hearth up --allow-mount /etc:ro"),
        ((share / "photos", "/mnt/x", False), "read-only only"),
        ((share, "/mnt/x", True), "may not be mounted"),
        ((f"{share}/backup/../secret", "/mnt/x", True), "without . or .."),
        ((share / "photos", "/proc/x", True), "expected /mnt/NAME"),
    ]:
        folder = write(tmp_path / "no", HAND, toml=toml(mount))
        refused = hearth_with.cli.refused("deploy", folder, "--name", "no")
        assert said in refused.text, refused.text
    assert not [one for one in hearth_with.api.functions() if one["name"] == "no"]


def test_without_a_list_nothing_is_mounted(hearth, share, tmp_path):
    folder = write(tmp_path / "no", HAND, toml=toml((share / "photos", "/mnt/x", True)))
    assert "may not be mounted" in hearth.cli.refused("deploy", folder, "--name", "no").text


@pytest.mark.parametrize("allow", ["/proc/sys", "/dev", "/run", "/nonexistent"])
def test_what_no_list_may_hold(new_hearth, allow):
    hearth = new_hearth(arguments=["--allow-mount", allow])
    with pytest.raises(AssertionError, match=f"--allow-mount {allow}"):
        hearth.start()


def test_an_ordinary_users_folders_are_its_own(new_hearth):
    base = Path(tempfile.mkdtemp(prefix="ht-own-", dir="/srv"))
    try:
        os.chown(base, OWNER, OWNER)
        hearth = new_hearth(uid=OWNER, arguments=["--allow-mount", str(base)]).start()
        folder = write(hearth.base / "f", HAND, toml=toml((base, "/mnt/x", False)))
        hearth.cli.deploy(folder, "f", "python3.11", "app.handler")
        event = json.dumps({"do": "write", "path": "/mnt/x/made", "text": "kept"})
        assert hearth.cli.ok("invoke", "f", "--payload", event).stdout.strip() == '"written"'
        assert (base / "made").stat().st_uid == OWNER
    finally:
        shutil.rmtree(base)
