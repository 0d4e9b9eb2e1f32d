def handler(event, context):
    return "works"
