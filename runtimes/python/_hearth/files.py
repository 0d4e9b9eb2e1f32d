"""Files that come with INIT, the function's secrets: written before any of its code is loaded, for itself alone."""

import posix
from binascii import a2b_base64


def write(files):
    """Leaves nothing of the contents in `files`. The error of one that cannot be written names its path."""
    while files:
        one = files.pop()
        path = one["path"]
        _make_folders(path)
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o400)
        try:
            rest = memoryview(a2b_base64(one["content"]))
            while rest:
                rest = rest[posix.write(fd, rest) :]
        finally:
            posix.close(fd)


def _make_folders(path):
    """The topmost is the host's to make; where it is missing, so is what the file was to be kept in."""
    parts = path.split("/")
    for end in range(4, len(parts)):
        try:
            posix.mkdir("/".join(parts[:end]), 0o700)
        except FileExistsError:
            pass
