import os
import time


def handler(event, context):
    if event == "works":
        return "works"
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    return "answered"
