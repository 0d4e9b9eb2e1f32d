raise RuntimeError("no database")


def handler(event, context):
    return "works"
