"""Functions in images: pulled from a registry, run on every isolation that works here, kept within a budget."""

import base64
import io
import json
import tarfile
from pathlib import Path

import pytest

from harness import images
from harness.functions import write
from harness.images import PASSWORD, USER, Registry
from harness.wait import until

ISOLATIONS = ("namespace", "gvisor", "docker")

INSIDE = """
import os, sys

def handler(event, context):
    return {
        "program": sys.executable,
        "user": [os.getuid(), os.getgid()],
        "folder": os.getcwd(),
        "env": {name: os.environ.get(name) for name in ("GREETING", "PATH", "MINE", "LD_LIBRARY_PATH")},
        "top": sorted(os.listdir("/")),
        "host": [path for path in event["host"] if os.path.exists(path)],
        "of_image": open("/srv/word").read(),
        "installed": __import__("installed").WORD,
        "passwd": open("/etc/passwd").read(),
    }
"""

OF_HOST = ["/usr/bin/env", "/usr/lib/python3.11", "/usr/bin/python3.11", "/root", "/home", "/etc/debian_version"]

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two images as layouts: one to run handlers in, one that is a program of its own."""
    why = images.missing()
    if why:
        pytest.skip(f"NO IMAGE IS TESTED HERE: {why}")
    folder = tmp_path_factory.mktemp("images")
    python = images.python_layer()
    environment = ["PATH=/opt/py/bin:/usr/bin", "GREETING=hello from the image"]
    more = {
        "srv/word": b"word",
        # Where Debian's Python has what is installed.
        "opt/py/lib/python3/dist-packages/installed.py": b"WORD = 'installed in the image'\n",
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\nworker:x:1234:4321::/srv:/bin/sh\n",
        "etc/group": b"root:x:0:\nworkers:x:4321:\n",
    }
    config = {"Env": environment, "WorkingDir": "/srv", "User": "worker"}
    handlers, digest = images.layout(folder / "handlers", [python, more], config)
    runtime = Path(__file__).resolve().parents[2] / "runtimes/python"
    own = {f"app/{path.relative_to(runtime)}": path.read_bytes() for path in runtime.rglob("*.py")}
    own["app/own.py"] = (
        b"import os, sys\n"
        b"def handler(event, context):\n"
        b"    return {'folder': os.environ['STARTED_IN'], 'args': sys.argv[1:], 'user': os.getuid(),\n"
        b"            'mine': os.environ.get('MINE')}\n"
    )
    # Its handler is where it says, not in the package.
    own["app/start.py"] = (
        b"import os, sys\n"
        b"os.environ['STARTED_IN'] = os.getcwd()\n"
        b"sys.path.insert(0, '/app')\n"
        b"from _hearth import life\n"
        b"start = life.start\n"
        b"life.start = lambda init: start({**init, 'handler': 'own.handler', 'task_root': '/app'})\n"
        b"life.main()\n"
    )
    config = {"Env": environment, "WorkingDir": "/app", "Entrypoint": ["python3", "start.py"], "Cmd": ["--loud"]}
    program, _ = images.layout(folder / "program", [python, own], config)
    return {"handlers": handlers, "program": program, "digest": digest, "folder": folder}


@pytest.fixture(scope="module")
def registry(made):
    with Registry(made["folder"] / "registry") as one:
        one.reference = one.push(made["handlers"], "team/handlers:1")
        yield one


@pytest.fixture
def pulled(hearth, registry):
    arguments = ["image", "pull", registry.reference, "--user", USER, "--password-stdin", "--json"]
    return hearth.cli.ok(*arguments, input=PASSWORD + "\n").json()


@pytest.fixture(params=ISOLATIONS)
def isolation(request, need_driver):
    need_driver(request.param)
    return request.param


def call(hearth, name, event=None):
    return json.loads(hearth.cli.ok("invoke", name, "--payload", json.dumps(event or {"host": OF_HOST})).stdout)


def test_a_pull_shows_its_progress_and_keeps_no_password(hearth, registry):
    refused = hearth.cli.refused("image", "pull", registry.reference)
    assert "does not let anybody pull" in refused.text and "give a user and password" in refused.text
    wrong = hearth.cli.refused("image", "pull", registry.reference, "--user", USER, "--password-stdin", input="wrong-one")
    assert f"does not let user {USER} pull" in wrong.text and "wrong-one" not in wrong.text
    assert "HEARTH-C008" in wrong.text

    ran = hearth.cli.ok("image", "pull", registry.reference, "--user", USER, "--password-stdin", input=PASSWORD)
    assert "downloading" in ran.stderr and "unpacking" in ran.stderr, ran
    assert registry.reference in ran.stdout
    [image] = [one for one in hearth.cli.ok("image", "list", "--json").json() if registry.reference in one["names"]]
    assert image["work_dir"] == "/srv" and image["user"] == "worker" and image["functions"] == []
    for file in [hearth.log_path, *hearth.data.rglob("*")]:
        if file.is_file() and "/roots/" not in str(file):
            assert PASSWORD.encode() not in file.read_bytes(), file


def test_credentials_are_those_of_docker_login(hearth, registry, tmp_path):
    entry = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
    tmp_path.chmod(0o755)
    hearth.cli.ok("image", "pull", registry.reference, environment={"DOCKER_CONFIG": str(tmp_path)})


def test_a_handler_runs_in_the_image_and_sees_nothing_of_the_host(function, hearth, pulled, registry, isolation):
    name = function(INSIDE, isolation=isolation, image=registry.reference, env={"MINE": "mine"})
    for start in ("the first", "a warm"):
        seen = call(hearth, name)
        assert seen["program"].startswith("/opt/py/bin/python3"), (start, seen)
        assert seen["user"] == [1234, 4321]
        assert seen["folder"] == "/var/task"
        assert seen["of_image"] == "word" and seen["installed"] == "installed in the image"
        environment = {"GREETING": "hello from the image", "PATH": "/opt/py/bin:/usr/bin", "MINE": "mine"}
        assert seen["env"] == {**environment, "LD_LIBRARY_PATH": None}
        assert seen["host"] == [], seen
        assert "worker:x:1234" in seen["passwd"] and "sbx_user1051" in seen["passwd"]
        # /mnt is Hearth's own, and empty: a place for mounts.
        assert not {"root", "home", "boot"} & set(seen["top"]), seen["top"]
    [shown] = [one for one in hearth.api.functions() if one["name"] == name]
    assert shown["image"] == f"{registry.reference}@{pulled['digest']}"


def test_a_stem_of_an_image_becomes_a_function_in_it(new_hearth, made, isolation, tmp_path):
    hearth = new_hearth().start()
    image = hearth.cli.ok("image", "import", made["handlers"], "--json").json()
    hearth.cli.deploy(
        write(tmp_path / "f", INSIDE), "f", "python3.11", "app.handler", isolation=isolation, image=image["digest"]
    )
    until(f"a stem on {isolation}", lambda: hearth.api.stems(isolation), within=30)
    answer = hearth.cli.ok("invoke", "f", "--payload", json.dumps({"host": OF_HOST}), "--json").json()
    record = hearth.api.record("f", answer["request_id"])
    assert (record["cold"], record["stem"], record["isolation"]) == (True, True, isolation), record
    seen = answer["payload"]
    assert seen["of_image"] == "word" and seen["user"] == [1234, 4321] and seen["host"] == []


HOSTILE = """
import os

