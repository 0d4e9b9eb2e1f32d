"""The cases beside each example: reading them, and comparing an answer with what a case expects.

Standard library only, and no opinion on how an answer is got: the end-to-end suite sends a case to a
running Hearth, `to_event` serves whoever calls a handler directly. The format is in README.md.
"""

import base64
import json
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KINDS = ("invoke", "http")
EXPECTATIONS = ("expect", "expect_error")
REQUEST_KEYS = {"method", "path", "headers", "body", "body_base64", "body_file"}
RESPONSE_KEYS = {"status", "headers", "body", "json", "image"}


@dataclass(frozen=True)
class Request:
    """An HTTP request, its path relative to the function's URL."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True)
class Response:
    """An HTTP answer. Headers are pairs, since `set-cookie` may come more than once."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@dataclass(frozen=True)
class Case:
    """One call of an example and what must come back: exactly one of `event` and `request` counts."""

    name: str
    kind: str  # "invoke" or "http"
    event: Any
    request: Request | None
    expect: Any
    fails: bool  # `expect` describes the error object, not a result

    def differences(self, answer: Any) -> list[str]:
        """Compare with an invocation's JSON (result or error object) or with a `Response`."""
        if self.kind == "http":
            return match_response(self.expect, answer)
        return match(self.expect, answer)


class BadCase(ValueError):
    """A case file that says something the format does not know."""


def load_cases(example: str | Path) -> list[Case]:
    """The cases of an example's folder, by name."""
    files = sorted((Path(example) / "cases").glob("*.json"))
    return [_load(file) for file in files]


def _load(file: Path) -> Case:
    def one_of(names: tuple[str, ...]) -> str:
        found = [name for name in names if name in raw]
        if len(found) != 1:
            raise BadCase(f"{file}: expected exactly one of {', '.join(names)}, got {found or 'none'}")
        return found[0]

    raw = json.loads(file.read_text(encoding="utf-8"))
    kind, expectation = one_of(KINDS), one_of(EXPECTATIONS)
    unknown = raw.keys() - {kind, expectation, "about"}
    request = None
    if kind == "http":
        unknown |= raw["http"].keys() - REQUEST_KEYS
        if expectation != "expect":
            raise BadCase(f"{file}: an HTTP case says `expect`; an error is a status there")
        # A misspelt expectation must not pass by expecting nothing.
        unknown |= raw["expect"].keys() - RESPONSE_KEYS
        request = _request(raw["http"], file)
    if unknown:
        raise BadCase(f"{file}: unknown keys: {', '.join(sorted(unknown))}")
    return Case(
        name=file.stem,
        kind=kind,
        event=raw["invoke"] if kind == "invoke" else None,
        request=request,
        expect=raw[expectation],
        fails=expectation == "expect_error",
    )


def _request(http: dict, file: Path) -> Request:
    bodies = [key for key in ("body", "body_base64", "body_file") if key in http]
    if len(bodies) > 1:
        raise BadCase(f"{file}: more than one body: {', '.join(bodies)}")
    body = None
    if "body" in http:
        body = http["body"].encode()
    elif "body_base64" in http:
        body = base64.b64decode(http["body_base64"], validate=True)
    elif "body_file" in http:
        body = (file.parent / http["body_file"]).read_bytes()
    return Request(http.get("method", "GET"), http.get("path", "/"), http.get("headers", {}), body)


# === Calling a handler directly ===

TEXT_TYPES = re.compile(r"text/|application/(json|javascript|xml|[\w.-]+\+(json|xml))\b")


