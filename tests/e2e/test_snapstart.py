"""Fork points: init runs once, every cold start goes on from there, and no instance can be told from another by what must
differ (docs/snapstart.md)."""

import json
import os
from collections import Counter

import pytest

from harness.functions import write
from harness.wait import until

TOML = 'name = "{name}"\nruntime = "python3.11"\nhandler = "app.handler"\nsnapstart = true\ntimeout = "20s"\n[scale]\nidle = "0s"\n'

LIFE = """
import os, random, secrets, ssl, sys, tempfile, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot

loads = [0]
loads[0] += 1
told = ["init " + os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
print("init runs")
with open("/tmp/kept", "w") as file:
    file.write("by init")
os.mkdir("/tmp/folder", 0o750)
own = random.Random(1)
uuid.uuid1()

@register_before_snapshot
def before_last():
    told.append("before 1")

@register_before_snapshot
def before_first():
    told.append("before 2")

@register_after_restore
def after_first():
    told.append("after 1")

register_after_restore(told.append, "after 2")

def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)

def handler(event, context):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    answer = {
        "told": list(told), "pid": os.getpid(), "random": random.random(), "uuid4": str(uuid.uuid4()),
        "uuid1": str(uuid.uuid1()), "secrets": secrets.token_hex(8), "urandom": os.urandom(8).hex(),
        "ssl": ssl.RAND_bytes(8).hex(), "temp": tempfile.mktemp(), "stream": context.log_stream_name,
        "env": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"], "kept": open("/tmp/kept").read(),
        "mode": oct(os.stat("/tmp/folder").st_mode), "caps": status["CapEff"].strip() + status["CapBnd"].strip(),
        "seccomp": status["Seccomp"].strip(), "threads": status["Threads"].strip(),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)),
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()), "cwd": os.getcwd(),
        "maps": open("/proc/self/maps").read(), "host": os.uname().nodename, "nets": os.readlink("/proc/self/ns/net"),
        "deep": deep(900), "exe": os.readlink("/proc/self/exe"),
    }
    with open("/tmp/kept", "a") as file:
        file.write(", and by a call")
    print("call runs")
    return answer
"""

DIFFER = ["random", "uuid4", "uuid1", "secrets", "urandom", "ssl", "temp", "stream", "env", "host"]


def deploy(hearth, folder, name, code, toml=TOML, **files):
    write(folder, {"app.py": code, **files}, toml=toml.format(name=name))
    return hearth.cli.ok("deploy", folder)


def call(hearth, name, payload=1):
    answer = hearth.cli.ok("invoke", name, "--payload", json.dumps(payload), "--json").json()
    return answer["payload"], hearth.api.record(name, answer["request_id"])


def refusal(hearth, name):
    answer = hearth.cli.run("invoke", name, "--payload", "1")
    assert answer.code != 0, answer
    return answer.text


def test_init_runs_once_and_instances_differ_where_they_must(new_hearth, tmp_path):
    hearth = new_hearth().start()
    deploy(hearth, tmp_path / "f", "f", LIFE)
    many = int(os.environ.get("HEARTH_SNAPSTART_INSTANCES", "40"))
    answers = []
    for _ in range(many):
        answer, record = call(hearth, "f")
        assert record["cold"], record
        answers.append(answer)
    for answer in answers:
        assert answer["told"] == ["init snap-start", "before 2", "before 1", "after 1", "after 2"]
        assert answer["kept"] == "by init" and answer["mode"] == "0o40750" and answer["cwd"] == "/var/task"
        assert (set(answer["caps"]), answer["seccomp"], answer["threads"]) == ({"0"}, "2", "1")
        assert answer["fds"] == [0, 1, 2, 3, 4] and answer["pids"] == [1, 2] and answer["pid"] == 2
        assert answer["env"] == answer["stream"] and answer["deep"] == 900
        for line in answer["maps"].splitlines():
            assert "hearth-restore" not in line and "rwxp" not in line, line
    for key in DIFFER:
        common = [one for one, times in Counter(answer[key] for answer in answers).items() if times > 1]
        assert not common, f"{key} is the same in several of {many} instances: {common}"
    log = hearth.cli.ok("logs", "f", "--limit", "1000").text
    assert log.count("init runs") == 1 and log.count("call runs") == many, log[:3000]


