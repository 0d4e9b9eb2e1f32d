"""Errors as AWS's Python runtime reports them: the JSON for the caller and the text for the log.

Loaded when something went wrong. Stack traces begin at the first frame that is not ours.
"""

from . import Fault, life, payload

OURS = __file__.rpartition("/")[0].rpartition("/")[0] + "/"  # the folder of bootstrap.py


def of_init(exception):
    return _error(exception, "")


def of_call(exception, request_id):
    return _error(exception, request_id)


def _error(exception, request_id):
    if isinstance(exception, Fault):
        kind, message, trace = exception.kind, exception.message, exception.trace
    else:
        kind, message, trace = type(exception).__name__, _text_of(exception), _trace(exception)
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace}


def _text_of(exception):
    try:
        return str(exception)
    except Exception:  # a __str__ that fails must not hide the error it belongs to
        return "<unprintable %s object>" % type(exception).__name__


def _trace(exception):
    import traceback

    # Tuples, as AWS formats them: without them newer Pythons would add lines of ^^^^ markers.
    entries = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(exception.__traceback__)]
    first = 0
    while first < len(entries) and _is_ours(entries[first][0]):
        first += 1
    return traceback.format_list(entries[first:])


def _is_ours(filename):
    """Also asyncio, which runs between us and a coroutine, and the import system at init."""
    return filename.startswith(OURS) or "/asyncio/" in filename or filename.startswith("<frozen importlib")


def encode(error):
    return payload.dumps(error, ensure_ascii=True)


def log(error):
    """One LOG entry of level error, as text or as JSON like all other lines."""
    life.flush()
    text = _json_text(error) if life.log_format == "JSON" else _plain_text(error)
    life.send_log(5, text)


def _json_text(error):
    import time

    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return payload.dumps({"timestamp": stamp, "level": "ERROR", **error}).decode("utf-8")


def _plain_text(error):
    lines = ["[ERROR] %s: %s" % (error["errorType"], error["errorMessage"]), "Traceback (most recent call last):"]
    for entry in error["stackTrace"]:
        for line in entry.splitlines():
            bare = line.lstrip(" ")
            # No-break spaces, as AWS: log viewers fold ordinary ones away.
            lines.append("\u00a0" * (len(line) - len(bare)) + bare)
    return "\n".join(lines)
