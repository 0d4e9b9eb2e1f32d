import errno
import os


def handler(event, context):
    if event == "works":
        os.unlink("/tmp/big")
        open("/tmp/small", "w").write("room again")
        return "works"
    block, written = b"x" * 1024 * 1024, 0
    with open("/tmp/big", "wb", buffering=0) as file:
        try:
            while written < 200:
                file.write(block)
                written += 1
        except OSError as error:
            return {"error": errno.errorcode[error.errno], "megabytes": os.path.getsize("/tmp/big") / 1024**2}
    return {"error": None, "megabytes": written}
