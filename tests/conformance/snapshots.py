"""What a boto3 client sees of a case, kept in a file and compared on every run.

Normalised are only what must differ from run to run: request ids, the function's own name, and the places in
interpreters and bootstraps (not those in /var/task) that a stack trace names.
"""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "snapshots"
LONGEST = 20_000

PYTHON_FRAME = re.compile(r'File "(?!/var/task/)[^"]*", line \d+')
NODE_FRAME = re.compile(r"(?<=[\s(])(?:node:|file:///(?!var/task/)|/(?!var/task/))[^\s()]*:\d+:\d+")


def normalise(seen, case):
    def clean(text):
        text = text.replace(seen.request_id, "<id>").replace(case.function, "<name>")
        text = PYTHON_FRAME.sub('File "<runtime>", line <n>', text)
        return NODE_FRAME.sub("<runtime>", text)

    def walk(value):
        if isinstance(value, dict):
            return {key: walk(below) for key, below in value.items()}
        if isinstance(value, list):
            below = [walk(one) for one in value]
            return _without_runtime(below)
        return clean(value) if isinstance(value, str) else value

    if seen.client_error:
        return {"Error": {"Code": seen.client_error, "Message": clean(seen.message)}, "StatusCode": seen.status}
    picture = {"StatusCode": seen.status, "ExecutedVersion": seen.version}
    if seen.function_error:
        picture["FunctionError"] = seen.function_error
    if len(seen.payload) > LONGEST:
        picture["PayloadBytes"] = len(seen.payload.encode())
    else:
        picture["Payload"] = walk(json.loads(seen.payload))
    return picture


def _without_runtime(lines):
    """Stack frames inside the runtime, however many there are, count as one."""
    kept = []
    for line in lines:
        runtime = isinstance(line, str) and "<runtime>" in line
        if not (runtime and kept and kept[-1] == "<runtime frames>"):
            kept.append("<runtime frames>" if runtime else line)
    return kept


def compare(seen, case, update):
    path = FOLDER / f"{case.id}.json"
    text = json.dumps(normalise(seen, case), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    if update:
        path.write_text(text)
        return
    hint = "run pytest with --update-snapshots, then read the difference"
    assert path.exists(), f"no snapshot {path.name} yet: {hint}"
    assert text == path.read_text(), f"a boto3 client sees something else than {path.name} says ({hint}):\n{text}"
