import os


def handler(event, context):
    return {"count": os.cpu_count()}
