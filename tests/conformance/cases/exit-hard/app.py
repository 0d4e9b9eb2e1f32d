import os


def handler(event, context):
    if event == "works":
        return "works"
    os._exit(42)
