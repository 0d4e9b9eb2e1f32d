"""The root logger's handler: records become LOG frames on the control stream.

Loaded right after user code imported `logging`. The root logger's level stays WARNING, as on AWS,
unless AWS_LAMBDA_LOG_LEVEL says otherwise.
"""

import time

from . import life

_STAMP = "%Y-%m-%dT%H:%M:%S"
_TEXT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"


_prepared = None  # the module `logging` that a handler was made for, and that handler


def prepare(logging):
    """Makes the handler: what a stem or a fork server does early. Takes the module as an argument: its import may still
    be under way."""
    global _prepared

    class LambdaLoggerHandler(logging.Handler):
        def emit(self, record):
            try:
                life.send_log(_wire_level(record.levelno), self.format(record))
            except Exception:
                self.handleError(record)

    class RequestIdFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = life.request_id
            return True

    handler = LambdaLoggerHandler()
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(logging.Formatter(_TEXT, _STAMP))
    _prepared = logging, handler
    return handler


def install(logging, log_format, log_level):
    """Gives it to the root logger."""
    handler = _prepared[1] if _prepared and _prepared[0] is logging else prepare(logging)
    logging.Formatter.converter = time.gmtime
    if log_format == "JSON":
        handler.setFormatter(_json_formatter(logging))
    root = logging.getLogger()
    level = "DEBUG" if log_level == "TRACE" else log_level
    if level in logging._nameToLevel:
        root.setLevel(level)
    root.addHandler(handler)


def _wire_level(levelno):
    """Python's 10, 20 … 50 are wire's 2, 3 … 6; what is below DEBUG is trace."""
    return min(max(levelno // 10, 0), 5) + 1


def _json_formatter(logging):
    # What every record has, as opposed to what user code gave as `extra`.
    known = set(vars(logging.makeLogRecord({}))) | {"aws_request_id", "message", "asctime"}

    class JsonFormatter(logging.Formatter):
        def format(self, record):
            return _json_line(self, record, known)

    return JsonFormatter(datefmt=_STAMP + "Z")


def _json_line(formatter, record, known):
    import json

    plain = isinstance(record.msg, dict) and not record.args
    line = {
        "timestamp": formatter.formatTime(record, formatter.datefmt),
        "level": record.levelname,
        "message": record.msg if plain else record.getMessage(),
        "logger": record.name,
    }
    if record.exc_info:
        line.update(_json_exception(record))
    line["requestId"] = getattr(record, "aws_request_id", None)
    for key, value in vars(record).items():
        if key not in known and key not in line:
            line[key] = value
    line = {key: value for key, value in line.items() if value is not None}
    return json.dumps(line, ensure_ascii=False, default=str)


def _json_exception(record):
    import traceback

    kind, value, trace = record.exc_info
    return {
        "stackTrace": traceback.format_tb(trace),
        "errorType": kind.__name__ if kind else None,
        "errorMessage": str(value),
        "location": "%s:%s:%s" % (record.pathname, record.funcName, record.lineno),
    }
