"""The life of a Python instance: HELLO, INIT, the handler is loaded, READY, then one call at a time.

It refuses more than one invoke stream: Python code of AWS Lambda expects to run one call at a time.
Imports nothing that is not built into the interpreter; what only some functions need (`json`,
`logging`, `asyncio`, `traceback`, even `os`) is loaded by the first who needs it. What every start
needs is here, in `wire` and in `payload`: each module more costs a tenth of a millisecond.
"""

import builtins
import posix
import sys
import time
from _frozen_importlib_external import PathFinder
from _thread import allocate_lock

from . import Fault, payload, wire

CONTROL, INVOKE = 3, 4
SNAPSHOT = "HEARTH_SNAPSHOT"  # set where this is to be a fork point
STEM = "HEARTH_STEM"  # set where the host has no function for us yet, and HELLO may take its time

DEBUG_PORT = "HEARTH_DEBUG_PORT"  # set where a debugger is to find us

control = wire.Stream(CONTROL, (wire.INIT,))
copied = None  # the module `forks` in what a fork server made
copying = False  # true while an image is made: who goes on from it keeps the streams
forked = False  # true in a child that user code forked: it must leave the streams alone
request_id = ""
log_lock = allocate_lock()
make_context = None  # set at INIT
log_format = "TEXT"


def main():
    streams = posix.environ.get(b"HEARTH_INVOKE_STREAMS", b"1")
    if streams != b"1":
        die("the Python runtime serves one invoke stream, but HEARTH_INVOKE_STREAMS is %r" % streams.decode())
    try:
        live()
    except wire.ProtocolError as e:
        die("protocol error: %s" % e)
    except BrokenPipeError:
        leave(0)  # the host closed its end while we were writing
    leave(0)


def live():
    global copied
    try:
        posix.fstat(INVOKE)
    except OSError:  # nobody to serve: this is to be a fork server
        from . import forks as copied

        copied.serve()
    if get_env(SNAPSHOT):
        from . import snap

        set_env(SNAPSHOT, None)
        return snap.live()
    calls = wire.InvokeStream(INVOKE)
    own_streams()
    posix.register_at_fork(after_in_child=_forget_streams)
    if get_env(STEM):
        from . import stem

        set_env(STEM, None)
        stem.warm_up()
    control.write(wire.hello("python%d.%d.%d" % sys.version_info[:3]))
    init = read_init()
    if init is None:
        return
    handler = start(init)
    control.write(wire.frame(wire.READY))
    serve(calls, handler)


def own_streams():
    for fd in (CONTROL, INVOKE):
        posix.set_inheritable(fd, False)  # programs that the function starts must not hold the streams open
        posix.set_blocking(fd, True)  # a host with an event loop may have made the pair non-blocking


def read_init():
    kind, body = control.read_frame()
    return None if kind is None else parse_init(body)


def parse_init(body):
    try:
        init = payload.loads(body)
        init["handler"].rpartition, init["env"].items, init["function"].items
    except (ValueError, KeyError, AttributeError, TypeError) as e:
        raise wire.ProtocolError("INIT does not parse: %r" % e) from None
    return init


# --- the init phase ---------------------------------------------------------------------------------


