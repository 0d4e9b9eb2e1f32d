def handler(event, context):
    return "works" if event == "works" else {"half": "\ud83d"}
