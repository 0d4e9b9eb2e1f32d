"""The command line, as a person and as a script use it."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from harness.functions import ECHO, ECHO_NODE, MAIN, write
from harness.wait import until

EXAMPLES = ["json-api", "webhook", "thumbnailer", "backup", "report", "go-api", "rust-event"]
RUNTIMES = list(MAIN)
REPOSITORY = Path(__file__).resolve().parents[2]
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")

CHATTY = """
import os
def handler(event, context):
    print("a quiet word")
    print("a needle in the hay")
    return {"greeting": os.environ.get("GREETING"), "event": event}
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_init_makes_a_folder_that_deploys_and_answers(hearth, tmp_path, runtime):
    folder = tmp_path / "made"
    hearth.cli.ok("init", "--runtime", runtime, folder)
    assert (folder / "hearth.toml").exists()
    name = "init-" + runtime.replace(".", "")
    hearth.cli.ok("deploy", folder, "--name", name)
    try:
        json.loads(hearth.cli.ok("invoke", name).stdout)
    finally:
        hearth.cli.ok("rm", name)


@pytest.mark.parametrize("template", EXAMPLES)
def test_init_makes_each_example_with_a_name_of_its_own(hearth, tmp_path, template):
    folder = tmp_path / f"my-{template}"
    ran = hearth.cli.ok("init", "--template", template, folder)
    assert f'name = "my-{template}"' in (folder / "hearth.toml").read_text()
    original = REPOSITORY / "examples" / template
    changed = {"hearth.toml", "README.md"}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in changed:
            assert path.read_bytes() == (original / path.relative_to(folder)).read_bytes(), path
    assert "hearth deploy " in ran.stdout and f"hearth invoke my-{template} " in ran.stdout


def test_init_lists_its_templates(hearth):
    listed = hearth.cli.ok("init").stdout
    assert all(name in listed for name in ["python", "node", *EXAMPLES])