def handler(event, context):
    open("/tmp/mine", "w").write("x")
    return {
        "passwd": open("/etc/passwd").read(),
        "var": sorted(os.listdir("/var")),
        "tmp": os.listdir("/tmp"),
        "me": open("/proc/self/comm").read(),
        "null": open("/dev/null", "w").write("x"),
        "out": os.path.exists("/out/bait"),
        "inside": os.path.exists("/srv/bait"),
    }
"""


def test_links_in_an_image_lead_no_mount_astray(function, hearth, made, isolation, tmp_path):
    bait = tmp_path / "bait"
    bait.mkdir()
    (bait / "bait").write_text("of the host")
    links = {"etc": "/etc", "var": "/", "tmp": str(bait), "dev": str(bait), "hearth": str(bait), "out": str(bait)}
    files = {**images.python_layer(), **links, "proc": b"", "srv/word": b""}
    config = {"Env": ["PATH=/opt/py/bin"], "User": "4711:4712"}
    image, _ = images.layout(tmp_path / "image", [files], config)
    digest = hearth.cli.ok("image", "import", image, "--json").json()["digest"]
    seen = call(hearth, function(HOSTILE, isolation=isolation, image=digest))
    assert "sbx_user1051:x:993" in seen["passwd"] and "root" not in seen["passwd"]
    assert {"runtime", "task"} <= set(seen["var"]) <= {"lang", "runtime", "task"}
    assert seen["tmp"] == ["mine"] and seen["me"].startswith("python3") and seen["null"] == 1
    assert not seen["out"] and not seen["inside"]
    assert sorted(path.name for path in bait.iterdir()) == ["bait"], "something was made on the host"
    assert str(bait) not in Path("/proc/self/mountinfo").read_text()


def test_an_image_in_use_stays(function, hearth, pulled, registry):
    name = function(INSIDE, image=registry.reference)
    refused = hearth.cli.refused("image", "rm", registry.reference)
    assert f"in use by {name}" in refused.text
    hearth.cli.ok("image", "prune")
    assert call(hearth, name)["of_image"] == "word"
    hearth.api.remove(name)
    hearth.cli.ok("image", "rm", registry.reference)
    absent = hearth.cli.refused("image", "rm", registry.reference)
    assert "pull it first" in absent.text


def test_what_an_image_cannot_run_is_refused_when_it_is_deployed(hearth, pulled, registry, tmp_path):
    package = write(tmp_path / "f", INSIDE)
    arguments = ["deploy", package, "--name", "misfit", "--handler", "app.handler", "--image", registry.reference]
    refused = hearth.cli.refused(*arguments, "--runtime", "python3.9")
    assert "the image has no python3.9 along its PATH /opt/py/bin:/usr/bin; there is python3.11" in refused.text
    refused = hearth.cli.refused(*arguments, "--runtime", "nodejs20.x")
    assert "the image has no node along its PATH" in refused.text


def test_deploy_pulls_what_is_not_there(new_hearth, registry, tmp_path):
    entry = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
    toml = f'name = "pulls"\nruntime = "python3.11"\nhandler = "app.handler"\nimage = "{registry.reference}"\n'
    package = write(tmp_path / "pulls", INSIDE, toml=toml)
    hearth = new_hearth().start()
    ran = hearth.cli.ok("deploy", package, environment={"DOCKER_CONFIG": str(tmp_path)})
    assert "unpacking" in ran.stderr, ran
    assert call(hearth, "pulls")["of_image"] == "word"
    # Kept over a restart, like the function.
    hearth.stop()
    hearth.start()
    assert call(hearth, "pulls")["of_image"] == "word"


@pytest.fixture
def program(hearth, made):
    image = hearth.cli.ok("image", "import", made["program"], "--json").json()
    yield image["digest"]
    hearth.cli.run("image", "rm", image["digest"])


def test_an_image_can_be_the_function(hearth, program, isolation):
    name = f"own-{isolation}"
    options = ["--runtime", "image", "--image", program, "--isolation", isolation, "--env", "MINE=mine"]
    hearth.cli.ok("deploy", "--name", name, *options)
    try:
        assert call(hearth, name) == {"folder": "/app", "args": ["--loud"], "user": 993, "mine": "mine"}
    finally:
        hearth.api.remove(name)


def test_an_archive_that_was_tampered_with_is_refused(hearth, made, tmp_path):
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(made["program"].rglob("*")):
            data = path.read_bytes() if path.is_file() else None
            info = tar.gettarinfo(path, str(path.relative_to(made["program"])))
            if data and len(data) > 1_000_000:
                # The time in gzip's header: what is unpacked stays the same, and only the digest can tell.
                data = data[:4] + bytes([data[4] ^ 1]) + data[5:]
            tar.addfile(info, io.BytesIO(data or b""))
    refused = hearth.cli.refused("image", "import", archive)
    assert "is not what it says: expected digest sha256:" in refused.text


def test_images_that_nothing_uses_make_room_and_those_in_use_do_not(new_hearth, made, registry, tmp_path):
    size = sum(len(data) for data in images.python_layer().values() if isinstance(data, bytes))
    # Room for one and a half.
    hearth = new_hearth()
    hearth.arguments += ["--image-space", f"{size * 3 // 2 // 1_000_000 + 8}MB"]
    hearth.start()
    hearth.cli.ok("image", "import", made["program"])
    pull = ["image", "pull", registry.reference, "--user", USER, "--password-stdin"]
    hearth.cli.ok(*pull, input=PASSWORD)
    [left] = hearth.cli.ok("image", "list", "--json").json()
    assert registry.reference in left["names"], "the older one made room"
    package = write(tmp_path / "f", INSIDE)
    hearth.cli.deploy(package, "f", "python3.11", "app.handler", image=registry.reference)
    refused = hearth.cli.refused("image", "import", made["program"])
    assert "no room for the image" in refused.text
    assert call(hearth, "f")["of_image"] == "word"


