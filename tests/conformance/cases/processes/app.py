import errno
import os
import signal

def handler(event, context):
    if event == "works":
        return "works"
    children, refused = [], None
    try:
        while len(children) < 5000:
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
    except OSError as error:
        refused = errno.errorcode[error.errno]
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return {"children": len(children), "refused": refused}