def test_init_does_not_overwrite(hearth, tmp_path):
    folder = tmp_path / "made"
    hearth.cli.ok("init", "--runtime", "python3.11", folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hearth.cli.refused("init", "--runtime", "nodejs20.x", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_deploy_tells_a_person_where_the_function_is(hearth, tmp_path):
    folder = write(tmp_path / "f", ECHO)
    ran = hearth.cli.ok("deploy", folder, "--name", "told", "--runtime", "python3.11", "--handler", "app.handler")
    try:
        assert f"{hearth.ingress}/fn/told" in ran.text
        command = next(line for line in ran.text.splitlines() if "curl " in line)
        command = command[command.index("curl ") :]
        curl = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20)
        assert curl.returncode == 0, f"the curl line does not work: {command}\n{curl.stderr}"
        assert "panicked" not in ran.text
    finally:
        hearth.cli.ok("rm", "told")


def test_deploy_takes_a_folder_a_zip_and_a_single_file(hearth, tmp_path, function):
    folder = write(tmp_path / "f", ECHO)
    archive = tmp_path / "f.zip"
    subprocess.run(["python3", "-m", "zipfile", "-c", archive, "app.py"], cwd=folder, check=True)
    for number, path in enumerate((folder, archive, folder / "app.py")):
        name = f"form-{number}"
        hearth.cli.deploy(path, name, "python3.11", "app.handler")
        try:
            assert hearth.cli.ok("invoke", name, "--payload", '{"form": true}').json() == {"form": True}
        finally:
            hearth.cli.ok("rm", name)


def test_deploy_reads_hearth_toml_and_flags_win(hearth, tmp_path):
    toml = 'name = "from-toml"\nruntime = "python3.11"\nhandler = "app.handler"\n[env]\nGREETING = "toml"\n'
    folder = write(tmp_path / "f", CHATTY, toml=toml)
    hearth.cli.ok("deploy", folder)
    try:
        assert hearth.cli.ok("invoke", "from-toml").json()["greeting"] == "toml"
        hearth.cli.ok("deploy", folder, "--env", "GREETING=flag")
        assert hearth.cli.ok("invoke", "from-toml").json()["greeting"] == "flag"
    finally:
        hearth.cli.ok("rm", "from-toml")


def test_a_function_lives_from_deploy_to_rm(hearth, function):
    name = function(CHATTY, env={"GREETING": "hello"}, idle="30s")
    assert name in [one["name"] for one in hearth.cli.ok("list", "--json").json()]
    assert name in hearth.cli.ok("list").stdout

    ran = hearth.cli.ok("invoke", name, "--payload", '{"ü": "🦀"}')
    assert ran.json() == {"greeting": "hello", "event": {"ü": "🦀"}}

    live = [one for one in hearth.cli.ok("ps", "--json").json() if one["function"] == name]
    assert len(live) == 1 and {"function", "instance", "state"} <= live[0].keys()
    assert name in hearth.cli.ok("ps").stdout

    hearth.cli.ok("env", name, "GREETING=changed")

    def changed():
        return hearth.cli.ok("invoke", name).json()["greeting"] == "changed"

    until("the changed variable", changed, within=5)

    hearth.cli.ok("rm", name)
    assert name not in [one["name"] for one in hearth.cli.ok("list", "--json").json()]
    hearth.cli.refused("invoke", name)
    until("its instances to be gone", lambda: not hearth.api.instances(name), within=5)


def test_invoke_reads_a_payload_file_and_shows_the_log(hearth, function, tmp_path):
    name = function(CHATTY)
    (tmp_path / "event.json").write_text('{"from": "a file"}')
    ran = hearth.cli.ok("invoke", name, "--payload-file", tmp_path / "event.json", "--log")
    assert '"from"' in ran.stdout and "a file" in ran.stdout
    assert "a needle in the hay" in ran.text


def test_invoke_of_a_failing_function_is_a_failure_for_scripts(hearth, function):
    name = function("def handler(event, context):\n    raise ValueError('a teapot')\n")
    ran = hearth.cli.refused("invoke", name)
    assert "a teapot" in ran.text and "ValueError" in ran.text
    ran = hearth.cli.refused("invoke", name, "--json")
    assert "a teapot" in json.dumps(ran.json())


def test_logs_are_json_lines_with_time_request_and_instance(hearth, function):
    name = function(CHATTY)
    hearth.cli.ok("invoke", name)
    lines = until("the log lines", lambda: hearth.cli.logs(name, "--since", "5m"), within=5)
    needle = next(line for line in lines if "needle" in line["message"])
    assert {"time", "function", "request_id", "instance", "level", "message"} <= needle.keys()
    assert RFC3339.match(needle["time"]) and needle["function"] == name
    assert needle["request_id"] == hearth.api.invocations(name)[0]["request_id"]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_logs_grep_shows_matching_lines_only(hearth, function):
    name = function(CHATTY)
    hearth.cli.ok("invoke", name)

    def needle():
        return hearth.cli.logs(name, "--grep", "needle")

    lines = until("the needle", needle, within=5)
    assert lines and all("needle" in line["message"] for line in lines)
    human = hearth.cli.ok("logs", name, "--grep", "needle").stdout
    assert "needle" in human and "quiet" not in human


def test_logs_since_leaves_older_lines_out(hearth, function):
    name = function(CHATTY)
    hearth.cli.ok("invoke", name)
    until("the lines", lambda: hearth.cli.logs(name, "--since", "5m"), within=5)
    until("them to be older than 100 ms", lambda: not hearth.cli.logs(name, "--since", "100ms"), within=5)


def test_logs_follow_shows_lines_as_they_come(hearth, function):
    name = function(CHATTY)
    following = hearth.cli.start("logs", name, "-f", "--json")
    try:
        seen = []

        def needle():
            hearth.cli.ok("invoke", name)
            return None

        import threading

        reader = threading.Thread(target=lambda: seen.extend(iter(following.stdout.readline, "")), daemon=True)
        reader.start()
        # Called again until seen: the follower may have started to follow after the first call.
        until("a followed line", lambda: needle() or any("needle" in line for line in seen), within=10, every=0.2)
        assert following.poll() is None, "`logs -f` ended by itself"
    finally:
        following.kill()
        following.wait()


def test_control_characters_of_a_function_do_not_reach_the_terminal(hearth, function):
    name = function("def handler(event, context):\n    print('\\x1b]52;c;Zm9v\\x07\\x1b[2J\\u202eevil')\n")
    hearth.cli.ok("invoke", name)
    shown = until("the line", lambda: hearth.cli.ok("logs", name).stdout, within=5)
    assert "evil" in shown
    assert "\x1b]52" not in shown and "\x1b[2J" not in shown and "\x07" not in shown and "\u202e" not in shown


# === what is refused, and how ===


def refused_deploy(hearth, tmp_path, *arguments, toml=None, code=ECHO):
    folder = write(tmp_path / "f", code, toml=toml)
    ran = hearth.cli.refused("deploy", folder, "--name", "refused", *arguments)
    assert "refused" not in [one["name"] for one in hearth.cli.ok("list", "--json").json()]
    return ran.stderr


def test_an_unknown_key_is_named_with_the_nearest_known_one(hearth, tmp_path):
    toml = 'runtime = "python3.11"\nhandler = "app.handler"\nmemroy = "128MB"\n'
    message = refused_deploy(hearth, tmp_path, toml=toml)
    assert "memroy" in message and re.search(r"\bmemory\b", message)


def test_an_unknown_key_in_a_table_is_named(hearth, tmp_path):
    toml = 'runtime = "python3.11"\nhandler = "app.handler"\n[scale]\nmaks = 3\n'
    message = refused_deploy(hearth, tmp_path, toml=toml)
    assert "maks" in message and re.search(r"\bmax\b", message)


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--runtime", "cobol85", "--handler", "app.handler"], ["cobol85", "python3.11"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--memory", "lots"], ["lots", "MB"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--memory", "1MB"], ["1MB"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--timeout", "soon"], ["soon"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--timeout", "2h"], ["2h", "15m"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--isolation", "hope"], ["hope", "namespace"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--env", "AWS_REGION=x"], ["AWS_REGION"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--env", "NOVALUE"], ["NOVALUE"]),
        (["--runtime", "python3.11", "--handler", "app.handler", "--env", "BIG=" + "x" * 5000], ["4096"]),
    ],
    ids=lambda value: value[-1][:20] if isinstance(value, list) else "",
)
def test_a_bad_value_is_named_with_what_was_expected(hearth, tmp_path, flags, named):
    message = refused_deploy(hearth, tmp_path, *flags)
    assert all(word in message for word in named), message


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a b", "%2e%2e", "x" * 65, "naïve", "nul\x01"])
def test_a_bad_function_name_is_refused(hearth, tmp_path, name):
    folder = write(tmp_path / "f", ECHO)
    hearth.cli.refused("deploy", folder, "--name", name, "--runtime", "python3.11", "--handler", "app.handler")


