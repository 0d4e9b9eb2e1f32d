import subprocess
import sys


def handler(event, context):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    print("two\nlines")
    sys.stdout.flush()
    subprocess.run(["/bin/echo", "from a child"])
    sys.stdout.write("the last, without an end")
    return "done"
