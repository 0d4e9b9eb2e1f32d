"""Zips as an attacker writes them: names, types and sizes that no tool would make."""

import io
import stat
import struct
import zipfile

APP = ("app.py", b"def handler(event, context):\n    return 'deployed'\n")


def archive(entries, compression=zipfile.ZIP_DEFLATED):
    """A zip of (name or ZipInfo, bytes), in that order, duplicates and all; app.py comes first."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in [APP, *entries]:
            made.writestr(name, data)
    return buffer.getvalue()


def entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def symlink(name, target):
    return entry(name, stat.S_IFLNK | 0o777), target.encode()


def special(name, kind):
    return entry(name, kind | 0o666), b""


def bomb(megabytes):
    """One file of zeros: a thousandth of its size when packed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr(*APP)
        with made.open("zeros", "w", force_zip64=True) as file:
            for _ in range(megabytes):
                file.write(bytes(1024 * 1024))
    return buffer.getvalue()


def lying_bomb(megabytes):
    """The same, but both of its headers say that the file is 10 bytes long."""
    data = bytearray(bomb_without_zip64(megabytes))
    central = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 10)
    local = struct.unpack_from("<I", data, central + 42)[0]
    struct.pack_into("<I", data, local + 22, 10)
    return bytes(data)


def bomb_without_zip64(megabytes):
    return archive([("zeros", bytes(megabytes * 1024 * 1024))])


def overlapping(copies):
    """Many directory entries that all point at the same packed megabytes (the "better zip bomb")."""
    data = bomb_without_zip64(16)
    end = data.rindex(b"PK\x05\x06")
    size, offset = struct.unpack_from("<II", data, end + 12)
    directory = data[offset : offset + size]
    last = directory.rindex(b"PK\x01\x02")
    fixed = directory[last : last + 46]  # of "zeros": the new names are as long
    entries = b"".join(fixed + b"%05d" % number for number in range(copies))
    whole = directory[:last] + entries
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, copies + 1, copies + 1, len(whole), offset, 0)
    return data[:offset] + whole + tail


def many_entries(count):
    return archive([(f"f/{number}", b"") for number in range(count)], zipfile.ZIP_STORED)


def truncated():
    whole = archive([("data", bytes(range(256)) * 64)])
    return whole[: len(whole) // 2]


def corrupt():
    """A right zip, but for one byte of packed data."""
    data = bytearray(archive([("data", b"0123456789abcdef" * 64)], zipfile.ZIP_STORED))
    data[data.index(b"0123456789abcdef") + 100] ^= 0xFF
    return bytes(data)
