"""JSON in and out, as AWS's Python runtime does it, without importing `json`.

`json` drags in `re`, `enum` and `functools`: half as long as the whole interpreter takes to start. Its
C half, `_json`, needs none of them. Where `_json` fails or is not what we know, `json` itself decides.
"""

import sys

from . import Fault

try:
    import _json

    _escape_ascii, _escape = _json.encode_basestring_ascii, _json.encode_basestring
    _make_encoder, _make_scanner = _json.make_encoder, _json.make_scanner
except (ImportError, AttributeError):  # an interpreter without the C half
    _json = None

# awslambdaric writes non-ASCII text as it is from Python 3.12 on, and escaped before.
ENSURE_ASCII = sys.version_info < (3, 12)
_SPACE = " \t\n\r"


class _ScannerOptions:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


_scan = _make_scanner(_ScannerOptions) if _json else None


class _HasDecimals(Exception):
    """Decimals need an encoder that can write a number it did not format itself."""


class _Raw(str):
    """Text that goes into the JSON as it is."""


def loads(data):
    """Parses bytes or a memoryview."""
    try:
        text = str(data, "utf-8").strip(_SPACE)
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except Exception:
        pass
    import json  # it knows how to say what is wrong

    return json.loads(str(data, "utf-8"))


def event(data):
    try:
        return loads(data)
    except Exception as e:
        raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % e) from None


def answer(result):
    """The bytes of the response: a handler's own bytes as they are, all else as JSON."""
    if isinstance(result, bytes):
        return result
    try:
        return dumps(result)
    except Exception as e:
        raise Fault("Runtime.MarshalError", "Unable to marshal response: %s" % e) from None


def dumps(value, ensure_ascii=ENSURE_ASCII):
    if _json is None:
        return _slow_dumps(value, ensure_ascii)
    escape = _escape_ascii if ensure_ascii else _escape
    encoder = _encoders.pop(ensure_ascii, None) or _encoder(_plain_default, escape)
    try:
        parts = encoder(value, 0)
        _encoders[ensure_ascii] = encoder  # not one that failed: it remembers where it was
    except _HasDecimals:
        parts = _encoder(_raw_default, lambda s: s if type(s) is _Raw else escape(s))(value, 0)
    return "".join(parts).encode("utf-8")


_encoders = {}  # those that nobody uses at the moment, by ensure_ascii


def _encoder(default, escape):
    # markers, default, encoder, indent, key_separator, item_separator, sort_keys, skipkeys, allow_nan
    return _make_encoder({}, default, escape, None, ": ", ", ", False, False, True)


def _plain_default(value):
    if _is_decimal(value):
        raise _HasDecimals
    return _default(value)


def _raw_default(value):
    if _is_decimal(value):
        return float("nan") if value.is_nan() else _Raw(value)
    return _default(value)


def _default(value):
    if isinstance(value, bytes):  # simplejson, which AWS uses, takes bytes inside a value for text
        return value.decode("utf-8")
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def _is_decimal(value):
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)


def _slow_dumps(value, ensure_ascii):
    """Without the C half: exact but for Decimals, which become floats."""
    import json

    def default(v):
        return float(v) if _is_decimal(v) else _default(v)

    return json.dumps(value, ensure_ascii=ensure_ascii, default=default).encode("utf-8")
