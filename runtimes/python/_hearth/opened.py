"""What a process has beside its memory: descriptors, and files in `/tmp`. Looked at for an image, and had again by who
goes on from one.

A connection is not had again: it is a socket that is not connected, as to any program whose other end has gone.
"""

import fcntl
import posix
import select
import _socket

from . import life

FIRST = life.INVOKE + 1  # below it are those that every instance has
KEPT = 64 << 20  # of /tmp, bytes
HIGH = 512  # numbers that no descriptor of the function has while they are put in place
EMPTY = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SO_PROTOCOL, SO_DOMAIN = 38, 39


class Unkept(Exception):
    """Something that could not be had again."""


# --- descriptors ------------------------------------------------------------------------------------


def descriptors(image):
    """A list of (kind, numbers, what is needed to have them again), in the order in which that can be done."""
    found = {}
    for name in posix.listdir("/proc/self/fd"):
        fd = int(name)
        if fd < FIRST or fd == image:
            continue
        try:
            found[fd] = posix.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            pass  # the one with which the folder was read
    log = posix.readlink("/proc/self/fd/1")
    kept, pipes, locals_, polls = [], {}, [], []
    for fd, link in sorted(found.items()):
        info = _info(fd)
        if link == log:
            kept.append(("log", (fd,), info["flags"]))
        elif link[:1] == "/":
            kept.append(_file(fd, link, info))
        elif link.startswith("pipe:"):
            pipes.setdefault(link, []).append((fd, info["flags"]))
        elif link.startswith("socket:"):
            _sort_socket(fd, info["flags"], kept, locals_)
        elif link == "anon_inode:[eventfd]":
            count = int(info["eventfd-count"].strip(), 16)
            kept.append(("event", (fd,), (info["flags"], count, "eventfd-semaphore: 1" in info["text"])))
        elif link == "anon_inode:[eventpoll]":
            polls.append(("poll", (fd,), (info["flags"], _polled(fd, info["text"], found))))
        else:
            raise Unkept("descriptor %d is %s, which a new instance could not have" % (fd, link))
    for link, ends in pipes.items():
        kept.append(_pipe(link, ends))
    return kept + _pairs(locals_) + polls


def _info(fd):
    with open("/proc/self/fdinfo/%d" % fd) as file:
        text = file.read()
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return dict(info, text=text, flags=int(info["flags"], 8), pos=int(info["pos"]))


def _file(fd, path, info):
    if path.endswith(" (deleted)"):
        raise Unkept("descriptor %d is a file without a name: %s" % (fd, path))
    if path.startswith("/proc/"):
        raise Unkept("descriptor %d is %s, which is another in every process" % (fd, path))
    return "file", (fd,), (path, info["flags"] & ~(posix.O_CREAT | posix.O_EXCL | posix.O_TRUNC), info["pos"])


def _pipe(link, ends):
    read = [end for end in ends if end[1] & 3 == posix.O_RDONLY]
    write = [end for end in ends if end[1] & 3 == posix.O_WRONLY]
    if len(read) != 1 or len(write) != 1 or select.select([read[0][0]], [], [], 0)[0]:
        raise Unkept("descriptors %s are of a pipe that is in use" % ", ".join(str(end[0]) for end in ends))
    return "pipe", (read[0][0], write[0][0]), (read[0][1], write[0][1])


def _sort_socket(fd, flags, kept, locals_):
    socket = _socket.socket(fileno=fd)
    try:
        domain, kind = (socket.getsockopt(_socket.SOL_SOCKET, option) for option in (SO_DOMAIN, _socket.SO_TYPE))
        protocol = socket.getsockopt(_socket.SOL_SOCKET, SO_PROTOCOL)
        if domain == _socket.AF_UNIX and kind == _socket.SOCK_STREAM and not socket.getsockname():
            locals_.append((fd, flags))
        else:
            kept.append(("socket", (fd,), (flags, domain, kind, protocol)))
    finally:
        socket.detach()


def _pairs(left):
    """Which local sockets are each other's ends: what is written to one is there to be read at the other."""
    pairs, alone = [], []
    while left:
        fd, flags = left.pop(0)
        other = _other_end(fd, [one for one, _ in left])
        if other is None:
            alone.append(("socket", (fd,), (flags, _socket.AF_UNIX, _socket.SOCK_STREAM, 0)))
        else:
            place = [one for one, _ in left].index(other)
            pairs.append(("pair", (fd, other), (flags, left.pop(place)[1])))
    return pairs + alone


