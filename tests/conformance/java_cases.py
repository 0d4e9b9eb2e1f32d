"""The Java cases, compiled: all at once and once for a run, since a compiler's start is most of its work.

With `javac`, against aws-lambda-java-core as Maven has it. `missing()` says why there can be none here.
"""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORE = "com/amazonaws/aws-lambda-java-core/1.2.3/aws-lambda-java-core-1.2.3.jar"

# A class file that a case's package is to lack.
LEFT_OUT = {"app$DoesNotExist.class"}


@functools.cache
def missing():
    """In words; None where Java cases can be compiled."""
    absent = [tool for tool in ("java", "javac") if not shutil.which(tool)]
    if absent:
        return f"no {' and no '.join(absent)}"
    return None if core() else "no aws-lambda-java-core, and no Maven that can get it"


@functools.cache
def core():
    """The jar with AWS's interfaces: out of Maven's own store, where it puts what it downloads."""
    jar = Path.home() / ".m2/repository" / CORE
    if not jar.exists() and shutil.which("mvn"):
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-f", HERE / "java/pom.xml"]
        with tempfile.TemporaryDirectory() as into:
            subprocess.run([*command, f"-DoutputDirectory={into}"], capture_output=True, timeout=300)
    return jar if jar.exists() else None


@functools.cache
def built():
    """A folder with a folder of classes for each case."""
    into = Path(tempfile.mkdtemp(prefix="ht-java-cases-"))
    atexit.register(shutil.rmtree, into, ignore_errors=True)
    sources = sorted((HERE / "cases").glob("*/app.java"))
    pairs = [str(path) for source in sources for path in (source, into / source.parent.name)]
    command = ["java", HERE / "java/Compile.java", str(core()), *pairs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"the Java cases do not compile:\n{done.stdout}{done.stderr}"
    return into


def stage(case, into):
    """The case's class files, as a package has them; they need no jar of AWS's, which the runtime has."""
    into.mkdir(parents=True, exist_ok=True)
    for path in sorted((built() / case.name).iterdir()):
        if path.name not in LEFT_OUT:
            shutil.copyfile(path, into / path.name)
