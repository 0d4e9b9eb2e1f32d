"""The runtimes under test. A new one joins with one line here and a folder in functions/ with the same
handlers and an expected.json.

Which interpreter: HEARTH_TEST_PYTHON and HEARTH_TEST_NODE, else the one in /usr/bin; Java as java.py says.
"""

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import java

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VECTORS = ROOT.parent / "crates" / "wire" / "vectors"


@dataclass(frozen=True)
class Runtime:
    name: str
    argv: tuple  # as the host starts it
    probe: tuple  # a program around the bootstrap's codec, for the golden vectors
    version: tuple  # prints what HELLO must say
    stem: bool = False  # started before there is a function for it
    built: Path | None = None  # where its functions are compiled to

    @property
    def functions(self):
        return self.built or HERE / "functions" / self.name

    @property
    def expected(self):
        return json.loads((HERE / "functions" / self.name / "expected.json").read_text())

    def hello(self):
        return subprocess.run(self.version, capture_output=True, text=True, timeout=20).stdout.strip()


PYTHON = os.environ.get("HEARTH_TEST_PYTHON", "/usr/bin/python3")
NODE = os.environ.get("HEARTH_TEST_NODE", "/usr/bin/node")
_PY_VERSION = "import sys; print('python%d.%d.%d' % sys.version_info[:3])"

# fmt: off
RUNTIMES = [
    Runtime("python", (PYTHON, "-I", "-S", str(ROOT / "python/bootstrap.py")), (PYTHON, "-I", "-S", str(HERE / "probes/probe.py")), (PYTHON, "-c", _PY_VERSION)),
    Runtime("node", (NODE, str(ROOT / "node/bootstrap.cjs")), (NODE, str(HERE / "probes/probe.cjs")), (NODE, "-p", "'nodejs' + process.versions.node")),
]
# fmt: on

if not java.missing():
    built = java.build()
    argv = (str(java.JAVA), *java.FLAGS)
    probe = (str(java.JAVA), *java.FLAGS, "-cp", f"{built / 'classes'}:{built / 'probe'}", "hearth.bootstrap.Probe")
    version = ("/bin/sh", "-c", f"{java.JAVA} -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.version = /java/p'")
    jar = ("-jar", str(built / "bootstrap.jar"))
    RUNTIMES.append(Runtime("java", argv + jar, probe, version, built=built / "functions"))

# What holds for a start holds for a stem that becomes an instance.
STEMS = [replace(runtime, stem=True) for runtime in RUNTIMES]

BY_NAME = {runtime.name: runtime for runtime in RUNTIMES}
