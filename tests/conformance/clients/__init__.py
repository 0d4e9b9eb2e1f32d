"""AWS's published clients of the Runtime API, got by pinned name and made into packages of native functions.

    registry ──► target/programs/clients/NAME, once ──package──► bootstrap, the client, a handler

Where a client cannot be had or built, its tests are skipped with the reason. The crate and the Go module are in
../programs.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILT = Path(__file__).resolve().parent.parent.parent.parent / "target/programs/clients"

PYTHON = "awslambdaric==4.2.2"
NODE = "aws-lambda-ric@4.0.2"
HANDLERS = {"python": "app.handle", "node": "app.handle", "java": "App::handle", "shell": "any"}
NAMES = tuple(HANDLERS)

# Its native half compiles curl.
PATIENCE = 600


class Missing(Exception):
    """Why a client is not here."""


@functools.cache
def missing(name):
    """In words; None where the client is here."""
    try:
        {"python": python, "node": node, "java": java, "shell": shell}[name]()
    except Missing as error:
        return str(error)
    return None


def package(name, into):
    """A package with the client and the handler that every test calls."""
    assert missing(name) is None
    into = Path(into)
    if name == "shell":
        into.mkdir()
        script = (HERE / "shell.sh").read_text()
    else:
        # Linked, not copied: nothing in it is changed.
        shutil.copytree(BUILT / name, into, copy_function=os.link, symlinks=True)
        handler = {"python": "app.py", "node": "app.cjs"}.get(name)
        if handler:
            shutil.copy(HERE / handler, into / handler)
        script = "#!/bin/sh\nexec " + {
            "python": "python3 -m awslambdaric \"$_HANDLER\"",
            "node": "node node_modules/aws-lambda-ric/index.mjs",
            "java": "java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp '.:lib/*' "
            "com.amazonaws.services.lambda.runtime.api.client.AWSLambda \"$_HANDLER\"",
        }[name]
    (into / "bootstrap").write_text(script + "\n")
    (into / "bootstrap").chmod(0o755)
    return into


def python():
    # Functions get /usr, whichever Python runs the tests.
    found = run(["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], "a Python in /usr")
    version = found.stdout.strip()
    command = ["pip", "install", "--quiet", "--only-binary=:all:", "--python-version", version, PYTHON]
    keep("python", f"{PYTHON} {version}", lambda into: run([venv("python"), "-m", *command, "--target", into], PYTHON))


def node():
    require("node", "npm", "cmake", "make", "g++")
    pin = f"{NODE} {run(['node', '--version'], 'node').stdout.strip()}"

    def get(into):
        (into / "package.json").write_text('{"name": "client", "version": "1.0.0", "private": true}')
        run(["npm", "install", "--no-audit", "--no-fund", NODE], NODE, cwd=into)
        client = into / "node_modules/aws-lambda-ric"
        if not (client / "rapid-client.node").exists():
            raise Missing(f"{NODE} was installed without its native half")
        # What that was made of: two hundred times as much as what runs.
        shutil.rmtree(client / "deps", ignore_errors=True)

    keep("node", pin, get)


def java():
    require("java", "javac", "mvn")

    def get(into):
        copy = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-f", HERE / "pom.xml"]
        run([*copy, f"-DoutputDirectory={into / 'lib'}"], "aws-lambda-java-runtime-interface-client")
        run(["javac", "--release", "17", "-cp", f"{into}/lib/*", "-d", into, HERE / "App.java"], "the handler")

    keep("java", (HERE / "pom.xml").read_text() + (HERE / "App.java").read_text(), get)


def shell():
    require("curl")


def keep(name, pin, get):
    """Calls `get` with an empty folder, unless what it makes is there already."""
    stamp, into = BUILT / f"{name}.pin", BUILT / name
    if stamp.exists() and stamp.read_text() == pin:
        return
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    get(into)
    stamp.write_text(pin)


def require(*tools):
    absent = [tool for tool in tools if not shutil.which(tool)]
    if absent:
        raise Missing(f"no {' and no '.join(absent)} here")


def venv(tool):
    return HERE.parent.parent / ".venv/bin" / tool


def run(command, what, **options):
    try:
        return subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE, check=True, **options
        )
    except FileNotFoundError as error:
        raise Missing(f"{what}: {error}") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"{what} was not there after {PATIENCE} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or error.stdout).splitlines() if line.strip()]
        raise Missing(f"{what} cannot be had here: {' / '.join(lines[-3:])}") from None
