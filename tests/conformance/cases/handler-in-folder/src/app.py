def handler(event, context):
    return "from src"
