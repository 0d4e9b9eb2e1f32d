import os
import resource
import time


def handler(event, context):
    started, children = time.monotonic(), []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            while time.monotonic() - started < 2:
                pass
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"share": (used.ru_utime + used.ru_stime) / (time.monotonic() - started)}
