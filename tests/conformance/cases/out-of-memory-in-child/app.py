import subprocess
import sys

BOMB = "held = []\nwhile True: held.append(b'x' * 8 * 1024 * 1024)"


def handler(event, context):
    if event == "works":
        return "works"
    subprocess.run([sys.executable or "/usr/bin/python3", "-c", BOMB])
    return "the child died alone"
