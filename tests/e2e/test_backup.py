"""Backups: made while functions are called, and what a Hearth that is restored from one does."""

import json
import shutil
import tarfile
import threading

import pytest

from harness import aws
from harness.functions import write

SAYS = """
import os

def handler(event, context):
    return {"code": 1, "secret": os.environ.get("KEY"), "stage": os.environ.get("STAGE")}
"""
KEYS = ("secret.key", "master.key", "admin.token")


@pytest.fixture
def busy(new_hearth, tmp_path):
    """A Hearth with something of everything, that is called and changed all the time."""
    hearth = new_hearth()
    hearth.start()
    files = write(tmp_path / "says", SAYS)
    hearth.cli.ok("secret", "set", "the-key", input="hush")
    hearth.cli.ok("deploy", files, "--name", "says", "--secret", "KEY=the-key", "--env", "STAGE=base")
    hearth.cli.ok("publish", "says")
    hearth.cli.ok("alias", "set", "says", "live", "1", "--env", "STAGE=live")
    hearth.cli.ok("mq", "create", "orders")
    hearth.cli.ok("mq", "send", "orders", "one")
    s3 = aws.client(hearth, "s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="an/object", Body=b"of the bucket")
    over, calls, failed = threading.Event(), [0], []

    def load(number):
        while not over.is_set():
            ran = hearth.cli.run("invoke", "says:live", "{}")
            calls[0] += 1
            if ran.code != 0:
                failed.append(str(ran))
            if number == 0:
                hearth.cli.ok("config", "says", f"env.TURN={calls[0]}")
                hearth.cli.ok("deploy", files, "--name", f"more-{calls[0] % 3}")

    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    yield hearth, calls, failed
    over.set()
    for thread in threads:
        thread.join()


def keys_of(hearth, folder):
    folder.mkdir()
    for name in KEYS:
        shutil.copy(hearth.data / name, folder / name)
    return folder


def start(new_hearth, data):
    other = new_hearth()
    shutil.move(data, other.data)
    return other.start()


def test_under_load_a_backup_is_whole_and_runs_elsewhere(busy, new_hearth, tmp_path):
    hearth, calls, failed = busy
    before = calls[0]
    made = [tmp_path / f"backup-{number}.tar" for number in range(4)]
    for number, file in enumerate(made):
        shown = hearth.cli.ok("backup", file, "--json", *(["--without-logs"] if number == 0 else [])).json()
        assert shown["bytes"] == file.stat().st_size and file.stat().st_mode & 0o777 == 0o600
    assert calls[0] > before and not failed, failed[:1]
    assert "is there already" in hearth.cli.refused("backup", made[0]).stderr
    assert not list(hearth.data.glob("tmp/backup*")), "nothing stays behind"
    names = {file: set(tarfile.open(file).getnames()) for file in made}
    assert "telemetry.db" in names[made[1]] and "telemetry.db" not in names[made[0]]
    # What opens secrets is nowhere in it, nor is a secret.
    whole = made[1].read_bytes()
    assert b"hush" not in whole and not any((hearth.data / key).read_bytes().strip() in whole for key in KEYS)

    keys = keys_of(hearth, tmp_path / "keys")
    for file in made:
        data = tmp_path / f"data-{file.stem}"
        shown = hearth.cli.ok("restore", file, "--data-dir", data, "--keys", keys, "--json").json()
        assert (shown["secrets"], shown["locked_secrets"], shown["versions"]) == (1, 0, 1), shown
        assert shown["functions"] >= 1 and sorted(shown["keys"]) == sorted(KEYS)
    other = start(new_hearth, tmp_path / f"data-{made[1].stem}")
    assert other.token == hearth.token
    answer = json.loads(other.cli.ok("invoke", "says:live", "{}").stdout)
    assert answer == {"code": 1, "secret": "hush", "stage": "live"}
    assert json.loads(other.cli.ok("invoke", "says", "{}").stdout)["stage"] == "base"
    received = other.cli.ok("mq", "receive", "orders", "--json").text
    assert "one" in received
    assert aws.client(other, "s3").get_object(Bucket="kept", Key="an/object")["Body"].read() == b"of the bucket"
    assert other.cli.ok("history", "says", "--json").json()
    assert other.api.invocations("says"), "records of before"
    # It goes on as any: deploys, and backs up in its turn.
    other.cli.ok("config", "says", "env.STAGE=other")
    other.cli.ok("backup", tmp_path / "again.tar")


def test_without_the_keys_all_but_secrets_is_there(busy, new_hearth, tmp_path):
    hearth, _, _ = busy
    hearth.cli.ok("backup", tmp_path / "b.tar")
    ran = hearth.cli.ok("restore", tmp_path / "b.tar", "--data-dir", tmp_path / "data")
    assert "1 secrets cannot be opened here" in ran.stderr and "AWS access keys will be new" in ran.stderr
    other = start(new_hearth, tmp_path / "data")
    refused = other.cli.refused("invoke", "says:live", "{}")
    assert "does not have" in refused.text
    other.cli.ok("secret", "set", "the-key", input="anew")
    assert json.loads(other.cli.ok("invoke", "says:live", "{}").stdout)["secret"] == "anew"


def test_what_is_no_whole_backup_is_refused_and_leaves_nothing(busy, tmp_path):
    hearth, _, _ = busy
    good = tmp_path / "good.tar"
    hearth.cli.ok("backup", good)
    whole = good.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as tar:
        tar.add(__file__, "backup.txt")
    more = tmp_path / "more.tar"
    with tarfile.open(good) as old, tarfile.open(more, "w") as tar:
        for one in old:
            tar.addfile(one, old.extractfile(one))
        tar.add(__file__, "../escaped")
    for name, bytes_, words in [
        ("cut", whole[: len(whole) // 2], ("cut off", "damaged", "unexpected", "failed to read")),
        ("changed", bytes(changed), ("damaged", "cut off", "numeric field", "no file of a backup", "backup.json")),
        ("no tar", b"hello", ("backup.json", "no backup")),
        ("another tar", other.read_bytes(), ("backup.json",)),
        ("one file more", more.read_bytes(), ("says nothing",)),
    ]:
        (tmp_path / "bad.tar").write_bytes(bytes_)
        refused = hearth.cli.refused("restore", tmp_path / "bad.tar", "--data-dir", tmp_path / "data")
        assert any(word in refused.stderr for word in words), (name, refused.stderr)
        assert not (tmp_path / "data").exists() and not list(tmp_path.glob(".data*")), name
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("")
    assert "is not empty" in hearth.cli.refused("restore", good, "--data-dir", tmp_path / "data").stderr
    status, _, body = hearth.api.call("GET", "/api/v1/backup?lgs=true")
    assert status == 400 and "lgs" in body["message"]
    assert hearth.api.call("GET", "/api/v1/backup", token="hth_" + "0" * 40)[0] == 401
