import logging
import os
import subprocess
import sys
import time

print("module is being loaded")
SEEN_AT_LOAD = os.environ.get("SEEN")
calls = 0


def echo(event, context):
    return event


def nothing(event, context):
    pass


def count(event, context):
    global calls
    calls += 1
    return calls


async def later(event, context):
    import asyncio

    await asyncio.sleep(0.001)
    return {"later": event}


async def later_fails(event, context):
    raise LookupError("not found: " + event)


def about(event, context):
    return {
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "memory_limit": context.memory_limit_in_mb,
        "request_id": context.aws_request_id,
        "log_group": context.log_group_name,
        "log_stream": context.log_stream_name,
        "remaining": context.get_remaining_time_in_millis(),
    }


def client(event, context):
    return {
        "title": context.client_context.client.app_title,
        "custom": context.client_context.custom,
        "env": context.client_context.env,
        "identity": context.identity.cognito_identity_id,
        "pool": context.identity.cognito_identity_pool_id,
    }


def surroundings(event, context):
    return {
        "seen_at_load": SEEN_AT_LOAD,
        "env": {name: os.environ.get(name) for name in event},
        "child": subprocess.check_output(["/usr/bin/env"], text=True).splitlines(),
        "cwd": os.getcwd(),
        "hour": time.localtime(0).tm_hour,
    }


def descriptors(event, context):
    child = subprocess.check_output(["/bin/ls", "-l", "/proc/self/fd"], text=True, close_fds=False)
    return {"streams": [os.readlink("/proc/self/fd/%d" % fd) for fd in (3, 4)], "child": child}


def fails(event, context):
    raise ValueError("grüße: %s" % event)


def unserialisable(event, context):
    return {"a": {1, 2}}


def big(event, context):
    return "x" * event


def prints(event, context):
    print("to stdout", event)
    print("to stderr", event, file=sys.stderr)
    sys.stdout.write("no newline")


def logs(event, context):
    logger = logging.getLogger()
    logger.setLevel(logging.DEBUG)
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, level)("at %s: %s", level, event)


def log_size(event, context):
    logging.error("y" * event)


def log_exception(event, context):
    try:
        raise KeyError("k")
    except KeyError:
        logging.exception("it went wrong")


def exits(event, context):
    print("last words")
    logging.error("last log")
    sys.exit(event)


def crashes(event, context):
    print("last words", flush=True)
    os.abort()
