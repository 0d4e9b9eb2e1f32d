"""Run with `python -m pytest examples/backup`."""

import importlib.util
import os
import tarfile
from datetime import datetime, timezone
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Loaded by path: every Python example has an `app`, and one test run may collect them all.
spec = importlib.util.spec_from_file_location("backup_app", HERE / "app.py")
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)


def day(number):
    return datetime(2024, 1, number, 3, tzinfo=timezone.utc)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "papers"
    (folder / "letters").mkdir(parents=True)
    (folder / "letters" / "ada.txt").write_text("Dear Charles")
    (folder / "empty").mkdir()
    (folder / "plan.bin").write_bytes(bytes(range(256)) * 1000)
    (folder / "latest").symlink_to("letters/ada.txt")
    return folder


@pytest.fixture
def target(tmp_path):
    return tmp_path / "backups"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_restores_to_what_was_packed(source, target, tmp_path):
    summary = app.back_up(source, target, 7, day(31))
    assert summary["archive"] == str(target / "papers-20240131T030000Z.tar.gz")
    assert (summary["files"], summary["source_bytes"]) == (2, 256_012)
    with tarfile.open(summary["archive"]) as tar:
        tar.extractall(tmp_path / "restored", filter="data")
    restored = tmp_path / "restored" / "papers"
    assert (restored / "plan.bin").read_bytes() == (source / "plan.bin").read_bytes()
    assert (restored / "empty").is_dir()
    assert os.readlink(restored / "latest") == "letters/ada.txt"


def test_makes_equal_archives_of_equal_folders(source, target):
    first = Path(app.back_up(source, target, 7, day(1))["archive"]).read_bytes()
    assert Path(app.back_up(source, target, 7, day(1))["archive"]).read_bytes() == first


def test_keeps_the_newest(source, target):
    for number in range(1, 6):
        summary = app.back_up(source, target, 3, day(number))
    assert summary["removed"] == ["papers-20240102T030000Z.tar.gz"]
    assert summary["kept"] == names(target) == [f"papers-2024010{n}T030000Z.tar.gz" for n in (3, 4, 5)]


def test_keeps_the_one_just_made_whatever_the_clock_says(source, target):
    app.back_up(source, target, 1, day(20))
    assert app.back_up(source, target, 1, day(10))["kept"] == ["papers-20240110T030000Z.tar.gz"]


def test_removes_nothing_that_it_did_not_make(source, target):
    target.mkdir()
    strangers = ["papers-old.tar.gz", "papers-2-20240101T030000Z.tar.gz", "letter.txt"]
    for name in strangers:
        (target / name).touch()
    app.back_up(source, target, 1, day(1))
    app.back_up(source, target, 1, day(2))
    assert names(target) == sorted([*strangers, "papers-20240102T030000Z.tar.gz"])


def test_leaves_out_backups_that_are_inside_the_source(source):
    inside = source / "backups"
    app.back_up(source, inside, 7, day(1))
    assert app.back_up(source, inside, 7, day(2))["files"] == 2


def test_packs_each_name_of_a_file_with_its_content(source, target):
    os.link(source / "plan.bin", source / "same.bin")
    assert app.back_up(source, target, 7, day(1))["files"] == 3


def test_skips_what_a_tar_cannot_hold(source, target):
    os.mkfifo(source / "pipe")
    assert app.back_up(source, target, 7, day(1))["skipped"] == 1


def test_a_backup_that_does_not_read_back_leaves_the_old_ones(source, target, monkeypatch):
    app.back_up(source, target, 1, day(1))
    pack = app.pack

    def pack_badly(source, entries, archive, now):
        written = pack(source, entries, archive, now)
        return written | {"papers/plan.bin": (0, "")}

    monkeypatch.setattr(app, "pack", pack_badly)
    with pytest.raises(app.BackupFailed, match="papers/plan.bin"):
        app.back_up(source, target, 1, day(2))
    assert names(target) == ["papers-20240101T030000Z.tar.gz"]


@pytest.mark.parametrize("keep", ["0", "-1", "some", "", 0, 1.5, True])
def test_refuses_to_keep_none(keep):
    with pytest.raises(ValueError, match="keep must be"):
        app.keep_of(keep)


def test_reads_a_time_and_wants_its_zone():
    assert app.moment("2024-01-31T04:00:00+01:00") == day(31)
    with pytest.raises(ValueError, match="time zone"):
        app.moment("2024-01-31T03:00:00")


def test_takes_overrides_from_a_scheduled_events_detail(source, target, monkeypatch):
    monkeypatch.setenv("TARGET", str(target))
    event = {"source": "aws.events", "time": "2024-01-31T03:00:00Z", "detail": {"source": str(source)}}
    assert app.handler(event, None)["archive"] == str(target / "papers-20240131T030000Z.tar.gz")
