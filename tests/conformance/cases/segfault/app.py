import ctypes


def crash():
    ctypes.string_at(0)


def handler(event, context):
    if event == "works":
        return "works"
    crash()
