"""`hearth dev --debug`: a real breakpoint in a function that runs in its sandbox, over a port of this machine."""

import concurrent.futures
import shutil
import socket
import subprocess

import pytest
from harness.debuggers import Adapter, Inspector
from harness.dev import Dev
from harness.functions import write

PYTHON = """
def handler(event, context):
    found = event["n"] * 2
    return found
"""
NODE = """export const handler = async (event) => {
  const found = event.n * 2;
  return found;
};
"""


JAVA = """
import java.util.Map;

public class App {
    public int handle(Map<String, Integer> event) {
        int found = event.get("n") * 2;
        return found;
    }
}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@pytest.fixture
def debug(hearth, tmp_path, request):
    """Starts `hearth dev --debug` on a folder of one function, on the shared Hearth."""
    name = f"debug-{abs(hash(request.node.nodeid)) % 10**8}"
    started = []

    def start(code, runtime, flags=(), handler="app.handler"):
        toml = f'name = "{name}"\nruntime = "{runtime}"\nhandler = "{handler}"\ntimeout = "4s"\n'
        folder = write(tmp_path / "f", code, runtime, toml)
        environment = {**hearth.cli.environment(), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        one = Dev(hearth.cli.command("dev", folder, f"--debug={free_port()}", *flags), environment, hearth.base)
        one.name, one.folder = name, folder
        started.append(one)
        return one

    yield start
    for one in started:
        one.__exit__()
    hearth.api.remove(name)


def call(hearth, one):
    return hearth.cli.ok("invoke", one.name, '{"n": 21}').json()


def test_a_breakpoint_in_python(hearth, debug):
    one = debug(PYTHON, "python3.11")
    port = one.wait("debugger", within=120)["port"]
    adapter = Adapter(port)
    adapter.ask("initialize", adapterID="test", linesStartAt1=True, pathFormat="path")
    adapter.send("attach", justMyCode=True, pathMappings=[{"localRoot": str(one.folder), "remoteRoot": "/var/task"}])
    adapter.event("initialized")
    source = {"path": str(one.folder / "app.py")}
    adapter.ask("setBreakpoints", source=source, breakpoints=[{"line": 4}])
    adapter.ask("configurationDone")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(call, hearth, one)
        stopped = adapter.event("stopped")
        assert stopped["reason"] == "breakpoint"
        frames = adapter.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"]
        assert (frames[0]["name"], frames[0]["source"]["path"], frames[0]["line"]) == ("handler", source["path"], 4)
        assert adapter.ask("evaluate", expression="found", frameId=frames[0]["id"])["result"] == "42"
        adapter.ask("setExpression", expression="found", value="7", frameId=frames[0]["id"])
        adapter.ask("continue", threadId=stopped["threadId"])
        assert answer.result(30) == 7
    adapter.close()
    # When all is over the function is as it was.
    assert one.end() == 0
    (function,) = [each for each in hearth.api.functions() if each["name"] == one.name]
    assert (function["timeout"], function["env"], function["scale"]["min"]) == ("4s", {}, 0)


def test_a_breakpoint_in_node(hearth, debug):
    one = debug(NODE, "nodejs20.x")
    port = one.wait("debugger", within=60)["port"]
    inspector = Inspector(port)
    inspector.ask("Debugger.enable")
    inspector.ask("Debugger.setBreakpointByUrl", lineNumber=2, urlRegex=r"app\.mjs")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(call, hearth, one)
        frame = inspector.event("Debugger.paused")["callFrames"][0]
        assert frame["functionName"] == "handler"
        found = inspector.ask("Debugger.evaluateOnCallFrame", callFrameId=frame["callFrameId"], expression="found")
        assert found["result"]["value"] == 42
        inspector.ask("Debugger.resume")
        assert answer.result(30) == 42
    inspector.close()


def test_a_breakpoint_in_java(hearth, debug, doctor):
    installed = [one["name"] for one in doctor["runtimes"] if one["name"].startswith("java")]
    if not installed or not shutil.which("jdb") or not shutil.which("javac"):
        pytest.skip("no Java with its compiler and debugger here")
    one = debug({"App.java": JAVA}, installed[0], handler="App::handle")
    port = one.wait("debugger", within=120)["port"]
    # The first call has loaded the class: lines of it are known.
    assert call(hearth, one) == 42
    jdb = subprocess.Popen(
        ["jdb", "-attach", f"127.0.0.1:{port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = ""

    def until_said(words):
        nonlocal said
        while words not in said:
            letter = jdb.stdout.read(1)
            assert letter, f"jdb ended: {said}"
            said += letter

    def tell(line, words):
        nonlocal said
        said = ""
        jdb.stdin.write(line + "\n")
        jdb.stdin.flush()
        until_said(words)

    try:
        until_said("Initializing jdb")
        tell("stop at App:7", "breakpoint App:7")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(call, hearth, one)
            until_said("Breakpoint hit")
            # Before its prompt it would say that nothing is suspended.
            until_said("main[1] ")
            tell("cont", "> ")
            assert answer.result(30) == 42
    finally:
        jdb.kill()
        jdb.wait()


def test_what_cannot_be_debugged_is_refused_with_the_reason(hearth, debug):
    one = debug(PYTHON, "python3.11", ["--isolation", "docker"])
    failed = one.wait("failed", within=60)
    assert "--isolation namespace" in failed["message"]