def test_a_path_that_is_not_there_is_named(hearth, tmp_path):
    ran = hearth.cli.refused("deploy", tmp_path / "nowhere", "--name", "x")
    assert "nowhere" in ran.stderr


@pytest.mark.parametrize("command", [["invoke"], ["logs"], ["rm"], ["env"]])
def test_an_unknown_function_is_named(hearth, command):
    ran = hearth.cli.refused(*command, "nobody-home")
    assert "nobody-home" in ran.stderr


def test_a_payload_that_is_not_json_is_refused(hearth, function):
    name = function(ECHO)
    hearth.cli.refused("invoke", name, "--payload", "{not json")


def test_a_wrong_token_is_refused(hearth):
    ran = hearth.cli.refused("list", environment={"HEARTH_TOKEN": "wrong"})
    assert hearth.token not in ran.text


def test_a_server_that_is_not_there_is_said_to_be_not_there(hearth):
    ran = hearth.cli.refused("list", environment={"HEARTH_ENDPOINT": "http://127.0.0.1:1"})
    assert "127.0.0.1:1" in ran.stderr and "hearth up" in ran.stderr


# === the rest ===


def test_explain_tells_of_every_code(hearth):
    ran = hearth.cli.ok("explain", "HEARTH-F001")
    assert "timeout" in ran.stdout.lower() and len(ran.stdout) > 200
    assert "F999" in hearth.cli.refused("explain", "HEARTH-F999").text


def test_the_doctor_tells_a_person_of_the_namespace_isolation(hearth, doctor):
    assert isinstance(doctor, (dict, list))
    assert "namespace" in hearth.cli.run("doctor").stdout


def test_aws_env_is_four_exports_that_a_shell_takes(hearth, keys):
    assert {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} <= keys.keys()
    assert keys["AWS_ENDPOINT_URL"] == hearth.endpoint
    script = hearth.cli.ok("aws-env").stdout + 'printf %s "$AWS_SECRET_ACCESS_KEY"'
    shell = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
    assert shell.stdout == keys["AWS_SECRET_ACCESS_KEY"]


def test_node_functions_deploy_without_hearth_toml(hearth, function):
    name = function(ECHO_NODE, runtime="nodejs20.x")
    assert hearth.cli.ok("invoke", name, "--payload", "[1, null]").json() == [1, None]


def test_the_admin_token_is_for_its_owner_only(hearth):
    assert (hearth.data / "admin.token").stat().st_mode & 0o077 == 0


def test_up_prints_where_it_listens_and_never_the_token_twice(hearth):
    output = hearth.output()
    assert str(hearth.port) in output and str(hearth.ingress_port) in output
    assert output.count(hearth.token) <= 1