OPENED = """
import asyncio, os, socket, sqlite3, sys, threading
from snapshot_restore_py import register_after_restore
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
async def nothing(): await asyncio.sleep(0)
loop.run_until_complete(nothing())
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
client = socket.create_connection(server.getsockname())
here = open(__file__)
first = here.readline()
made = open("/tmp/made", "w+"); made.write("text"); made.flush()
reader, writer = os.pipe()
database = sqlite3.connect(":memory:"); database.execute("create table t(x)"); database.execute("insert into t values(5)")
local = threading.local()
os.environ["MINE"] = "kept"
os.chdir("/tmp")
os.umask(0o027)
big = bytearray(os.urandom(1 << 20)); total = sum(big)

async def later(): return await asyncio.sleep(0.01, "later")

def handler(event, context):
    made.write(" more"); made.seek(0)
    os.write(writer, b"pipe")
    try: gone = client.recv(1).decode()
    except OSError as error: gone = type(error).__name__
    thread = threading.Thread(target=lambda: os.environ.update(THREAD="ran")); thread.start(); thread.join()
    out = os.popen("echo child").read()
    return [loop.run_until_complete(later()), gone, here.readline().strip(), made.read(), os.read(reader, 9).decode(),
            database.execute("select x from t").fetchone()[0], os.environ["MINE"], os.getcwd(), oct(os.umask(0)),
            sum(big) == total, os.environ["THREAD"], out.strip(), sum(len(bytearray(10000)) for _ in range(2000))]
"""


def test_what_init_opened_is_there_and_connections_are_gone(new_hearth, tmp_path):
    hearth = new_hearth().start()
    deploy(hearth, tmp_path / "f", "f", OPENED)
    for _ in range(3):
        answer, _ = call(hearth, "f")
        assert answer == [
            "later", "OSError", "import asyncio, os, socket, sqlite3, sys, threading", "text more", "pipe", 5, "kept",
            "/tmp", "0o27", True, "ran", "child", 20000000,
        ]


NEVER = {
    "a thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,), name='pump', daemon=True).start()",
        "1 threads run beside the main one: pump",
    ),
    "a child": ("import subprocess\nsubprocess.Popen(['/bin/sleep', '99'])", "it has a child process"),
    "a timer": ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 99)", "a timer runs"),
    "shared memory": ("import mmap\nm = mmap.mmap(-1, 4096)", "it shares memory"),
    "a file without a name": (
        "import tempfile\nf = tempfile.TemporaryFile()",
        "is a file without a name",
    ),
    "much in tmp": ("open('/tmp/x', 'wb').write(bytes(65 << 20))", "more than 64 MB in /tmp"),
    "shm": ("open('/dev/shm/x', 'w').close()", "its init left x in /dev/shm"),
    "too much memory": ("import os\nx = os.urandom(70 << 20)", "after its init, and its memory is 64MB"),
    "an image of its own": (
        "import os\nfrom snapshot_restore_py import register_before_snapshot as b\n"
        "import atexit\nimport gc\nb(lambda: os.dup2(os.open('/tmp/i', os.O_RDWR | os.O_CREAT), 5))",
        "instances cannot go on from it",
    ),
    "an image with holes": (
        "import os\nfrom snapshot_restore_py import register_before_snapshot as b\nb(os.ftruncate, 5, 40 << 20)",
        "its image has holes",
    ),
}


@pytest.mark.parametrize("what", NEVER)
def test_who_cannot_be_copied_is_refused_and_told_why(new_hearth, tmp_path, what):
    code, why = NEVER[what]
    hearth = new_hearth().start()
    toml = TOML.replace("snapstart", 'memory = "64MB"\nsnapstart')
    deploy(hearth, tmp_path / "f", "f", code + "\ndef handler(event, context): return 1\n", toml)
    for _ in range(2):
        text = refusal(hearth, "f")
        assert why in text and "SnapStartException" in text, text


def images(hearth):
    """The images that the server holds."""
    folder = f"/proc/{hearth.server_pid()}/fd"
    return sum("hearth-image" in os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder) if os.path.islink(f"{folder}/{fd}"))


FAILING = {
    "init": "raise ValueError('no init')",
    "before": "from snapshot_restore_py import *\n@register_before_snapshot\ndef f(): raise ValueError('no before')",
    "after": "from snapshot_restore_py import *\n@register_after_restore\ndef f(): raise ValueError('no after')",
}


@pytest.mark.parametrize("when", FAILING)
def test_what_a_hook_raises_is_an_error_of_init(new_hearth, tmp_path, when):
    hearth = new_hearth().start()
    deploy(hearth, tmp_path / "f", "f", FAILING[when] + "\ndef handler(event, context): return 1\n")
    text = refusal(hearth, "f")
    assert f"no {when}" in text and "ValueError" in text, text


