"""A fork server: a runtime that has imported much, is nobody's, and is copied instead of being started anew.

It never sees a function: neither code nor environment nor streams. The native half, `hearth_fork.so`, takes the spawner's
orders and makes each new sandbox, in whose runtime `serve` goes on (see crates/fork-server). Every module that cares about
forks hears of it, as of any; then it returns to `life`, as if freshly started.
"""

import posix
import sys
import time

LIBRARY = "hearth_fork.so"
CONTROL = 3
INSTANCE, STEM = 0, 1  # what the native half says that a copy is to be

# The body of an INVOKE: a time, three texts, two longer ones that are empty, flags, an event.
CALL = bytes(8) + b"\1\0a" * 3 + bytes(8) + b'\1{"a": [1, 2.5, "b", null], "c": {"d": "e"}}'

# What functions import most. Nothing that starts a thread, opens a file for good or takes random numbers early: all
# that these have done is the same in every instance.
MODULES = """argparse base64 collections copy csv dataclasses datetime decimal email.message functools hashlib
    hmac html http.client io itertools json logging math operator os pathlib random re secrets shutil socket ssl
    string struct subprocess tempfile textwrap threading time traceback types typing unicodedata urllib.parse
    urllib.request uuid warnings weakref asyncio concurrent.futures contextlib enum gzip inspect pickle queue
    selectors xml.etree.ElementTree zipfile zoneinfo""".split()

# Of these, what they do at a fork is about locks that another thread may hold: a fork server has none, and its copies hold no
# lock. It writes to much that a copy would otherwise share. In an instance, when its function forks, all is as ever.
LOCKED = ("concurrent.futures.thread", "logging", "threading")

_library = None
_copying = False  # true from before a copy is made until it has started anew
_borrowed = ()  # what was imported for functions' sake only
_tops = frozenset()  # the names by which functions may have modules of their own instead


def serve():
    """Returns in every new instance."""
    global _copying, _library
    try:
        _library = _prepare()
        from ctypes import pythonapi
    except Exception as e:
        _give_up("%s: %s" % (type(e).__name__, e))
    # What `os.fork` does before and after, and the native half does not: it copies the process with more than `fork` can.
    _copying = True
    pythonapi.PyOS_BeforeFork()
    _library.hearth_fork_shed()
    _rehearse(pythonapi)
    pythonapi.PyOS_BeforeFork()
    made = _library.hearth_fork_serve()
    if made not in (INSTANCE, STEM):
        posix._exit(1)
    pythonapi.PyOS_AfterFork_Child()
    _copying = False
    _start_anew()
    if made == STEM:
        _wait_alone()
        _practise()


def _rehearse(pythonapi):
    """What every instance does first, for the native half to see what memory that takes."""
    pythonapi.PyOS_AfterFork_Child()
    _start_anew()
    _practise()


def _practise():
    """From HELLO to a first answer, as far as that leaves nothing behind. In a stem, what it writes to is copied before
    somebody waits."""
    from . import life, payload, stem, wire

    wire.hello("python%d.%d.%d" % sys.version_info[:3])
    life.parse_init(b'{"handler": "a.b", "env": {"A": "b"}, "function": {"name": "f", "memory_mb": 128}, "x": [1, 2.5]}')
    life.set_env("HEARTH_PRACTICE", "")
    life.set_env("HEARTH_PRACTICE", None)
    _shadowed(("/var/task", "/opt/python"))
    life.set_stdio()
    stem.warm_up()
    _practise_import()
    make_context = life.bind_context({"name": "f", "version": "$LATEST", "memory_mb": 128})
    call = wire.decode_invoke(CALL)
    life.set_trace_id(call.trace_id)
    make_context(call)
    payload.answer({"statusCode": 200, "body": "{}", "event": payload.event(call.payload)})
    life.set_trace_id("")
    life.flush()


def _practise_import():
    from . import life

    folder = __file__.rpartition("/")[0]
    life.StandardFinder((), None).find_spec("hearth_has_no_such_module")
    sys.path.insert(0, folder)
    try:
        life.load_handler("files.write")  # one of ours that needs nothing, as if it were a function's
        __import__("hearth_has_no_such_module")  # looks into every folder
    except ImportError:
        pass
    finally:
        sys.path.remove(folder)
        sys.modules.pop("files", None)
        sys.path_importer_cache.pop(folder, None)


def _start_anew():
    """What these modules noted of the process when they were imported."""
    import logging
    import threading

    logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()
    threading.main_thread()._set_native_id()


def _prepare():
    from . import stem

    import os

    register, posix.register_at_fork = posix.register_at_fork, _register_at_fork(posix.register_at_fork)
    os.register_at_fork = posix.register_at_fork
    stem.warm_up()
    before = frozenset(sys.modules)
    import ctypes

    library = ctypes.PyDLL(__file__.rpartition("/")[0] + "/" + LIBRARY)
    library.hearth_fork_arenas(ctypes.pythonapi.PyObject_SetArenaAllocator)
    for name in MODULES:
        try:
            __import__(name)
        except ImportError:
            pass  # a distribution may leave out parts of the standard library
    os.register_at_fork = posix.register_at_fork = register
    import gc

    _remember(before)
    gc.collect()
    gc.freeze()  # a collection in an instance need not look at what is there now, and so not copy it
    return library


def _register_at_fork(register):
    """The same, but that LOCKED modules hear of no copy."""

    def registered(**hooks):
        if sys._getframe(1).f_globals.get("__name__") in LOCKED:
            hooks = {when: _unless_copying(hook) for when, hook in hooks.items()}
        register(**hooks)

    return registered


def _unless_copying(hook):
    def hears():
        if not _copying:
            hook()

    return hears


def _give_up(why):
    import json

    posix.write(CONTROL, json.dumps({"broken": why}).encode())
    posix._exit(1)


def _remember(before):
    global _borrowed, _tops
    from _imp import is_frozen

    from .life import STANDARD

    def may_be_another(name):
        top = name.partition(".")[0]
        return not (top in STANDARD or top in sys.builtin_module_names or is_frozen(top) or top == "_hearth")

    _borrowed = [name for name in sys.modules if name not in before and may_be_another(name)]
    _tops = frozenset(name.partition(".")[0] for name in _borrowed)


def unshadow(folders):
    """Forgets what was imported early and a function has a module of its own by that name: its own comes first."""
    _wait_alone()
    found = _shadowed(folders)
    if not found:
        return
    for name in _borrowed:
        # And no more: another module of the standard library goes on with what it imported, and the half of it that is
        # written in C could not be had anew.
        if name.partition(".")[0] in found:
            sys.modules.pop(name, None)


def _wait_alone():
    if _library.hearth_fork_alone():
        raise OSError("the sandbox's first process still has this one's memory")


def _shadowed(folders):
    found = set()
    for folder in folders:
        try:
            names = posix.listdir(folder)
        except NotADirectoryError:
            return _tops  # an archive: it may have anything
        except OSError:
            continue
        # Few names here, and many there: each object that is looked at is a page that has to be copied.
        heads = {name.partition(".")[0] for name in names}
        found.update(name for name in heads & _tops if _has_module(folder, name, names))
    return found


def _has_module(folder, top, names):
    """Whether `import top` would find something here that comes before the standard library: no data file such as
    `secrets.json`, and no folder that is no package."""
    if top in names:
        try:
            inside = posix.listdir("%s/%s" % (folder, top))
        except OSError:
            inside = ()
        if any(name.startswith("__init__.") for name in inside):
            return True
    return any(
        name.startswith(top + ".") and (name.endswith(".so") or name in (top + ".py", top + ".pyc")) for name in names
    )
