import json


def handler(event, context):
    print(json.dumps({"level": "error", "message": "structured trouble", "order": 17}))
    print(json.dumps({"level": "WARN", "msg": "in capitals"}))
    print(json.dumps({"level": "debug", "message": "quiet"}))
    print(json.dumps({"message": "no level"}))
    print('{"level": "error" not an object')
    return "done"
