"""Conformance cases: reading them, making a package of one, checking what came of a call.

    cases/NAME/case.toml + app.py | app.mjs | app.cjs | app.java | a program  ──stage──►  package  ──invoke──►  Seen  ──check──►  ok

Standard library only (see `__main__.py`). Refuses a case.toml with a key it does not know, so that a
misspelt expectation cannot pass by expecting nothing. The format is described in ../README.md.
"""

import json
import re
import shutil
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import java_cases, programs

CASES = Path(__file__).parent / "cases"

# A later runtime or driver joins with one line here.
RUNTIMES = {
    "python3.11": ("python", (".py",)),
    "nodejs20.x": ("node", (".mjs", ".cjs")),
    "java17": ("java", (".java",)),
}
DRIVERS = [
    "namespace",
    "docker",
    "gvisor",
]

CASE_KEYS = {"title", "limits", "handler", "memory", "timeout", "env", "toml", "event", "event_json", "event_bytes",
             "snapshot", "oracle", "expect", "then", "languages", "flags", "program"}
EXPECT_KEYS = {"payload", "payload_json", "payload_bytes", "subset", "regex", "function_error", "error_type",
               "error_message", "error_regex", "tail", "lines", "not_lines", "client_error", "status", "cold"}
# Not each case has to be told in these.
OPTIONAL = {"java"}
LANGUAGES = {language for language, _ in RUNTIMES.values()}
# Of cases whose code is one of `programs`.
NATIVE = "provided.al2023"
ERROR_KEYS = {"function_error", "error_type", "error_message", "error_regex", "client_error"}


class BadCase(ValueError):
    """A case.toml that says something the format does not know."""


@dataclass
class Case:
    name: str
    folder: Path
    raw: dict
    runtime: str
    language: str
    main: Path  # relative to the folder

    @property
    def id(self):
        if self.program:
            return f"{self.name}-{self.language}"
        several = len(variants(self.folder, RUNTIMES[self.runtime][1])) > 1
        return f"{self.name}-{self.runtime}" + (f"-{self.main.suffix[1:]}" if several else "")

    @property
    def program(self):
        return self.raw.get("program")

    @property
    def function(self):
        return "c-" + re.sub(r"[^a-z0-9-]", "", self.id.replace(".", ""))

    def on(self, driver):
        """The case with what differs on one driver."""
        return replace(self, raw=_merge(self.raw, self.raw.get(driver, {})))

    def __getitem__(self, key):
        return self.raw[key]

    def get(self, key, default=None):
        return self.raw.get(key, default)


@dataclass
class Seen:
    """What a client saw of one invocation; `payload` is text."""

    status: int
    request_id: str
    payload: str = ""
    function_error: str | None = None
    version: str | None = None
    tail: str = ""
    client_error: str | None = None
    message: str = ""


