import os
import stat


def handler(event, context):
    strange = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor that listed the folder
        kind = os.fstat(int(name)).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            continue  # whatever it is called
        if not target.startswith(("pipe:", "socket:", "anon_inode:", "/dev/null", "/dev/urandom", "/proc/", "/var/task", "/usr/")):
            strange.append([name, target])
    return strange
