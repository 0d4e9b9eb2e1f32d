"""How much the server's memory grows while something goes on."""

import threading


def resident(hearth):
    """Bytes that the server has resident."""
    with open(f"/proc/{hearth.server_pid()}/status") as status:
        return int(status.read().split("VmRSS:")[1].split()[0]) * 1024


class Watch:
    """The most that it grew while this runs; looked at fifty times a second."""

    def __init__(self, hearth):
        self.hearth, self.before, self.most, self.looks, self.over = hearth, resident(hearth), 0, 0, threading.Event()

    def __enter__(self):
        def look():
            while not self.over.wait(0.02):
                self.most = max(self.most, resident(self.hearth) - self.before)
                self.looks += 1

        self.thread = threading.Thread(target=look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def assert_below(self, limit):
        assert self.looks > 3, f"looked only {self.looks} times: that says nothing"
        assert self.most < limit, f"the server grew by {self.most / 2**20:.1f} MB"