@dataclass
class Places:
    """What the cases' placeholders stand for."""

    values: dict = field(default_factory=dict)

    def fill(self, value):
        """`"$PORT"` becomes the number it stands for; inside a longer text, its text."""
        if isinstance(value, dict):
            return {key: self.fill(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self.fill(below) for below in value]
        if isinstance(value, str) and value in self.values:
            return self.values[value]
        if isinstance(value, str):
            for name, replacement in self.values.items():
                value = value.replace(name, str(replacement))
        return value


def load(folder=CASES):
    """Every case × runtime × form of the code, by name."""
    found = []
    for path in sorted(Path(folder).iterdir()):
        if not (path / "case.toml").exists():
            raise BadCase(f"{path} has no case.toml")
        base = tomllib.loads((path / "case.toml").read_text())
        _known(path, base)
        forms = 0
        if "program" in base:
            for language in base.get("languages", programs.LANGUAGES):
                raw = _merge(base, base.get(language, {}))
                found.append(Case(path.name, path, raw, NATIVE, language, Path("bootstrap")))
            continue
        for runtime, (language, suffixes) in RUNTIMES.items():
            for main in variants(path, suffixes):
                raw = _merge(base, base.get(language, {}))
                found.append(Case(path.name, path, raw, runtime, language, main.relative_to(path)))
                forms += 1
        covered = {case.language for case in found if case.folder == path}
        missing = (set(base.get("languages", LANGUAGES)) ^ covered) - (OPTIONAL - set(base.get("languages", [])))
        if missing:
            raise BadCase(f"{path}: code and `languages` disagree on {', '.join(sorted(missing))}")
    return found


def variants(folder, suffixes):
    return sorted(path for suffix in suffixes for path in folder.rglob(f"app{suffix}"))


def _known(path, base):
    languages = set(programs.LANGUAGES) if "program" in base else LANGUAGES
    parts = languages | set(DRIVERS)
    unknown = base.keys() - CASE_KEYS - parts
    for table in (base, *(base.get(part, {}) for part in parts)):
        unknown |= table.keys() - CASE_KEYS - parts
        unknown |= table.get("expect", {}).keys() - EXPECT_KEYS
        unknown |= table.get("then", {}).keys() - EXPECT_KEYS - {"event"}
    if unknown:
        raise BadCase(f"{path}: unknown keys: {', '.join(sorted(unknown))}")
    if "title" not in base or not ("expect" in base or all("expect" in base.get(l, {}) for l in base.get("languages", languages - OPTIONAL))):
        raise BadCase(f"{path}: needs a title and an [expect]")


def _merge(base, over):
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both and key not in ("payload", "subset") else value
    return merged


# === deploying ===


def stage(case, into):
    """Copies the case's package: the one form of its code, and every file that is not another form."""
    into = Path(into)
    if case.program:
        into.mkdir(parents=True, exist_ok=True)
        shutil.copy(programs.built(case.language, case.program), into / case.main)
    for path in sorted(case.folder.rglob("*")):
        relative = path.relative_to(case.folder)
        if path.is_dir() or relative.name == "case.toml" or "__pycache__" in relative.parts:
            continue
        if relative.stem == "app" and (relative != case.main or case.language == "java"):
            continue
        (into / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / relative)
    if case.language == "java":
        java_cases.stage(case, into)
    if "toml" in case.raw:
        (into / "hearth.toml").write_text(case["toml"])
    return into


def deploy_arguments(case, package, driver, places):
    """What follows `hearth`. No instance waits long: hundreds of cases share one machine."""
    arguments = ["deploy", str(package), "--name", case.function, "--runtime", case.runtime]
    usual = "bootstrap" if case.program else "app::handler" if case.language == "java" else "app.handler"
    arguments += ["--handler", case.get("handler", usual), "--isolation", driver]
    arguments += ["--memory", case.get("memory", "128MB"), "--timeout", case.get("timeout", "5s")]
    arguments += ["--idle", "30s", "--json", *case.get("flags", [])]
    for name, value in case.get("env", {}).items():
        arguments += ["--env", f"{name}={places.fill(value)}"]
    return arguments


def event(case, places):
    """The event as the JSON text that is sent."""
    if "event_bytes" in case.raw:
        # A JSON string is two quotes longer than its text.
        return json.dumps("x" * (case["event_bytes"] - 2))
    if "event_json" in case.raw:
        return case["event_json"].strip()
    return json.dumps(places.fill(case.get("event", {})), ensure_ascii=False)


# === checking ===


def check(expected, seen, case, api_record=None, lines=None):
    """Raises an AssertionError that says what differs. `lines` and `api_record` are asked only if needed."""
    fill = Places({"<id>": seen.request_id, "<name>": case.function}).fill
    if "client_error" in expected:
        assert seen.client_error == expected["client_error"], f"expected that error, got {seen}"
        assert seen.status == expected.get("status", seen.status), f"status {seen.status}: {seen.message}"
        return
    assert seen.client_error is None, f"refused: {seen.client_error}: {seen.message}"
    assert seen.status == expected.get("status", 200), f"status {seen.status}"
    fails = bool(ERROR_KEYS & expected.keys())
    wanted = expected.get("function_error", "Unhandled") if fails else None
    assert seen.function_error == wanted, f"function error {seen.function_error!r}, expected {wanted!r}: {_short(seen.payload)}"
    assert seen.version == "$LATEST", f"executed version {seen.version!r}"
    _check_payload(expected, seen, fill)
    for pattern in expected.get("tail", []):
        assert re.search(fill(pattern), seen.tail), f"log tail lacks /{pattern}/:\n{seen.tail}"
    if "cold" in expected:
        assert api_record()["cold"] is expected["cold"], f"cold should be {expected['cold']}"
    if "lines" in expected or "not_lines" in expected:
        _check_lines(expected, fill, seen, lines)


def _check_payload(expected, seen, fill):
    if "payload_bytes" in expected:
        assert len(seen.payload.encode()) == expected["payload_bytes"], f"{len(seen.payload.encode())} bytes"
        return
    try:
        payload = json.loads(seen.payload)
    except ValueError:
        raise AssertionError(f"the payload is not JSON: {_short(seen.payload)}") from None
    if "payload" in expected:
        _equal(fill(expected["payload"]), payload)
    if "payload_json" in expected:
        _equal(json.loads(expected["payload_json"]), payload)
    if "subset" in expected:
        differences = list(subset(fill(expected["subset"]), payload))
        assert not differences, "\n".join(differences)
    if "regex" in expected:
        assert re.search(expected["regex"], seen.payload), f"/{expected['regex']}/ not in {_short(seen.payload)}"
    if "error_type" in expected:
        _equal(expected["error_type"], payload.get("errorType"))
    if "error_message" in expected:
        _equal(fill(expected["error_message"]), payload.get("errorMessage"))
    if "error_regex" in expected:
        message = payload.get("errorMessage", "")
        assert re.search(expected["error_regex"], message, re.S), f"/{expected['error_regex']}/ not in {message!r}"


def _check_lines(expected, fill, seen, lines):
    got = lines(len(expected.get("lines", [])))
    mine = [line for line in got if line.get("request_id") == seen.request_id]
    for wanted in expected.get("lines", []):
        found = any(
            re.search(fill(wanted["message"]), line["message"])
            and ("level" not in wanted or (line.get("level") or "").lower() == wanted["level"])
            for line in mine
        )
        assert found, f"no line {wanted} of request {seen.request_id} in:\n" + "\n".join(map(str, got))
    for pattern in expected.get("not_lines", []):
        assert not any(re.search(pattern, line["message"]) for line in got), f"a line matches /{pattern}/"


def subset(wanted, got, at="$"):
    """One line for each member of `wanted` that `got` lacks. `{"$regex": …}` and `{"$max": …}` match loosely."""
    if isinstance(wanted, dict) and "$regex" in wanted:
        text = got if isinstance(got, str) else json.dumps(got, ensure_ascii=False)
        if not re.search(wanted["$regex"], text):
            yield f"{at}: {text!r} does not match /{wanted['$regex']}/"
    elif isinstance(wanted, dict) and ("$max" in wanted or "$min" in wanted):
        low, high = wanted.get("$min", float("-inf")), wanted.get("$max", float("inf"))
        if not isinstance(got, (int, float)) or not low <= got <= high:
            yield f"{at}: {got!r} is not between {low} and {high}"
    elif isinstance(wanted, dict) and isinstance(got, dict):
        for key, value in wanted.items():
            if key in got:
                yield from subset(value, got[key], f"{at}.{key}")
            else:
                yield f"{at}.{key} is missing, in {_short(json.dumps(got))}"
    elif wanted != got or isinstance(wanted, bool) != isinstance(got, bool):
        yield f"{at}: expected {wanted!r}, got {_short(repr(got))}"


def _equal(wanted, got):
    assert wanted == got, f"expected {_short(repr(wanted))}\n     got {_short(repr(got))}"


def _short(text):
    return text if len(text) < 2000 else f"{text[:1000]} … {text[-200:]}"
