"""What only Python functions can tell apart: AWS's Python runtime in detail, and what a start may cost."""

import json

import pytest

from fakehost import Gone

APP = "app.py"


def run(spawn, python, folder, code, event=None, handler="app.handler", **options):
    """One call of one handler."""
    host = spawn(python).ready(handler, task_root=folder({APP: code}), **options)
    return host.invoke(event)


@pytest.fixture
def call(spawn, python, folder):
    return lambda code, event=None, **options: run(spawn, python, folder, code, event, **options)


@pytest.fixture
def init_error(spawn, python, folder):
    return lambda code, handler="app.handler": spawn(python).init_error(handler, task_root=folder({APP: code}))


# --- loading --------------------------------------------------------------------------------------------

LAZY = """
import sys
def handler(event, context):
    return sorted({"json", "logging", "asyncio", "traceback", "os", "re", "site", "socket"} & set(sys.modules))
"""


def test_a_start_loads_none_of_the_expensive_modules(call, python):
    # A stem has the time for those that no file of a function may shadow.
    expected = ["json", "logging", "os", "re", "traceback"] if python.stem else []
    assert call(LAZY, {"a": 1}).json == expected


def test_a_stem_loads_nothing_that_a_file_of_the_function_may_shadow(call):
    loaded = "import sys\nbefore = set(sys.modules)\ndef handler(event, context):\n    return sorted(before)"
    ours = {"__main__", "app", "site", "sitecustomize"}
    standard = set(call(LISTED).json)
    modules = {name.split(".")[0] for name in call(loaded).json} - ours
    assert {name for name in modules if not name.startswith("_")} <= standard


LISTED = """
import sys
def handler(event, context):
    life = sys.modules["_hearth.life"]
    return sorted(life.STANDARD | set(sys.builtin_module_names) | {"zipimport", "encodings"})
"""


def test_sys_path_is_awss(call, tmp_path):
    code = "import sys\ndef handler(event, context):\n    return sys.path"
    path = call(code, env={"PYTHONPATH": "/one::/two"}).json
    assert path[:3] == [str(tmp_path), "/one", "/two"]
    assert path[3].startswith("/opt/python/lib/python3.") and path[3].endswith("/site-packages")
    assert path[4] == "/opt/python"
    assert len([p for p in path[5:] if "python3" in p]) >= 2
    assert not any("runtime" in p for p in path)


def test_the_function_may_have_modules_named_like_ours(spawn, python, folder):
    root = folder({
        "bootstrap.py": "import life\ndef handler(event, context):\n    return life.WHO",
        "life.py": "WHO = 'mine'",
    })  # fmt: skip
    assert spawn(python).ready("bootstrap.handler", task_root=root).invoke().json == "mine"


def test_files_named_like_what_awss_runtime_has_imported_are_harmless(spawn, python, folder):
    shadows = "json logging os re types token tokenize enum collections traceback string linecache warnings".split()
    root = folder({"%s.py" % name: "raise SystemError('shadowed')" for name in shadows})
    folder({APP: "import json, logging, collections, re\ndef handler(event, context):\n    1 / 0"})
    host = spawn(python).ready("app.handler", task_root=root)
    assert host.invoke().json["errorType"] == "ZeroDivisionError"


def test_files_named_like_other_standard_modules_come_first_as_on_aws(call, folder):
    folder({"calendar.py": "WHO = 'mine'"})
    assert call("import calendar\ndef handler(event, context):\n    return calendar.WHO").json == "mine"


@pytest.mark.parametrize("handler", ["pkg.mod.handler", "pkg/mod.handler"])
def test_a_handler_may_be_in_a_package(spawn, python, folder, handler):
    root = folder({"pkg/__init__.py": "", "pkg/mod.py": "def handler(event, context):\n    return __name__"})
    assert spawn(python).ready(handler, task_root=root).invoke().json == "pkg.mod"


def test_built_in_modules_are_no_handlers(init_error):
    error = init_error("", handler="sys.exit")
    assert error["errorType"] == "Runtime.BuiltInModuleConflict"
    assert error["errorMessage"] == "Cannot use built-in module sys as a handler module"


def test_a_syntax_error_shows_its_line(init_error, tmp_path):
    error = init_error("x = (\n")
    assert error["errorType"] == "Runtime.UserCodeSyntaxError"
    assert error["stackTrace"][0].startswith('  File "%s/app.py" Line 1\n    ' % tmp_path)
    assert error["requestId"] == ""


