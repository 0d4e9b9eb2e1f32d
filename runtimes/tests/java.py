"""The Java bootstrap's jar and its functions, compiled for these tests; None where there is no JDK.

Which: HEARTH_TEST_JAVA_HOME, else the JDK whose javac is in /usr/bin.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parent / "java"
HOME = Path(os.environ.get("HEARTH_TEST_JAVA_HOME", "/usr"))
JAVA = HOME / "bin/java"
# The JVM's own start is most of a test; the flags are of those that Hearth gives.
FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dfile.encoding=UTF-8")


def missing():
    """Why Java cannot be tested here; None where it can."""
    absent = [str(tool) for tool in (JAVA, HOME / "bin/javac", HOME / "bin/jar") if not tool.exists()]
    absent += [] if shutil.which("rustc") else ["rustc"]
    return f"{', '.join(absent)} not found" if absent else None


def build():
    """A folder with bootstrap.jar, the functions' classes below `functions`, and the probe's below `probe`."""
    folder = Path(tempfile.mkdtemp(prefix="hearth-java-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _javac(folder / "classes", SOURCES.rglob("*.java"))
    _run("jar", "-0", "-c", "-f", folder / "bootstrap.jar", "-m", SOURCES / "manifest.txt", "-C", folder / "classes", ".")
    native = ["--edition", "2024", "--crate-type", "cdylib", "-O", "-C", "panic=abort", "-o", folder / "hearth_java.so"]
    subprocess.run(["rustc", *native, SOURCES / "native.rs"], check=True, capture_output=True, timeout=120)
    functions = folder / "functions"
    _javac(functions, (HERE / "functions/java").rglob("*.java"), classpath=folder / "classes")
    shutil.rmtree(functions / "missing")
    (functions / "bad_syntax").mkdir()
    (functions / "bad_syntax/handler.class").write_text("no class")
    _javac(folder / "probe", [HERE / "probes/Probe.java"], classpath=folder / "classes")
    return folder


def _javac(into, sources, **options):
    flags = [word for name, value in options.items() for word in (f"--{name.replace('classpath', 'class-path')}", value)]
    _run("javac", "--release", "17", "-encoding", "UTF-8", "-nowarn", "-d", into, *flags, *sources)


def _run(tool, *arguments):
    done = subprocess.run([HOME / "bin" / tool, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{tool} failed: {done.stdout}{done.stderr}")