@pytest.mark.parametrize("runtime, more", [("nodejs20.x", ""), ("python3.11", 'isolation = "auto"\n'),
                                           ("python3.11", 'isolation = "gvisor"\n')])
def test_what_has_no_fork_points_is_refused_when_it_is_deployed(new_hearth, tmp_path, runtime, more):
    hearth = new_hearth().start()
    toml = f'name = "f"\nruntime = "{runtime}"\nhandler = "app.handler"\nsnapstart = true\n{more}'
    answer = hearth.cli.run("deploy", write(tmp_path / "f", "x", runtime, toml))
    assert answer.code != 0 and "snapstart = true is for" in answer.text, answer.text


REVISION = "import time\nborn = time.time_ns()\ndef handler(event, context): return [{n}, born]\n"


def test_each_revision_and_each_server_makes_its_own(new_hearth, tmp_path):
    hearth = new_hearth().start()
    seen = []
    for n in (1, 2):
        deploy(hearth, tmp_path / "f", "f", REVISION.format(n=n))
        answers = [call(hearth, "f")[0] for _ in range(3)]
        assert [answer[0] for answer in answers] == [n] * 3 and len({answer[1] for answer in answers}) == 1
        seen.append(answers[0][1])
        until("one image", lambda: images(hearth) == 1, within=10)
    old = hearth.server_pid()
    hearth.kill_server()
    hearth.wait_server_replaced(old)
    answers = [call(hearth, "f")[0] for _ in range(2)]
    assert answers[0] == answers[1] and answers[0][1] not in seen
    hearth.cli.ok("rm", "f", "--yes")
    until("no image", lambda: images(hearth) == 0, within=10)


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_who_dies_on_the_way_to_a_fork_point_is_told_as_ever(new_hearth, tmp_path, end):
    hearth = new_hearth().start()
    code = f"import os\nfrom snapshot_restore_py import *\n@register_before_snapshot\ndef f(): {end}\n"
    deploy(hearth, tmp_path / "f", "f", code + "def handler(event, context): return 1\n")
    for _ in range(2):
        text = refusal(hearth, "f")
        assert "Runtime.ExitError" in text or "Runtime exited" in text, text
    assert images(hearth) == 0


WALLS = """
import os, socket, time
def handler(event, context):
    if event == "memory":
        return len(b"x" * (200 << 20))
    if event == "time":
        time.sleep(60)
    if event == "leave":
        os._exit(3)
    if event == "processes":
        made = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(60)
                made += 1
        except OSError:
            return made
    denied = []
    for what in (lambda: os.unshare(0x10000000) if hasattr(os, "unshare") else (_ for _ in ()).throw(PermissionError()),
                 lambda: os.chroot("/tmp"), lambda: os.setuid(0), lambda: open("/var/task/x", "w"),
                 lambda: socket.create_connection(("192.0.2.1", 80), 0.2)):
        try: what(); denied.append("allowed")
        except OSError as error: denied.append(type(error).__name__)
    return denied
"""


def test_the_walls_of_an_instance_are_those_of_any_other(new_hearth, tmp_path):
    hearth = new_hearth().start()
    deploy(hearth, tmp_path / "f", "f", WALLS, TOML.replace("20s", "2s"))
    for event, said in (("memory", "Runtime.OutOfMemory"), ("time", "Sandbox.Timedout"), ("leave", "Runtime.ExitError")):
        answer = hearth.cli.run("invoke", "f", "--payload", json.dumps(event))
        assert answer.code != 0 and said in answer.text, answer
    assert 200 < call(hearth, "f", "processes")[0] < 256
    assert call(hearth, "f")[0] == ["PermissionError", "PermissionError", "OSError", "OSError", "OSError"]


def test_a_burst_waits_for_one_fork_point(new_hearth, tmp_path):
    hearth = new_hearth().start()
    code = "import time\ntime.sleep(1)\nborn = time.time_ns()\ndef handler(event, context): time.sleep(0.3); return born\n"
    deploy(hearth, tmp_path / "f", "f", code)
    running = [hearth.cli.start("invoke", "f", "--payload", "1", "--json") for _ in range(8)]
    answers = [json.loads(process.communicate(timeout=60)[0])["payload"] for process in running]
    assert len(set(answers)) == 1, answers