def test_an_error_at_load_has_only_the_functions_frames(init_error, tmp_path):
    error = init_error("def f():\n    raise OSError('x')\nf()\n")
    assert error["stackTrace"] == [
        '  File "%s/app.py", line 3, in <module>\n    f()\n' % tmp_path,
        '  File "%s/app.py", line 2, in f\n    raise OSError(\'x\')\n' % tmp_path,
    ]


def test_nothing_is_written_beside_the_code(spawn, python, folder):
    root = folder({APP: "import helper\ndef handler(event, context): pass", "helper.py": ""})
    spawn(python).ready("app.handler", task_root=root).invoke()
    assert sorted(p.name for p in root.iterdir()) == [APP, "helper.py"]


# --- answers and errors ----------------------------------------------------------------------------------


def test_bytes_are_the_payload_itself(call):
    assert call("def handler(event, context):\n    return b'\\x00\\xff raw'").payload == b"\x00\xff raw"


VALUES = """
import collections, decimal, enum
class Colour(enum.IntEnum):
    RED = 1
def handler(event, context):
    D = decimal.Decimal
    return [D("1.10"), D("1E+2"), {"d": D("3"), "s": "\\u00fc"}, collections.OrderedDict(b=1, a=2), Colour.RED, (1, 2),
            {1: 2, None: 3, True: 4, 2.5: 5}, b"text", float("inf"), D("NaN"), "\\U0001f30d"]
"""


def test_values_become_json_as_on_aws(call):
    text = call(VALUES).payload.decode().replace("\\u00fc", "ü").replace("\\ud83c\\udf0d", "🌍")
    assert text.startswith('[1.10, 1E+2, {"d": 3, "s": "ü"}, {"b": 1, "a": 2}, 1, [1, 2], {"1": 4, "null": 3, "2.5": 5}, ')
    assert '"text", Infinity, NaN, ' in text


def test_text_is_escaped_before_python_3_12(call):
    code = "import sys\ndef handler(event, context):\n    return [sys.version_info >= (3, 12), 'ü']"
    payload = call(code).payload
    assert payload == ('[true, "ü"]'.encode() if payload.startswith(b"[true") else b'[false, "\\u00fc"]')


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple"),
        ("[handler]", "Object of type function is not JSON serializable"),
        ("LOOP", "Circular reference detected"),
        ("b'x' and [b'\\xff']", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_what_has_no_json_is_a_marshal_error(call, expression, message):
    answer = call("LOOP = []\nLOOP.append(LOOP)\ndef handler(event, context):\n    return " + expression)
    assert answer.json == {
        "errorMessage": "Unable to marshal response: " + message,
        "errorType": "Runtime.MarshalError",
        "requestId": "req-1",
        "stackTrace": [],
    }


def test_the_stack_trace_is_the_functions_own(call, tmp_path):
    answer = call("def f():\n    return 1 / 0\ndef handler(event, context):\n    f()")
    assert answer.json == {
        "errorMessage": "division by zero",
        "errorType": "ZeroDivisionError",
        "requestId": "req-1",
        "stackTrace": [
            '  File "%s/app.py", line 4, in handler\n    f()\n' % tmp_path,
            '  File "%s/app.py", line 2, in f\n    return 1 / 0\n' % tmp_path,
        ],
    }


def test_the_stack_trace_of_a_coroutine_is_the_functions_own(call, tmp_path):
    answer = call("async def handler(event, context):\n    raise KeyError('k')")
    assert answer.json["stackTrace"] == [
        '  File "%s/app.py", line 2, in handler\n    raise KeyError(\'k\')\n' % tmp_path
    ]
    assert answer.json["errorMessage"] == "'k'"


def test_a_handler_with_the_wrong_signature_has_no_frames(call):
    answer = call("def handler():\n    pass")
    assert answer.json["errorType"] == "TypeError" and answer.json["stackTrace"] == []


def test_an_error_whose_text_fails_is_still_reported(call):
    answer = call("class E(Exception):\n    def __str__(self): raise E\ndef handler(event, context):\n    raise E")
    assert answer.json["errorType"] == "E" and answer.json["errorMessage"] == "<unprintable E object>"


def test_a_cancelled_coroutine_fails_the_call_only(call):
    answer = call("import asyncio\nasync def handler(event, context):\n    raise asyncio.CancelledError()")
    assert answer.kind == "ERROR" and answer.json["errorType"] == "CancelledError"


def test_one_event_loop_lives_as_long_as_the_instance(spawn, python, folder):
    code = "import asyncio\nloops = set()\nasync def handler(event, context):\n"
    code += "    loops.add(asyncio.get_running_loop())\n    return len(loops)"
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}))
    assert [host.invoke().json for _ in range(3)] == [1, 1, 1]


# --- context ----------------------------------------------------------------------------------------------


