import threading
import time


def handler(event, context):
    if event == "works":
        return "works"
    threading.Thread(target=time.sleep, args=(60,)).start()
    return "answered"
