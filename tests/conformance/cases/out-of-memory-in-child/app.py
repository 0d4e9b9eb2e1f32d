import subprocess
import sys
import time

BOMB = "held = []\nwhile True: held.append(b'x' * 8 * 1024 * 1024)"


def handler(event, context):
    if event == "works":
        return "works"
    subprocess.run([sys.executable or "/usr/bin/python3", "-c", BOMB])
    # On cgroup v1 the kernel kills the child alone, and Hearth, which is told of it, the rest.
    time.sleep(2)
    return "the child died alone"