def test_the_context_without_client_or_identity(call):
    code = "def handler(event, c):\n    return [c.client_context, c.identity.cognito_identity_id, c.tenant_id, repr(c)]"
    client, identity, tenant, text = call(code).json
    assert (client, identity, tenant) == (None, None, None)
    assert text.startswith("LambdaContext([aws_request_id=req-1,log_group_name=/aws/lambda/thumbs,")


def test_os_environ_may_be_imported_at_any_time(spawn, python, folder):
    code = "def handler(event, context):\n    import os\n"
    code += "    return [os.environ['A'], os.environ.get('_X_AMZN_TRACE_ID'), os.getenv('HOME')]"
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}), env={"A": "ä", "HOME": "/tmp"})
    assert host.invoke(trace_id="t1").json == ["ä", "t1", "/tmp"]
    assert host.invoke(trace_id="t2").json == ["ä", "t2", "/tmp"]
    assert host.invoke(trace_id="").json == ["ä", None, "/tmp"]


def test_programs_find_the_trace_id_however_they_are_started(spawn, python, folder):
    code = """
import os, subprocess

def handler(event, context):
    show = ["/bin/sh", "-c", "echo $_X_AMZN_TRACE_ID"]
    said = [subprocess.check_output(show), os.popen(show[2]).read().encode()]
    for start in (posix_spawn, system, fork):
        ours, theirs = os.pipe()
        start(show, theirs)
        os.close(theirs)
        said.append(os.read(ours, 100))
        os.close(ours)
    return [text.decode().strip() for text in said]

def posix_spawn(show, out):
    os.waitpid(os.posix_spawn(show[0], show, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out, 1)]), 0)

def system(show, out):
    os.set_inheritable(out, True)
    os.system("%s >&%d" % (show[2], out))

def fork(show, out):
    pid = os.fork()
    if pid == 0:
        os.dup2(out, 1)
        os.execv(show[0], show)
    os.waitpid(pid, 0)
"""
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}))
    for trace in ("t1", "t2", "", "t2"):
        assert host.invoke(trace_id=trace).json == [trace] * 5


@pytest.mark.parametrize("poll", ["None", "lambda: 1 / 0", "type('poll', (), {})"])
def test_a_function_may_have_a_poll_of_its_own(spawn, python, folder, poll):
    code = "import select\nselect.poll = %s\n\ndef handler(event, context):\n    return event" % poll
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}))
    assert [host.invoke(number).json for number in range(3)] == [0, 1, 2]


def test_no_time_remains_after_the_deadline(spawn, python, folder):
    root = folder({APP: "def handler(event, context):\n    return context.get_remaining_time_in_millis()"})
    host = spawn(python).ready("app.handler", task_root=root)
    assert host.invoke(deadline_ms=1).json == 0


def test_context_log_is_a_log_entry(call):
    (log,) = call("def handler(event, context):\n    context.log('plain')").logs
    assert (log["message"], log["level"], log["request_id"]) == ("plain", 0, "req-1")


# --- output and logs -----------------------------------------------------------------------------------------


def test_the_root_logger_starts_at_warning(call):
    code = "import logging\ndef handler(event, context):\n    logging.info('no')\n    logging.warning('yes')"
    assert [m.split("\t")[3] for m in call(code).messages] == ["yes"]


def test_loggers_can_be_set_up_before_and_after_the_import(call):
    code = """
import logging
logging.basicConfig(level=logging.DEBUG)  # does nothing: there is a handler already, as on AWS
log = logging.getLogger("mine")
log.setLevel("DEBUG")
def handler(event, context):
    log.debug("from %s", "mine")
    logging.getLogger("other").info("dropped")
"""
    (log,) = call(code).logs
    assert log["level"] == 2 and log["message"].endswith("\tfrom mine")


def test_a_module_that_only_borrows_logging_changes_nothing(call):
    code = "from logging import handlers, getLogger\ndef handler(event, context):\n    getLogger().error('e')\n"
    code += "    return len(getLogger().handlers)"
    answer = call(code)
    assert answer.json == 1 and len(answer.logs) == 1


def test_logging_at_load_has_no_request_id(spawn, python, folder):
    root = folder({APP: "import logging\nlogging.error('early')\ndef handler(event, context): pass"})
    host = spawn(python).ready("app.handler", task_root=root)
    host.drain()
    assert host.logs[0]["request_id"] == "" and host.logs[0]["message"].endswith("Z\t\tearly")


