"""What a stem does before HELLO, while nobody waits: all that a start would do later, on a call's time.

Imports only what no file of a function may shadow anyway (see `life.STANDARD`), so that an instance made of
a stem runs the same modules as one that was not.
"""

import sys


def warm_up():
    import json  # noqa: F401
    import logging
    import traceback  # noqa: F401

    from . import faults, logs, payload  # noqa: F401

    logs.prepare(logging)

    # A module of source is found, read, compiled and run: each page of the interpreter that this needs is there
    # then, which is what starts wait for where page faults are dear.
    from _frozen_importlib_external import FileFinder, SourceFileLoader

    here = __file__.rpartition("/")[0]
    finder = FileFinder(here, (SourceFileLoader, [".py"]))
    source = SourceFileLoader("stem", finder.find_spec("stem").origin)
    exec(compile(source.get_data(source.path), "stem", "exec"), {"__name__": "stem", "__file__": source.path})
    namespace = {}
    exec(compile("def handler(event, context):\n    return {'event': event}\n", "warm", "exec"), namespace)
    payload.answer(namespace["handler"](payload.event(b'{"a": [1, 2.5, "b", null]}'), None))
    sys.stdout.flush()
