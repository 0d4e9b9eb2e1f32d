"""`hearth dev`: a save answers with the new code; what is wrong leaves the old code answering; it ends clean."""

import os
import shutil
import signal
import statistics
import subprocess
import time

import pytest
from harness import proc
from harness.dev import Dev
from harness.functions import write
from harness.wait import until

CODE = {
    "python3.11": 'import os\n\ndef handler(event, context):\n    print("said")\n    return "VERSION"\n',
    "nodejs20.x": 'export const handler = async (event) => {\n  console.log("said");\n  return "VERSION";\n};\n',
}
FILE = {"python3.11": "app.py", "nodejs20.x": "app.mjs"}
BROKEN = {"python3.11": "def handler(:\n", "nodejs20.x": "export const handler = async (event => {\n"}
RUNTIMES = ["python3.11", "nodejs20.x"]


def code(runtime, version):
    return CODE[runtime].replace("VERSION", str(version))


@pytest.fixture
def dev(hearth, tmp_path, request):
    """Starts `hearth dev` on a folder of one function, on the shared Hearth."""
    name = f"dev-{abs(hash(request.node.nodeid)) % 10**8}"
    started = []

    def start(runtime="python3.11", files=None, flags=(), path=None):
        toml = f'name = "{name}"\nruntime = "{runtime}"\nhandler = "app.handler"\n'
        folder = write(tmp_path / "f", files or code(runtime, 1), runtime, toml)
        environment = {**hearth.cli.environment(), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        one = Dev(hearth.cli.command("dev", path or folder, *flags), environment, hearth.base)
        one.name, one.folder = name, folder
        started.append(one)
        return one

    yield start
    for one in started:
        one.__exit__()
    hearth.api.remove(name)


def answer(hearth, one):
    return hearth.cli.ok("invoke", one.name).json()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_save_is_answered_by_the_new_code(hearth, dev, runtime):
    one = dev(runtime)
    first = one.wait("deployed")
    assert answer(hearth, one) == "1"
    mark = one.mark()
    write(one.folder, code(runtime, 2), runtime)
    second = one.wait("deployed", mark)
    assert second["changed"] == [FILE[runtime]] and second["revision"] > first["revision"]
    assert answer(hearth, one) == "2"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_cannot_be_parsed_leaves_the_old_code_answering(hearth, dev, runtime):
    one = dev(runtime)
    revision = one.wait("deployed")["revision"]
    mark = one.mark()
    write(one.folder, BROKEN[runtime], runtime)
    failed = one.wait("failed", mark)
    assert failed["message"].startswith(FILE[runtime] + ":") and failed["answering"] == revision
    assert answer(hearth, one) == "1"
    # Another file is changed meanwhile: the broken one still keeps all from being deployed.
    mark = one.mark()
    write(one.folder, {"other.txt": "1"})
    assert one.wait("failed", mark)["message"].startswith(FILE[runtime] + ":")
    mark = one.mark()
    write(one.folder, code(runtime, 3), runtime)
    assert one.wait("deployed", mark)["changed"] == sorted([FILE[runtime], "other.txt"])
    assert answer(hearth, one) == "3"


def test_a_manifest_that_is_wrong_leaves_the_old_code_answering(hearth, dev):
    one = dev()
    one.wait("deployed")
    toml = (one.folder / "hearth.toml").read_text()
    mark = one.mark()
    write(one.folder, {"hearth.toml": toml + 'memroy = "1GB"\n'})
    assert "memory" in one.wait("failed", mark)["message"]
    assert answer(hearth, one) == "1"
    mark = one.mark()
    write(one.folder, {"hearth.toml": toml + 'memory = "256MB"\n'})
    assert one.wait("deployed", mark)["changed"] == ["hearth.toml"]
    assert hearth.api.get(f"/api/v1/functions/{one.name}")["memory"] == "256MB"


def test_files_are_saved_as_editors_save_them(hearth, dev):
    one = dev(files={"app.py": "import lib\n\ndef handler(event, context):\n    return lib.VALUE\n", "lib.py": 'VALUE = "1"\n'})
    one.wait("deployed")
    # Written beside it and renamed over it, with a backup that stays.
    mark = one.mark()
    (one.folder / "lib.py~").write_text("backup")
    (one.folder / "lib.py.new").write_text('VALUE = "2"\n')
    os.replace(one.folder / "lib.py.new", one.folder / "lib.py")
    assert one.wait("deployed", mark)["changed"] == ["lib.py"]
    assert answer(hearth, one) == "2"
    # A new folder, and a file that goes.
    mark = one.mark()
    write(one.folder, {"app.py": "import sub.lib\n\ndef handler(event, context):\n    return sub.lib.VALUE\n"})
    write(one.folder, {"sub/lib.py": 'VALUE = "3"\n'})
    (one.folder / "lib.py").unlink()
    one.wait("deployed", mark, where=lambda event: "lib.py" in event["changed"])
    assert answer(hearth, one) == "3"
    # In the new folder too; and what is left out of the package deploys nothing.
    mark = one.mark()
    write(one.folder, {".git/index": "x", "__pycache__/x.pyc": "x"})
    write(one.folder, {"sub/lib.py": 'VALUE = "4"\n'})
    assert one.wait("deployed", mark)["changed"] == ["sub/lib.py"]
    assert answer(hearth, one) == "4"


def test_a_single_file_is_watched(hearth, dev, tmp_path):
    path = tmp_path / "alone.py"
    path.write_text(code("python3.11", 1))
    one = dev(path=path, flags=["--runtime", "python3.11", "--handler", "alone.handler"])
    one.name = one.wait("deployed")["function"]
    try:
        mark = one.mark()
        path.write_text(code("python3.11", 2))
        assert one.wait("deployed", mark)["changed"] == ["alone.py"]
        assert answer(hearth, one) == "2"
    finally:
        hearth.api.remove(one.name)


def test_lines_and_calls_are_shown(hearth, dev):
    one = dev()
    one.wait("deployed")
    mark = one.mark()
    answer(hearth, one)
    line = one.wait("log", mark, where=lambda event: event["message"].startswith("said"))
    call = one.wait("call", mark)
    assert call["request_id"] == line["request_id"]
    assert call["cold"] and call["outcome"]["status"] == "ok" and call["handler_us"] > 0
    mark = one.mark()
    write(one.folder, "def handler(event, context):\n    raise RuntimeError('boom')\n")
    one.wait("deployed", mark)
    mark = one.mark()
    hearth.cli.run("invoke", one.name)
    assert one.wait("call", mark)["outcome"]["status"] == "fault"
    assert one.wait("log", mark, where=lambda event: "boom" in event["message"])
    messages = [event["message"] for event in one.of("log")]
    assert not [text for text in messages if text.startswith(("START ", "END ", "REPORT "))], messages


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_clean_and_the_function_stays(hearth, dev, how):
    one = dev()
    one.wait("deployed")
    assert one.end(how) == 0, one.errors
    assert answer(hearth, one) == "1"


def test_with_rm_the_function_goes(hearth, dev):
    one = dev(flags=["--rm"])
    one.wait("deployed")
    assert one.end() == 0, one.errors
    assert hearth.cli.run("invoke", one.name).code != 0


def own(new_hearth, tmp_path, **environment):
    """`hearth dev` where no Hearth answers. The Hearth that was not started lends its ports and its folders."""
    lent = new_hearth()
    folder = write(tmp_path / "mine", code("python3.11", 1))
    listens = {"HEARTH_LISTEN": f"127.0.0.1:{lent.port}", "HEARTH_INGRESS": f"127.0.0.1:{lent.ingress_port}"}
    variables = {**lent.environment, **listens, "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
    return lent, folder, Dev([lent.binary, "dev", str(folder)], variables, lent.base)


def default_port_is_free():
    return proc.listening_inode(7070) is None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_where_none_answers_it_starts_one_and_ends_it(new_hearth, tmp_path, how):
    if not default_port_is_free():
        pytest.skip("a Hearth of somebody else's listens on the usual port, and hearth dev would use it")
    lent, folder, one = own(new_hearth, tmp_path)
    with one:
        ready = one.wait("ready")
        assert ready["endpoint"] == lent.endpoint
        one.wait("deployed")
        url = one.wait("url")["url"]
        mark = one.mark()
        write(folder, code("python3.11", 2))
        one.wait("deployed", mark)
        ran = subprocess.run(["curl", "-sf", url], capture_output=True, text=True, timeout=20, check=True)
        assert ran.stdout.strip('"') == "2"
        code_ = one.end(how)
        assert code_ == (0 if how == signal.SIGINT else -signal.SIGKILL), one.errors
        lent.wait_all_gone(within=10)
        if how == signal.SIGINT:
            assert not os.path.exists(ready["own_data_dir"])
        # Nobody was left to remove it.
        shutil.rmtree(ready["own_data_dir"], ignore_errors=True)


def test_one_that_was_named_is_not_replaced(new_hearth, tmp_path):
    lent = new_hearth()
    folder = write(tmp_path / "mine", code("python3.11", 1))
    environment = {**lent.environment, "HEARTH_ENDPOINT": lent.endpoint}
    ran = subprocess.run(
        [lent.binary, "dev", str(folder)], capture_output=True, text=True, timeout=20, env=environment
    )
    assert ran.returncode == 4 and "no Hearth answers" in ran.stderr, ran.stderr


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_save_answers_within_a_second(hearth, dev, runtime):
    """From the save to the new answer, a start of `hearth invoke` included."""
    one = dev(runtime)
    one.wait("deployed")
    times = []
    for version in range(2, 9):
        mark = one.mark()
        started = time.monotonic()
        write(one.folder, code(runtime, version), runtime)
        one.wait("deployed", mark)
        until("the new answer", lambda version=version: answer(hearth, one) == str(version))
        times.append(time.monotonic() - started)
    assert statistics.median(times) < 1.0, times
