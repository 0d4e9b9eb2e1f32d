def handler(event, context):
    return "works" if event == "works" else "x" * 7_000_000
