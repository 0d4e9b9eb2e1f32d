"""Layers through boto3 and the command line: published, used at /opt on every isolation, deleted under a function that goes on."""

import base64
import hashlib
import io
import json
import uuid
import zipfile

import pytest

from harness.checked import Checked, refused

ROLE = "arn:aws:iam::000000000000:role/lambda"
LOOK = """
import os, shared, sys
def handler(event, context):
    try:
        import deep
        deep = deep.WORD
    except ImportError:
        deep = None
    try:
        open("/opt/python/new", "w")
        wrote = True
    except OSError:
        wrote = False
    said = os.popen("tool 2>&1").read().strip()
    return {"shared": shared.WORD, "deep": deep, "wrote": wrote, "tool": said, "opt": sorted(os.listdir("/opt")), "path": sys.path[:4]}
"""
LOOK_NODE = """
const word = require('shared-word');
exports.handler = async () => ({ shared: word, path: process.env.NODE_PATH, bin: process.env.PATH, lib: process.env.LD_LIBRARY_PATH });
"""


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if content.startswith("#!") else 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def a_name():
    return f"layer-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def lambda_(boto):
    return Checked(boto)


@pytest.fixture
def layer(lambda_):
    made = []

    def publish(files, name=None, **more):
        version = lambda_.publish_layer_version(LayerName=name or a_name(), Content={"ZipFile": zipped(files)}, **more)
        made.append(version)
        return version

    yield publish
    for one in made:
        lambda_.client.delete_layer_version(LayerName=one["LayerArn"], VersionNumber=one["Version"])


@pytest.fixture
def made(hearth, lambda_):
    names = []

    def make(code=LOOK, runtime="python3.11", file="app.py", **more):
        name = f"layered-{uuid.uuid4().hex[:8]}"
        names.append(name)
        wanted = {"FunctionName": name, "Role": ROLE, "Runtime": runtime, "Handler": "app.handler", "Timeout": 20, "Code": {"ZipFile": zipped({file: code})}}
        return name, lambda_.create_function(**wanted | more)

    yield make
    for name in names:
        hearth.api.remove(name)


def call(lambda_, name):
    answer = lambda_.client.invoke(FunctionName=name)
    said = json.load(answer["Payload"])
    assert "FunctionError" not in answer, said
    return said


def test_a_layers_versions_are_published_shown_listed_and_deleted(lambda_, layer):
    name, files = a_name(), {"python/shared.py": "WORD = 'one'"}
    first = layer(files, name, Description="the first", LicenseInfo="MIT", CompatibleRuntimes=["python3.11"], CompatibleArchitectures=["x86_64"])
    assert first["LayerVersionArn"] == f"arn:aws:lambda:us-east-1:000000000000:layer:{name}:1" and first["Version"] == 1
    assert first["Content"]["CodeSize"] == len(zipped(files))
    assert first["Content"]["CodeSha256"] == base64.b64encode(hashlib.sha256(zipped(files)).digest()).decode()
    assert (first["Description"], first["LicenseInfo"], first["CompatibleRuntimes"]) == ("the first", "MIT", ["python3.11"])
    second = layer({"python/shared.py": "WORD = 'two'"}, name)
    shown = lambda_.get_layer_version(LayerName=name, VersionNumber=1)
    assert {key: shown[key] for key in ("LayerVersionArn", "Version", "CreatedDate")} == {key: first[key] for key in ("LayerVersionArn", "Version", "CreatedDate")}
    assert lambda_.get_layer_version_by_arn(Arn=second["LayerVersionArn"])["Version"] == 2
    assert [one["Version"] for one in lambda_.list_layer_versions(LayerName=name)["LayerVersions"]] == [2, 1]
    assert [one["Version"] for one in lambda_.list_layer_versions(LayerName=name, CompatibleRuntime="python3.11")["LayerVersions"]] == [1]
    mine = [one for one in lambda_.list_layers()["Layers"] if one["LayerName"] == name]
    assert [one["LatestMatchingVersion"]["Version"] for one in mine] == [2]

    lambda_.delete_layer_version(LayerName=name, VersionNumber=2)
    lambda_.delete_layer_version(LayerName=name, VersionNumber=2)
    assert refused(lambda_.get_layer_version, LayerName=name, VersionNumber=2)[:2] == ("ResourceNotFoundException", 404)
    assert layer(files, name)["Version"] == 3, "a number is not given twice"
    assert refused(lambda_.publish_layer_version, LayerName=name, Content={"ZipFile": b"no zip"})[:2] == ("InvalidParameterValueException", 400)
    assert refused(lambda_.publish_layer_version, LayerName="a.b", Content={"ZipFile": zipped(files)})[1] == 400


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_a_function_sees_its_layers_at_opt(hearth, lambda_, layer, made, need_driver, isolation):
    need_driver(isolation)
    under = layer({"python/shared.py": "WORD = 'under'", "python/lib/python3.11/site-packages/deep.py": "WORD = 'deep'", "bin/tool": "#!/bin/sh\necho tooled\n"})
    over = layer({"python/shared.py": "WORD = 'over'", "etc/note": "x"})
    name, function = made(Layers=[under["LayerVersionArn"], over["LayerVersionArn"]])
    assert function["Layers"] == [{"Arn": one["LayerVersionArn"], "CodeSize": one["Content"]["CodeSize"]} for one in (under, over)]
    hearth.cli.ok("config", name, f"isolation={isolation}")
    expected = {"shared": "over", "deep": "deep", "wrote": False, "tool": "tooled", "opt": ["bin", "etc", "python"]}
    said = call(lambda_, name)
    assert {key: said[key] for key in expected} == expected
    assert said["path"] == ["/var/task", "/opt/python/lib/python3.11/site-packages", "/opt/python", said["path"][3]]

    # The other order, then a change of code, then one less.
    lambda_.update_function_configuration(FunctionName=name, Layers=[over["LayerVersionArn"], under["LayerVersionArn"]])
    assert call(lambda_, name)["shared"] == "under"
    lambda_.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": LOOK + "# changed\n"}))
    lambda_.update_function_configuration(FunctionName=name, Layers=[over["LayerVersionArn"]])
    said = call(lambda_, name)
    assert (said["shared"], said["deep"], said["opt"]) == ("over", None, ["etc", "python"])

    # Deleted while in use, as on AWS: it goes on, with new instances too.
    lambda_.delete_layer_version(LayerName=over["LayerArn"], VersionNumber=over["Version"])
    lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": {"AA": "1"}})
    assert call(lambda_, name)["shared"] == "over"
    lambda_.update_function_configuration(FunctionName=name, Layers=[])
    assert "Layers" not in lambda_.get_function_configuration(FunctionName=name)
    answer = lambda_.client.invoke(FunctionName=name)
    assert "No module named 'shared'" in answer["Payload"].read().decode()