def _other_end(fd, others):
    readable = set(select.select([fd, *others], [], [], 0)[0])
    if fd in readable:
        raise Unkept("descriptor %d is a socket with something unread in it" % fd)
    socket = _socket.socket(fileno=fd)
    try:
        socket.send(b"\0", _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
    except OSError:
        return None  # its other end is gone
    finally:
        socket.detach()
    for other in select.select(others, [], [], 0)[0]:
        if other not in readable:
            posix.read(other, 1)
            return other
    raise Unkept("descriptor %d is a socket to another process" % fd)


def _polled(fd, text, found):
    polled = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["tfd:"]:
            target, events, data = int(words[1]), int(words[3], 16), int(words[5], 16)
            # A number that is another's, or nobody's, by now; the latter's upper half is not told apart.
            if data & 0xFFFFFFFF != target or target not in found:
                raise Unkept("descriptor %d is an epoll of more than numbers" % fd)
            polled.append((target, events))
    return polled


def open_again(kept):
    for kind, numbers, what in kept:
        AGAIN[kind](numbers, what)


def _place(fds, numbers, flags):
    """At the numbers that the function knows; first out of the way of each other."""
    high = []
    for fd in fds:
        high.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH))
        posix.close(fd)
    for fd, number, flag in zip(high, numbers, flags):
        posix.dup2(fd, number, not flag & posix.O_CLOEXEC)
        posix.close(fd)
        if flag & posix.O_NONBLOCK:
            posix.set_blocking(number, False)


def _file_again(numbers, what):
    path, flags, position = what
    fd = posix.open(path, flags)
    if position and path not in EMPTY:
        posix.lseek(fd, position, 0)
    _place([fd], numbers, [flags])


def _pipe_again(numbers, flags):
    _place(posix.pipe(), numbers, flags)


def _pair_again(numbers, flags):
    _place([socket.detach() for socket in _socket.socketpair()], numbers, flags)


def _socket_again(numbers, what):
    flags, domain, kind, protocol = what
    _place([_socket.socket(domain, kind, protocol).detach()], numbers, [flags])


def _event_again(numbers, what):
    flags, count, semaphore = what
    _place([posix.eventfd(count, posix.EFD_SEMAPHORE if semaphore else 0)], numbers, [flags])


def _poll_again(numbers, what):
    flags, polled = what
    poll = select.epoll()
    for target, events in polled:
        poll.register(target, events)
    fd = fcntl.fcntl(poll.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH)
    poll.close()
    _place([fd], numbers, [flags])


AGAIN = {
    "log": lambda numbers, flags: _place([posix.dup(1)], numbers, [flags]),
    "file": _file_again,
    "pipe": _pipe_again,
    "pair": _pair_again,
    "socket": _socket_again,
    "event": _event_again,
    "poll": _poll_again,
}


# --- files ------------------------------------------------------------------------------------------


def tree(top):
    """All that is in a folder, as a list of (path below it, mode, time, content)."""
    kept, size = [], 0
    folders = [""]
    while folders:
        folder = folders.pop()
        for name in sorted(posix.listdir(top + folder)):
            path = "%s/%s" % (folder, name)
            status = posix.lstat(top + path)
            kind = status.st_mode & 0o170000
            if kind == 0o040000:
                content = None
                folders.append(path)
            elif kind == 0o120000:
                content = posix.readlink(top + path)
            elif kind == 0o100000:
                size += status.st_size
                if size > KEPT:
                    raise Unkept("its init left more than %d MB in %s" % (KEPT >> 20, top))
                with open(top + path, "rb") as file:
                    content = file.read()
            else:
                raise Unkept("its init left %s%s, which is no file, folder or link" % (top, path))
            kept.append((path, status.st_mode & 0o7777, status.st_mtime_ns, content))
    return kept


def plant(top, kept):
    for path, mode, changed, content in kept:
        path = top + path
        if content is None:
            posix.mkdir(path, 0o700)
        elif isinstance(content, str):
            posix.symlink(content, path)
            continue
        else:
            with open(path, "wb") as file:
                file.write(content)
    # Folders last, and their contents before them: writing into one changes its time, and may need its mode.
    for path, mode, changed, content in reversed(kept):
        if not isinstance(content, str):
            posix.chmod(top + path, mode)
            posix.utime(top + path, ns=(changed, changed))


def nothing_in(folder):
    names = posix.listdir(folder)
    if names:
        raise Unkept("its init left %s in %s" % (", ".join(sorted(names)[:5]), folder))
