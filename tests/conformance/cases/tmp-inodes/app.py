import errno
import os


def handler(event, context):
    if event == "works":
        return "works"
    try:
        for number in range(500_000):
            os.mknod(f"/tmp/{number}")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "no limit"
