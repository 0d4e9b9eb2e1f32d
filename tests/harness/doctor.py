"""What `hearth doctor --json` says of a driver."""


def driver_state(report, name):
    """(works, reason). Fails when the doctor does not know the driver at all: that is no reason to skip.

    The report's shape is the doctor's business; all that is needed of it is an object that names the
    driver and says whether it works.
    """
    for entry in _objects(report, None):
        key, body = entry
        if name not in (key, *(body.get(field) for field in ("name", "driver", "isolation", "id"))):
            continue
        for field in ("works", "available", "usable", "ok"):
            if isinstance(body.get(field), bool):
                return body[field], _reason(body)
        for field in ("status", "state"):
            if isinstance(body.get(field), str):
                return body[field].lower() in ("ok", "works", "working", "available", "ready", "degraded"), _reason(body)
    raise AssertionError(f"`hearth doctor` does not mention the driver {name!r}: {report}")


def _reason(body):
    for field in ("reason", "detail", "message", "missing", "why", "notes", "problems"):
        if body.get(field):
            return str(body[field])
    return str(body)


def _objects(value, key):
    if isinstance(value, dict):
        yield key, value
        for name, below in value.items():
            yield from _objects(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from _objects(below, None)
