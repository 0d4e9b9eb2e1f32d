def handler(event, context):
    return "x" * (6291556 - 2)
