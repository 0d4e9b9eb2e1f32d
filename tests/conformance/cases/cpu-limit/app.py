import time


def handler(event, context):
    # The first period is left out: a process may use its quota at once.
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    wall, used = time.monotonic(), time.process_time()
    while time.monotonic() - wall < 1.5:
        pass
    return {"share": (time.process_time() - used) / (time.monotonic() - wall)}