@pytest.mark.parametrize("isolation", ["namespace", "docker", "gvisor"])
def test_node_finds_what_layers_hold(hearth, lambda_, layer, made, need_driver, need_runtime, isolation):
    need_driver(isolation)
    need_runtime("nodejs20.x")
    one = layer({"nodejs/node_modules/shared-word/index.js": "module.exports = 'of a layer'"})
    name, _ = made(LOOK_NODE, "nodejs20.x", "app.js", Layers=[one["LayerVersionArn"]])
    hearth.cli.ok("config", name, f"isolation={isolation}")
    said = call(lambda_, name)
    assert said["shared"] == "of a layer"
    assert "/opt/nodejs/node_modules" in said["path"] and said["bin"].endswith("/opt/bin") and said["lib"].endswith("/opt/lib")


def test_a_version_keeps_its_layers_and_snapstart_has_them(lambda_, layer, made):
    one, two = (layer({"python/shared.py": f"WORD = '{word}'"}) for word in ("one", "two"))
    name, _ = made(Layers=[one["LayerVersionArn"]], SnapStart={"ApplyOn": "PublishedVersions"}, Publish=True)
    lambda_.update_function_configuration(FunctionName=name, Layers=[two["LayerVersionArn"]])
    assert call(lambda_, f"{name}:1")["shared"] == "one"
    assert call(lambda_, name)["shared"] == "two"
    assert lambda_.get_function_configuration(FunctionName=name, Qualifier="1")["Layers"][0]["Arn"] == one["LayerVersionArn"]


def test_what_cannot_be_is_refused(lambda_, layer, made):
    name, _ = made()
    layers = [layer({f"python/m{n}.py": ""})["LayerVersionArn"] for n in range(6)]
    for wanted, word in (
        (layers, "Cannot reference more than 5 layers"),
        (["arn:aws:lambda:us-east-1:000000000000:layer:nobody:1"], "layer:nobody:1 does not exist"),
        ([layers[0].rsplit(":", 1)[0] + ":9"], "does not exist"),
    ):
        code, status, message = refused(lambda_.update_function_configuration, FunctionName=name, Layers=wanted)
        assert status == 400 and code in ("InvalidParameterValueException", "ValidationException") and (word in message or code == "ValidationException")
    twice = layer({"python/m0.py": "# again"}, layers[0].split(":")[6])["LayerVersionArn"]
    assert "named twice" in refused(lambda_.update_function_configuration, FunctionName=name, Layers=[layers[0], twice])[2]
    huge = "0" * (140 * 1024 * 1024)
    half, other = layer({"a": huge}), layer({"b": huge})
    message = refused(lambda_.update_function_configuration, FunctionName=name, Layers=[half["LayerVersionArn"], other["LayerVersionArn"]])[2]
    assert "250 MiB" in message
    lambda_.update_function_configuration(FunctionName=name, Layers=[half["LayerVersionArn"]])
    message = refused(lambda_.update_function_code, FunctionName=name, ZipFile=zipped({"app.py": LOOK, "c": huge}))[2]
    assert "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes" in message


def test_the_command_line_publishes_and_a_manifest_names_them(hearth, function, tmp_path):
    folder = tmp_path / "deps"
    (folder / "python").mkdir(parents=True)
    (folder / "python/shared.py").write_text("WORD = 'by hand'")
    name = a_name()
    assert hearth.cli.ok("layer", "publish", name, folder).stdout.strip() == f"{name}:1"
    made = hearth.cli.ok("layer", "publish", name, folder, "--description", "again", "--json").json()
    assert (made["version"], made["description"]) == (2, "again")
    deployed = function(LOOK, toml=f'layers = ["{name}:2"]\n', timeout="10s")
    assert json.loads(hearth.cli.ok("invoke", deployed, "--payload", "{}").stdout)["shared"] == "by hand"
    assert f"{name}:2" in hearth.cli.ok("layer", "ls").stdout
    hearth.cli.ok("layer", "rm", f"{name}:2")
    hearth.cli.ok("layer", "rm", f"{name}:1")
    assert f"no layer {name}:1" in hearth.cli.run("layer", "rm", f"{name}:1").stderr
    hearth.cli.ok("config", deployed, "env.AA=1")
    assert json.loads(hearth.cli.ok("invoke", deployed, "--payload", "{}").stdout)["shared"] == "by hand"
    refused = hearth.cli.run("config", deployed, f"layers={name}:1")
    assert refused.code and "does not exist" in refused.stderr
