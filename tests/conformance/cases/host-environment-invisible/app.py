import os
from pathlib import Path

SECRET = ("HEARTH_TOKEN", "HEARTH_TEST_TAG", "HEARTH_DATA_DIR", "TMPDIR", "RUST_BACKTRACE")


def handler(event, context):
    found = [name for name in SECRET if name in os.environ]
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        found += [str(process)] if event["tag"] in text else []
    return found
