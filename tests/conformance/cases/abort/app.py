import os


def crash():
    os.abort()


def handler(event, context):
    if event == "works":
        return "works"
    crash()
