"""Bounded polling: the only way in which a test here waits."""

import time


def until(what, probe, within=10.0, every=0.02):
    """Polls `probe` until it returns something truthy, and returns that.

    `what` completes the sentence "waited in vain for …". A probe that raises AssertionError counts as
    "not yet", and its message is shown when the time is over.
    """
    deadline = time.monotonic() + within
    last = None
    while True:
        try:
            found = probe()
            if found:
                return found
            last = found
        except AssertionError as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {within:g} s in vain for {what}; last seen: {last!r}")
        time.sleep(every)