def start(init):
    """Makes the process what AWS's runtime is, and loads the handler; ends it if that fails."""
    global make_context, log_format
    root = init.get("task_root") or "/var/task"
    for name, value in init["env"].items():
        set_env(name, value)
    if "TZ" in init["env"]:
        time.tzset()
    if init.get("files"):
        from . import files

        try:
            files.write(init["files"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            die("a file of INIT could not be written: %s" % e)
    or_init_error(refuse_extensions)
    log_format = get_env("AWS_LAMBDA_LOG_FORMAT").upper()
    watch_imports(sys.path[:], get_env("AWS_LAMBDA_LOG_LEVEL").upper())
    set_path(root, get_env("PYTHONPATH"))
    set_stdio()
    builtins.exit = builtins.quit = leave_like_site
    make_context = bind_context(init["function"])
    try:
        posix.chdir(root)
    except OSError:
        pass  # the import below says what is missing
    if get_env(DEBUG_PORT):
        or_init_error(listen_for_debugger, get_env(DEBUG_PORT))
    return or_init_error(load_handler, init["handler"])


def or_init_error(function, *args):
    """Its result; or the process ends, and the host is told why."""
    try:
        return function(*args)
    except Exception as e:
        from . import faults

        error = faults.of_init(e)
        faults.log(error)
        flush()
        control.write(wire.frame(wire.INIT_ERROR, faults.encode(error)))
        leave(1)


def refuse_extensions():
    """They would wait for a Runtime API, which only native functions get."""
    try:
        found = posix.listdir("/opt/extensions")
    except OSError:
        return
    if found:
        raise Fault(
            "Extension.NotSupported",
            "there are extensions in /opt/extensions (%s), which are for runtime provided.al2023: "
            "use that with awslambdaric, or leave the layer out" % ", ".join(sorted(found)),
        )


def get_env(name):
    return posix.environ.get(name.encode("utf-8"), b"").decode("utf-8", "replace")


def set_env(name, value):
    """Sets a variable, or removes it for None, without importing `os`: `os.environ` is a view of `posix.environ`."""
    name = name.encode("utf-8")
    if value is None:
        posix.unsetenv(name)
        posix.environ.pop(name, None)
    else:
        value = value.encode("utf-8")
        posix.putenv(name, value)
        posix.environ[name] = value


def set_path(root, extra):
    """AWS's order: the function, PYTHONPATH, layers, the standard library."""
    version = "python%d.%d" % sys.version_info[:2]
    layers = ["/opt/python/lib/%s/site-packages" % version, "/opt/python"]
    first = [root, *filter(None, extra.split(":")), *layers]
    sys.path[:] = [*first, *sys.path]
    if copied:
        copied.unshadow(first)


def set_stdio():
    """A line printed is a line logged. stdin is /dev/null already."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True)


def leave_like_site(code=None):
    """exit() and quit(), which `site` would have defined, had it been loaded."""
    raise SystemExit(code)


def listen_for_debugger(port):
    """Before the function's code is loaded, so that this can be stepped through too."""
    try:
        import debugpy
    except ImportError as e:
        raise Fault("Runtime.NoDebugger", "%s is set, and debugpy cannot be imported: %s" % (DEBUG_PORT, e))
    debugpy.listen(("127.0.0.1", int(port)))


def of_aws(error):
    """What is missing here and part of AWS's own runtimes: whoever moves a function here has to be told."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name not in ("boto3", "botocore"):
        return ""
    return " (AWS's runtimes have %s, Hearth's do not: put it into the package, or into a layer)" % name


def load_handler(name):
    module_name, dot, attribute = name.rpartition(".")
    if not dot:
        raise Fault(
            "Runtime.MalformedHandlerName",
            "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % name,
        )
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault(
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module %s as a handler module" % module_name,
        )
    try:
        dotted = module_name.replace("/", ".")
        __import__(dotted)
        module = sys.modules[dotted]
    except ImportError as e:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s%s" % (module_name, e, of_aws(e)))
    except SyntaxError as e:
        raise Fault(
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module '%s': %s" % (module_name, e),
            ['  File "%s" Line %s\n    %s' % (e.filename, e.lineno, e.text)],
        )
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise Fault(
            "Runtime.HandlerNotFound",
            "Handler '%s' missing on module '%s'" % (attribute, module_name),
        )


# What awslambdaric itself has imported before the function's code: there a file of the function with such
# a name never shadows the standard library, and functions have files like `types.py` and `token.py`.
STANDARD = frozenset(
    """__future__ _collections_abc _colorize _decimal _heapq _json _weakrefset abc codecs codeop collections
    contextlib copyreg decimal enum functools genericpath heapq importlib io json keyword linecache logging math
    numbers operator os posixpath re reprlib sre_compile sre_constants sre_parse stat string textwrap threading
    token tokenize traceback types warnings weakref""".split()
)


class StandardFinder:
    """Finds those modules in the standard library alone, and gives the root logger its handler on the way.

    The second waits for `import logging`, which is dearer than all else at start and which functions that
    never log do not pay for.
    """

    def __init__(self, path, install_logs):
        self.path = path
        self.install_logs = install_logs

    def find_spec(self, name, path=None, target=None):
        if name not in STANDARD:
            return None
        spec = PathFinder.find_spec(name, self.path)
        if name == "logging" and spec is not None:
            execute = spec.loader.exec_module

            def execute_and_install(module):
                execute(module)
                self.install_logs(module)

            spec.loader.exec_module = execute_and_install
        return spec


class ProvidedFinder:
    """Comes last: modules that AWS's runtime has, where the function brings none of that name."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "snapshot_restore_py":
            return None
        return PathFinder.find_spec(name, [__file__.rpartition("/")[0].rpartition("/")[0] + "/provided"])


def watch_imports(standard_path, log_level):
    def install_logs(logging):
        from . import logs

        logs.install(logging, log_format, log_level)

    # Before the last finder, the one that walks sys.path: built-in and frozen modules come first anyway.
    sys.meta_path.insert(-1, StandardFinder(standard_path, install_logs))
    sys.meta_path.append(ProvidedFinder)
    if "logging" in sys.modules:
        install_logs(sys.modules["logging"])


# --- the invoke phase -------------------------------------------------------------------------------


def serve(calls, handler):
    global request_id
    sys.addaudithook(tell_children)
    answered = False
    while True:
        call = calls.next_call()
        if call is None:
            return
        request_id = call.request_id
        set_trace_id(call.trace_id)
        try:
            answer, error = invoke(handler, call, calls), None
        except Exception as e:
            answer, error = None, describe(e)
        flush()
        if forked:
            leave(0)  # a child that returned from the handler: only its parent may answer
        if error is None and answer is None:
            calls.finish()  # it was sent as it came
        elif error is None:
            calls.respond(answer)
        else:
            calls.fail(error)
        if not answered:
            answered = True
            calls.expect_more()


TRACE_ID = b"_X_AMZN_TRACE_ID"
STARTS = frozenset("subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn".split())
told = b""  # the trace id that a program started now would find


def set_trace_id(trace_id):
    """Sets it for this program. The C library never frees what it was once told for others: 100 bytes a call."""
    if trace_id:
        posix.environ[TRACE_ID] = trace_id.encode("utf-8")
    else:
        posix.environ.pop(TRACE_ID, None)


def tell_children(event, _):
    """An audit hook: before a program is started, for it to find the trace id."""
    global told
    if event not in STARTS:
        return
    trace_id = posix.environ.get(TRACE_ID, b"")
    if trace_id == told:
        return
    told = trace_id
    if trace_id:
        posix.putenv(TRACE_ID, trace_id)
    else:
        posix.unsetenv(TRACE_ID)


def invoke(handler, call, calls):
    """The bytes of the answer; None where it was sent in pieces, all but its end."""
    ctx = make_context(call)
    event = payload.event(call.payload)
    result = handler(event, ctx)
    if type(result) is dict:  # most are, and each look at a type costs
        return payload.answer(result)
    if hasattr(type(result), "__await__"):
        from .aio import run

        result = run(result)
    if hasattr(type(result), "__next__") or hasattr(type(result), "__anext__"):
        from . import streams

        if streams.is_stream(result):
            return streams.send(calls, result)
    return payload.answer(result)


def describe(exception):
    from . import faults

    error = faults.of_call(exception, request_id)
    faults.log(error)
    return faults.encode(error)


def flush():
    """What was printed belongs to the call that printed it, also where user code replaced sys.stdout."""
    out, error = sys.stdout, sys.stderr
    _flush(out)
    _flush(error)
    if sys.__stdout__ is not out:
        _flush(sys.__stdout__)
    if sys.__stderr__ is not error:
        _flush(sys.__stderr__)


def _flush(stream):
    try:
        stream.flush()
    except Exception:
        pass  # None, closed, or not a real file: nothing of ours is in there


def send_log(level, message):
    """Writes one LOG frame; a forked child writes a line to the log pipe instead."""
    if forked:
        posix.write(1, message.encode("utf-8", "replace") + b"\n")
        return
    data = wire.log(time.time_ns() // 1000, level, request_id, message)
    try:
        with log_lock:
            control.write(data)
    except BrokenPipeError:
        leave(0)  # nobody is there to read


def _forget_streams():
    """After os.fork() in the child: two processes on one stream would tear each other's frames."""
    global forked, log_lock
    if copying:
        return
    forked = True
    log_lock = allocate_lock()
    for fd in (CONTROL, INVOKE):
        try:
            posix.close(fd)
        except OSError:
            pass


def leave(status):
    """Ends the process as `sys.exit` would, but never waits for threads that the function left running."""
    import atexit

    atexit._run_exitfuncs()
    flush()
    posix._exit(status)


def die(message):
    posix.write(2, ("hearth: %s\n" % message).encode("utf-8", "replace"))
    posix._exit(1)


# --- the context object -----------------------------------------------------------------------------


class CognitoIdentity:
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, fields):
        self.cognito_identity_id = fields.get("cognitoIdentityId")
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId")


class Client:
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")

    def __init__(self, fields):
        for name in self.__slots__:
            setattr(self, name, fields.get(name))


class ClientContext:
    __slots__ = ("custom", "env", "client")

    def __init__(self, fields):
        self.custom, self.env = fields.get("custom"), fields.get("env")
        client = fields.get("client")
        self.client = None if client is None else Client(client)


class LambdaContext:
    def __init__(self, function, call):
        self.aws_request_id = call.request_id
        self.log_group_name = function.get("log_group")
        self.log_stream_name = function.get("log_stream")
        self.function_name = function.get("name")
        self.memory_limit_in_mb = function["memory_mb"]
        self.function_version = function.get("version")
        self.invoked_function_arn = call.function_arn or function.get("arn")
        self.tenant_id = None
        client, identity = call.client_context, call.cognito_identity
        self.client_context = ClientContext(_parse(client, "Client Context")) if client else None
        self.identity = CognitoIdentity(_parse(identity, "Cognito Identity") if identity else {})
        self._epoch_deadline_time_in_ms = call.deadline_ms

    def get_remaining_time_in_millis(self):
        left = self._epoch_deadline_time_in_ms - int(time.time() * 1000)
        return left if left > 0 else 0

    def log(self, msg):
        send_log(0, str(msg))

    def __repr__(self):
        fields = ",".join("%s=%s" % item for item in vars(self).items() if item[0][0] != "_")
        return "LambdaContext([%s])" % fields


def bind_context(function):
    """A maker of contexts for one function; `memory_limit_in_mb` is a string, as on AWS."""
    function = dict(function, memory_mb=str(function.get("memory_mb", "")))
    return lambda call: LambdaContext(function, call)


def _parse(text, what):
    try:
        fields = payload.loads(text.encode("utf-8"))
        fields.get
        return fields
    except Exception as e:
        raise Fault("Runtime.LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (what, e)) from None
