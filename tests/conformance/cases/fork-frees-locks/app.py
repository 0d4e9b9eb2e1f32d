import logging
import os
import signal
import threading

lock_of = logging.StreamHandler()


def handler(event, context):
    held, over = threading.Event(), threading.Event()

    def hold():
        lock_of.acquire()
        held.set()
        over.wait()
        lock_of.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        lock_of.acquire()
        os._exit(threading.active_count() + 10 * (threading.main_thread() is threading.current_thread()))
    over.set()
    thread.join()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
