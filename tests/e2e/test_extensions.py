"""Extensions: programs in /opt/extensions beside the function's own, which register and are told of its events.

They come in an image here, as do the interpreter and the runtime client, which are a few lines of Python each.
"""

import json

import pytest

from harness import aws, images
from harness.functions import write
from harness.wait import until

PROGRAM = "#!/opt/py/bin/python3 -IS\n"

CLIENT = '''
import http.client, json, os, sys

def ask(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=60)
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, answer.headers, json.loads(data) if data else None

def say(*words):
    print(*words, flush=True)
'''

EXTENSION = PROGRAM + CLIENT + '''
import time
name = os.path.basename(sys.argv[0])
API = "/2020-01-01/extension"
how = os.environ.get("EXTENSION", "")
if how == "dies-early":
    sys.exit(3)
status, headers, seen = ask("POST", API + "/register", json.dumps({"events": ["INVOKE", "SHUTDOWN"]}),
                            {"Lambda-Extension-Name": name, "Lambda-Extension-Accept-Feature": "accountId"})
own = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
say("registered", status, json.dumps(seen, sort_keys=True))
if how == "init-error":
    ask("POST", API + "/init/error", '{"errorType": "Odd", "errorMessage": "no licence"}', own)
    time.sleep(30)
calls = 0
while True:
    status, headers, event = ask("GET", API + "/event/next", headers=own)
    say("event", json.dumps(event, sort_keys=True))
    if event["eventType"] == "SHUTDOWN":
        time.sleep(0.2)
        say("goodbye", event["shutdownReason"])
        sys.exit(0)
    calls += 1
    if how == "hangs":
        time.sleep(60)
    if how == "slow":
        time.sleep(0.5)
        say("flushed", event["requestId"])
    if how == "dies-late" and calls == 2:
        sys.exit(4)
    if how == "exit-error" and calls == 2:
        ask("POST", API + "/exit/error", '{"errorType": "Odd", "errorMessage": "gave up"}', own)
        time.sleep(30)
'''

BOOTSTRAP = PROGRAM + CLIENT + '''
import signal, threading
calls, seen = 0, []

def inside():
    """An internal extension."""
    name = {"Lambda-Extension-Name": "inside"}
    refused = ask("POST", "/2020-01-01/extension/register", '{"events": ["SHUTDOWN"]}', name)
    seen.append([refused[0], refused[2]["errorType"]])
    status, headers, _ = ask("POST", "/2020-01-01/extension/register", '{"events": ["INVOKE"]}', name)
    own = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
    def follow():
        while True:
            seen.append(ask("GET", "/2020-01-01/extension/event/next", headers=own)[2]["requestId"])
    threading.Thread(target=follow, daemon=True).start()

if os.environ.get("INSIDE"):
    inside()
signal.signal(signal.SIGTERM, lambda *_: (say("the runtime was told to end"), os._exit(0)))
while True:
    _, headers, event = ask("GET", "/2018-06-01/runtime/invocation/next")
    calls += 1
    id = headers["Lambda-Runtime-Aws-Request-Id"]
    if event.get("late"):
        late = ask("POST", "/2020-01-01/extension/register", "{}", {"Lambda-Extension-Name": "late"})
        seen.append([late[0], late[2]["errorType"]])
    if event.get("die"):
        sys.exit(7)
    answer = {"id": id, "calls": calls, "seen": seen, "pid": os.getpid()}
    ask("POST", f"/2018-06-01/runtime/invocation/{id}/response", json.dumps(answer))
'''


@pytest.fixture(scope="module")
def image(hearth, tmp_path_factory):
    if why := images.missing():
        pytest.skip(f"no image can be made here: {why}")
    files = images.python_layer() | {
        "opt/extensions/watcher": EXTENSION.encode(),
        # Folders are not programs, and what an extension needs is in them.
        "opt/extensions/watcher-files/data": b"x",
    }
    folder, _ = images.layout(tmp_path_factory.mktemp("extensions") / "image", [files], {"Env": ["PATH=/opt/py/bin"]})
    return hearth.cli.ok("image", "import", folder, "--json").json()["digest"]


@pytest.fixture
def deploy(hearth, image, need_driver, tmp_path, request):
    need_driver("namespace")
    made = []

    def one(*flags, timeout="5s", **env):
        # Of this test alone: logs outlive functions.
        name = f"extended-{abs(hash(request.node.nodeid)) % 10**8}-{len(made)}"
        folder = write(tmp_path / name, {"bootstrap": BOOTSTRAP})
        (folder / "bootstrap").chmod(0o755)
        variables = [word for key, value in env.items() for word in ("--env", f"{key}={value}")]
        always = ["--runtime", "provided.al2023", "--image", image, "--isolation", "namespace", "--timeout", timeout, "--json"]
        hearth.cli.ok("deploy", folder, "--name", name, *always, *flags, *variables)
        made.append(name)
        return name

    yield one
    for name in made:
        if name in [function["name"] for function in hearth.api.functions()]:
            hearth.api.remove(name)


def call(boto, name, event):
    answer = boto.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
    return json.load(answer["Payload"]), answer