def test_extra_fields_are_in_json_log_lines(call):
    code = "import logging\ndef handler(event, context):\n    logging.warning({'k': 1}, extra={'order': 7, 'odd': {1}})"
    (log,) = call(code, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"}).logs
    line = json.loads(log["message"])
    assert line["message"] == {"k": 1} and line["order"] == 7 and line["odd"] == "{1}" and line["logger"] == "root"


def test_the_log_level_setting_is_the_root_loggers(call):
    code = "import logging\ndef handler(event, context):\n    return logging.getLogger().level"
    assert call(code, env={"AWS_LAMBDA_LOG_LEVEL": "TRACE"}).json == 10


def test_print_to_a_replaced_stdout_is_flushed(call):
    code = """
import io, sys
sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=False)
def handler(event, context):
    print("buffered elsewhere")
"""
    assert call(code).output == "buffered elsewhere\n"


def test_a_broken_stdout_does_not_break_the_call(call):
    code = "import sys\nsys.stdout = None\nsys.stderr = object()\ndef handler(event, context):\n    return 1"
    assert call(code).json == 1


def test_a_line_is_out_as_soon_as_it_is_printed(call):
    code = "import os\ndef handler(event, context):\n    print('first')\n    os.write(1, b'second\\n')"
    assert call(code).output == "first\nsecond\n"


def test_log_frames_of_threads_do_not_mix(call):
    code = """
import logging, threading
def work(n):
    for i in range(50):
        logging.error("%s %s", n, "x" * 5000)
def handler(event, context):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
"""
    assert len(call(code).logs) == 400


def test_signals_may_interrupt_reads_and_writes(spawn, python, folder):
    code = """
import signal
def handler(event, context):
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    return event
"""
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}))
    event = ["%d" % n for n in range(700_000)]
    for _ in range(3):
        assert host.invoke(event).json == event


# --- processes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["exit", "quit"])
def test_exit_and_quit_are_there(spawn, python, folder, word):
    host = spawn(python).ready("app.handler", task_root=folder({APP: "def handler(e, c):\n    %s(5)" % word}))
    host.send_invoke(b"1")
    assert host.wait_exit() == 5


def test_the_message_of_sys_exit_goes_to_stderr(spawn, python, folder):
    code = "import sys\ndef handler(e, c):\n    sys.exit('that is all')"
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}))
    host.send_invoke(b"1")
    assert host.wait_exit() == 1
    assert host.all_output() == "that is all\n"


def test_os_exit_ends_at_once(spawn, python, folder):
    host = spawn(python).ready("app.handler", task_root=folder({APP: "import os\ndef handler(e, c):\n    os._exit(9)"}))
    host.send_invoke(b"1")
    with pytest.raises(Gone):
        host.answer()
    assert host.wait_exit() == 9


def test_exit_handlers_run_at_the_end_and_threads_do_not_delay_it(spawn, python, folder):
    code = """
import atexit, threading
atexit.register(print, "goodbye")
def handler(event, context):
    threading.Thread(target=threading.Event().wait).start()
"""
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}))
    host.invoke()
    assert host.finish() == 0
    assert host.all_output() == "goodbye\n"


def test_a_forked_child_cannot_touch_the_streams(spawn, python, folder):
    code = """
import logging, os, sys
def handler(event, context):
    child = os.fork()
    if child == 0:
        logging.error("from the child")
        return "the child must not answer"
    os.waitpid(child, 0)
    return "parent"
"""
    host = spawn(python).ready("app.handler", task_root=folder({APP: code}))
    for _ in range(2):
        answer = host.invoke()
        assert answer.json == "parent" and answer.logs == []
        assert answer.output.endswith("\tfrom the child\n")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_works(spawn, python, folder, method):
    code = """
import multiprocessing, work
def handler(event, context):
    context = multiprocessing.get_context(event)
    here, there = context.Pipe()
    process = context.Process(target=work.double, args=(there, 21))
    process.start()
    result = here.recv()
    process.join()
    return [result, process.exitcode]
"""
    root = folder({APP: code, "work.py": "def double(pipe, n):\n    pipe.send(n * 2)\n"})
    host = spawn(python).ready("app.handler", task_root=root)
    assert host.invoke(method).json == [42, 0]


def test_a_protocol_error_in_the_middle_of_a_life(spawn, python, folder):
    host = spawn(python).ready("app.handler", task_root=folder({APP: "def handler(e, c):\n    return 1"}))
    host.invoke()
    host.invoke_stream.send(b"\x00\x00\x00\x00\x12")
    assert host.wait_exit() == 1
    assert host.all_output() == "hearth: protocol error: frame kind 0x12 without an INVOKE\n"


def test_text_that_is_no_unicode_is_a_marshal_error_or_escaped(call):
    payload = call("def handler(event, context):\n    return '\\ud800'").payload
    assert payload == b'"\\ud800"' or b'"Runtime.MarshalError"' in payload
