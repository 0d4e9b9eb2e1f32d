"""Packs a folder into a dated .tar.gz, reads it back to be sure, and keeps the newest few.

    collect ─► pack NAME.partial ─► read back ─► rename to NAME ─► remove the oldest
                      └───── fails ─────┴─► NAME.partial removed, older backups untouched

Follows no symbolic links (they are stored as links), and skips sockets, pipes and devices. Never
removes a backup before the new one is proven, nor a file that it did not name itself.
"""

import gzip
import hashlib
import json
import logging
import os
import re
import stat
import tarfile
from datetime import datetime, timezone
from pathlib import Path

SAMPLE = Path(__file__).parent / "sample"
STAMP = "%Y%m%dT%H%M%SZ"

log = logging.getLogger()
log.setLevel(logging.INFO)


class BackupFailed(Exception):
    pass


def handler(event, context):
    # In a scheduled event `source` says who sent it; what may be overridden is in `detail` there.
    scheduled = event.get("source") == "aws.events"
    options = event["detail"] if scheduled else event
    source = Path(options.get("source") or os.environ.get("SOURCE") or SAMPLE)
    target = Path(os.environ.get("TARGET") or "/tmp/backups")
    keep = keep_of(options.get("keep", os.environ.get("KEEP") or "7"))
    # A schedule says when it was due: a retry then makes the same backup again, not a second one.
    now = moment(event["time"] if scheduled else event.get("now"))

    summary = back_up(source, target, keep, now)
    log.info(json.dumps({"message": "backed up"} | summary))
    return summary


def keep_of(value):
    text = str(value)
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ValueError(f"keep must be a number from 1, got {value!r}")
    return int(text)


def moment(text):
    if text is None:
        return datetime.now(timezone.utc)
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"now needs a time zone, like 2024-01-31T03:00:00Z, got {text!r}")
    return when.astimezone(timezone.utc)


def back_up(source, target, keep, now):
    # Resolved, so that "." gets a name and a link to a folder is followed this once.
    source = source.resolve()
    if not source.is_dir():
        raise BackupFailed(f"source {source} is not a folder")
    if not source.name:
        raise BackupFailed("source is the root folder: name the folders that matter")
    target.mkdir(parents=True, exist_ok=True)
    target = target.resolve()

    entries, skipped = collect(source, leave_out=target)
    archive = target / f"{source.name}-{now.strftime(STAMP)}.tar.gz"
    partial = archive.with_name(archive.name + ".partial")
    try:
        written = pack(source, entries, partial, now)
        verify(partial, written)
        # Under its real name only now: whatever has a backup's name is a whole one.
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)
    removed = retain(archive, source.name, keep)

    return {
        "archive": str(archive),
        "files": len(written),
        "source_bytes": sum(size for size, _ in written.values()),
        "archive_bytes": archive.stat().st_size,
        "verified": True,
        "skipped": skipped,
        "removed": removed,
        "kept": [path.name for path in backups(target, source.name)],
    }


def collect(source, leave_out):
    """Everything below `source` in a stable order, and how many things a tar cannot hold."""
    entries, skipped = [], 0
    for folder, folders, files in os.walk(source, onerror=fail):
        # The backups of a folder may well be inside it.
        folders[:] = sorted(name for name in folders if Path(folder, name) != leave_out)
        for name in sorted(folders + files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
                entries.append(path)
            else:
                skipped += 1
    return entries, skipped


def fail(error):
    # os.walk would pass over a folder that it may not read, and the backup would lack it silently.
    raise BackupFailed(f"cannot read {error.filename}: {error.strerror}") from error


class Hashed:
    """A file for reading that remembers a digest of what was read from it."""

    def __init__(self, file):
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size=-1):
        data = self.file.read(size)
        self.digest.update(data)
        return data


def pack(source, entries, archive, now):
    """Write the archive; size and digest of each file as it was read, by its name in there."""
    written = {}
    with archive.open("wb") as raw:
        with (
            # The header's time would be the clock's: with the backup's own, equal folders give equal archives.
            gzip.GzipFile("", "wb", fileobj=raw, mtime=now.timestamp()) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in entries:
                info = tar.gettarinfo(path, arcname=str(path.relative_to(source.parent)))
                # A second name of a packed file: stored as a file, so that each name restores alone.
                if info.islnk():
                    info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
                if not info.isreg():
                    tar.addfile(info)
                    continue
                with path.open("rb") as file:
                    hashed = Hashed(file)
                    # Takes the size noted above: a file that has grown since is cut there, one that
                    # has shrunk fails the backup.
                    tar.addfile(info, hashed)
                written[info.name] = (info.size, hashed.digest.hexdigest())
        raw.flush()
        os.fsync(raw.fileno())
    return written


def verify(archive, written):
    found = {}
    with tarfile.open(archive, "r:gz") as tar:
        for info in tar:
            if info.isreg():
                digest = hashlib.file_digest(tar.extractfile(info), "sha256").hexdigest()
                found[info.name] = (info.size, digest)
    if found != written:
        bad = sorted(name for name in found.keys() | written if found.get(name) != written.get(name))
        raise BackupFailed(f"{archive.name} does not read back as written: {', '.join(bad[:5])}")


def backups(target, name):
    """The backups of a folder, oldest first: the stamp sorts by time."""
    pattern = re.compile(re.escape(name) + r"-\d{8}T\d{6}Z\.tar\.gz")
    return sorted(path for path in target.iterdir() if pattern.fullmatch(path.name))


def retain(newest, name, keep):
    # The one just made stays even where the clock says that it is older than the others.
    others = [path for path in backups(newest.parent, name) if path != newest]
    removed = others[: max(0, len(others) - (keep - 1))]
    for path in removed:
        path.unlink()
    return [path.name for path in removed]