def printed(hearth, name, begins, count=1):
    """What lines with that beginning say after it, once there are so many."""

    def enough():
        messages = [line["message"] for line in hearth.cli.logs(name, "--since", "10m")]
        found = [message[len(begins) :].strip() for message in messages if message.startswith(begins)]
        return found if len(found) >= count else None

    return until(f"{count} lines of {begins}", enough, within=10)


def test_an_extension_is_told_of_every_event_and_of_the_end(boto, hearth, deploy):
    name = deploy("--idle", "1s")
    ids = [call(boto, name, {"n": n})[0]["id"] for n in range(2)]
    [registered] = printed(hearth, name, "registered")
    assert registered.startswith("200 ")
    assert json.loads(registered[4:]) == {
        "accountId": "000000000000", "functionName": name, "functionVersion": "$LATEST", "handler": "bootstrap",
    }  # fmt: skip
    events = [json.loads(text) for text in printed(hearth, name, "event", 3)]
    assert [event["eventType"] for event in events] == ["INVOKE", "INVOKE", "SHUTDOWN"], "it is idle, and goes"
    assert [event["requestId"] for event in events[:2]] == ids
    assert events[0]["invokedFunctionArn"].endswith(f":function:{name}")
    assert events[0]["tracing"]["type"] == "X-Amzn-Trace-Id" and events[0]["tracing"]["value"].startswith("Root=")
    assert events[2]["shutdownReason"] == "SPINDOWN"
    assert printed(hearth, name, "goodbye") == ["SPINDOWN"], "it had time to"
    assert printed(hearth, name, "the runtime was told to end")


def test_a_new_revision_ends_the_old_ones_extensions_in_peace(boto, hearth, deploy):
    name = deploy()
    call(boto, name, {})
    hearth.cli.ok("config", name, "memory=160MB")
    assert printed(hearth, name, "goodbye") == ["SPINDOWN"]


def test_what_an_extension_still_does_belongs_to_the_call(boto, hearth, deploy):
    name = deploy(EXTENSION="slow")
    for _ in range(2):
        seen, answer = call(boto, name, {})
        tail = aws.log_tail(answer)
        assert f"flushed {seen['id']}" in tail, tail
        assert float(tail.split("Duration: ")[1].split()[0]) > 450


def test_an_extension_that_hangs_is_held_to_the_time_limit(boto, deploy):
    seen, answer = call(boto, deploy(timeout="1s", EXTENSION="hangs"), {})
    assert answer["FunctionError"] == "Unhandled"
    assert seen["errorMessage"].endswith("Task timed out after 1.00 seconds")


def test_an_internal_extension_is_told_of_events(boto, deploy):
    name = deploy(INSIDE="1")
    first, _ = call(boto, name, {})
    second, _ = call(boto, name, {"late": True})
    assert second["seen"][0] == [403, "ShutdownEventNotSupportedForInternalExtension"]
    assert first["id"] in second["seen"]
    assert [403, "Extension.RegistrationClosed"] in second["seen"]


@pytest.mark.parametrize(
    "how, kind, said",
    [("dies-early", "Extension.Crash", "the extension watcher ended: exit status: 3"), ("init-error", "Odd", "no licence")],
)
def test_an_extension_that_cannot_begin_is_an_init_error(boto, deploy, how, kind, said):
    seen, answer = call(boto, deploy(EXTENSION=how), {})
    assert answer["FunctionError"] == "Unhandled"
    assert (seen["errorType"], seen["errorMessage"]) == (kind, said)


@pytest.mark.parametrize("how", ["dies-late", "exit-error"])
def test_an_extension_that_fails_takes_the_instance_with_it(boto, deploy, how):
    name = deploy(EXTENSION=how)
    first, _ = call(boto, name, {})
    second, answer = call(boto, name, {})
    assert answer["FunctionError"] == "Unhandled", second
    assert second["errorType"] == ("Extension.Crash" if how == "dies-late" else "Odd")
    third, _ = call(boto, name, {})
    assert third["calls"] == 1, "another instance serves on"


def test_the_end_of_the_runtime_is_told_too(boto, hearth, deploy):
    name = deploy()
    call(boto, name, {})
    seen, _ = call(boto, name, {"die": True})
    assert "exit status 7" in seen["errorMessage"]
    assert printed(hearth, name, "goodbye") == ["FAILURE"]


def test_runtimes_without_a_runtime_api_refuse_extensions(boto, hearth, image, need_driver, tmp_path):
    need_driver("namespace")
    folder = write(tmp_path / "f", "def handler(event, context):\n    return 1\n")
    hearth.cli.ok("deploy", folder, "--name", "plain-python", "--runtime", "python3.11", "--handler", "app.handler",
                  "--image", image, "--isolation", "namespace", "--json")  # fmt: skip
    try:
        seen, _ = call(boto, "plain-python", {})
        assert seen["errorType"] == "Extension.NotSupported"
        assert "watcher" in seen["errorMessage"] and "provided.al2023" in seen["errorMessage"]
    finally:
        hearth.api.remove("plain-python")
