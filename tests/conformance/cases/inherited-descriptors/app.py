import os


def handler(event, context):
    strange = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor that listed the folder
        if not target.startswith(("pipe:", "socket:", "anon_inode:", "/dev/null", "/dev/urandom", "/proc/", "/var/task", "/usr/")):
            strange.append([name, target])
    return strange
