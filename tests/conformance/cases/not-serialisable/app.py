def handler(event, context):
    return "works" if event == "works" else {"a": {1, 2, 3}}
