"""A fork point (docs/snapstart.md): the function is loaded once, an image of the process is written, and every instance
goes on from there, in a sandbox of its own.

    fork ─► IMAGE ─► HELLO ─► INIT ─► the function ─► before-hooks ─► image written ─► SNAPSHOT ─► end
                                                                        └► in a new sandbox: files, numbers, HELLO, INIT,
                                                                           after-hooks, READY

The process that writes the image is a child of the one that was started: so its number is another than that of the
instances, by which libraries (OpenSSL's random numbers, `tempfile`) notice that they are in a new process.
"""

import posix
import sys

import fcntl  # noqa: F401  # with what `opened` needs: before the function may have modules of these names
import select  # noqa: F401
import _socket  # noqa: F401

from . import life, opened, wire

LIBRARY = "hearth_snapshot.so"
SNAPSHOT = 0x09


class Refused(Exception):
    """The process is in no state of which an image could be made."""


def live():
    _leave_to_child()
    library, python, why = _load()
    image = library.hearth_snapshot_receive(life.CONTROL)
    if image < 0:
        raise wire.ProtocolError("an IMAGE was expected first")
    life.own_streams()
    posix.register_at_fork(after_in_child=life._forget_streams)
    life.control.write(_hello())
    init = life.read_init()
    if init is None:
        return
    handler = life.start(init)
    life.or_init_error(_run, "get_before_snapshot", True)
    life.flush()
    try:
        kept = _look(image)
        if _take(library, python, why, image):
            del image
            return _go_on(kept, handler)
    except Refused as e:
        life.control.write(wire.frame(SNAPSHOT, str(e).encode("utf-8", "replace")[:4000]))
        posix._exit(0)
    life.control.write(wire.frame(SNAPSHOT))
    # As if it were turned off: what the function does at its end is for its instances to do.
    posix._exit(0)


def _hello():
    return wire.hello("python%d.%d.%d" % sys.version_info[:3])


def _leave_to_child():
    child = posix.fork()
    if not child:
        return
    for fd in (life.CONTROL, life.INVOKE):
        posix.close(fd)
    code = posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
    if code < 0:
        posix.kill(posix.getpid(), -code)
    posix._exit(code if code >= 0 else 128 - code)


def _load():
    before = frozenset(sys.modules)
    import ctypes

    library = ctypes.PyDLL(__file__.rpartition("/")[0] + "/" + LIBRARY)
    found = library, ctypes.pythonapi, ctypes.create_string_buffer(4000)
    for name in frozenset(sys.modules) - before:
        if name.partition(".")[0] not in life.STANDARD:
            del sys.modules[name]  # the function may have a module of that name
    return found


# --- before -----------------------------------------------------------------------------------------


def _run(getter, backwards=False):
    """Calls what the function registered, if it ever asked for the module."""
    hooks = getattr(sys.modules.get("snapshot_restore_py"), getter, list)()
    for function, args, kwargs in reversed(list(hooks)) if backwards else list(hooks):
        function(*args, **kwargs)


def _look(image):
    """What of the process is not in its memory; refuses what could not be had again."""
    threads = posix.listdir("/proc/self/task")
    if len(threads) > 1:
        names = ", ".join(_thread_names(threads))
        raise Refused("%d threads run beside the main one: %s" % (len(threads) - 1, names))
    try:
        posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
        raise Refused("it has a child process")
    except ChildProcessError:
        pass
    umask = posix.umask(0o077)
    posix.umask(umask)
    try:
        return posix.getcwd(), umask, opened.descriptors(image), opened.tree("/tmp"), opened.nothing_in("/dev/shm")
    except opened.Unkept as e:
        raise Refused(str(e)) from None
    except OSError as e:
        raise Refused("what it has opened cannot be looked at: %s" % e) from None


def _thread_names(threads):
    threading = sys.modules.get("threading")
    named = {t.native_id: t.name for t in threading.enumerate()} if threading else {}
    for thread in sorted(int(t) for t in threads):
        if thread != posix.getpid():
            try:
                with open("/proc/self/task/%d/comm" % thread) as file:
                    comm = file.read().strip()
            except OSError:
                comm = "ended meanwhile"
            yield named.get(thread, "one that Python does not know") + " (%s)" % comm


def _take(library, python, why, image):
    """True in every instance, false in the process that is the fork point."""
    import gc

    gc.collect()
    gc.freeze()  # what is there now is in the image: looking at it would copy it
    life.copying = True
    python.PyOS_BeforeFork()
    taken = library.hearth_snapshot_take(image, why, len(why))
    # To Python it is a fork: random numbers, locks and the like are seen to by who registered for that.
    if taken == 1:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    life.copying = False
    if taken < 0:
        raise Refused(why.value.decode("utf-8", "replace"))
    return taken == 1


# --- after ------------------------------------------------------------------------------------------


def _go_on(kept, handler):
    cwd, umask, descriptors, tree, _ = kept
    del kept
    opened.plant("/tmp", tree)
    opened.open_again(descriptors)
    del tree, descriptors
    posix.umask(umask)
    try:
        posix.chdir(cwd)
    except OSError:
        pass  # as at any start: whoever needs the folder says what is missing
    life.own_streams()
    calls = wire.InvokeStream(life.INVOKE)
    life.control.write(_hello())
    init = life.read_init()
    if init is None:
        return
    for name, value in init["env"].items():
        life.set_env(name, value)
    life.make_context = life.bind_context(init["function"])
    _anew()
    life.or_init_error(_run, "get_after_restore")
    life.flush()
    life.control.write(wire.frame(wire.READY))
    life.serve(calls, handler)


def _anew():
    """What is not seen to at a fork, and must not be the same in two instances."""
    modules = sys.modules
    if "threading" in modules:
        modules["threading"].main_thread()._set_native_id()
    ssl = modules.get("_ssl")
    if ssl:
        ssl.RAND_add(posix.urandom(48), 48.0)
    uuid = modules.get("uuid")
    if hasattr(uuid, "_last_timestamp"):
        uuid._node = uuid._last_timestamp = None
    numpy = modules.get("numpy.random")
    if hasattr(numpy, "seed"):
        numpy.seed()
    multiprocessing = modules.get("multiprocessing.process")
    if hasattr(multiprocessing, "AuthenticationString"):
        key = multiprocessing.AuthenticationString(posix.urandom(32))
        multiprocessing.current_process()._config["authkey"] = key
