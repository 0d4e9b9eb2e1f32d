import time


def handler(event, context):
    if event == "works":
        return "works"
    time.sleep(60)
