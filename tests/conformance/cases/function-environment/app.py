import os

NAMES = ("PLAIN", "SPACES", "EQUALS", "QUOTES", "UNICODE", "EMPTY")
AT_IMPORT = {name: os.environ.get(name) for name in NAMES}


def handler(event, context):
    return AT_IMPORT
