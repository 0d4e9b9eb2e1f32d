"""Small functions for tests that are not about the function."""

from pathlib import Path

MAIN = {"python3.11": "app.py", "nodejs20.x": "app.mjs"}

ECHO = "def handler(event, context):\n    return event\n"
ECHO_NODE = "export const handler = async (event) => event;\n"

# Says who answered: each call can be told from every other.
WITNESS = """
import json

def handler(event, context):
    print("mark " + str(event["n"]))
    return {"n": event["n"], "function": context.function_name, "id": context.aws_request_id}
"""
WITNESS_NODE = """
export const handler = async (event, context) => {
  console.log("mark " + event.n);
  return { n: event.n, function: context.functionName, id: context.awsRequestId };
};
"""


def write(folder, code, runtime="python3.11", toml=None):
    """A function folder with one file (or a dict of them: path → text or bytes)."""
    folder = Path(folder)
    files = code if isinstance(code, dict) else {MAIN[runtime]: code}
    if toml is not None:
        files = {**files, "hearth.toml": toml}
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        (folder / path).write_bytes(data)
    return folder