def to_event(request: Request) -> dict:
    """The request as a function URL delivers it (payload format 2.0). For local runs only: how
    a running Hearth translates requests is what the end-to-end suite is there to find out."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers.setdefault("host", "example.fn.localhost")
    cookies = [part.strip() for part in headers.pop("cookie", "").split(";") if part.strip()]
    url = urlsplit(request.path)
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": url.path,
        "rawQueryString": url.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "example",
            "domainName": headers["host"],
            "domainPrefix": "example",
            "http": {
                "method": request.method,
                "path": url.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": "00000000-0000-4000-8000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "time": "31/Jan/2024:03:00:00 +0000",
            "timeEpoch": 1706670000000,
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if url.query:
        query: dict[str, str] = {}
        for name, value in parse_qsl(url.query, keep_blank_values=True):
            query[name] = f"{query[name]},{value}" if name in query else value
        event["queryStringParameters"] = query
    if request.body is not None:
        text = TEXT_TYPES.match(headers.get("content-type", ""))
        event["isBase64Encoded"] = not text
        event["body"] = request.body.decode() if text else base64.b64encode(request.body).decode()
    return event


def to_response(result: Any) -> Response:
    """What a handler's result means over HTTP: with a `statusCode` it is the response, without one it
    is the body of a 200 in JSON."""
    if not (isinstance(result, dict) and "statusCode" in result):
        body = result if isinstance(result, str) else json.dumps(result)
        return Response(200, [("content-type", "application/json")], body.encode())
    headers = [(name.lower(), str(value)) for name, value in result.get("headers", {}).items()]
    headers += [("set-cookie", cookie) for cookie in result.get("cookies", [])]
    body = result.get("body", "")
    decoded = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode()
    return Response(int(result["statusCode"]), headers, decoded)


# === Comparing ===


def match(expected: Any, actual: Any, at: str = "$") -> list[str]:
    """Where `actual` is not what was expected, one line each; empty when it matches.

    An object may have members that are not expected; lists must be as long. `{"$regex": "..."}` is
    searched for in a string, or in the JSON text of anything else.
    """
    if isinstance(expected, dict) and expected.keys() == {"$regex"}:
        text = actual if isinstance(actual, str) else json.dumps(actual)
        if re.search(expected["$regex"], text):
            return []
        return [f"{at}: expected to match /{expected['$regex']}/, got {_short(actual)}"]
    if isinstance(expected, dict) and isinstance(actual, dict):
        differences = []
        for key, value in expected.items():
            if key in actual:
                differences += match(value, actual[key], f"{at}.{key}")
            else:
                differences.append(f"{at}.{key}: missing, expected {_short(value)}")
        return differences
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return [f"{at}: expected {len(expected)} items, got {len(actual)}: {_short(actual)}"]
        pairs = enumerate(zip(expected, actual))
        return [line for i, (e, a) in pairs for line in match(e, a, f"{at}[{i}]")]
    # Python holds True == 1, JSON does not.
    same_kind = isinstance(expected, bool) == isinstance(actual, bool)
    if same_kind and expected == actual:
        return []
    return [f"{at}: expected {_short(expected)}, got {_short(actual)}"]


def match_response(expected: dict, actual: Response) -> list[str]:
    """As `match`, for the `expect` of an HTTP case."""
    differences = []
    if "status" in expected:
        differences += match(expected["status"], actual.status, "status")
    for name, value in expected.get("headers", {}).items():
        # Of headers that come more than once, one has to match.
        given = [v for n, v in actual.headers if n.lower() == name.lower()]
        tries = [match(value, v, f"headers.{name.lower()}") for v in given]
        if not tries:
            differences.append(f"headers.{name.lower()}: missing, expected {_short(value)}")
        elif all(tries):
            differences += tries[0]
    if "body" in expected:
        differences += match(expected["body"], actual.body.decode(errors="replace"), "body")
    if "json" in expected:
        try:
            differences += match(expected["json"], json.loads(actual.body), "json")
        except ValueError:
            differences.append(f"json: the body is not JSON: {_short(actual.body)}")
    if "image" in expected:
        differences += match(expected["image"], image_info(actual.body), "image")
    return differences


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


# === Images, as far as their headers tell ===


def image_info(data: bytes) -> dict | None:
    """Format and size of a PNG, JPEG or WebP; None when it is none of them."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", data[16:24])
            return {"format": "PNG", "width": width, "height": height}
        if data.startswith(b"\xff\xd8"):
            return _jpeg_info(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_info(data)
    except (IndexError, struct.error):
        pass  # shorter than its own header says
    return None


def _jpeg_info(data: bytes) -> dict | None:
    at = 2
    while data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        # The start-of-frame markers are C0..CF, but for DHT, JPG and DAC in between.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return {"format": "JPEG", "width": width, "height": height}
        at += 2 + length
    return None


def _webp_info(data: bytes) -> dict | None:
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", data[26:30]))
    elif chunk == b"VP8L":
        bits = struct.unpack("<I", data[21:25])[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    else:
        return None
    return {"format": "WEBP", "width": width, "height": height}
